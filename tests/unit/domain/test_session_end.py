from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from domain.errors import Unavailable
from domain.model import Position
from domain.policy import ConnectionPolicy
from tests.doubles import START, FixedRandomness
from tests.unit.domain.world import World, closed, first, identity, names, run

MIDDLE = ConnectionPolicy(uniform=FixedRandomness(0.5).uniform)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("jump", [timedelta(0), HOUR, -HOUR], ids=["steady", "an hour on", "an hour back"])
def test_a_token_is_announced_and_closed_by_the_time_that_passes_and_not_by_the_wall(jump: timedelta) -> None:
    async def story() -> None:
        async with World(policy=MIDDLE).running() as world:
            client = await world.connect("ann")
            world.clock.jump(jump)
            world.expiry.tick()
            world.clock.advance(3600 - 90 - 1)
            world.expiry.tick()
            assert names(client) == ["session.ready"]
            world.clock.advance(1)
            world.expiry.tick()
            world.expiry.tick()
            assert names(client) == ["session.ready", "session.expiring"]
            assert first(client, "session.expiring") == {"expires_at": "2030-01-31T13:00:00.000Z"}
            world.clock.advance(90 + 30 - 1)
            world.expiry.tick()
            assert client.connected
            world.clock.advance(1)
            world.expiry.tick()
            await closed(client)
            closing = first(client, "session.closing")
            assert (closing["code"], closing["retryable"], closing["reconnect"]) == ("token_expired", True, True)
            assert names(client).count("session.expiring") == 1
            assert world.connections.open_connections == 0

    run(story())


def test_every_connection_has_the_deadline_of_its_own_token() -> None:
    async def story() -> None:
        async with World(policy=MIDDLE).running() as world:
            world.verifier.identities["short"] = identity("ann", expires_at=START + timedelta(seconds=100))
            short, long = await world.connect("short"), await world.connect("ann")
            world.clock.advance(130)
            world.expiry.tick()
            await closed(short)
            assert long.connected
            assert names(long) == ["session.ready"]

    run(story())


def test_a_connection_that_is_closing_is_closed_once() -> None:
    async def story() -> None:
        async with World(policy=MIDDLE).running() as world:
            client = await world.connect("ann")
            world.clock.advance(4000)
            for _ in range(3):
                world.expiry.tick()
            await closed(client)
            world.expiry.tick()
            assert names(client).count("session.closing") == 1
            assert len(world.telemetry.named("closing")) == 1

    run(story())


def test_draining_closes_the_connections_spread_out_and_admits_nobody() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(drain_rate=2.0, connections_per_user=4)).running() as world:
            clients = [await world.connect("ann") for _ in range(4)]
            world.expiry.drain()
            late = await world.connect("bob")
            assert (late.refusal, late.reconnect, late.closed) == (None, True, True)
            for gone in range(1, 5):
                world.expiry.tick()
                await closed(clients[gone - 1])
                assert [client.closed for client in clients] == [number < gone for number in range(4)]
                world.clock.advance(0.5)
            for client in clients:
                closing = first(client, "session.closing")
                assert (closing["code"], closing["reconnect"]) == ("shutting_down", True)
                assert 1000 <= closing["retry_after_ms"] <= 5000
            assert world.connections.open_connections == 0

    run(story())


def test_draining_ends_within_its_time_however_many_there_are() -> None:
    async def story() -> None:
        policy = ConnectionPolicy(drain_rate=0.1, drain=timedelta(seconds=20))
        async with World(policy=policy).running() as world:
            clients = [await world.connect("ann") for _ in range(10)]
            world.expiry.drain()
            world.clock.advance(20)
            world.expiry.tick()
            for client in clients:
                await closed(client)

    run(story())


def test_who_is_sent_away_leaves_spread_out_and_may_come_back_to_the_same_server() -> None:
    async def story() -> None:
        policy = ConnectionPolicy(drain_rate=2.0, connections_per_user=8)
        async with World(policy=policy).running() as world:
            clients = [await world.connect("ann") for _ in range(4)]
            world.expiry.send_away(Unavailable("elsewhere they are served"))
            left: list[int] = []
            for _ in range(5):
                world.expiry.tick()
                await asyncio.sleep(0)
                left.append(sum(not client.connected for client in clients))
                # Said again it puts nobody off.
                world.expiry.send_away(Unavailable("elsewhere they are served"))
                world.clock.advance(0.5)
            assert left == [1, 2, 3, 4, 4]
            closing = first(clients[3], "session.closing")
            assert (closing["code"], closing["retryable"], closing["reconnect"]) == ("unavailable", True, True)
            assert (await world.connect("ann")).connected

    run(story())


def test_an_empty_server_drains_at_once() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.expiry.drain()
            world.expiry.tick()
            assert world.connections.open_connections == 0

    run(story())


def test_the_end_of_a_connection_says_how_far_its_client_had_the_log() -> None:
    async def story() -> None:
        async with World().running() as world:
            reads, reads_not = await world.connect("ann"), await world.connect("ann")
            await world.publish("one", "two", "three")
            await world.settle()
            for _ in range(3):
                await reads.next_event()
            # What comes late takes nothing back.
            outlet = next(iter(world.transport.connections))
            world.connecting.received(outlet, Position("e", 1))
            for client in (reads, reads_not):
                client.disconnect()
            assert world.telemetry.ends == {reads.connection: Position("e", 2), reads_not.connection: None}
            world.connecting.received(outlet, Position("e", 3))

    run(story())
