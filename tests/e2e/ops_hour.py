"""An hour of a server's metrics, made in a moment: what its page has to draw."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adapters.telemetry.history import History
from adapters.telemetry.shown import SHOWN

HOUR = 3600
STEP = 10
PAUSED = range(150, 156)
"""Of these samples none was taken: the process stood still."""
QUIET = range(60, 90)
"""Meanwhile nothing was published."""

BUCKETS = tuple(0.0005 * 2**power for power in range(14))


class LateClock:
    """The system's, but so many seconds behind."""

    def __init__(self, behind: float) -> None:
        self.behind = behind

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self.behind)

    def monotonic(self) -> float:
        return monotonic() - self.behind

    async def turn(self) -> None:
        """Nobody waits for it."""


def an_hour() -> History:
    """Of a server with some hundred connections, busy, once quiet, and once standing still. It goes on from there."""
    registry, chance, clock = CollectorRegistry(), random.Random(15), LateClock(HOUR)

    def counter(name: str, *labels: str) -> Counter:
        return Counter(f"synkrone_{name}", "For a page.", labels, registry=registry)

    def histogram(name: str) -> Histogram:
        return Histogram(f"synkrone_{name}_seconds", "For a page.", registry=registry, buckets=BUCKETS)

    connections = Gauge("synkrone_connections", "For a page.", ["transport", "role"], registry=registry)
    size = Gauge("synkrone_store_bytes", "For a page.", registry=registry)
    connects, disconnects = counter("connects"), counter("disconnects", "reason")
    notifications, deliveries = counter("notifications"), counter("deliveries")
    counter("replayed_entries")
    refusals = counter("connect_refusals", "code")
    counter("request_refusals")
    counter("publish_refusals")
    commits = counter("store_commits")
    to_socket, to_commit = histogram("publish_to_socket"), histogram("publish_to_commit")
    commit, pause = histogram("store_commit"), histogram("loop_pause")
    history = History(registry, SHOWN, clock)
    for number in range(HOUR // STEP):
        clock.behind = HOUR - number * STEP
        if number in PAUSED:
            continue
        open_now = int(420 + 160 * math.sin(number / 50) + chance.randint(-12, 12))
        connections.labels("websocket", "freelance").set(open_now)
        connections.labels("polling", "company").set(open_now // 8)
        size.set(180_000_000 + number * 40_000)
        connects.inc(chance.randint(2, 30))
        disconnects.labels("client").inc(chance.randint(2, 30))
        if number % 90 == 40:
            refusals.labels("invalid_token").inc(25)
        published = 0 if number in QUIET else chance.randint(30, 90)
        notifications.inc(published)
        deliveries.inc(published * 40)
        commits.inc(published / 3)
        for _ in range(published):
            to_socket.observe(chance.lognormvariate(-6.2, 0.6))
            to_commit.observe(chance.lognormvariate(-5.6, 0.5))
            commit.observe(chance.lognormvariate(-6.0, 0.4))
        for _ in range(200):
            pause.observe(chance.lognormvariate(-8.2, 0.8))
        history.sample()
    clock.behind = 0
    return history
