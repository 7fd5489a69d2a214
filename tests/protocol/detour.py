"""Every request of a session, on its way to the server, by another node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from adapters.cluster.forwarding import ForwardingRoute, Peers, Sessions
from adapters.cluster.served import LINK_PATH, ForwardedRequest, LinkRoute
from adapters.cluster.sids import SessionNames
from adapters.http.exchange import MessageHandler, WayBack
from adapters.http.messages import RequestHead
from adapters.http.peer import VouchedPeer
from adapters.system.clock import SystemClock
from tests.listening import on_port
from tests.two_nodes import FixedMembers, member

SWEEP_SECONDS = 0.1
SECRET = b"s" * 32

_is_taken = False


def is_taken() -> bool:
    return _is_taken


@contextlib.contextmanager
def taken() -> Iterator[None]:
    """Have the servers of the protocol's tests reached so."""
    global _is_taken  # noqa: PLW0603 (the tests that go by it are those of other modules, as they are)
    _is_taken = True
    try:
        yield
    finally:
        _is_taken = False


class _Elsewhere:
    """What a node answers that has no session: new ones are let in by the other one."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def open(self, head: RequestHead, exchange: WayBack) -> MessageHandler:
        return self._sessions.open(head, exchange)

    def open_forwarded(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> ForwardedRequest:
        return self._sessions.open_forwarded(head, exchange, peer)

    def refuse_too_large(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> None:
        self._sessions.refuse_too_large(head, exchange, peer)

    def holds(self, _sid: str) -> bool:
        return False


@asynccontextmanager
async def detour(
    sessions: Sessions, peers: Peers, name_sessions: Callable[[Callable[[], str]], None], *, max_body_bytes: int
) -> AsyncIterator[ForwardingRoute]:
    """The route of the other node."""
    owner, other = FixedMembers({}, [SECRET]), FixedMembers({}, [SECRET])
    name_sessions(SessionNames(owner).new)
    clock = SystemClock()
    links = LinkRoute(owner, sessions, clock, max_request_bytes=max_body_bytes + 65_536)
    forwarding = ForwardingRoute(
        _Elsewhere(sessions), other, peers, clock, max_body_bytes=max_body_bytes, max_links=1_000, answer_seconds=60
    )

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            forwarding.sweep()

    async with on_port({LINK_PATH: links}, taken_over=lambda: links.open_links) as internal:
        other.known[owner.boot] = member(owner.boot, f"http://127.0.0.1:{internal.number}")
        sweeping = asyncio.create_task(sweep())
        try:
            yield forwarding
        finally:
            sweeping.cancel()
            await forwarding.close()
            await links.close()
