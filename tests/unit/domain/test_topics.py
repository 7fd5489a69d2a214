"""Topics, live: at every point of a client's connecting and reading its user joins and leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.delivery.reach import Reach
from domain.errors import InvalidArgument, InvalidPublication, TooManyTopics
from domain.model import Audience, Publication, Room, Span, UserId
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Gate, Points
from tests.unit.domain.world import World, first, ids, is_empty, names, run

TOPIC = Audience.topic("project")
EITHER = Audience.any_of([Room.of_topic("project"), Room.of_role("freelance")])
ANN, BOB = UserId("ann"), UserId("bob")


async def join(world: World, *users: UserId, topic: str = "project") -> None:
    await world.application.topics.change_members(topic, users, ())


async def leave(world: World, *users: UserId) -> None:
    await world.application.topics.change_members("project", (), users)


def test_a_live_connection_has_what_came_while_its_user_was_a_member() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await world.publish("1", to=TOPIC)
            await join(world, ANN)
            await world.publish("2", to=TOPIC)
            await join(world, BOB)
            await world.publish("3", to=TOPIC)
            await leave(world, ANN)
            await world.publish("4", to=TOPIC)
            await world.settle()
            assert ids(ann) == ["2", "3"]
            assert ids(bob) == ["3", "4"]
            assert first(ann, "notification.new")["audience"] == "topic"

    run(story())


def test_stays_come_in_any_order() -> None:
    """No database promises another one."""
    room, reach = Room.of_topic("project"), Reach()
    reach.begin({}, [Span(room, 6), Span(room, 2, 4)], as_of=7)
    assert (reach.topics, [*reach.left]) == (frozenset((room,)), [])
    assert reach.change(room, 8, is_member=False)
    assert [offset for offset in range(10) if reach.includes(room, offset)] == [3, 4, 7, 8]


def test_what_the_tail_brings_at_once_is_told_apart() -> None:
    async def story() -> None:
        world = World()
        gate = Gate.of(world.inbox)
        async with world.running():
            ann = await world.connect("ann")
            gate.clear()
            for number in range(10):
                await (leave if number % 2 else join)(world, ANN)
                await world.publish(str(number), to=TOPIC)
            gate.set()
            await world.settle()
            assert ids(ann) == ["0", "2", "4", "6", "8"]

    run(story())


def test_a_client_with_a_cursor_misses_nothing_and_gets_nothing_else() -> None:
    async def story() -> None:
        async with World().running() as world:
            await join(world, ANN)
            await world.publish("1", to=TOPIC)
            await leave(world, ANN)
            await world.publish("2", to=TOPIC)
            await join(world, ANN)
            await world.publish("3", to=TOPIC)
            for auth, expected in (({"cursor": "e:1"}, ["1", "3"]), ({"cursor": "e:2"}, ["3"]), ({}, ["3"])):
                assert ids(await world.connect("ann", **auth)) == expected

    run(story())


@pytest.mark.parametrize("was_member", [False, True])
@pytest.mark.parametrize("settles", [False, True])
def test_at_every_point_of_connecting(was_member: bool, settles: bool) -> None:  # noqa: FBT001 (drawn)
    """Joining and leaving, with something for the topic before, between and after."""

    async def story(at: int | None) -> int:
        points = Points()
        policy = ConnectionPolicy(replay_entries=2)
        world = World(policy=policy, seen_as=points.around)
        async with world.running():
            if was_member:
                await join(world, ANN)
            begins = await world.inbox.head()
            await world.publish("a", "b", "c", to=TOPIC)
            await world.publish("own", to=Audience.user("ann"))
            before = ["a", "b", "c", "own"] if was_member else ["own"]

            async def change() -> None:
                await world.publish("d", to=TOPIC)
                await (leave if was_member else join)(world, ANN)
                await world.publish("e", "f", to=TOPIC)
                await (join if was_member else leave)(world, ANN)
                await world.publish("g", to=TOPIC)
                if settles:
                    await world.settle()

            points.passed.clear()
            points.at, points.action = at, change
            client = await world.connect("ann", cursor=str(begins))
            if points.action is not None:
                points.action = None
                await change()
            await world.settle()
            during = ["d", "g"] if was_member else ["e", "f"]
            assert ids(client) == before + during, (at, points.passed)
            world.clock.advance(2)
            await world.counts.announce(100)
            counts = [arguments[0] for name, arguments in client.events if name == "inbox.counts"]
            number = len(before + during)
            told = counts[-1] if counts else first(client, "session.ready")["counts"]
            assert told == {"unread": number, "unseen": number, "total": number}, (at, points.passed)
            return len(points.passed)

    for at in range(run(story(None))):
        run(story(at))


def test_counts_follow_what_is_a_member_s() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            total = 0
            for number in range(20):
                if number % 4 == 0:
                    await (leave if number % 8 else join)(world, ANN)
                await world.publish(str(number), to=TOPIC)
                await world.publish(f"any-{number}", to=EITHER)
                total += 1 + (number % 8 < 4)
                if number % 3 == 0:
                    await world.settle()
                    world.clock.advance(1.1)
                    await world.counts.announce(100)
                    counts = [arguments[0] for name, arguments in ann.events if name == "inbox.counts"]
                    assert counts[-1] == {"unread": total, "unseen": total, "total": total}
            await world.settle()
            assert len(ids(ann)) == len(set(ids(ann))) == total

    run(story())


def test_who_has_left_hears_what_becomes_of_what_they_got() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await join(world, ANN)
            await world.publish("1", "2", to=TOPIC)
            await leave(world, ANN)
            await join(world, BOB)
            await world.publish("3", to=TOPIC)
            await world.settle()
            for id_ in ("1", "3"):
                await world.application.editing.revise(id_, lambda one: replace(one, title="other"))
            await world.application.editing.recall("2")
            await world.settle()
            told = [
                "session.ready",
                "notification.new",
                "notification.new",
                "notification.revised",
                "notification.deleted",
            ]
            assert [name for name in names(ann) if name != "inbox.counts"] == told
            assert [name for name in names(bob) if name != "inbox.counts"] == [told[0], told[1], told[3]]
            again = await world.connect("ann", cursor="e:1")
            assert [name for name in names(again) if name != "inbox.counts"] == [told[0], told[1], told[4]]
            assert first(again, "notification.new")["title"] == "other"

    run(story())


def test_nothing_is_left_of_who_has_gone() -> None:
    async def story() -> None:
        async with World().running() as world:
            await join(world, ANN)
            ann = await world.connect("ann")
            await leave(world, ANN)
            await join(world, ANN, topic="other")
            await world.settle()
            ann.disconnect()
            await world.settle()
            assert is_empty(world)
            assert not world.hub._members

    run(story())


def test_it_is_said_what_is_wrong() -> None:
    async def story() -> None:
        world = World(policy=ConnectionPolicy(topics_per_user=1))
        topics = world.application.topics
        many = [UserId(str(number)) for number in range(10_001)]
        for topic, add, remove, path in (
            ("", [ANN], (), "topic"),
            ("a\nb", [ANN], (), "topic"),
            ("project", [ANN, UserId("")], (), "add[1]"),
            ("project", (), [UserId("x" * 129)], "remove[0]"),
            ("project", [ANN, BOB], [BOB], "remove[0]"),
            ("project", many, (), "add"),
        ):
            with pytest.raises(InvalidArgument, match=f"^{path.replace('[', '.').replace(']', '.')}"):
                await topics.change_members(topic, add, remove)
        await join(world, ANN)
        with pytest.raises(TooManyTopics):
            await join(world, BOB, ANN, topic="other")
        assert (await world.inbox.head()).offset == 1

    run(story())


@pytest.mark.parametrize("to", [TOPIC, EITHER])
def test_a_collapse_key_is_for_no_topic(to: Audience) -> None:
    policy = ConnectionPolicy()
    with pytest.raises(InvalidPublication, match="collapse_key"):
        policy.check(Publication(to, "t", collapse_key="k"))
    for roles in ("a", "ab"):
        policy.check(Publication(Audience.any_of(map(Room.of_role, roles)), "t", collapse_key="k"))
    policy.check(Publication(to, "t"))
