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
    ``batches`` are of ``batch`` notifications each, to user rooms in turn.
    """

    unicasts: int
    room_deliveries: int
    room_gap: float
    burst: int
    bursts: int
    batch: int
    batches: int


@dataclass(frozen=True, slots=True)
class Rate:
    """So many single publishes a second, for about so many seconds."""

    a_second: int
    seconds: float

    @property
    def interval(self) -> float:
        return 1 / self.a_second

    def each_of(self, users: int) -> int:
        """How many each of so many users is sent."""
        return max(1, round(self.a_second * self.seconds / users))


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """What is done to nodes that share a database.

    ``nodes`` are how many there are, most of them last. Each is posted ``batches`` of ``batch``. Clients are a multiple
    of the nodes. ``held_seconds`` is for how long a transaction has been open under the load as its measuring begins;
    ``log`` are sizes of the log, in entries.
    """

    nodes: tuple[int, ...]
    batch: int
    batches: int
    members: int
    rate: Rate
    held_seconds: float
    idle_seconds: float
    log: tuple[int, ...]

    @property
    def most(self) -> int:
        return self.nodes[-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run, in connections, and its load.

    ``aside_rounds`` rounds are enough where nothing is judged, and curves up to ``stock_growth`` of the slowest server.
    ``missed`` notifications have come for each who recovers. ``log`` are sizes of the log, in entries.
    """

    members: int
    idle: int
    returning: int
    growth: Sequence[int]
    load: Load
    stock_load: Load
    aside_rounds: int
    stock_growth: int
    slow_sends: int
    rates: Sequence[Rate]
    rate_beside_idle: Rate
    missed: int
    log: tuple[int, ...]
    shared: SharedPlan

    @property
    def users(self) -> int:
        """How many users there are, the one who reads slowly among them."""
        return max(self.members, self.idle, self.returning, self.shared.members, *self.growth) + 1

    def load_of(self, kind: Kind) -> Load:
        return self.stock_load if kind is STOCK else self.load

    def growth_of(self, kind: Kind) -> Sequence[int]:
        return [size for size in self.growth if size <= self.stock_growth] if kind is STOCK else self.growth


# 5,000 unicasts a second; a notification every 20 ms to a room of 1,000.
FULL = Plan(
    members=1000,
    idle=10_000,
    returning=5000,
    growth=(100, 1000, 10_000),
    load=Load(unicasts=10_000, room_deliveries=100_000, room_gap=20e-6, burst=300, bursts=2, batch=1000, batches=20),
    stock_load=Load(
        unicasts=10_000, room_deliveries=20_000, room_gap=200e-6, burst=30, bursts=1, batch=1000, batches=10
    ),
    aside_rounds=2,
    stock_growth=1000,
    slow_sends=60,
    rates=(Rate(300, 10), Rate(1000, 6)),
    rate_beside_idle=Rate(1000, 10),
    missed=10,
    log=(10_000, 10_000_000),
    shared=SharedPlan(
        nodes=(1, 2, 3),
        batch=1000,
        batches=60,
        members=999,
        rate=Rate(1000, 10),
        held_seconds=60,
        idle_seconds=20,
        log=(10_000, 1_000_000),
    ),
)
QUICK = Plan(
    members=100,
    idle=300,
    returning=300,
    growth=(30, 100),
    load=Load(unicasts=1000, room_deliveries=5000, room_gap=200e-6, burst=30, bursts=1, batch=100, batches=10),
    stock_load=Load(unicasts=500, room_deliveries=2000, room_gap=200e-6, burst=10, bursts=1, batch=100, batches=5),
    aside_rounds=1,
    stock_growth=100,
    slow_sends=20,
    rates=(Rate(300, 1), Rate(1000, 1)),
    rate_beside_idle=Rate(1000, 1),
    missed=10,
    log=(4000, 20_000),
    shared=SharedPlan(
        nodes=(1, 2, 3),
        batch=100,
        batches=8,
        members=30,
        rate=Rate(150, 2),
        held_seconds=1,
        idle_seconds=6,
        log=(1000, 4000),
    ),
)
