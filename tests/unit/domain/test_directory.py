"""What operators see of a user's connections, and how they end them."""

from __future__ import annotations

import pytest

from domain.model import ConnectionInfo, UserId
from tests.doubles import START
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, closed, first, identity, run

ANN = UserId("ann")


def test_a_users_connections_are_listed_the_oldest_first() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            older = await world.transport.connect({"token": "ann", "device": "Ann's phone"}, remote_address="192.0.2.7")
            since = START
            world.clock.advance(60)
            await world.connect("bob")
            await world.connect("as-company")
            assert world.connections.connections_of(ANN) == [
                ConnectionInfo("Ann's phone", ("freelance",), "memory", "192.0.2.7", since),
                ConnectionInfo(None, ("company",), "memory", "127.0.0.1", world.clock.now()),
            ]
            older.disconnect()
            assert [info.role for info in world.connections.connections_of(ANN)] == ["company"]
            assert world.connections.connections_of(UserId("nobody")) == []

    run(story())


def test_who_is_still_connecting_is_not_listed() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            listed = []

            async def look() -> None:
                listed.append(world.connections.connections_of(ANN))
                assert world.connections.disconnect(ANN, reconnect=False) == 0

            points.at_nth("before arrive", 1, look)
            assert (await world.connect("ann")).connected
            assert listed == [[]]

    run(story())


@pytest.mark.parametrize("reconnect", [True, False])
def test_an_operator_disconnects_all_of_a_user_and_says_whether_to_come_back(*, reconnect: bool) -> None:
    async def story() -> None:
        async with World().running() as world:
            clients = [await world.connect("ann") for _ in range(3)]
            bob = await world.connect("bob")
            clients[0].disconnect()
            assert world.connections.disconnect(ANN, reconnect=reconnect) == 2
            # Those that are closing are neither listed nor closed again.
            assert world.connections.connections_of(ANN) == []
            assert world.connections.disconnect(ANN, reconnect=reconnect) == 0
            for client in clients[1:]:
                await closed(client)
                closing = first(client, "session.closing")
                assert (closing["code"], closing["reconnect"]) == ("disconnected_by_operator", reconnect)
                assert client.reconnect is reconnect
            assert bob.connected
            # It is no ban.
            assert (await world.connect("ann")).connected

    run(story())


def test_nobody_to_disconnect() -> None:
    async def story() -> None:
        async with World().running() as world:
            assert world.connections.disconnect(UserId("nobody"), reconnect=False) == 0

    run(story())
