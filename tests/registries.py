"""A registry of nodes in memory: what it promises, in a few lines, for tests that move its clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from adapters.system.nodes import LeaseLost, Member, Roll
from domain.errors import StoreUnavailable
from tests.doubles import ManualClock


@dataclass
class Cluster:
    """What the registries of all nodes share. While ``is_away`` nobody reaches it."""

    clock: ManualClock
    lease: float = 15.0
    is_away: bool = False
    name: int = 0
    secret: bytes = b""
    steady_from: float = 0.0
    head: int = 0
    leases: dict[str, tuple[Member, float]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def begin_anew(self) -> None:
        """As a database that is another one, or has lost what is not in its WAL."""
        self.name = next(self.numbers)
        self.secret = bytes([self.name]) * 32
        self.steady_from = self.clock.monotonic()
        self.leases.clear()

    @property
    def is_settled(self) -> bool:
        return self.steady_from <= self.clock.monotonic() - self.lease

    def is_over(self, renewed_at: float) -> bool:
        return self.is_settled and renewed_at <= self.clock.monotonic() - self.lease


class MemoryRegistry:
    """That of one node."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._held: dict[str, int] = {}
        self.lease = timedelta(seconds=cluster.lease)
        self.is_cut_off = False
        self.rolls = 0
        """How often it was looked who is there."""

    async def renew(self, own: Member) -> Roll:
        self._reach()
        cluster, now = self._cluster, self._cluster.clock.monotonic()
        if not cluster.name:
            cluster.begin_anew()
        if cluster.leases and max(at for _, at in cluster.leases.values()) < now - cluster.lease / 2:
            cluster.steady_from = now
        cluster.leases = {boot: held for boot, held in cluster.leases.items() if not cluster.is_over(held[1])}
        held_in = self._held.get(own.boot)
        if own.boot not in cluster.leases and held_in is not None and (cluster.is_settled or held_in == cluster.name):
            raise LeaseLost
        self._held[own.boot] = cluster.name
        cluster.leases[own.boot] = replace(own, lag=max(cluster.head - own.offset, 0)), now
        return self._roll()

    async def leave(self, boot: str) -> None:
        self._reach()
        self._cluster.leases.pop(boot, None)

    async def roll(self) -> Roll:
        self._reach()
        self.rolls += 1
        if not self._cluster.name:
            raise StoreUnavailable
        return self._roll()

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _reach(self) -> None:
        if self._cluster.is_away or self.is_cut_off:
            raise StoreUnavailable

    def _roll(self) -> Roll:
        cluster = self._cluster
        present = [member for member, at in cluster.leases.values() if not cluster.is_over(at)]
        present.sort(key=lambda member: (member.since, member.boot))
        return Roll(tuple(present), cluster.secret, cluster.is_settled)
