"""Who is closed so that they come back does come back, by themselves: every stock client, for every reason, over both
transports. Who is to stay away does stay away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from socketio.exceptions import BadNamespaceError

from domain.errors import StoreUnavailable
from domain.model import Arrival, DisconnectReason
from entrypoints.server import Server
from tests.e2e.clients import WAIT_SECONDS, Client, Clients, Happening, JsClient, PythonClient, SyncPythonClient
from tests.serving import SECRET, serving, token

pytestmark = pytest.mark.check

JAVASCRIPT = ("socket.io-client-3.1", "socket.io-client-4.0", "socket.io-client-4.4", "socket.io-client-4.6")
LATEST = "socket.io-client"
JS_OPTIONS = {"reconnectionDelay": 100, "reconnectionDelayMax": 200}
PYTHON_OPTIONS = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.2}
BURST = 5
EXPIRES_AFTER = 10.0
STAYS_AWAY_FOR = 2.0
BUSY_FOR = 0.3
TRANSPORTS = pytest.mark.parametrize("transport", ["polling", "websocket"])

Stock = JsClient | PythonClient | SyncPythonClient


class Crowd:
    """One of each stock client, each with a user of its own."""

    def __init__(self, clients: Clients, server: Server) -> None:
        self._clients = clients
        self.server = server
        self.members: dict[str, Stock] = {}

    async def open(self, transport: str, *, ttl: float = 600) -> None:
        """Open them all, and wait until they are welcome. Their first token is good for ``ttl``."""
        url, transports = self.server.url, [transport]

        def auths(library: str) -> list[dict[str, str]]:
            return [{"token": token(library, ttl=ttl)}, {"token": token(library)}]

        options = JS_OPTIONS | {"transports": transports}
        of_next = chain(of_python := auths("python"), repeat(of_python[-1]))
        libraries = (*JAVASCRIPT, LATEST)
        opened: list[Stock] = await asyncio.gather(
            *(self._clients.js(url, auths(library), options, library=library) for library in libraries),
            self._clients.python(url, lambda: next(of_next), transports=transports, options=PYTHON_OPTIONS),
            self._clients.sync_python(url, auths("threads"), transports=transports, options=PYTHON_OPTIONS),
        )
        self.members = dict(zip((*libraries, "python", "threads"), opened, strict=True))
        await self.each(_until_welcome)

    async def each(self, does: Callable[[Client], Awaitable[object]]) -> None:
        await asyncio.gather(*(does(member) for member in self.members.values()))

    @property
    def users(self) -> list[Any]:
        return list(self.members)


async def _until_welcome(client: Client) -> list[str]:
    """Everything that happens up to the next ``session.ready``."""
    happened: list[str] = []
    while not happened or happened[-1] != "session.ready":
        happening = await client.next()
        happened.append(happening.get("name") or happening["what"])
    return happened


async def _until_disconnected(client: Client) -> None:
    while (await client.next(within=2 * WAIT_SECONDS))["what"] != "disconnect":
        pass


async def _told_of_its_end(client: Client) -> tuple[Happening, Happening]:
    """``session.closing``, and the end itself. The synchronous Python client hears each in a thread of its own, and so
    may say them the other way round."""
    closing, ended = await client.next(), await client.next()
    if isinstance(client, SyncPythonClient) and closing["what"] == "disconnect":
        closing, ended = ended, closing
    assert (closing["what"], closing.get("name"), ended["what"]) == ("event", "session.closing", "disconnect")
    return closing, ended


@asynccontextmanager
async def crowd(clients: Clients, store: Path, transport: str, **options: Any) -> AsyncIterator[Crowd]:
    settings: dict[str, Any] = {
        "auth": {"secret": SECRET, "leeway": "0s"},
        "limits": {"events_burst": BURST, "drain_time": "0.5s", "connections_per_user": 1},
        "store": f"sqlite:///{store / 'synkrone.db'}",
    }
    async with serving(**settings) as server:
        everybody = Crowd(clients, server)
        await everybody.open(transport, **options)
        yield everybody


Reason = Callable[[Crowd, pytest.MonkeyPatch], Awaitable[None]]


async def an_operator(everybody: Crowd, _patch: pytest.MonkeyPatch) -> None:
    for user in everybody.users:
        assert everybody.server.container.connections().disconnect(user, reconnect=True) == 1


async def a_slow_reader(everybody: Crowd, _patch: pytest.MonkeyPatch) -> None:
    engine = everybody.server.container.socketio()._engine
    for session in list(engine.sessions.values()):
        engine.abort(session, DisconnectReason.SLOW_CONSUMER)


async def too_many_events(everybody: Crowd, _patch: pytest.MonkeyPatch) -> None:
    async def flood(client: Client) -> None:
        assert isinstance(client, Stock)
        # It is told in the middle of it, and the Python clients send nothing then.
        with suppress(BadNamespaceError):
            for _ in range(4 * BURST):
                await client.send("nothing", {})

    await everybody.each(flood)


async def a_defect(everybody: Crowd, patch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise ZeroDivisionError

    async def ask(client: Client) -> None:
        assert isinstance(client, Stock)
        await client.send("inbox.count", {})

    patch.setattr(everybody.server.container.application().connecting._requests, "_carry_out", fail)
    await everybody.each(ask)


async def a_fault_as_they_return(everybody: Crowd, patch: pytest.MonkeyPatch) -> None:
    """The store fails once for each of them, as they come back from an operator's close."""
    inbox = everybody.server.container.store()
    arrive = inbox.arrive
    failed: set[str] = set()

    async def fail_once(arrivals: Sequence[Arrival]) -> object:
        if any(arrival.user not in failed for arrival in arrivals):
            failed.update(arrival.user for arrival in arrivals)
            raise StoreUnavailable
        return await arrive(arrivals)

    patch.setattr(inbox, "arrive", fail_once)
    await an_operator(everybody, patch)


