"""At the forwarder: requests of sessions that other nodes have."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

from adapters.cluster.connecting import Unreachable
from adapters.cluster.links import REACH_SECONDS, Link, Links
from adapters.cluster.members import Member, Members
from adapters.cluster.messages import Answer, ClientLeft, Release, Request
from adapters.cluster.served import Owner
from adapters.cluster.sids import SessionNames
from adapters.cluster.splice import Splice
from adapters.cluster.witness import Witnesses
from adapters.http.exchange import Exchange, MessageHandler, WayBack
from adapters.http.messages import RequestHead
from adapters.http.peer import VouchedPeer
from adapters.http.tasks import Tasks
from domain.ports import Clock

FIND_SECONDS: Final = 3.0
"""For who has a session: one whose node is not known is looked for at most once a second."""

RELEASE_SECONDS: Final = 2.0
"""For owners to answer the polls that wait here, before this node stops."""


class Sessions(Owner, Protocol):
    """The route of this node's own sessions, for its own clients and for those at other nodes."""

    def open(self, head: RequestHead, exchange: WayBack) -> MessageHandler: ...

    def refuse_too_large(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> None: ...

    def holds(self, sid: str) -> bool: ...


class Peers(Protocol):
    """Who sends a request, as far as this node believes it."""

    def allows_origin(self, request: RequestHead) -> bool: ...

    def address(self, request: RequestHead) -> str: ...


class ForwardingRoute:
    """In front of the route of this node's own sessions: requests of another node's are passed on to it.

    Bodies may have ``max_body_bytes``. An owner has ``answer_seconds`` to answer a request, which have to be more than
    a poll may wait. ``sweep`` is to be called about once a second.
    """

    def __init__(
        self,
        local: Sessions,
        members: Members,
        peers: Peers,
        clock: Clock,
        *,
        max_body_bytes: int,
        max_links: int,
        answer_seconds: float,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self.answer_seconds = answer_seconds
        self.clock = clock
        self.links = Links(members, clock, max_links=max_links)
        self.witnesses = Witnesses(clock)
        self._local = local
        self._members = members
        self._peers = peers
        self._names = SessionNames(members)
        self._under_way: set[ForwardedRequest] = set()
        self._all_done: asyncio.Event | None = None
        self._splices: set[Splice] = set()
        self._tasks = Tasks()

    @property
    def open_sockets(self) -> int:
        """Connections of clients that were taken from the HTTP server and are still open."""
        return len(self._splices)

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler:
        sid = head.query_values().get("sid", "")
        if head.method == "OPTIONS" or self._local.holds(sid):
            return self._local.open(head, exchange)
        boot = self._names.owner_of(sid)
        if boot is None or boot == self._members.boot:
            return self._local.open(head, exchange)
        peer = VouchedPeer(self._peers.address(head), may_talk=self._peers.allows_origin(head))
        request = ForwardedRequest(self, head, exchange, peer, sid, boot)
        exchange.set_max_body_size(self.max_body_bytes)
        return request

    def sweep(self) -> None:
        self.links.sweep()
        self.witnesses.sweep()
        now = self.clock.monotonic()
        for request in list(self._under_way):
            request.keep_time(now)

    async def end_splices(self, seconds: float) -> None:
        """End what is spliced here, spread over that time, as this node is about to stop: its clients come back."""
        splices = list(self._splices)
        for splice in splices:
            splice.close()
            await asyncio.sleep(seconds / len(splices))

    async def release(self) -> None:
        """Have every poll that waits here answered, so that its client asks again elsewhere."""
        for request in list(self._under_way):
            request.release()
        if self._under_way:
            self._all_done = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._all_done.wait()

    async def close(self) -> None:
        for splice in list(self._splices):
            splice.close()
        await self._tasks.cancel()
        self.links.close()
        # They are told in the next turn of the loop.
        await asyncio.sleep(0)

    # for the requests

    def begin(self, request: ForwardedRequest) -> None:
        self._under_way.add(request)
        self._tasks.spawn(request.run())

    def done(self, request: ForwardedRequest) -> None:
        """It has been answered, or will not be."""
        self._under_way.discard(request)
        if self._all_done is not None and not self._under_way:
            self._all_done.set()

    async def owner_of(self, boot: str) -> Member:
        """Raises Unreachable."""
        try:
            async with asyncio.timeout(FIND_SECONDS):
                member = await self._members.find(boot)
        except TimeoutError:
            member = None
        if member is None or not member.address:
            raise Unreachable("no node holds that lease")
        return member

    def refuse(self, head: RequestHead, exchange: Exchange, peer: VouchedPeer) -> None:
        """Answer as to the request of a session that nobody has."""
        self._local.open_forwarded(head, exchange, peer)

    def refuse_too_large(self, head: RequestHead, exchange: Exchange, peer: VouchedPeer) -> None:
        self._local.refuse_too_large(head, exchange, peer)

    def splice(self, exchange: Exchange, link: Link) -> Splice:
        stream, early = exchange.hand_over()
        splice = Splice(stream, link.wire, self._splices.discard)
        self._splices.add(splice)
        splice.open(early)
        return splice


class ForwardedRequest:
    """One request of another node's session. It is asked once, of one node, and never again."""

    def __init__(
        self,
        route: ForwardingRoute,
        head: RequestHead,
        exchange: Exchange,
        peer: VouchedPeer,
        sid: str,
        boot: str,
    ) -> None:
        self._route = route
        self._head = head
        self._exchange = exchange
        self._peer = peer
        self._sid = sid
        self._boot = boot
        self._body = bytearray()
        self._link: Link | None = None
        self._has_left = False
        is_upgrade = "websocket" in head.headers.words("upgrade")
        self._give_up_at = route.clock.monotonic() + (REACH_SECONDS if is_upgrade else route.answer_seconds)

    # MessageHandler

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def body_too_large(self) -> None:
        self._body.clear()
        self._route.refuse_too_large(self._head, self._exchange, self._peer)

    def finish(self) -> None:
        self._exchange.set_close_callback(self._client_left)
        self._route.begin(self)

    def on_connection_close(self) -> None:
        """Of a request that was not complete, nothing is passed on."""

    # the way there

    async def run(self) -> None:
        """Find the owner, and ask it."""
        try:
            owner = await self._route.owner_of(self._boot)
            link = await self._route.links.take(owner)
        except Unreachable:
            self._refuse()
            return
        if self._is_pointless:
            self._route.links.put_back(link)
            self._done()
            return
        self._link = link
        link.ask(self._request(), self)

    @property
    def _is_pointless(self) -> bool:
        """What has come whole is carried out, whether its client waits for the answer or not. A poll is for the answer
        alone, and so is an upgrade."""
        return self._head.method != "POST" and (self._has_left or self._exchange.is_closed)

    def _request(self) -> Request:
        head = self._head
        body, self._body = bytes(self._body), bytearray()
        return Request(
            method=head.method,
            target=head.target,
            version=head.version,
            fields=list(head.headers.get_all()),
            host=head.host,
            content_length=head.content_length,
            remote_ip=head.remote_ip,
            protocol=head.protocol,
            address=self._peer.address,
            may_talk=self._peer.may_talk,
            body=body,
            seen=self._route.witnesses.news_of(self._sid),
        )

    def _refuse(self) -> None:
        self._done()
        if not self._exchange.is_closed:
            self._route.refuse(self._head, self._exchange, self._peer)

    def _client_left(self) -> None:
        self._has_left = True
        if self._link is not None:
            self._link.wire.say(ClientLeft())
        self._exchange.close()

    def release(self) -> None:
        if self._link is not None:
            self._link.wire.say(Release())
        self._exchange.keeps_alive = False

    def keep_time(self, now: float) -> None:
        """Give up on an owner that does not answer. An upgrade it answers at once."""
        if now >= self._give_up_at and self._link is not None:
            self._link.wire.close()

    def _done(self) -> None:
        self._route.done(self)

    # Asker

    def answered(self, answer: Answer) -> None:
        self._done()
        link, self._link = self._link, None
        delivery = self._exchange.delivery()
        self._exchange.respond(answer.status, answer.fields, answer.body)
        if answer.number is not None and link is not None:
            self._route.witnesses.watch(self._sid, link, answer.number, delivery)

    def not_answered(self) -> None:
        self._done()
        self._link = None
        self._exchange.close()

    def spliced(self) -> Splice | None:
        self._done()
        if self._link is None or self._exchange.is_closed:
            return None
        return self._route.splice(self._exchange, self._link)
