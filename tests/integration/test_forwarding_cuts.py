"""The line between two nodes is cut at every octet: nothing is lost or doubled for a client between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest

from entrypoints.server import Server
from tests.accepting import Acceptor
from tests.engine_io import SEPARATOR, Closed, connected, event, http_session
from tests.serving import publish, token
from tests.two_nodes import FixedMembers, WanderingPeer, forwarding_of, member, node

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=300)]

SECRET = b"s" * 32
CHUNK = 65_536
TO_OWNER, FROM_OWNER = True, False


class CutLine:
    """A line to a node whose bytes, in one direction, come to an end behind so many of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._acceptor = Acceptor(self._serve)
        self._direction = TO_OWNER
        self._left: int | None = None
        self.was_cut = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._acceptor.port}"

    def cut_behind(self, octets: int, direction: bool) -> None:  # noqa: FBT001 (one of the two names)
        self._direction, self._left, self.was_cut = direction, octets, False

    async def close(self) -> None:
        await self._acceptor.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_owner, to_owner = await asyncio.open_connection("127.0.0.1", self._port)
        carrying = [
            asyncio.ensure_future(self._carry(reader, to_owner, TO_OWNER)),
            asyncio.ensure_future(self._carry(from_owner, writer, FROM_OWNER)),
        ]
        try:
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in carrying:
                task.cancel()
            await asyncio.wait(carrying)
            to_owner.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: bool) -> None:  # noqa: FBT001
        while octets := await reader.read(CHUNK):
            is_cut_here = False
            if self._left is not None and direction is self._direction:
                octets, self._left = octets[: self._left], self._left - len(octets)
                is_cut_here = self._left < 0
            writer.write(octets)
            await writer.drain()
            if is_cut_here:
                self.was_cut, self._left = True, None
                return


@asynccontextmanager
async def nodes_with_line_between() -> AsyncIterator[tuple[Server, Server, CutLine]]:
    """The owner, the node that forwards to it, and the line between them."""
    owner_members = FixedMembers({}, [SECRET])
    others: FixedMembers = FixedMembers({}, [SECRET])
    async with node(owner_members) as owner, node(others) as other:
        line = CutLine(urlsplit(owner.internal_url or "").port or 0)
        others.known[owner_members.boot] = member(owner_members.boot, line.url)
        try:
            yield owner, other, line
        finally:
            await line.close()


class Client:
    """One that keeps its cursor, and comes anew with it where its session is refused."""

    def __init__(self, session: aiohttp.ClientSession, owner: Server, other: Server) -> None:
        self._session = session
        self._owner = owner
        self._other = other
        self.titles: list[str] = []
        self.cursor = ""
        self.sessions = 0

    async def begin(self) -> None:
        self.sessions += 1
        self._peer = await WanderingPeer.open(self._session, [self._owner.url])
        auth = {"cursor": self.cursor} if self.cursor else {}
        _, self.cursor = await connected(self._peer, token("42"), **auth)

    async def poll_once_by_other(self) -> None:
        """As a browser does, the same poll is sent again where its connection ends without an answer."""
        target = self._peer.target
        for url in (self._other.url, self._owner.url):
            try:
                async with asyncio.timeout(5), self._session.get(url + target) as answer:
                    if answer.status == 200:
                        self._take(await answer.text())
                    else:
                        await self.begin()
                    return
            except aiohttp.ClientError:
                continue
        raise Closed

    async def until(self, title: str) -> None:
        async with asyncio.timeout(10):
            while title not in self.titles:
                try:
                    self._take(await self._peer.next())
                except Closed:
                    await self.begin()

    def _take(self, payload: str) -> None:
        for packet in payload.split(SEPARATOR):
            if packet.startswith("42"):
                name, arguments = event(packet)
                if name == "notification.new":
                    self.titles.append(arguments[0]["title"])
                    self.cursor = arguments[1]


async def publish_titled(session: aiohttp.ClientSession, server: Server, title: str) -> None:
    body = {"to": {"users": ["42"]}, "type": "t", "title": title}
    status, answer = await publish(session, server.url, body)
    assert status in (200, 201), answer


@pytest.mark.parametrize("direction", [TO_OWNER, FROM_OWNER], ids=["to the owner", "from the owner"])
async def test_a_poll_is_cut_between_two_nodes(direction: bool) -> None:  # noqa: FBT001 (one of the two names)
    async with nodes_with_line_between() as (owner, other, line), http_session(no_retries()) as session:
        client = Client(session, owner, other)
        await client.begin()
        published: list[str] = []
        cut = octets = 0
        while octets < 3_000:
            forwarding_of(other).route.links.close()
            await asyncio.sleep(0)
            line.cut_behind(octets, direction)
            title = f"{octets}"
            await publish_titled(session, owner, title)
            published.append(title)
            await client.poll_once_by_other()
            last = f"behind {octets}"
            await publish_titled(session, owner, last)
            published.append(last)
            await client.until(last)
            if not line.was_cut:
                break
            cut += 1
            octets += 1
        assert client.titles == published
        assert cut > 300
        print(f"{cut} cuts, {client.sessions} sessions")


def no_retries() -> aiohttp.TCPConnector:
    """Each request has a connection of its own: on a new one, the client sends none again."""
    return aiohttp.TCPConnector(force_close=True)