REASONS: dict[str, Reason] = {
    "an operator": an_operator,
    "a slow reader": a_slow_reader,
    "too many events": too_many_events,
    "a defect": a_defect,
    "a fault as they return": a_fault_as_they_return,
}


@TRANSPORTS
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.gen_test(timeout=60)
async def test_every_stock_client_comes_back_by_itself(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str, reason: str
) -> None:
    async with crowd(clients, tmp_path, transport) as everybody:
        await REASONS[reason](everybody, monkeypatch)
        await everybody.each(_until_welcome)


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_every_stock_client_comes_back_with_its_next_token(
    clients: Clients, tmp_path: Path, transport: str
) -> None:
    started = time.monotonic()
    async with crowd(clients, tmp_path, transport, ttl=EXPIRES_AFTER) as everybody:
        await everybody.each(_until_disconnected)
        assert time.monotonic() - started > EXPIRES_AFTER - 1
        await everybody.each(_until_welcome)


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_every_stock_client_comes_back_after_a_restart(clients: Clients, tmp_path: Path, transport: str) -> None:
    async with AsyncExitStack() as first_run:
        everybody = await first_run.enter_async_context(crowd(clients, tmp_path, transport))
        port = int(everybody.server.url.rpartition(":")[2])
        await everybody.server.drain()
        await everybody.each(_until_disconnected)
        await first_run.aclose()
        async with serving(port=port, store=f"sqlite:///{tmp_path / 'synkrone.db'}"):
            await everybody.each(_until_welcome)
            await clients.close()


async def a_refusal_of_the_operator(everybody: Crowd) -> Sequence[str]:
    for user in everybody.users:
        assert everybody.server.container.connections().disconnect(user, reconnect=False) == 1
    return everybody.users


async def one_connection_too_many(everybody: Crowd) -> Sequence[str]:
    """A newcomer of each user, of whom one at a time is allowed."""
    url, clients = everybody.server.url, everybody._clients
    await asyncio.gather(*(clients.js(url, {"token": token(user)}) for user in everybody.users))
    return everybody.users


@TRANSPORTS
@pytest.mark.parametrize("end", [a_refusal_of_the_operator, one_connection_too_many])
@pytest.mark.gen_test(timeout=60)
async def test_who_is_to_stay_away_stays_away(
    clients: Clients, tmp_path: Path, transport: str, end: Callable[[Crowd], Awaitable[Sequence[str]]]
) -> None:
    async def stay_away(client: Client) -> None:
        closing, ended = await _told_of_its_end(client)
        assert closing["args"][0]["reconnect"] is False
        assert ended.get("active", False) is False
        await asyncio.sleep(STAYS_AWAY_FOR)
        assert client.unseen() == []

    async with crowd(clients, tmp_path, transport) as everybody:
        await end(everybody)
        await everybody.each(stay_away)


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_who_is_busy_with_its_end_is_told_of_no_second_one(clients: Clients, transport: str) -> None:
    """The Python clients leave once their handler has returned, and take an end of the transport before for another."""
    async with serving() as server:
        told: dict[str, Any] = {"transports": [transport], "options": PYTHON_OPTIONS, "busy": BUSY_FOR}
        everybody = [
            await clients.python(server.url, {"token": token("python")}, **told),
            await clients.sync_python(server.url, [{"token": token("threads")}], **told),
        ]
        for client in everybody:
            await _until_welcome(client)
        for user in ("python", "threads"):
            assert server.container.connections().disconnect(user, reconnect=False) == 1
        for client in everybody:
            _, ended = await _told_of_its_end(client)
            assert ended == {"what": "disconnect", "reason": "server disconnect"}
        await asyncio.sleep(STAYS_AWAY_FOR)
        assert [client.unseen() for client in everybody] == [[], []]


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_who_is_refused_stays_away(clients: Clients, transport: str) -> None:
    """From 4.4 on: earlier ones return after any close that they have not asked for."""
    async with serving() as server:

        async def stays_away(library: str) -> None:
            options = JS_OPTIONS | {"transports": [transport]}
            client = await clients.js(server.url, {"token": "bad"}, options, library=library)
            refused = await client.expect("connect_error")
            assert json.dumps(refused).count("invalid_token") == 1, library
            await asyncio.sleep(STAYS_AWAY_FOR)
            assert client.unseen() == [], library

        await asyncio.gather(*map(stays_away, (*JAVASCRIPT[2:], LATEST)))
