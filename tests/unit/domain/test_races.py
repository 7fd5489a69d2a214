"""What happens in the middle of connecting and of asking, tried at every point where something else can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.model import Audience, UserId
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Gate, Points
from tests.unit.domain.world import World, closed, cursor, ids, is_empty, names, run

BEFORE = ["1", "2", "3"]


@dataclass(frozen=True)
class Case:
    """A client that connects to a log of three: what it says, and which of the three it is to get.

    ``prepare`` makes what it says.
    """

    name: str
    expected: Sequence[str]
    prepare: Callable[[World], Awaitable[dict[str, object]]]


async def nothing(_: World) -> dict[str, object]:
    return {}


async def a_cursor(_: World) -> dict[str, object]:
    return {"cursor": "e:1"}


async def a_refused_cursor(_: World) -> dict[str, object]:
    return {"cursor": "nonsense"}


async def pid_and_offset(world: World) -> dict[str, object]:
    earlier = await world.connect("ann")
    earlier.disconnect()
    return {"pid": earlier.pid, "offset": "e:2"}


async def pid_and_refused_offset(world: World) -> dict[str, object]:
    return {**await pid_and_offset(world), "offset": "e:99"}


async def pid_of_another(world: World) -> dict[str, object]:
    """Its offset is one that the client itself never has: that of an entry for the other."""
    await world.publish("of-bob", to=Audience.users(["bob"]))
    other = await world.connect("bob")
    other.disconnect()
    return {"pid": other.pid, "offset": "e:4"}


async def unanswered(world: World) -> dict[str, object]:
    said = await pid_of_another(world)
    cut = await world.connect("ann", **said)
    cut.disconnect()
    return {**said, "pid": cut.pid}


async def marks(world: World) -> dict[str, object]:
    """Of the three the first was received."""
    earlier = await world.connect("ann")
    for _ in range(2):
        await earlier.next_event()
    earlier.disconnect()
    return {}


CASES = [
    Case("new user", BEFORE, nothing),
    Case("user with a mark", BEFORE[1:], marks),
    Case("cursor", BEFORE[1:], a_cursor),
    Case("refused cursor", BEFORE, a_refused_cursor),
    Case("pid and offset", BEFORE[2:], pid_and_offset),
    Case("pid and refused offset", BEFORE, pid_and_refused_offset),
    Case("pid of another user", BEFORE, pid_of_another),
    Case("unanswered", BEFORE, unanswered),
]


def small_world(points: Points, **options: Any) -> World:
    return World(
        seen_as=points.around,
        policy=ConnectionPolicy(replay_entries=1, connections=1, connections_per_user=1),
        **options,
    )


async def prepared(world: World, points: Points, case: Case) -> dict[str, object]:
    """What the client says, with the three in the log, everything delivered, and the counting of points begun anew."""
    await world.publish(*BEFORE)
    await world.settle()
    said = await case.prepare(world)
    await world.settle()
    points.passed.clear()
    return said


def points_of(case: Case) -> list[str]:
    async def story() -> list[str]:
        points = Points()
        async with small_world(points).running() as world:
            said = await prepared(world, points, case)
            await world.connect("ann", **said)
        return points.passed

    return run(story())


CONNECTING = [
    pytest.param(case, at, id=f"{case.name}, {at} {point}")
    for case in CASES
    for at, point in enumerate(points_of(case))
]


def test_the_points_cover_connecting_from_the_verifier_to_going_live() -> None:
    calls = {
        "cursor": "verify arrive secret has_room read has_room",
        "new user": "verify arrive secret has_room read has_room read has_room",
        "unanswered": "verify secret arrive secret has_room read has_room read has_room",
    }
    for case in CASES:
        if case.name in calls:
            expected = [f"{when} {call}" for call in calls[case.name].split() for when in ("before", "after")]
            assert points_of(case) == expected


@pytest.mark.parametrize("prompt", [True, False], ids=["prompt tail", "late tail"])
@pytest.mark.parametrize(("case", "at"), CONNECTING)
def test_what_is_published_while_connecting_is_delivered_once(case: Case, at: int, *, prompt: bool) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def publish() -> None:
                await world.publish("new")
                if prompt:
                    await world.settle()

            said = await prepared(world, points, case)
            points.at, points.action = at, publish
            client = await world.connect("ann", **said)
            assert points.action is None
            await world.publish("last")
            await world.settle()
            assert ids(client) == [*case.expected, "new", "last"]
            # Whoever is cut anywhere and comes back with the last thing they got misses nothing.
            for count, event in enumerate(client.events):
                after = ids(client)[sum(name == "notification.new" for name in names(client)[: count + 1]) :]
                client.disconnect()
                again = await world.connect("ann", pid=client.pid, offset=cursor(event))
                assert ids(again) == after
                again.disconnect()

    run(story())


@pytest.mark.parametrize("at", range(len(points_of(CASES[0]))))
def test_who_is_new_gets_what_is_published_to_everyone_from_when_they_entered(at: int) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:
            entered = False

            async def publish() -> None:
                nonlocal entered
                entered = "after arrive" in points.passed
                await world.publish("new", to=Audience.everyone())

            said = await prepared(world, points, CASES[0])
            points.at, points.action = at, publish
            client = await world.connect("ann", **said)
            await world.settle()
            assert ids(client) == [*BEFORE, *(["new"] if entered else [])]

    run(story())


@pytest.mark.parametrize(("case", "at"), CONNECTING)
def test_a_client_that_leaves_while_connecting_leaves_nothing(case: Case, at: int) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def leave() -> None:
                client.disconnect()

            said = await prepared(world, points, case)
            before = len(world.telemetry.named("disconnected")), len(world.telemetry.named("connected"))
            points.at, points.action = at, leave
            client = world.transport.start({"token": "ann", **said})
            await client.opened()
            assert is_empty(world)
            # Who left before it was let in was never connected, and so is not disconnected.
            connected = len(world.telemetry.named("connected")) - before[1]
            assert connected == names(client).count("session.ready")
            assert len(world.telemetry.named("disconnected")) == before[0] + connected
            # There is one place, and it is free; nobody has to go for it.
            assert (await world.connect("ann")).connected
            assert world.telemetry.named("closing") == []

    run(story())


@pytest.mark.parametrize(("case", "at"), CONNECTING)
def test_a_token_that_expires_while_connecting_closes_the_connection(case: Case, at: int) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def expire() -> None:
                world.clock.advance(4000)
                world.expiry.tick()

            said = await prepared(world, points, case)
            points.at, points.action = at, expire
            client = world.transport.start({"token": "ann", **said})
            await client.opened()
            world.expiry.tick()
            await closed(client)
            assert client.reconnect
            assert is_empty(world)
            assert [call[-1] for call in world.telemetry.named("closing")] == ["token_expired"]

    run(story())


@pytest.mark.parametrize("at", range(len(points_of(CASES[4]))))
def test_a_client_that_comes_twice_at_once_stays_once(at: int) -> None:
    """The stock client gives a connection up that took too long, and the server may learn of that much later."""

    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            said = await prepared(world, points, CASES[4])
            other: list[MemoryClient] = []

            async def come_again() -> None:
                other.append(await world.connect("ann", **said))

            points.at, points.action = at, come_again
            slow = world.transport.start({"token": "ann", **said})
            await slow.opened()
            await world.settle()
            clients = [slow, *other]
            assert sorted(client.connected for client in clients) == [False, True]
            (stays,) = (client for client in clients if client.connected)
            assert ids(stays) == BEFORE[2:]
            assert len(world.connections.connections_of(UserId("ann"))) == 1

    run(story())


def test_more_than_the_window_holds_during_a_replay_is_read_from_the_log() -> None:
    async def story() -> None:
        points = Points()
        world = World(
            seen_as=points.around,
            window_bytes=1000,
            policy=ConnectionPolicy(replay_entries=2),
        )
        async with world.running():

            async def flood() -> None:
                await world.publish(*(str(number) for number in range(4, 30)))
                await world.settle()

            await world.publish("1", "2", "3")
            # When the log has been read to its end, and what was read is about to be sent.
            points.at_nth("before has_room", 2, flood)
            client = await world.connect("ann", cursor="e:0")
            assert ids(client) == [str(number) for number in range(1, 30)]
            assert points.passed.count("before read") > 2
            await world.publish("30")
            await world.settle()
            assert ids(client)[-2:] == ["29", "30"]

    run(story())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_tail_that_lags_behind_the_replay_brings_nothing_twice(case: Case) -> None:
    async def story() -> None:
        points = Points()
        world = small_world(points)
        gate = Gate.of(world.inbox)
        async with world.running():
            said = await prepared(world, points, case)
            gate.clear()
            await world.publish("4", "5")
            client = await world.connect("ann", **said)
            assert ids(client) == [*case.expected, "4", "5"]
            await world.publish("6")
            gate.set()
            await world.settle()
            assert ids(client) == [*case.expected, "4", "5", "6"]

    run(story())


def test_a_connection_closed_during_its_replay_gets_no_more_of_it() -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def drain() -> None:
                world.expiry.drain()
                world.expiry.tick()

            await world.publish("1", "2", "3")
            points.at_nth("before has_room", 2, drain)
            client = await world.connect("ann", cursor="e:0")
            await closed(client)
            assert names(client) == ["session.ready", "notification.new", "session.closing"]

    run(story())
