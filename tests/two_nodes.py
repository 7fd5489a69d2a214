"""Two whole servers in the test's loop that are nodes to each other, on one database or on a store each."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from adapters.cluster.members import Member
from entrypoints.container import Container
from entrypoints.server import Server
from tests.serving import serving


class FixedMembers:
    """Nodes that the test has made known to one another."""

    def __init__(self, known: dict[str, Member], cluster_secrets: Sequence[bytes]) -> None:
        self.boot = secrets.token_urlsafe(6)
        self.secrets = cluster_secrets
        self.known = known
        self.looked_for: list[str] = []

    async def find(self, boot: str) -> Member | None:
        self.looked_for.append(boot)
        return self.known.get(boot)


def member(boot: str, address: str) -> Member:
    return Member(boot, address, "0", datetime.now(UTC), 0, 0)


@asynccontextmanager
async def node(members: FixedMembers, **settings: Any) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        with _members_of_new_containers(members):
            server = await stack.enter_async_context(serving(internal={"port": 0}, **settings))
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
