"""What happens in the middle of connecting, tried at every point where something else can run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from adapters.inbox.memory import MemoryInbox
from adapters.transport.memory import MemoryTransport
from domain.model import Entry, Position
from domain.policy import ConnectionPolicy
from domain.services.delivery import DeliveryService
from tests.doubles import FixedRandomness
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, closed, ids, names, run

AUTHS: list[dict[str, object]] = [{}, {"cursor": "e:1"}, {"cursor": "nonsense"}]


def count_points(auth: dict[str, object]) -> int:
    """How many points connecting passes, with three entries in the log and a page of one."""

    async def story() -> int:
        points = Points()
        async with small_world(points).running() as world:
            await world.publish("1", "2", "3")
            await world.connect("ann", **auth)
        return len(points.passed)

    return run(story())


def small_world(points: Points) -> World:
    return World(
        seen_as=points.around, policy=ConnectionPolicy(replay_entries=1, connections=1, connections_per_user=1)
    )


POINTS = [(auth, at) for auth in AUTHS for at in range(count_points(auth))]


def test_the_points_cover_connecting_from_the_verifier_to_going_live() -> None:
    async def story() -> list[str]:
        points = Points()
        async with small_world(points).running() as world:
            await world.publish("1", "2", "3")
            await world.connect("ann", cursor="e:1")
        return points.passed

    calls = ("verify", "join", "since", "replay", "since", "replay", "release")
    assert run(story()) == [f"{when} {call}" for call in calls for when in ("before", "after")]


@pytest.mark.parametrize("prompt", [True, False], ids=["prompt tail", "late tail"])
@pytest.mark.parametrize(("auth", "at"), POINTS)
def test_what_is_published_while_connecting_is_delivered_once(
    auth: dict[str, object], at: int, *, prompt: bool
) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def publish() -> None:
                await world.publish("new")
                if prompt:
                    await world.settle()

            await world.publish("1", "2", "3")
            await world.settle()
            points.at, points.action = at, publish
            client = await world.connect("ann", **auth)
            await world.publish("last")
            await world.settle()
            _, arguments = client.events[0]
            start = Position.parse(arguments[-1])
            assert start is not None
            log = {"1": 1, "2": 2, "3": 3, "new": 4, "last": 5}
            assert ids(client) == [identifier for identifier, offset in log.items() if offset > start.offset]
            if "cursor" in auth and auth["cursor"] == "e:1":
                assert start.offset == 1

    run(story())


@pytest.mark.parametrize(("auth", "at"), POINTS)
def test_a_client_that_leaves_while_connecting_leaves_nothing(auth: dict[str, object], at: int) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def leave() -> None:
                client.disconnect()

            await world.publish("1", "2", "3")
            await world.settle()
            points.at, points.action = at, leave
            client = world.transport.start({"token": "ann", **auth})
            await client.opened()
            assert world.connections.open_connections == 0
            assert world.transport.rooms == frozenset()
            assert len(world.telemetry.named("disconnected")) == 1
            # Who left before the welcome was never connected.
            assert len(world.telemetry.named("connected")) == names(client).count("session.ready")
            # There is one place, and it is free; nobody has to go for it.
            assert (await world.connect("ann")).connected
            assert world.telemetry.named("closing") == []

    run(story())


@pytest.mark.parametrize(("auth", "at"), POINTS)
def test_a_token_that_expires_while_connecting_closes_the_connection(auth: dict[str, object], at: int) -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def expire() -> None:
                world.clock.advance(4000)
                world.connections.tick()

            await world.publish("1", "2", "3")
            await world.settle()
            points.at, points.action = at, expire
            client = world.transport.start({"token": "ann", **auth})
            await client.opened()
            world.connections.tick()
            await closed(client)
            assert client.reconnect
            assert world.connections.open_connections == 0
            assert world.transport.rooms == frozenset()
            assert [call[-1] for call in world.telemetry.named("closing")] == ["token_expired"]

    run(story())


def test_more_than_can_be_held_during_a_replay_is_read_from_the_log() -> None:
    async def story() -> None:
        points = Points()
        world = World(
            seen_as=points.around,
            transport=MemoryTransport(max_held_bytes=1000),
            policy=ConnectionPolicy(replay_entries=2),
        )
        async with world.running():

            async def flood() -> None:
                await world.publish(*(str(number) for number in range(4, 30)))
                await world.settle()

            await world.publish("1", "2", "3")
            points.at, points.action = 6, flood
            client = await world.connect("ann", cursor="e:0")
            assert points.passed[6] == "before replay"
            assert ids(client) == [str(number) for number in range(1, 30)]
            assert points.passed.count("before release") == 2
            await world.publish("30")
            await world.settle()
            assert ids(client)[-2:] == ["29", "30"]

    run(story())


class LaggingInbox(MemoryInbox):
    """Its followers are given nothing until ``caught_up`` is set."""

    caught_up: asyncio.Event

    async def follow(self, after: Position) -> AsyncIterator[Sequence[Entry]]:
        async for entries in super().follow(after):
            await self.caught_up.wait()
            yield entries


def test_a_tail_that_lags_behind_the_replay_brings_nothing_twice() -> None:
    async def story() -> None:
        world = World()
        lagging = LaggingInbox(clock=world.clock, epoch="e")
        lagging.caught_up = asyncio.Event()
        world = World(seen_as=lambda verifier, _, transport: (verifier, lagging, transport))
        delivery = DeliveryService(
            inbox=lagging,
            transport=world.transport,
            policy=world.policy,
            clock=world.clock,
            randomness=FixedRandomness(),
            telemetry=world.telemetry,
        )
        world.delivery = delivery
        tail = asyncio.create_task(delivery.deliver())
        await world.settle()
        await world.publish("1", "2", "3")
        client = await world.connect("ann", cursor="e:1")
        assert ids(client) == ["2", "3"]
        await world.publish("4")
        lagging.caught_up.set()
        await world.settle()
        assert ids(client) == ["2", "3", "4"]
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)

    run(story())


def test_a_connection_closed_during_its_replay_gets_no_more_of_it() -> None:
    async def story() -> None:
        points = Points()
        async with small_world(points).running() as world:

            async def drain() -> None:
                world.connections.drain()
                world.connections.tick()

            await world.publish("1", "2", "3")
            points.at, points.action = 8, drain
            client = await world.connect("ann", cursor="e:0")
            await closed(client)
            assert names(client) == ["session.ready", "notification.new", "session.closing"]

    run(story())
