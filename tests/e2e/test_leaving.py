"""What clients had asked for before they left is done, all of it, in its order, however they leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import pytest

from tests.e2e.certificates import Certificate
from tests.e2e.clients import LIBRARY, NODE
from tests.e2e.conftest import JAVASCRIPT, Serve
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, token
from tests.raw_client import CLOSE, Line, RawClient, frame

pytestmark = pytest.mark.check

TIMES = 60
EVENTS = 10
DONE_WITHIN = 10.0
GONE = frame((1001).to_bytes(2, "big"), CLOSE)

Visit = Callable[[RawClient, str, list[bytes]], None]
"""A client with this token sends these packets, and leaves."""


class Visitors:
    """A user for each visit, with ``EVENTS`` notifications."""

    def __init__(self, server: ServerProcess, name: str, times: int) -> None:
        self._server = server
        self.names = [f"{name}-{number}".replace(" ", "-").replace(",", "") for number in range(times)]

    async def prepare(self) -> None:
        body = [
            {"to": {"user": user}, "type": "t", "id": f"{user}:{number}"}
            for user in self.names
            for number in range(EVENTS)
        ]
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=False)) as session,
            session.post(f"{self._server.url}/v1/notifications/batch", json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()

    def events(self, user: str) -> list[tuple[str, dict[str, Any]]]:
        """All but the last are read, and then, which tells of the order, the first is unread: two stay."""
        ids = [f"{user}:{number}" for number in range(EVENTS)]
        read = [("notification.read", {"ids": [one]}) for one in ids[:-1]]
        return [*read, ("notification.unread", {"ids": ids[:1]})]

    def packets(self, user: str) -> list[bytes]:
        return [b"42" + json.dumps(event).encode() for event in self.events(user)]

    async def unread(self) -> dict[str, int]:
        """How many are unread, for each user."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:

            async def of(user: str) -> int:
                headers = {"Authorization": f"Bearer {token(user)}"}
                async with session.get(f"{self._server.url}/v1/inbox/count", headers=headers) as answer:
                    return int((await answer.json())["counts"]["unread"])

            return {user: await of(user) for user in self.names}

    async def expect_unread(self, number: int) -> None:
        """For every user, soon."""
        expected = dict.fromkeys(self.names, number)
        unread: dict[str, int] = {}
        try:
            async with asyncio.timeout(DONE_WITHIN):
                while (unread := await self.unread()) != expected:  # noqa: ASYNC110 (of another process)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            done = sum(count == number for count in unread.values())
            raise AssertionError(f"{done} of {len(expected)}: {sorted(unread.values())}") from None


def over_websocket(*last: bytes, leave: Callable[[Line], None] = Line.finish) -> Visit:
    """Events and the last octets in one segment."""

    def visit(client: RawClient, bearer: str, packets: list[bytes]) -> None:
        with client.connected(bearer) as line:
            line.send(b"".join([*map(frame, packets), *last]))
            leave(line)

    return visit


def close(line: Line) -> None:
    """What comes then is answered with a reset."""
    line._sock.close()


def behind_connect(client: RawClient, bearer: str, packets: list[bytes]) -> None:
    connect = b"40" + json.dumps({"token": bearer}).encode()
    with client.websocket() as line:
        line.send(b"".join(map(frame, [connect, *packets])))
        line.finish()


def during_the_replay(client: RawClient, bearer: str, packets: list[bytes]) -> None:
    connect = b"40" + json.dumps({"token": bearer}).encode()
    with client.websocket() as line:
        line.send(frame(connect))
        line.read_to(b'"pid"')
        line.send(b"".join(map(frame, packets)))
        line.reset()


def in_one_post(*last: bytes) -> Visit:
    def visit(client: RawClient, bearer: str, packets: list[bytes]) -> None:
        client.request("POST", client.connected_polling(bearer), b"\x1e".join([*packets, *last]))

    return visit


def in_posts(client: RawClient, bearer: str, packets: list[bytes]) -> None:
    path = client.connected_polling(bearer)
    for body in (b"\x1e".join(packets), b"41", b"1"):
        client.request("POST", path, body)


VISITS: dict[str, Visit] = {
    "FIN": over_websocket(),
    "a reset": over_websocket(leave=Line.reset),
    "closed with all unread": over_websocket(leave=close),
    "a close frame": over_websocket(GONE),
    "a close frame, and closed": over_websocket(GONE, leave=close),
    "CLOSE of Engine.IO": over_websocket(frame(b"1")),
    "DISCONNECT": over_websocket(frame(b"41")),
    "DISCONNECT and a close frame": over_websocket(frame(b"41"), GONE),
    "an error of protocol": over_websocket(frame(b"9")),
    "an error of Socket.IO": over_websocket(frame(b"4x")),
    "no answer to CONNECT": behind_connect,
    "a reset during the replay": during_the_replay,
    "CLOSE in the POST": in_one_post(b"1"),
    "DISCONNECT in the POST": in_one_post(b"41"),
    "both in the POST": in_one_post(b"41", b"1"),
    "both in POSTs of their own": in_posts,
}


async def visited(server: ServerProcess, name: str, visit: Visit, times: int = TIMES) -> Visitors:
    visitors = Visitors(server, name, times)
    await visitors.prepare()
    client = RawClient(server.url)
    for user in visitors.names:
        await asyncio.to_thread(visit, client, token(user), visitors.packets(user))
    return visitors


@pytest.mark.parametrize("name", VISITS)
@pytest.mark.gen_test(timeout=60)
async def test_what_was_asked_before_leaving_is_done(serve: Serve, name: str) -> None:
    visitors = await visited(serve(), name, VISITS[name])
    await visitors.expect_unread(2)


@pytest.mark.parametrize("name", ["FIN", "a reset", "a close frame", "DISCONNECT"])
@pytest.mark.gen_test(timeout=60)
async def test_over_tls(serve: Serve, certificate: Certificate, name: str) -> None:
    own_tls = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)}
    visitors = await visited(serve(ONE_SECRET | own_tls, ca=certificate.cert), name, VISITS[name], TIMES // 4)
    await visitors.expect_unread(2)


@pytest.mark.gen_test(timeout=60)
async def test_more_than_is_read_at_a_time_is_done_after_a_reset(serve: Serve) -> None:
    def visit(client: RawClient, bearer: str, packets: list[bytes]) -> None:
        ballast = b"".join(b',"%d"' % number for number in range(400)) + b"]}]"
        over_websocket(leave=Line.reset)(client, bearer, [packet.replace(b"]}]", ballast) for packet in packets])

    visitors = await visited(serve(), "ballast", visit, TIMES // 4)
    await visitors.expect_unread(2)


async def leave(server: ServerProcess, visitors: Visitors, library: str, transports: Sequence[str]) -> None:
    """All visits, by that client."""
    visits = [{"token": token(user), "events": visitors.events(user)} for user in visitors.names]
    told = {"url": server.url, "library": library, "options": {"transports": transports}, "visits": visits}
    process = await asyncio.create_subprocess_exec(NODE, JAVASCRIPT / "leaving.mjs", json.dumps(told))
    assert await process.wait() == 0


@pytest.mark.parametrize("library", [LIBRARY, "socket.io-client-4.0"])
@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids=":".join)
@pytest.mark.usefixtures("node_modules")
@pytest.mark.gen_test(timeout=60)
async def test_the_stock_client_that_disconnects_behind_what_it_asked(
    serve: Serve, library: str, transports: list[str]
) -> None:
    server = serve()
    visitors = Visitors(server, "page", TIMES)
    await visitors.prepare()
    await leave(server, visitors, library, transports)
    await visitors.expect_unread(2)
