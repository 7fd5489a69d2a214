"""Who is connected on all servers that share a PostgreSQL database.

Each server registers its own connections, and closes them itself: others say in the table which have to go, and give a
hint. Whoever has connections reads what is said of them every second as well, as a hint may be lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.presence_table import (
    Admission,
    Change,
    Closing,
    Departure,
    Elsewhere,
    Findings,
    Guest,
    Keeping,
    Look,
    Registration,
)
from adapters.store.postgresql.threads import Group, Writer
from domain.errors import StoreUnavailable, Superseded, SynkroneError, TooManyConnections
from domain.model import ConnectionId, ConnectionInfo, Present, UserId
from domain.ports import Outlet

PRESENCE_CHANNEL: Final = "synkrone_presence"

LOOK_SECONDS: Final = 1.0
SETTLING_SECONDS: Final = 10.0
"""By then a client has changed from polling to a WebSocket, or never does."""
SEEK_GONE_SECONDS: Final = 5.0
FORGET_SECONDS: Final = 30.0
"""After which a server without a lease is forgotten: longer than one that lives needs to take it anew."""

_ERRORS: Final = {error.code: error for error in (TooManyConnections, Superseded)}


@dataclass(eq=False, slots=True)
class _Here:
    """A connection of this server's, and what is registered of it."""

    outlet: Outlet
    present: Present
    displaced: Callable[[SynkroneError], None]
    transport: str
    admitted_at: int | None = None

    @property
    def guest(self) -> Guest:
        return Guest(self.outlet.id, self.present, self.transport, self.admitted_at)


class PostgresqlPresence:
    """The Presence of one server. ``boot`` says under which name it holds its lease; ``most`` is how many connections a
    user may have.

    Before ``open`` and after ``close`` nobody can be admitted. ``hear`` is to be called where others give a hint.
    """

    def __init__(self, address: Address, *, boot: Callable[[], str], most: int) -> None:
        self._address = address
        self._boot = boot
        self._most = most
        self._here: dict[ConnectionId, _Here] = {}
        self._settling: deque[tuple[float, _Here]] = deque()
        self._registered_as = ""
        self._is_astray = False
        self._gone_since: dict[str, float] = {}
        self._seek_gone_at = 0.0
        self._heard = asyncio.Event()
        self._writer: Writer | None = None

    async def open(self) -> None:
        """Nothing connects before it is used."""
        loop = asyncio.get_running_loop()
        self._writer = Writer(Database(self._address), self._done, loop, channel=PRESENCE_CHANNEL)

    async def close(self) -> None:
        """Let go of the database; what was registered is removed, if it can be."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if (self._registered_as or self._settling) and not self._is_astray:
            try:
                await writer.do(Keeping, Closing(self._boot()))
            except StoreUnavailable:
                # It ends with the lease.
                pass
        await asyncio.to_thread(writer.close)

    def hear(self) -> None:
        """Somebody has said something, of connections here it may be."""
        self._heard.set()

    # Presence

    async def admit(self, outlet: Outlet, present: Present, displaced: Callable[[SynkroneError], None]) -> None:
        here = self._here[outlet.id] = _Here(outlet, present, displaced, outlet.technology)
        here.admitted_at = await self._do(Admission(self._boot(), self._most, here.guest))
        self._settling.append((time.monotonic() + SETTLING_SECONDS, here))

    def leave(self, outlet: Outlet) -> None:
        if self._here.pop(outlet.id, None) is None or self._writer is None:
            return
        try:
            self._writer.begin(Keeping, Departure(self._boot(), outlet.id))
        except StoreUnavailable:
            self._is_astray = True

    async def elsewhere(self, user: UserId) -> Sequence[ConnectionInfo]:
        found: Sequence[ConnectionInfo] = await self._do(Elsewhere(self._boot(), user))
        return found

    # what others want

    async def follow(self) -> None:
        """See to it that what other servers want is done here, for ever. Raises RuntimeError once a defect has ended
        the writing for good."""
        while True:
            self._heard.clear()
            if self._writer is not None and self._writer.defect is not None:
                raise RuntimeError("nobody can be registered any more") from self._writer.defect
            if self._here or self._is_astray:
                try:
                    await self._look()
                except StoreUnavailable:
                    self._is_astray = True
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        """Raises StoreUnavailable."""
        boot, now = self._boot(), time.monotonic()
        if self._is_astray or boot != self._registered_as:
            await self._register(boot)
        seeks_gone = now >= self._seek_gone_at
        gone = [one for one, since in self._gone_since.items() if now - since >= FORGET_SECONDS]
        found: Findings = await self._do(Look(boot, self._changed_transports(now), gone, seeks_gone))
        if seeks_gone:
            self._seek_gone_at = now + SEEK_GONE_SECONDS
            self._gone_since = {one: self._gone_since.get(one, now) for one in found.without_lease}
        if not found.is_known:
            await self._register(boot)
        for id_, code in found.displaced.items():
            here = self._here.get(id_)
            if here is not None:
                here.displaced(_ERRORS.get(code, TooManyConnections)())

    async def _register(self, boot: str) -> None:
        """Raises StoreUnavailable."""
        self._is_astray = False
        await self._do(Registration(boot, self._most, [here.guest for here in self._here.values()]))
        self._registered_as = boot

    def _changed_transports(self, now: float) -> dict[ConnectionId, str]:
        """Of those who have come lately; they count as registered."""
        while self._settling and self._settling[0][0] < now:
            self._settling.popleft()
        changed: dict[ConnectionId, str] = {}
        for _, here in self._settling:
            if here.transport != here.outlet.technology and here.outlet.id in self._here:
                changed[here.outlet.id] = here.transport = here.outlet.technology
        return changed

    # the thread

    async def _do(self, change: Change) -> Any:
        """Raises StoreUnavailable."""
        if self._writer is None:
            raise StoreUnavailable
        return await self._writer.do(Keeping, change)

    def _done(self, group: Group) -> None:
        """In the loop."""
        if group.written is None:
            # Some of it may be in the table, or still be there.
            self._is_astray = True
        answers = [StoreUnavailable()] * len(group.jobs) if group.written is None else group.written.answers
        for job, answer in zip(group.jobs, answers, strict=True):
            job.settle(answer)
