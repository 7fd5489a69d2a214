"""What clients leave behind them to be done is bounded, and leaves nothing behind itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.model import Audience, Publication, UserId
from entrypoints.server import Server
from tests.engine_io import WebSocketPeer, connected, http_session, until_closed
from tests.raw_client import RawClient, frame
from tests.serving import eventually, serving, token
from tests.unit.domain.world import answer_to

pytestmark = pytest.mark.gen_test(timeout=30)

BURST = 5
SLOW = {"events_per_second": 1, "events_burst": BURST}


async def publish(server: Server, user: str, number: int) -> None:
    to = Audience.users([user])
    await server.container.publishing().publish(
        [Publication(to=to, type="t", id=f"{user}:{index}") for index in range(number)]
    )


async def unread(server: Server, user: str) -> int:
    answer: Any = await answer_to(server.container.application().inboxes, token(user), "inbox.count", None)
    return int(answer.counts.unread)


def reads(user: str, number: int) -> list[bytes]:
    """One for each notification."""
    events = [["notification.read", {"ids": [f"{user}:{index}"]}] for index in range(number)]
    return [frame(b"42" + json.dumps(event).encode()) for event in events]


def connect(bearer: str) -> bytes:
    return frame(b"40" + json.dumps({"token": bearer}).encode())


async def say(server: Server, octets: bytes) -> None:
    """Over a new WebSocket, and leave."""

    def visit() -> None:
        with RawClient(server.url).websocket() as line:
            line.send(octets)
            line.finish()
            line.read_to_end()

    await asyncio.to_thread(visit)


def is_over(server: Server) -> bool:
    """Nobody is connected, and nothing is left to be done."""
    transport = server.container.socketio()
    return not (
        server.container.connections().open_connections
        or transport.open_sockets
        or transport._engine.sessions
        or len(transport._connections)
        or len(transport._waiting)
        or transport._connections._working._running
        or transport._intake._handling._running
        or transport._intake._ended_unhandled
    )


@asynccontextmanager
async def gated(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """While the event is not set, the store changes nothing."""
    gate = asyncio.Event()
    inbox = server.container.store()
    change = inbox.change

    async def wait_and_change(*arguments: Any, **options: Any) -> Any:
        await gate.wait()
        return await change(*arguments, **options)

    monkeypatch.setattr(inbox, "change", wait_and_change)
    yield gate
    gate.set()


@pytest.mark.parametrize("is_welcome", [True, False], ids=["welcome", "still connecting"])
async def test_beyond_its_rate_nothing_is_done_and_what_came_before_is(*, is_welcome: bool) -> None:
    async with serving(limits=SLOW) as server:
        await publish(server, "ann", 4 * BURST)
        events = b"".join(reads("ann", 4 * BURST))
        if is_welcome:

            def visit() -> None:
                with RawClient(server.url).connected(token("ann")) as line:
                    line.send(events)
                    line.finish()
                    line.read_to_end()

            await asyncio.to_thread(visit)
        else:
            await say(server, connect(token("ann")) + events)
        await eventually(lambda: is_over(server), within=5)
        assert 3 * BURST - 1 <= await unread(server, "ann") <= 3 * BURST


@pytest.mark.parametrize("bearer", ["bad", token("ann", ttl=-600), token("ann", secret="x" * 40)])
async def test_behind_a_token_that_is_refused_nothing_is_done(monkeypatch: pytest.MonkeyPatch, bearer: str) -> None:
    async with serving() as server:
        asked: list[object] = []

        def note(*arguments: object) -> None:
            asked.append(arguments)

        monkeypatch.setattr(server.container.application().connecting, "requested", note)
        await say(server, connect(bearer) + b"".join(reads("ann", 3)))
        await eventually(lambda: is_over(server), within=5)
        assert asked == []


@pytest.mark.parametrize("reconnect", [True, False])
async def test_what_came_before_an_operator_closed_is_done(monkeypatch: pytest.MonkeyPatch, *, reconnect: bool) -> None:
    async with serving() as server, gated(server, monkeypatch) as gate:
        await publish(server, "ann", 3)

        def visit() -> None:
            with RawClient(server.url).connected(token("ann")) as line:
                line.send(b"".join(reads("ann", 3)))
                line.read_to_end()

        visiting = asyncio.create_task(asyncio.to_thread(visit))
        directory = server.container.connections()
        await eventually(lambda: any(len(session.requests) == 3 for session in directory.all), within=5)
        assert directory.disconnect(UserId("ann"), reconnect=reconnect) == 1
        await visiting
        await eventually(lambda: not directory.all)
        gate.set()
        await eventually(lambda: is_over(server), within=5)
        assert await unread(server, "ann") == 0


async def test_the_ended_connections_of_one_user_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 5
    async with serving(limits={"connections_per_user": most}) as server, gated(server, monkeypatch) as gate:
        transport, connections = server.container.socketio(), server.container.connections()
        for name in ("ann", "bob"):
            await publish(server, name, 3)
        for _ in range(most + 5):
            await say(server, connect(token("ann")) + b"".join(reads("ann", 3)))
        await eventually(lambda: not (transport.open_sockets or transport._intake._ended_unhandled), within=5)
        assert len(connections._leaving) == most
        # Another has room.
        await say(server, connect(token("bob")) + b"".join(reads("bob", 3)))
        await eventually(lambda: len(connections._leaving) == most + 1)
        gate.set()
        await eventually(lambda: is_over(server), within=5)
        assert (await unread(server, "ann"), await unread(server, "bob")) == (0, 0)


async def test_they_count_among_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(limits={"connections": 2}) as server, gated(server, monkeypatch) as gate:
        connections = server.container.connections()
        for user in ("ann", "bob"):
            await say(server, connect(token(user)) + b"".join(reads(user, 1)))
        await eventually(lambda: len(connections._leaving) == 2)
        async with http_session() as session:
            waits = await WebSocketPeer.open(session, server.url)
            await waits.send("40" + json.dumps({"token": token("eve")}))
            # Cut without a word, as by any fault that passes: its client returns.
            assert await until_closed(waits) == []
            gate.set()
            await eventually(lambda: not connections._leaving)
            returns = await WebSocketPeer.open(session, server.url)
            await connected(returns, token("eve"))


async def test_a_server_that_closes_leaves_them_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{tmp_path / 'synkrone.db'}"
    async with serving(store=store) as server, gated(server, monkeypatch) as gate:
        await publish(server, "ann", 3)
        await say(server, connect(token("ann")) + b"".join(reads("ann", 3)))
        await eventually(lambda: len(server.container.connections()._leaving) == 1)
        asyncio.get_running_loop().call_later(0.2, gate.set)
        closing = asyncio.create_task(server.container.socketio().close())
        await closing
        assert await unread(server, "ann") == 0
