"""Revising a notification: what is told to whom, by what they were given before, wherever they were cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.delivery import revisions
from domain.delivery.reach import Reach
from domain.delivery.revisions import Revisions
from domain.model import CURSOR_MAX_LENGTH, NOTIFICATION_NEW, NOTIFICATION_REVISED, Entry, Json, Owed, Position, Room
from domain.model.owed import OwingPosition
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, cursor, run

ANN = Room("user:ann")


async def revise(world: World, id_: str, title: str = "new") -> None:
    await world.application.editing.revise(id_, lambda one: replace(one, title=title))


def told(client: MemoryClient, after: int = 0) -> list[tuple[str, str]]:
    """Events and ids."""
    return [
        (name.removeprefix("notification."), argument["id"])
        for name, arguments in client.events[after:]
        if name in {"notification.new", "notification.revised"} and isinstance(argument := arguments[0], dict)
    ]


def cursors(client: MemoryClient) -> list[str]:
    """One after each event that it might be cut behind."""
    return [cursor(event) for event in client.events if event[0] != "inbox.counts"]


@pytest.mark.parametrize("page", [1, 2, 500])
def test_wherever_a_replay_is_cut_what_it_left_out_is_new_to_whoever_comes_back(page: int) -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(replay_entries=page)).running() as world:
            await world.publish("1", "2", "3")
            await revise(world, "1")
            await world.publish("4")
            await revise(world, "3")
            await world.publish("5")
            expected = [("new", id_) for id_ in ("2", "1", "4", "3", "5")]

            async def read_from(cut_at: str) -> list[str]:
                """The cursors of what it is told."""
                client = await world.connect("ann", cursor=cut_at)
                client.disconnect()
                seen = cursors(client)
                assert told(client) == expected[len(expected) + 1 - len(seen) :], cut_at
                return seen

            whole = await read_from("e:0")
            assert len(whole) == 1 + len(expected)
            assert whole[-1] == "e:7"
            for cut_at in whole:
                # Also if it is cut once more.
                for cut_again_at in await read_from(cut_at):
                    await read_from(cut_again_at)

    run(story())


def test_whoever_was_given_it_is_told_that_it_was_revised() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann", cursor="e:0")
            await world.publish("1", "2")
            await world.settle()
            (_, first, second) = cursors(ann)
            await revise(world, "1")
            await world.settle()
            assert told(ann) == [("new", "1"), ("new", "2"), ("revised", "1")]
            assert cursors(ann)[-1] == "e:3"
            assert told(await world.connect("ann", cursor=first)) == [("new", "2"), ("revised", "1")]
            assert told(await world.connect("ann", cursor=second)) == [("revised", "1")]

    run(story())


def test_a_client_without_a_cursor_is_owed_it_too() -> None:
    """It is known to have received what lies behind it, and is sent that again."""

    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2")
            await revise(world, "1")
            ann = await world.connect("ann")
            connection = next(iter(world.connections.all))
            assert told(ann) == [("new", "2"), ("new", "1")]
            place = OwingPosition("e", 2, Owed(frozenset((1,))))
            assert cursors(ann)[1] == str(place)
            world.connecting.received(connection.subscription.outlet, place)
            ann.disconnect()
            assert told(await world.connect("ann")) == [("new", "2"), ("new", "1")]

    run(story())


@pytest.mark.parametrize("page", [1, 500])
def test_wherever_it_is_revised_while_a_client_asks_it_is_told_as_new_once(page: int) -> None:
    policy = ConnectionPolicy(replay_entries=page)

    async def asking(published_at: int, revised_after: int) -> int:
        points = Points()
        async with World(policy=policy, seen_as=points.around).running() as world:
            ann = await world.connect("ann")
            await world.publish("1")
            await world.settle()

            async def publish() -> None:
                await world.publish("2", "3")
                await revise(world, "2")
                points.at, points.action = len(points.passed) - 1 + revised_after, revise_again

            async def revise_again() -> None:
                await revise(world, "2", "newer")

            points.passed.clear()
            points.at, points.action = published_at, publish
            await ann.request("notification.read_all", {})
            await world.settle()
            known: set[str] = set()
            for event, id_ in told(ann):
                assert (event == "new") is (id_ not in known), (told(ann), points.passed)
                known.add(id_)
            # Near the end it is too late for something to be published meanwhile.
            assert known == ({"1", "2", "3"} if points.action is not publish else {"1"})
            return len(points.passed)

    for published_at in range(run(asking(0, 10_000))):
        for revised_after in range(1, 8):
            run(asking(published_at, revised_after))


def test_of_many_the_cursor_says_from_where_on() -> None:
    offsets = frozenset(range(1, 10**6, 10**4))
    place = Owed(offsets).behind(Position("e" * 16, 10**17))
    said = str(place)
    assert len(said) <= CURSOR_MAX_LENGTH
    assert Position.parse(said) == Position("e" * 16, 10**17)
    owed = Owed.said_by(said)
    assert all(owed.includes(offset) for offset in offsets)
    assert not owed.includes(0)
    assert place.complete == Position("e" * 16, 0)
    assert Owed.said_by(str(owed.behind(Position("e", 10**17)))) == owed


def revision(offset: int, about: int) -> Entry:
    return Entry(Position("e", offset), frozenset((ANN,)), NOTIFICATION_REVISED, Json(b"{}"), about=about)


def test_of_very_many_all_behind_the_first_are_told_as_new_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "OWED_MOST", 3)
    reach = Reach()
    reach.begin({ANN: 0}, (), 0)
    one: Any = Revisions(reach)
    for offset in (5, 6, 7, 8):
        original = Entry(
            Position("e", offset), frozenset((ANN,)), "notification.new", Json(b"{}"), revised=100 + offset
        )
        assert one.sent_for(original, 10**18) is None
    assert one.owed == Owed(since=5)
    assert one.sent_for(revision(106, 6), 10**18).event == NOTIFICATION_NEW
    assert one.sent_for(revision(107, 6), 10**18).event == NOTIFICATION_REVISED
    assert one.sent_for(revision(108, 4), 10**18).event == NOTIFICATION_REVISED
    one.settle()
    assert one.sent_for(revision(109, 8), 10**18).event == NOTIFICATION_REVISED


@pytest.mark.parametrize(
    "said", ["e:5~", "e:5~.", "e:5~g", "e:5~1..2", "e:5~-", "e:5~1-2", "e:5~1~2", "e:5~" + "1" * 17]
)
def test_what_is_malformed_is_no_cursor(said: str) -> None:
    assert Position.parse(said) is None
