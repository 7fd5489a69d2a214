"""What became of a notification for everyone is counted beside all else, however many these are; ``make campaign`` runs
this in full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.sqlite.schema import connect
from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from domain.model import EVERYONE, DeliveriesPage, DeliveriesQuery, Room, Subscriber, Tally, UserId
from domain.ports import Store
from domain.services.notification_reports import NotificationReportService
from tests.campaigns.observing import IS_FULL, assert_within, report
from tests.contract.inbox_harness import OpenedStore, draft
from tests.postgresql import Servers

USERS = 1_000_000 if IS_FULL else 20_000
PAGES = 200 if IS_FULL else 20
COUNT_SECONDS = 30.0
P99_SECONDS = 0.25
"""For who counts their own inbox meanwhile; on a machine that does nothing else it is a tenth of that."""

_IN_FILE = (
    """INSERT INTO temp.numbers
        WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :users)
        SELECT n FROM counted""",
    "INSERT INTO rooms (id, name) SELECT n + 10, 'user:u' || n FROM temp.numbers",
    "INSERT INTO rooms (id, name) VALUES (1, 'everyone'), (2, 'role:r')",
    "INSERT INTO starts SELECT n + 10, room, 0 FROM temp.numbers, (SELECT 1 AS room UNION SELECT 2) ORDER BY 1, 2",
    "INSERT INTO marks SELECT n + 10, 'r', CASE WHEN n % 10 THEN 1 ELSE 0 END FROM temp.numbers ORDER BY 1",
    """INSERT INTO state (user, offset, read_at, seen_at, archived_at, deleted, deleted_at)
        SELECT n + 10, 1, 1, 1, NULL, n % 20 = 0, CASE WHEN n % 20 = 0 THEN 1 END
        FROM temp.numbers WHERE n % 10 = 0 ORDER BY 1""",
    "INSERT INTO watermarks (user, offset, at) SELECT n + 10, 2, 2 FROM temp.numbers WHERE n % 5 = 1 ORDER BY 1",
)
_IN_DATABASE = f"""
    CREATE TEMPORARY TABLE numbers AS SELECT n, 'u' || n AS name FROM generate_series(1, {USERS}) AS n;
    INSERT INTO synkrone.starts SELECT name, room, 0 FROM numbers, (VALUES ('everyone'), ('role:r')) AS shared (room);
    INSERT INTO synkrone.marks SELECT name, 'r', CASE WHEN n % 10 <> 0 THEN 1 ELSE 0 END FROM numbers;
    INSERT INTO synkrone.state (user_id, log_offset, read_at, seen_at, deleted, deleted_at)
        SELECT name, 1, 1, 1, n % 20 = 0, CASE WHEN n % 20 = 0 THEN 1 END FROM numbers WHERE n % 10 = 0;
    INSERT INTO synkrone.watermarks (user_id, log_offset, read_at) SELECT name, 2, 2 FROM numbers WHERE n % 5 = 1;
    ANALYZE"""  # noqa: S608
EXPECTED = Tally(
    received=USERS - USERS // 10, seen=USERS * 3 // 10, read=USERS * 3 // 10, archived=0, deleted=USERS // 20
)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class NothingKept:
    """No ledger: its lookups have a test of their own."""

    async def deliveries_of(self, user: UserId, query: DeliveriesQuery) -> DeliveriesPage:
        return DeliveriesPage((), None)


@asynccontextmanager
async def in_file(folder: Path) -> AsyncIterator[OpenedStore]:
    store = SqliteStore(folder / "synkrone.db", clock=SystemClock())
    await store.open()
    await store.append([draft("all", EVERYONE)])
    await store.close()
    with closing(connect(folder / "synkrone.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TEMP TABLE numbers (n INTEGER PRIMARY KEY)")
        db.execute("BEGIN")
        db.execute("DELETE FROM placed")
        db.execute("DELETE FROM rooms")
        for statement in _IN_FILE:
            db.execute(statement, {"users": USERS} if ":users" in statement else {})
        db.execute("INSERT INTO placed VALUES (1, 1, 1, NULL)")
        db.execute("COMMIT")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def measured(kind: str, store: Store) -> None:
    reports = NotificationReportService(recipients=store, schedule=store, deliveries=NothingKept())
    seconds: list[float] = []
    counted = asyncio.Event()

    async def count_own() -> None:
        own = Subscriber(UserId("u7"), "r", {Room("user:u7"): 0, Room("role:r"): 0, EVERYONE: 0})
        while not counted.is_set():
            began = time.perf_counter()
            await store.count(own)
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)

    beside = asyncio.create_task(count_own())
    began = time.perf_counter()
    found = await reports.report_of("all")
    took = time.perf_counter() - began
    counted.set()
    await beside
    assert (found.recipients, found.tally) == (None, EXPECTED)
    pages, place, listed = [], None, 0
    for _ in range(PAGES):
        began = time.perf_counter()
        page = await reports.recipients_of("all", place)
        pages.append(time.perf_counter() - began)
        listed, place = listed + len(page.recipients), page.next
    report(
        f"{kind}, {USERS} recipients: counted in {took:.2f} s, an own count beside it p50 {_at(seconds, 0.5)} ms, p99 "
        f"{_at(seconds, 0.99)} ms; a page p50 {_at(pages, 0.5)} ms, p99 {_at(pages, 0.99)} ms"
    )
    assert listed == PAGES * 50
    assert_within(took, COUNT_SECONDS, f"{kind}, the count of all")
    assert_within(sorted(seconds)[len(seconds) * 99 // 100], P99_SECONDS, f"{kind}, p99 of an own count")


def _at(seconds: Sequence[float], share: float) -> str:
    return f"{sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)] * 1000:.1f}"


@pytest.mark.gen_test(timeout=1800)
async def test_everyone_is_counted_beside_all_else_in_a_file(tmp_path: Path) -> None:
    async with in_file(tmp_path) as store:
        await measured("SQLite", store)


@pytest.mark.gen_test(timeout=1800)
async def test_everyone_is_counted_beside_all_else_in_a_database(postgresql: Servers) -> None:
    server = postgresql.of(15)
    name = server.new_store()
    store = PostgresqlStore(server.url(name), clock=SystemClock())
    await store.open()
    try:
        await store.append([draft("all", EVERYONE)])
        await asyncio.to_thread(server.execute, _IN_DATABASE, name)
        await measured("PostgreSQL", store)
    finally:
        await store.close()
        server.drop_databases([name])
