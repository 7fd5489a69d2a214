"""At the forwarder: the links to the other nodes, each for one request at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from typing import Final, Protocol

from adapters.cluster.connecting import LinkMaker, Unreachable
from adapters.cluster.frames import BrokenLink, FrameReader, FrameWriter
from adapters.cluster.members import Member, Members
from adapters.cluster.messages import Answer, End, FromOwner, Request, Seen, Spliced, Told, decode_from_owner
from adapters.cluster.wire import Wire
from adapters.http.notices import Notice
from adapters.http.turns import Turns
from domain.ports import Clock

_log = logging.getLogger("synkrone.cluster")

REACH_SECONDS: Final = 2.0
"""For a new link. A client whose WebSocket is refused stays on polling for good: so it learns soon."""

IDLE_SECONDS: Final = 30.0
MAX_IDLE: Final = 64
"""Links to one node that are kept for the next request."""

MAX_ANSWER_BYTES: Final = 33_554_432


class Splicer(Protocol):
    """What a spliced connection's bytes go to."""

    def received(self, octets: bytes) -> None: ...

    def drained(self, unsent: int) -> None: ...

    def ended(self) -> None:
        """The owner sends no more, and wants the connection closed in good order."""

    def closed(self) -> None: ...


class Asker(Protocol):
    """Whose request a link carries. One of these is called, once."""

    def answered(self, answer: Answer) -> None: ...

    def not_answered(self) -> None:
        """There will be no answer: the link is broken, or the owner has none."""

    def spliced(self) -> Splicer | None:
        """The bytes of the connection go over this link from now on; None where it is not there any more."""


class Link:
    """One link to another node. ``unfinished`` is how many answers went over it of which the owner is to be told
    more."""

    def __init__(self, links: Links, to: Member) -> None:
        self.to = to
        self.idle_since = 0.0
        self.unfinished = 0
        self.wire: Wire
        self._links = links
        self._asker: Asker | None = None
        self._splicer: Splicer | None = None

    def ask(self, request: Request, asker: Asker) -> None:
        self._asker = asker
        self.wire.say(request)

    def tell(self, seen: Seen) -> None:
        self.wire.say(Told(seen))

    # WireEvents

    def frame_received(self, content: bytes) -> None:
        message = decode_from_owner(content)
        if self._splicer is not None:
            self._pass_on(message, self._splicer)
        elif self._asker is not None:
            self._take(message, self._asker)
        else:
            raise BrokenLink("an answer to nothing")

    def _pass_on(self, message: FromOwner | bytes, splicer: Splicer) -> None:
        if isinstance(message, bytes):
            splicer.received(message)
        elif isinstance(message, End):
            splicer.ended()
        else:
            raise BrokenLink("an answer on a spliced connection")

    def _take(self, message: FromOwner | bytes, asker: Asker) -> None:
        if isinstance(message, bytes | End):
            raise BrokenLink("bytes of a connection that is not spliced")
        self._asker = None
        if isinstance(message, Spliced):
            self._splicer = asker.spliced()
            if self._splicer is None:
                self.wire.close()
            return
        if isinstance(message, Answer):
            asker.answered(message)
        else:
            asker.not_answered()
        self._links.put_back(self)

    def wire_drained(self) -> None:
        if self._splicer is not None:
            self._splicer.drained(self.wire.unsent)

    def wire_broken(self, error: BrokenLink) -> None:
        self._links.broken(self, error)

    def wire_closed(self) -> None:
        asker, self._asker = self._asker, None
        splicer, self._splicer = self._splicer, None
        self._links.lost(self)
        if splicer is not None:
            splicer.closed()
        if asker is not None:
            asker.not_answered()


class Links:
    """The links of this node to the others. ``max_links`` bounds those to one of them. ``sweep`` is to be called about
    once a second."""

    def __init__(self, members: Members, clock: Clock, *, max_links: int) -> None:
        self._members = members
        self._clock = clock
        self._maker = LinkMaker(Turns(clock))
        self.max_links = max_links
        self._free: defaultdict[str, deque[Link]] = defaultdict(deque)
        self._open: defaultdict[str, set[Link]] = defaultdict(set)
        self._coming: defaultdict[str, int] = defaultdict(int)
        self._unreachable = Notice(_log, "another node cannot be reached", clock, logging.WARNING)
        self._broken = Notice(_log, "another node broke the protocol of links", clock)

    @property
    def open_links(self) -> int:
        return sum(map(len, self._open.values()))

    async def take(self, to: Member) -> Link:
        """A link that carries nothing. Raises Unreachable."""
        free = self._free[to.boot]
        while free:
            link = free.pop()
            if not link.wire.is_closed:
                return link
        self._coming[to.boot] += 1
        try:
            return await self._new(to)
        except Unreachable as error:
            self._unreachable.give(boot=to.boot, address=to.address, reason=str(error))
            raise
        finally:
            self._coming[to.boot] -= 1
            self._forget_if_none(to.boot)

    async def _new(self, to: Member) -> Link:
        links = self._open[to.boot]
        if len(links) + self._coming[to.boot] > self.max_links:
            raise Unreachable("there are too many links to it")
        try:
            async with asyncio.timeout(REACH_SECONDS):
                stream, keys = await self._maker.set_up(to, self._members.secrets)
        except TimeoutError:
            raise Unreachable("it has not answered in time") from None
        link = Link(self, to)
        link.wire = Wire(stream, link, FrameWriter(keys.to_owner), FrameReader((keys.from_owner,), MAX_ANSWER_BYTES))
        self._open[to.boot].add(link)
        link.wire.open()
        return link

    def put_back(self, link: Link) -> None:
        """It carries nothing any more."""
        if not link.wire.is_closed:
            link.idle_since = self._clock.monotonic()
            self._free[link.to.boot].append(link)

    def broken(self, link: Link, error: BrokenLink) -> None:
        """It is about to be closed."""
        self._broken.give(boot=link.to.boot, address=link.to.address, reason=str(error))

    def lost(self, link: Link) -> None:
        """It is closed."""
        boot = link.to.boot
        self._open[boot].discard(link)
        if link in self._free[boot]:
            self._free[boot].remove(link)
        self._forget_if_none(boot)

    def _forget_if_none(self, boot: str) -> None:
        if not self._open[boot] and not self._coming[boot]:
            for table in (self._open, self._free, self._coming):
                table.pop(boot, None)

    def sweep(self) -> None:
        """Close links that nobody has used for long. One over which more is to be told stays."""
        due = self._clock.monotonic() - IDLE_SECONDS
        for free in list(self._free.values()):
            spare = len(free) - MAX_IDLE
            for number, link in enumerate(list(free)):
                if (number < spare or link.idle_since <= due) and not link.unfinished:
                    free.remove(link)
                    link.wire.close()

    def close(self) -> None:
        for links in list(self._open.values()):
            for link in list(links):
                link.wire.close()
