"""What became of a notification is found soon, however much is remembered; ``make campaign`` runs this in full."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from adapters.system.clock import SystemClock
from domain.delivery.hub import Hub
from domain.model import DeliveriesQuery, Outcome, UserId
from domain.policy import ConnectionPolicy
from domain.ports import Store
from domain.services.deliveries import DeliveryLedger
from tests.campaigns.large_ledger import SPAN, Size, large_database, large_file
from tests.campaigns.observing import IS_FULL, report
from tests.doubles import RecordingTelemetry

ENTRIES = 10_000_000 if IS_FULL else 30_000
USERS = 10_000 if IS_FULL else 100
CONNECTIONS = 100
LOOKUPS = 2_000 if IS_FULL else 100
P99_SECONDS = 0.05

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.mark.gen_test(timeout=3600)
async def test_a_lookup_in_a_file_takes_no_longer_than_a_blink(tmp_path: Path) -> None:
    size, began = Size.of(ENTRIES, USERS, CONNECTIONS), time.monotonic()
    async with large_file(tmp_path, size) as (store, taken):
        await look_up(store, size, f"sqlite, {taken // 2**20} MiB filled in {time.monotonic() - began:.0f} s")


@pytest.mark.gen_test(timeout=3600)
async def test_a_lookup_in_a_database_takes_no_longer_than_a_blink() -> None:
    size, began = Size.of(ENTRIES, USERS, CONNECTIONS), time.monotonic()
    async with large_database(size) as (store, taken):
        await look_up(store, size, f"postgresql, {taken // 2**20} MiB filled in {time.monotonic() - began:.0f} s")


async def look_up(store: Store, size: Size, what: str) -> None:
    """Half of them by an id, half of them a page from a time on."""
    clock = SystemClock()
    hub = Hub(log=store, policy=ConnectionPolicy(), clock=clock, telemetry=RecordingTelemetry())
    ledger = DeliveryLedger(ledger=store, schedule=store, restrictions=store, hub=hub, clock=clock, is_kept=True)
    chance = random.Random(1)
    seconds: list[float] = []
    for number in range(LOOKUPS):
        entry = chance.randrange(size.entries) + 1
        since = clock.now() - SPAN * chance.random()
        query = DeliveriesQuery(id=size.id_of(entry)) if number % 2 else DeliveriesQuery(since=since)
        began = time.perf_counter()
        page = await ledger.deliveries_of(UserId(size.user_of(entry)), query)
        seconds.append(time.perf_counter() - began)
        assert {one.outcome for one in page.reports} <= {Outcome.RECEIVED}
        assert query.id is None or len(page.reports) == 1
    seconds.sort()
    p50, p99 = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    report(
        f"{size.entries} entries and receipts, {size.users * size.connections} connections, {what}: "
        f"{LOOKUPS} lookups, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"
    )
    # Of a hundred it would be the first, which finds nothing prepared.
    assert p99 <= P99_SECONDS or not IS_FULL
