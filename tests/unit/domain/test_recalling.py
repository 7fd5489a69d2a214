"""Taking a notification back: at every point of a client's connecting and reading."""

from __future__ import annotations

from typing import Any

import pytest

from domain.delivery.withdrawn import WITHDRAWN_MOST, Withdrawn
from domain.errors import NotificationRecalled, UnknownNotification
from domain.model import Amended, Audience, Entry, Position
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Gate, Points
from tests.unit.domain.world import World, data, ids, names, run


def recalls(client: Any) -> list[Any]:
    return [arguments[0] for name, arguments in client.events if name == "notification.deleted"]


def test_whoever_has_it_is_told() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await world.publish("1", "2")
            await world.settle()
            recalled = await world.application.editing.recall("1")
            assert isinstance(recalled, Amended)
            await world.settle()
            assert ids(ann) == ["1", "2"]
            assert recalls(ann) == [{"ids": ["1"], "by": "publisher"}]
            assert ann.events[-1][1][-1] == str(recalled.position)
            assert names(bob) == ["session.ready"]
            world.clock.advance(1.001)
            await world.counts.announce(100)
            assert ann.events[-1] == ("inbox.counts", ({"unread": 1, "unseen": 1, "total": 1},))

    run(story())


def test_whoever_comes_later_is_never_shown_it() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", to=Audience.users(["ann"]))
            await world.publish("3", to=Audience.users(["ann", "bob"]))
            await world.application.editing.recall("1")
            await world.application.editing.recall("3")
            for auth in ({}, {"cursor": "e:0"}, {"cursor": "e:1"}):
                client = await world.connect("ann", **auth)
                assert ids(client) == ["2"]
                assert [told["ids"] for told in recalls(client)] == [["1"], ["3"]]

    run(story())


def test_what_the_tail_has_yet_to_bring_is_not_delivered() -> None:
    async def story() -> None:
        world = World()
        gate = Gate.of(world.inbox)
        async with world.running():
            ann = await world.connect("ann")
            gate.clear()
            await world.publish("1", "2")
            await world.application.editing.recall("1")
            gate.set()
            await world.settle()
            assert ids(ann) == ["2"]

    run(story())


def test_what_was_read_by_the_tail_is_not_delivered_either() -> None:
    """It waits for its turn as the answer is given."""

    async def story() -> None:
        world = World()
        gate = Gate.of(world.inbox)
        async with world.running():
            ann = await world.connect("ann")
            gate.clear()
            await world.publish("1", "2")
            # It has what it is to deliver, and is held behind that.
            for _ in range(10):
                await world.clock.turn()
            await world.application.editing.recall("1")
            gate.set()
            await world.settle()
            assert ids(ann) == ["2"]
            assert recalls(ann) == [{"ids": ["1"], "by": "publisher"}]

    run(story())


@pytest.mark.parametrize("pages_of", [1, 500])
@pytest.mark.parametrize("auth", [{}, {"cursor": "e:1"}])
def test_at_no_point_of_connecting_is_it_sent_after_the_answer(pages_of: int, auth: dict[str, object]) -> None:
    async def passed() -> int:
        points = Points()
        async with World(policy=ConnectionPolicy(replay_entries=pages_of), seen_as=points.around).running() as world:
            await world.publish("1", "2", "3")
            points.passed.clear()
            await world.connect("ann", **auth)
            return len(points.passed)

    async def story(at: int) -> None:
        points = Points()
        async with World(policy=ConnectionPolicy(replay_entries=pages_of), seen_as=points.around).running() as world:
            await world.publish("1", "2", "3")
            shown: list[str] = []

            async def recall() -> None:
                shown.extend(here())
                await world.application.editing.recall("2")

            def here() -> list[str]:
                return [id_ for one in world.connections.all for id_ in ids(one.subscription.outlet.client)]

            points.passed.clear()
            points.at, points.action = at, recall
            client = await world.connect("ann", **auth)
            await world.settle()
            expected = ["1", "2", "3"] if not auth else ["2", "3"]
            if "2" not in shown:
                expected.remove("2")
            assert ids(client) == expected, points.passed
            assert [told["ids"] for told in recalls(client)] == [["2"]]

    for at in range(run(passed())):
        run(story(at))


def test_it_is_taken_back_once_and_only_where_it_is_known() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1")
            await world.application.editing.recall("1")
            with pytest.raises(NotificationRecalled):
                await world.application.editing.recall("1")
            with pytest.raises(UnknownNotification):
                await world.application.editing.recall("2")

    run(story())


def test_it_is_remembered_of_the_last_ones() -> None:
    withdrawn = Withdrawn()
    for offset in range(WITHDRAWN_MOST + 1):
        withdrawn.add(offset)
    assert [withdrawn.includes(entry_at(offset)) for offset in (0, 1, WITHDRAWN_MOST)] == [False, True, True]
    withdrawn.clear()
    assert not withdrawn
    assert not withdrawn.includes(entry_at(1))


def entry_at(offset: int) -> Entry:
    return Entry(Position("e", offset), frozenset(), "notification.new", data("{}"))
