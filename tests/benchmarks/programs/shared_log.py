"""What a log in a PostgreSQL database costs at a size: ``python -m tests.benchmarks.programs.shared_log URL ENTRIES``.

The log is made where the database has none yet. Prints one JSON object, medians in microseconds of the wall clock, as
the work is the database's: ``log-append`` and ``log-append-batch`` an entry, and ``log-replay`` of 10 missed entries.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from adapters.store.postgresql.store import PostgresqlStore
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from domain.model import EVERYONE, Position, Room, UserId
from tests.benchmarks.appender import draft

# As in the log of a file: those who return have so many entries each, spread over all of it, and missed half of them.
READERS = 50
ENTRIES_OF_READER = 20
ENTRIES_OF_OTHERS = 100

BUILD_BATCH = 5000
SINGLES = 200
BATCHES = 20
BATCH = 100
STRIDE = 7919
# Next to nothing in memory: what is read comes from the database.
TAIL_ENTRIES = 100
PAGE_ENTRIES = 500
PAGE_BYTES = 512 * 1024
MICRO = 1e6


async def main(url: str, entries: int) -> None:
    others = entries // ENTRIES_OF_OTHERS
    async with _opened(url) as store:
        is_new = (await store.head()).offset == 0
        if is_new:
            await _build(store, entries, others)
    if is_new:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
    async with _opened(url) as store:
        print(
            json.dumps(
                {
                    "log-replay": await _replay(store, entries),
                    "log-append": await _append(store, SINGLES, 1, others),
                    "log-append-batch": await _append(store, BATCHES, BATCH, others),
                }
            )
        )


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[PostgresqlStore]:
    store = PostgresqlStore(url, clock=SystemClock(), tail_entries=TAIL_ENTRIES)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _build(store: PostgresqlStore, entries: int, others: int) -> None:
    every = entries // (READERS * ENTRIES_OF_READER)

    def user_of(offset: int) -> str:
        return f"reader-{offset // every % READERS}" if offset % every == 0 else f"other-{offset % others}"

    for first in range(1, entries + 1, BUILD_BATCH):
        await store.append([draft(user_of(n)) for n in range(first, min(first + BUILD_BATCH, entries + 1))])


async def _replay(store: PostgresqlStore, entries: int) -> float:
    """Readers enter in a role that is new to them, and read what they missed."""
    role = SystemRandomness().new_id()
    half = Position((await store.head()).epoch, entries // 2)
    times = []
    for number in range(READERS):
        user = f"reader-{number}"
        subscriber = await store.register(
            UserId(user), role, frozenset((Room.of_user(user), Room.of_role(role), EVERYONE))
        )
        start = time.perf_counter()
        page = await store.read(subscriber, half, max_entries=PAGE_ENTRIES, max_bytes=PAGE_BYTES)
        times.append(time.perf_counter() - start)
        if abs(len(page.entries) - ENTRIES_OF_READER // 2) > 1:
            raise RuntimeError(f"{user} missed {len(page.entries)} entries")
    return statistics.median(times) * MICRO


async def _append(store: PostgresqlStore, batches: int, batch: int, others: int) -> float:
    drafts = [draft(f"other-{number * STRIDE % others}") for number in range(batches * batch)]
    times = []
    for first in range(0, len(drafts), batch):
        start = time.perf_counter()
        await store.append(drafts[first : first + batch])
        times.append(time.perf_counter() - start)
    return statistics.median(times) / batch * MICRO


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
