"""Two servers on one database: what a user has on both together, as clients and operators see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from domain.model import UserId
from entrypoints.server import Server
from tests.engine_io import WebSocketPeer, connected, event, http_session, until_closed
from tests.integration.postgresql_harness import Line, line_to
from tests.postgresql import PostgresqlServer, Servers
from tests.serving import API_KEY, eventually, publish, serving, token

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

SEEN_WITHIN = 5.0


class Two:
    """Servers, and an operator who asks either."""

    def __init__(self, session: aiohttp.ClientSession, servers: list[Server]) -> None:
        self.session = session
        self.servers = servers

    async def connect(self, number: int, user: str = "42", **auth: object) -> WebSocketPeer:
        peer = await WebSocketPeer.open(self.session, self.servers[number].url)
        await connected(peer, token(user), **auth)
        return peer

    async def ask(self, number: int, method: str, query: str = "", *, user: str = "42") -> tuple[int, Any]:
        address = f"{self.servers[number].url}/v1/users/{user}/connections{query}"
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with self.session.request(method, address, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def devices(self, number: int) -> list[str | None]:
        status, answer = await self.ask(number, "GET")
        assert status == 200
        return [connection["device"] for connection in answer["connections"]]

    async def sees(self, number: int, *devices: str | None) -> None:
        """Before long, exactly these."""
        async with asyncio.timeout(SEEN_WITHIN):
            while True:
                if await self.devices(number) == list(devices):
                    return
                await asyncio.sleep(0.01)

    async def publish(self, number: int, id_: str, user: str = "42") -> str:
        """Its cursor."""
        body = {"to": {"user": user}, "type": "t", "id": id_}
        status, answer = await publish(self.session, self.servers[number].url, body)
        assert status == 201
        return str(answer["cursor"])


@asynccontextmanager
async def two_servers(database_server: PostgresqlServer, line: Line | None = None, **limits: int) -> AsyncIterator[Two]:
    """The second one is behind the line, if there is one."""
    name = database_server.new_store()
    stores = [database_server.url(name), line.url(name) if line is not None else database_server.url(name)]
    try:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(serving(store=store, limits=limits)) for store in stores]
            session = await stack.enter_async_context(http_session())
            yield Two(session, servers)
    finally:
        database_server.drop_databases([name])


@pytest.fixture
def database_server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


def problem(packet: str) -> tuple[str, str, bool]:
    name, (members,) = event(packet)
    return name, members["code"], members["reconnect"]


async def test_the_oldest_of_too_many_goes_wherever_it_is(database_server: PostgresqlServer) -> None:
    async with two_servers(database_server, connections_per_user=3) as two:
        oldest = await two.connect(0, device="a")
        others = [await two.connect(1, device="b"), await two.connect(0, device="c")]
        await two.connect(0, user="43")
        others.append(await two.connect(1, device="d"))
        closing, disconnect = await until_closed(oldest)
        assert problem(closing) == ("session.closing", "too_many_connections", False)
        assert disconnect == "41"
        for number in (0, 1):
            await two.sees(number, "b", "c", "d")
        await two.publish(0, "n-1")
        assert [event(await peer.next())[1][0]["id"] for peer in others] == ["n-1"] * 3


async def test_of_many_that_come_at_once_as_many_stay_as_may(database_server: PostgresqlServer) -> None:
    async with two_servers(database_server, connections_per_user=3) as two:
        peers = await asyncio.gather(*(two.connect(number % 2, device=f"d-{number}") for number in range(16)))
        async with asyncio.timeout(SEEN_WITHIN):
            while True:
                shown = await two.devices(0)
                if len(shown) == 3 and await two.devices(1) == shown:
                    break
                await asyncio.sleep(0.01)
        await two.publish(0, "n-1")
        ended = [(await until_closed(peer))[-1] for number, peer in enumerate(peers) if f"d-{number}" not in shown]
        assert ended == ["41"] * 13
        staying = [peer for number, peer in enumerate(peers) if f"d-{number}" in shown]
        assert [event(await peer.next())[1][0]["id"] for peer in staying] == ["n-1"] * 3


async def test_a_client_that_comes_to_another_server_supersedes_its_connection(
    database_server: PostgresqlServer,
) -> None:
    async with two_servers(database_server) as two:
        sibling = await two.connect(0, device="sibling")
        older = await WebSocketPeer.open(two.session, two.servers[0].url)
        await older.send("40" + json.dumps({"token": token("42"), "device": "older"}))
        pid = json.loads((await older.next())[2:])["pid"]
        _, (_, cursor) = event(await older.next())
        newer = await WebSocketPeer.open(two.session, two.servers[1].url)
        # As the stock client says by itself.
        await newer.send("40" + json.dumps({"token": token("42"), "pid": pid, "offset": cursor, "device": "newer"}))
        assert json.loads((await newer.next())[2:])["pid"] == pid
        assert event(await newer.next())[1][0]["recovered"] is True
        (closing,) = await until_closed(older)
        assert problem(closing) == ("session.closing", "superseded", True)
        for number in (0, 1):
            await two.sees(number, "sibling", "newer")
        await two.publish(1, "n-1")
        for peer in (sibling, newer):
            assert event(await peer.next())[1][0]["id"] == "n-1"


async def test_whoever_is_asked_shows_all_and_closes_all(database_server: PostgresqlServer) -> None:
    async with two_servers(database_server) as two:
        peers = [await two.connect(number % 2, device=f"d-{number}") for number in range(4)]
        other = await two.connect(1, user="43")
        for number in (0, 1):
            await two.sees(number, "d-0", "d-1", "d-2", "d-3")
        assert await two.ask(1, "DELETE") == (200, {"disconnected": 4, "tokens_revoked": False})
        for peer in peers:
            closing, disconnect = await until_closed(peer)
            assert problem(closing) == ("session.closing", "disconnected_by_operator", False)
            assert disconnect == "41"
        await two.sees(0)
        await two.sees(1)
        assert await two.ask(0, "DELETE") == (200, {"disconnected": 0, "tokens_revoked": False})
        # It is no ban, and concerned nobody else.
        await two.connect(0, device="again")
        await two.sees(1, "again")
        await publish(two.session, two.servers[0].url, {"to": {"user": "43"}, "type": "t", "id": "n-1"})
        assert event(await other.next())[1][0]["id"] == "n-1"


async def test_nothing_that_is_published_after_the_answer_is_sent_to_who_was_disconnected(
    database_server: PostgresqlServer,
) -> None:
    async with two_servers(database_server) as two:
        for turn in range(10):
            user, asked = f"u-{turn}", turn % 2
            peers = [await two.connect(number, user) for number in (0, 1)]
            before = [await two.publish(number, f"before-{user}-{number}", user) for number in (0, 1)]
            publishing = [asyncio.create_task(two.publish(n % 2, f"with-{user}-{n}", user)) for n in range(10)]
            disconnecting = asyncio.create_task(two.ask(asked, "DELETE", "?reconnect=true", user=user))
            publishing += [asyncio.create_task(two.publish(n % 2, f"with-{user}-{n}", user)) for n in range(10, 20)]
            assert (await disconnecting)[1]["disconnected"] == 2
            after = [await two.publish(number, f"after-{user}-{number}", user) for number in (0, 1)]
            published = sorted([*before, *await asyncio.gather(*publishing), *after], key=_offset)
            sent = [await sent_until_closed(peer) for peer in peers]
            # Whoever is asked closes at once; the other one at the very place, behind which neither was sent anything.
            there = sent[1 - asked]
            assert len(before) <= len(there) <= len(published) - len(after)
            assert published[: len(there)] == there
            assert there[: len(sent[asked])] == sent[asked]


async def sent_until_closed(peer: WebSocketPeer, *, reconnect: bool = True) -> list[str]:
    """The cursors of what it was sent before it was told that an operator has ended it."""
    *entries, closing = [packet for packet in await until_closed(peer) if packet != "41"]
    assert problem(closing) == ("session.closing", "disconnected_by_operator", reconnect)
    return [event(packet)[1][-1] for packet in entries]


async def test_who_comes_back_at_once_is_not_sent_away_again(database_server: PostgresqlServer) -> None:
    async with two_servers(database_server) as two:
        await two.connect(0, device="old")
        await two.sees(1, "old")
        assert (await two.ask(0, "DELETE"))[1]["disconnected"] == 1
        back = await two.connect(1, device="back")
        await two.publish(0, "n-1")
        assert event(await back.next())[1][0]["id"] == "n-1"
        await two.sees(0, "back")


async def test_a_server_without_the_database_closes_its_own_and_those_of_others_once_it_is_back(
    database_server: PostgresqlServer,
) -> None:
    with line_to(database_server) as line:
        async with two_servers(database_server, line) as two:
            there, here = await two.connect(0, device="there"), await two.connect(1, device="here")
            last = await two.connect(1, "43")
            await two.sees(0, "there", "here")
            line.sever()
            assert await two.ask(0, "DELETE") == (200, {"disconnected": 2, "tokens_revoked": False})
            assert problem((await until_closed(there))[0])[1] == "disconnected_by_operator"
            await two.publish(0, "after")
            for method in ("GET", "DELETE"):
                status, answer = await two.ask(1, method, user="43")
                assert (status, answer["code"]) == (503, "store_unavailable")
            assert problem((await until_closed(last))[0])[1] == "disconnected_by_operator"
            # The other one heard nothing of it yet.
            assert len(two.servers[1].container.connections().connections_of(UserId("42"))) == 1
            line.mend()
            assert await sent_until_closed(here, reconnect=False) == []
            await two.sees(0)
            await two.sees(1)


async def test_a_server_that_drains_leaves_nothing_behind(database_server: PostgresqlServer) -> None:
    async with two_servers(database_server) as two:
        await two.connect(0, device="a")
        await two.connect(1, device="b")
        await two.sees(1, "a", "b")
        await two.servers[0].drain()
        await two.sees(1, "b")
        await eventually(lambda: two.servers[0].open_connections == 0)


def _offset(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])
