"""How large a run is, and how much load it puts on the servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.servers import STOCK, Kind


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent to one server.

    ``unicasts`` and ``room_deliveries`` are about how many deliveries a phase has; ``room_gap`` is the pace of a
    room in seconds a delivery, the same for every size of room. ``burst`` notifications are sent at once to the room.
    """

    unicasts: int
    room_deliveries: int
    room_gap: float
    burst: int
    bursts: int


@dataclass(frozen=True, slots=True)
class PublishLoad:
    """How much backends post to one server: notifications one by one, and then batches of ``batch``."""

    posts: int
    batches: int
    batch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run, in connections, and its load.

    ``stock_rounds`` rounds, and curves up to ``stock_growth``, are enough of the slowest, which is in no ratio.
    ``missed`` notifications have come for each who recovers. ``log`` are sizes of the log, in entries.
    """

    members: int
    idle: int
    growth: Sequence[int]
    load: Load
    stock_load: Load
    stock_rounds: int
    stock_growth: int
    slow_sends: int
    publish: PublishLoad
    missed: int
    log: Sequence[int]

    @property
    def users(self) -> int:
        """How many users there are, the one who reads slowly among them."""
        return max(self.members, self.idle, *self.growth) + 1

    def load_of(self, kind: Kind) -> Load:
        return self.stock_load if kind is STOCK else self.load

    def growth_of(self, kind: Kind) -> Sequence[int]:
        return [size for size in self.growth if size <= self.stock_growth] if kind is STOCK else self.growth


# 5,000 unicasts a second; a notification every 20 ms to a room of 1,000.
FULL = Plan(
    members=1000,
    idle=5000,
    growth=(100, 300, 1000, 3000, 10_000),
    load=Load(unicasts=10_000, room_deliveries=100_000, room_gap=20e-6, burst=300, bursts=2),
    stock_load=Load(unicasts=10_000, room_deliveries=20_000, room_gap=200e-6, burst=30, bursts=1),
    stock_rounds=3,
    stock_growth=1000,
    slow_sends=80,
    publish=PublishLoad(posts=10_000, batches=200, batch=100),
    missed=10,
    log=(10_000, 1_000_000),
)
QUICK = Plan(
    members=100,
    idle=300,
    growth=(30, 100),
    load=Load(unicasts=1000, room_deliveries=5000, room_gap=200e-6, burst=30, bursts=1),
    stock_load=Load(unicasts=500, room_deliveries=2000, room_gap=200e-6, burst=10, bursts=1),
    stock_rounds=1,
    stock_growth=100,
    slow_sends=20,
    publish=PublishLoad(posts=1000, batches=20, batch=100),
    missed=10,
    log=(4000, 10_000),
)
