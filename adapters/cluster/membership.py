"""One node's place among the others: its lease, whom it knows, and what it does when it has lost touch."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

from adapters.cluster.cut_off import CutOff
from adapters.cluster.secrets import Secrets
from adapters.cluster.unknown import UnknownBoots
from adapters.system.nodes import LeaseLost, Member, Registry, Roll
from domain.errors import StoreUnavailable, Unavailable
from domain.model.value import value
from domain.ports import Clock, Randomness

_log = logging.getLogger("synkrone.cluster")

INTERVALS_A_LEASE: Final = 3
BOOT_BYTES: Final = 6

ANSWER_SECONDS: Final = 2.0
"""After which the store counts as out of reach for the time being, though its answer is still waited for."""
RETRY_SECONDS: Final = 1.0
LOOK_UP_SECONDS: Final = 1.0
ASKED_AT_ONCE: Final = 16

LOST: Final = "the other servers have taken this one for dead"
CUT_OFF: Final = "this server has lost touch with the store, and others have not"


@value
class Load:
    """What a node says of itself whenever it renews: ``offset`` is how far it has delivered the log.

    ``silent_seconds``: so long ago it has last read what there is of the log.
    """

    connections: int
    offset: int
    silent_seconds: float = 0.0


class Contacts(Protocol):
    """How nodes ask one another."""

    async def ask(self, member: Member, secrets: Sequence[bytes]) -> float | None:
        """How many seconds ago it has read the store; None where it does not answer in time."""


class Membership:
    """The Members of one node. ``begin`` takes its lease, and ``run`` keeps it for as long as it lives."""

    def __init__(
        self,
        registry: Registry,
        contacts: Contacts,
        *,
        version: str,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._registry = registry
        self._contacts = contacts
        self._version = version
        self._load: Callable[[], Load]
        self._send_away: Callable[[Unavailable], None]
        self._clock = clock
        self._randomness = randomness
        self._lease_seconds = registry.lease.total_seconds()
        self._address = ""
        self._boot = new_boot()
        self._next_boot: str | None = None
        self._since: datetime = clock.now()
        self._renewed_at = clock.monotonic()
        self._renewal: asyncio.Task[Roll] | None = None
        self._hurried = asyncio.Event()
        self._members: dict[str, Member] = {}
        self._secrets = Secrets(clock, spread_seconds=self._lease_seconds)
        self._unknown = UnknownBoots()
        self._next_look: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._looked_at = clock.monotonic() - LOOK_UP_SECONDS
        self._cut_off = CutOff(self._lease_seconds)
        self._is_cut_off = False
        self._warned_of: frozenset[str] = frozenset()

    # what others want to know

    @property
    def boot(self) -> str:
        return self._boot

    @property
    def secrets(self) -> Sequence[bytes]:
        return self._secrets.present

    @property
    def members(self) -> Collection[Member]:
        """Those that are known to hold a lease, itself among them."""
        return self._members.values()

    @property
    def fault(self) -> str | None:
        """What is wrong with its lease, for operators."""
        if self._next_boot is not None:
            return LeaseLost.code
        unrenewed = self._clock.monotonic() - self._renewed_at
        return f"not renewed for {unrenewed:.0f} s" if unrenewed > self._lease_seconds else None

    def knows(self, boot: str) -> bool:
        return boot in self._members

    async def find(self, boot: str) -> Member | None:
        if boot not in self._members and self._unknown.seek(boot):
            if self._next_look is None:
                self._next_look = asyncio.get_running_loop().create_task(self._look())
                self._looks.add(self._next_look)
                self._next_look.add_done_callback(self._looks.discard)
            await asyncio.shield(self._next_look)
        found = self._members.get(boot)
        return found if found is not None and (found.address or boot == self._boot) else None

    # from the first lease to the last

    async def begin(self, address: str, *, load: Callable[[], Load], send_away: Callable[[Unavailable], None]) -> None:
        """Take a lease. ``address`` is the URL of its internal listener; empty: it has none.

        ``send_away`` has all clients closed, spread out, to come back to whichever server they find. Raises
        StoreUnavailable.
        """
        self._address, self._load, self._send_away = address, load, send_away
        self._renewed(await self._registry.renew(self._own()))

    async def run(self) -> None:
        """Keep the lease, for ever."""
        while True:
            pause = await self.step()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurried.wait()
            self._hurried.clear()

    def hurry(self) -> None:
        """See to the lease at once: the database may be another one, in which nobody has one yet."""
        self._hurried.set()

    async def step(self) -> float:
        """Renew once, and see to what comes of it; after how many seconds it is to be called again."""
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._registry.renew(self._own()))
        await asyncio.wait((self._renewal,), timeout=ANSWER_SECONDS)
        if not self._renewal.done():
            return await self._without_store(self._renewed_at)
        renewal, self._renewal = self._renewal, None
        try:
            roll = renewal.result()
        except LeaseLost:
            self._lose()
            return 0.0
        except StoreUnavailable:
            return await self._without_store(self._renewed_at)
        if self._next_boot is not None:
            self._become(self._next_boot)
        self._renewed(roll)
        silent_seconds = self._load().silent_seconds
        if silent_seconds > self._lease_seconds:
            # It is alive, and its clients hear nothing: each use of the database has a connection of its own.
            return await self._without_store(self._clock.monotonic() - silent_seconds)
        self._cut_off.renewed()
        self._is_cut_off = False
        interval = self._lease_seconds / INTERVALS_A_LEASE
        return self._randomness.uniform(0.8 * interval, interval)

    async def close(self) -> None:
        """Give the lease back, and let go of the registry."""
        for task in (*self._looks, *((self._renewal,) if self._renewal is not None else ())):
            task.cancel()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._registry.leave(self._boot)
        except (StoreUnavailable, TimeoutError):
            _log.warning("the lease is not given back, and ends by itself")
        await self._registry.close()

    def _own(self) -> Member:
        load = self._load()
        boot = self._next_boot if self._next_boot is not None else self._boot
        return Member(boot, self._address, self._version, self._since, load.connections, load.offset)

    def _renewed(self, roll: Roll) -> None:
        self._renewed_at = self._clock.monotonic()
        self._learn(roll)

    def _learn(self, roll: Roll) -> None:
        """Who is missing while the roll is not settled may still come back."""
        known = {member.boot: member for member in roll.members}
        if roll.is_settled:
            for gone in self._members.keys() - known.keys() - {self._boot}:
                address = self._members[gone].address
                _log.info("another server has left, or its lease has ended", extra={"boot": gone, "address": address})
        self._members = known if roll.is_settled else self._members | known
        self._secrets.learn(roll.secret)
        self._unknown.found(known)
        self._warn_of_sticky_sessions()

    def _warn_of_sticky_sessions(self) -> None:
        others = self._members.keys() - {self._boot}
        without = frozenset(boot for boot, member in self._members.items() if not member.address)
        if others and without and without != self._warned_of:
            _log.warning(
                "several servers have one store, and a client that uses long-polling has to come back to the same one: "
                "with internal.port (and node.address) on each of them it need not",
                extra={"servers": len(self._members), "without_internal_port": sorted(without)},
            )
        self._warned_of = without if others else frozenset()

    # when the lease is lost, or the store

    def _lose(self) -> None:
        """Whatever is still done for its clients, others believe that it is not."""
        _log.error("the lease is lost: all clients are sent to others", extra={"boot": self._boot})
        self._next_boot = new_boot()
        self._since = self._clock.now()
        self._send_away(Unavailable(LOST))

    def _become(self, boot: str) -> None:
        _log.warning("this server is another node now", extra={"boot": boot, "before": self._boot})
        self._members.pop(self._boot, None)
        self._boot, self._next_boot = boot, None
        # Those that came since then were known under the lost boot too.
        self._send_away(Unavailable(LOST))

    async def _without_store(self, reached_at: float) -> float:
        """It was of use to clients last at that time."""
        others = [one for one in self._members.values() if one.boot != self._boot and one.address][:ASKED_AT_ONCE]
        answers = await asyncio.gather(*(self._contacts.ask(one, self.secrets) for one in others))
        if self._cut_off.hear(answers, now=self._clock.monotonic(), renewed_at=reached_at):
            if not self._is_cut_off:
                _log.error("cut off from the store: all clients are sent to others", extra={"answers": answers})
            self._is_cut_off = True
            self._send_away(Unavailable(CUT_OFF))
        return RETRY_SECONDS

    # whom it does not know

    async def _look(self) -> None:
        """One look for all who are sought as it begins; who is sought later is looked for by the next one."""
        await asyncio.sleep(max(0.0, self._looked_at + LOOK_UP_SECONDS - self._clock.monotonic()))
        self._next_look = None
        self._looked_at = self._clock.monotonic()
        sought = self._unknown.take()
        try:
            roll = await self._registry.roll()
        except StoreUnavailable:
            return
        self._learn(roll)
        if roll.is_settled:
            self._unknown.never_found(sought - self._members.keys())


def new_boot() -> str:
    return secrets.token_urlsafe(BOOT_BYTES)
