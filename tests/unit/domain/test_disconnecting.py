"""Disconnecting a user has one place in the log: who came before it goes, and is sent nothing that is after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from domain.errors import StoreUnavailable
from domain.model import DisconnectUser, Position, UserId
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, closed, first, ids, is_empty, names, run

ANN = UserId("ann")
BEFORE_IT_IS_READ = ["before verify", "after verify", "before arrive"]
ONCE_IT_IS_READ = ["after arrive"]


@pytest.mark.parametrize("reconnect", [True, False])
def test_all_of_a_user_s_go_and_how_many_they_were_is_answered(*, reconnect: bool) -> None:
    async def story() -> None:
        async with World().running() as world:
            clients = [await world.connect("ann") for _ in range(3)]
            bob = await world.connect("bob")
            assert await world.directory.disconnect(ANN, reconnect=reconnect) == 3
            # That is over as it is answered, and not only once the log was followed so far.
            assert await world.directory.connections_of(ANN) == []
            assert await world.directory.disconnect(ANN, reconnect=reconnect) == 0
            for client in clients:
                await closed(client)
                assert first(client, "session.closing")["code"] == "disconnected_by_operator"
                assert client.reconnect is reconnect
                assert names(client).count("session.closing") == 1
            again = await world.connect("ann")
            await world.settle()
            assert again.connected
            assert bob.connected

    run(story())


@pytest.mark.parametrize("entries_before", [0, 1, 30])
def test_what_is_published_before_is_sent_and_what_is_published_after_is_not(entries_before: int) -> None:
    """As every other server meets it, in the tail alone."""

    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            before = [f"before-{number}" for number in range(entries_before)]
            if before:
                await world.publish(*before)
            await world.inbox.append_control(DisconnectUser(ANN, reconnect=True))
            await world.publish("after")
            await world.settle()
            assert ids(ann) == before
            assert names(ann)[-1] == "session.closing"
            assert bob.connected
            again = await world.connect("ann", cursor=f"e:{entries_before}")
            assert ids(again) == ["after"]
            assert again.connected

    run(story())


@pytest.mark.parametrize("point", [*BEFORE_IT_IS_READ, *ONCE_IT_IS_READ])
def test_who_is_connecting_as_the_user_is_disconnected_came_before_it_or_after_it(point: str) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:

            async def disconnect() -> None:
                await world.inbox.append_control(DisconnectUser(ANN, reconnect=False))
                await world.settle()

            points.at_nth(point, 1, disconnect)
            client = await world.transport.connect({"token": "ann"})
            if point in ONCE_IT_IS_READ:
                await closed(client)
                assert not client.reconnect
            else:
                await client.opened()
                await world.publish("after")
                await world.settle()
                assert ids(client) == ["after"]
            assert len(world.connections.connections_of(ANN)) == (point not in ONCE_IT_IS_READ)

    run(story())


def test_a_server_that_is_behind_does_not_close_who_came_after_it() -> None:
    async def story() -> None:
        world = World()
        await world.hub.begin()
        early = await world.connect("ann")
        at = await world.inbox.append_control(DisconnectUser(ANN, reconnect=True))
        late = await world.connect("ann")
        assert [early.connected, late.connected] == [True, True]
        async with world.running():
            await closed(early)
            assert world.hub.delivered == at
            assert late.connected

    run(story())


def unavailable(world: World) -> Callable[..., object]:
    async def fail(*_: object) -> Position:
        raise StoreUnavailable

    return fail


def test_without_a_store_those_of_this_server_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            monkeypatch.setattr(world.inbox, "append_control", unavailable(world))
            with pytest.raises(StoreUnavailable):
                await world.directory.disconnect(ANN, reconnect=False)
            await closed(ann)
            assert first(ann, "session.closing")["code"] == "disconnected_by_operator"
            assert bob.connected

    run(story())


def test_nothing_is_left_of_who_was_disconnected_while_connecting() -> None:
    async def story() -> None:
        for point in (*BEFORE_IT_IS_READ, *ONCE_IT_IS_READ):
            points = Points()
            async with World(seen_as=points.around).running() as world:

                async def disconnect() -> None:
                    await world.directory.disconnect(ANN, reconnect=False)

                points.at_nth(point, 1, disconnect)
                client = await world.connect("ann")
                client.disconnect()
                await closed(client)
                assert is_empty(world), point

    run(story())
