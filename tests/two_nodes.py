"""Two whole servers in the test's loop that are nodes to each other, on one database or on a store each."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import aiohttp

from adapters.cluster.members import Member
from adapters.cluster.node import Forwarding
from entrypoints.container import Container
from entrypoints.server import Server
from tests.engine_io import COUNTS, SEPARATOR, TIMEOUT, Closed
from tests.serving import serving

PATH = "/socket.io/?EIO=4&transport=polling"


class FixedMembers:
    """Nodes that the test has made known to one another."""

    def __init__(self, known: dict[str, Member], cluster_secrets: Sequence[bytes]) -> None:
        self.boot = secrets.token_urlsafe(6)
        self.secrets = cluster_secrets
        self.known = known
        self.looked_for: list[str] = []

    def knows(self, boot: str) -> bool:
        return boot in self.known

    async def find(self, boot: str) -> Member | None:
        self.looked_for.append(boot)
        return self.known.get(boot)


def member(boot: str, address: str) -> Member:
    return Member(boot, address, "0", datetime.now(UTC), 0, 0)


@asynccontextmanager
async def node(
    members: FixedMembers, *, internal: Mapping[str, object] = MappingProxyType({}), **settings: Any
) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        with _members_of_new_containers(members):
            server = await stack.enter_async_context(serving(internal={"port": 0, **internal}, **settings))
        assert server.internal_url is not None
        members.known[members.boot] = member(members.boot, server.internal_url)
        yield server


@asynccontextmanager
async def two_nodes(**settings: Any) -> AsyncIterator[tuple[Server, Server]]:
    known: dict[str, Member] = {}
    secret = [secrets.token_bytes(32)]
    async with (
        node(FixedMembers(known, secret), **settings) as one,
        node(FixedMembers(known, secret), **settings) as other,
    ):
        yield one, other


@contextlib.contextmanager
def _members_of_new_containers(members: FixedMembers) -> Iterator[None]:
    Container.members.override(members)
    try:
        yield
    finally:
        Container.members.reset_last_overriding()


def forwarding_of(server: Server) -> Forwarding:
    found = server.container.forwarding()
    assert found is not None
    return found


class WanderingPeer:
    """A client whose every request goes to the next of several nodes. With ``stamps`` its polls all differ, as those
    of stock clients do; without, they are all the same."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], sid: str, *, stamps: bool) -> None:
        self.sid = sid
        self._session = session
        self._urls = itertools.cycle(urls)
        self._stamps = stamps
        self._numbers = itertools.count()
        self._received: deque[str] = deque()
        self.hears_counts = False

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, urls: Sequence[str], *, stamps: bool = True) -> WanderingPeer:
        """The session is the first node's."""
        async with session.get(f"{urls[0]}{PATH}") as answer:
            packet = await answer.text()
        peer = cls(session, urls, json.loads(packet[1:])["sid"], stamps=stamps)
        next(peer._urls)
        return peer

    @property
    def target(self) -> str:
        stamp = f"&t={next(self._numbers)}" if self._stamps else ""
        return f"{PATH}{stamp}&sid={self.sid}"

    async def send(self, packet: str | bytes) -> None:
        data = packet if isinstance(packet, bytes) else packet.encode("utf-8", "surrogatepass")
        async with self._session.post(next(self._urls) + self.target, data=data) as answer:
            if answer.status != HTTPStatus.OK:
                raise Closed

    async def poll(self) -> None:
        """One poll; what it brings is for ``next``. Raises Closed."""
        async with asyncio.timeout(TIMEOUT), self._session.get(next(self._urls) + self.target) as answer:
            if answer.status != HTTPStatus.OK:
                raise Closed
            self._received.extend((await answer.text()).split(SEPARATOR))

    async def next(self) -> str:
        while True:
            while not self._received:
                await self.poll()
            packet = self._received.popleft()
            if packet == "2":
                await self.send("3")
            elif packet == "1":
                raise Closed
            elif packet != "6" and (self.hears_counts or not packet.startswith(COUNTS)):
                return packet

    async def close(self) -> None:
        await self.send("1")
