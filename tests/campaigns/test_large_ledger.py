"""What became of a notification is found soon, however much is remembered; ``make campaign`` runs this in full."""

from __future__ import annotations

import random
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.contract.events import notification_json
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.schema import connect
from adapters.store.sqlite.store import SqliteStore
from adapters.store.times import microseconds
from adapters.system.clock import SystemClock
from domain.delivery.hub import Hub
from domain.model import DeliveriesQuery, Outcome, UserId
from domain.policy import ConnectionPolicy
from domain.services.deliveries import DeliveryLedger
from tests.campaigns.observing import IS_FULL, report
from tests.contract.inbox_harness import draft
from tests.doubles import RecordingTelemetry

ENTRIES = 10_000_000 if IS_FULL else 30_000
USERS = 10_000 if IS_FULL else 100
CONNECTIONS = 100
"""Of each user, one after the other, which had everything that came in its time."""
LOOKUPS = 1_000 if IS_FULL else 100
SPAN = timedelta(days=6)
P99_SECONDS = 0.05

_FILL = (
    """INSERT INTO temp.numbers
        WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :entries)
        SELECT n, :began + n * :each FROM counted""",
    "INSERT INTO rooms (id, name) SELECT n, 'user:u' || (n - 1) FROM temp.numbers WHERE n <= :users",
    "INSERT INTO entries SELECT n, at, 'notification.new', NULL, NULL, NULL FROM temp.numbers",
    """INSERT INTO contents
        SELECT n, at, NULL, 't', 'id' || n, NULL, NULL, 1, CAST('user:u' || (n % :users) AS BLOB), :payload
        FROM temp.numbers""",
    "INSERT INTO locators SELECT locator('id' || n), n FROM temp.numbers ORDER BY 1",
    "INSERT INTO placed SELECT n % :users + 1, n, 1, NULL FROM temp.numbers ORDER BY 1, 2",
    """INSERT OR IGNORE INTO ledger_receipts (user, at, upto)
        SELECT n % :users + 1, at / 1000000 * 1000000,
            '{"c' || (n % :users) || '-' || ((n - 1) / :of_each) || '":' || n || '}'
        FROM temp.numbers""",
    """INSERT INTO ledger_connections
        SELECT 1, n, (n - 1) % :users + 1, 'c' || ((n - 1) % :users) || '-' || ((n - 1) / :users), 'r', 'phone',
            'websocket', 'pid' || ((n - 1) % :users), :began + (n - 1) / :users * :of_each * :each,
            (n - 1) / :users * :of_each, (n - 1) / :users * :of_each, 'pid' || ((n - 1) % :users),
            (n - 1) / :users * :of_each, '[]', :began + ((n - 1) / :users + 1) * :of_each * :each, 'transport_close',
            ((n - 1) / :users + 1) * :of_each, ((n - 1) / :users + 1) * :of_each
        FROM temp.numbers WHERE n <= :users * :connections""",
    "UPDATE meta SET value = :began WHERE name = 'ledger_since'",
)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.mark.gen_test(timeout=3600)
async def test_a_lookup_takes_no_longer_than_a_blink(tmp_path: Path) -> None:
    path = tmp_path / "synkrone.db"
    clock = SystemClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    await store.close()
    fill(path)
    await store.open()
    hub = Hub(log=store, policy=ConnectionPolicy(), clock=clock, telemetry=RecordingTelemetry())
    ledger = DeliveryLedger(ledger=store, restrictions=store, hub=hub, clock=clock, is_kept=True)
    chance = random.Random(1)
    seconds: list[float] = []
    try:
        for number in range(LOOKUPS):
            entry = chance.randrange(ENTRIES) + 1
            user = UserId(f"u{entry % USERS}")
            since = clock.now() - SPAN * chance.random()
            query = DeliveriesQuery(id=f"id{entry}") if number % 2 else DeliveriesQuery(since=since)
            began = time.perf_counter()
            page = await ledger.deliveries_of(user, query)
            seconds.append(time.perf_counter() - began)
            assert {one.outcome for one in page.reports} <= {Outcome.RECEIVED}
            assert query.id is None or len(page.reports) == 1
    finally:
        await store.close()
    seconds.sort()
    p50, p99 = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    report(
        f"{ENTRIES} entries and receipts, {USERS * CONNECTIONS} connections, {path.stat().st_size // 2**20} MiB: "
        f"{LOOKUPS} lookups, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"
    )
    assert p99 <= P99_SECONDS


def fill(path: Path) -> None:
    """As a server would have that was there for some days. Not durably: it is made for this."""
    began = microseconds(datetime.now(UTC) - SPAN)
    each = int(SPAN.total_seconds() * 1_000_000) // ENTRIES
    payload = notification_json(draft("n").notification)
    values: dict[str, object] = {
        "payload": payload,
        "entries": ENTRIES,
        "users": USERS,
        "connections": CONNECTIONS,
        "began": began,
        "each": each,
        "of_each": ENTRIES // CONNECTIONS,
    }
    with closing(connect(path)) as db:
        db.create_function("locator", 1, locator, deterministic=True)
        for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -200000", "temp_store = FILE"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TEMP TABLE numbers (n INTEGER PRIMARY KEY, at INTEGER)")
        db.execute("BEGIN")
        for statement in _FILL:
            db.execute(statement, values)
        db.execute("COMMIT")
