"""What the log of this server costs at a size: ``python -m tests.benchmarks.programs.log FOLDER ENTRIES``.

The file is made in the folder where it is not there yet, and anew where measuring has made it much longer. Prints one
JSON object: ``append``, ``append-batch`` and ``register`` in microseconds of CPU, as what a commit waits for the disk
differs tenfold from one minute to the next; of the wall clock ``replay`` and ``count`` in microseconds and ``open`` in
milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from domain.model import EVERYONE, Audience, Draft, Json, Position, Publication, Room, UserId
from domain.policy import ConnectionPolicy

# Those who return: each has so many entries, spread over the whole log, and missed the second half of it.
READERS = 50
ENTRIES_OF_READER = 20
ENTRIES_OF_OTHERS = 100
DATA = Json(b'{"mission":4711}')

BUILD_BATCH = 5000
LENGTHENED = 1.05
SINGLES = 300
BATCHES = 100
BATCH = 100
# Where the next ones go, so that they do not follow each other.
STRIDE = 7919
OPENINGS = 5
# Next to nothing in memory: what is read comes from the file.
TAIL_ENTRIES = 1000
PAGE_ENTRIES = 500
PAGE_BYTES = 512 * 1024

MICRO = 1e6
MILLI = 1e3

_policy, _clock, _randomness = ConnectionPolicy(), SystemClock(), SystemRandomness()


async def main(folder: Path, entries: int) -> None:
    file = folder / f"log-{entries}.db"
    others = entries // ENTRIES_OF_OTHERS
    if file.exists() and await _length(file) > entries * LENGTHENED:
        _remove(file)
    if not file.exists():
        async with _opened(file) as inbox:
            await _build(inbox, entries, others)
    measured = {"open": await _open(file)}
    async with _opened(file) as inbox:
        measured |= await _return(inbox, entries)
        measured["append"] = await _append(inbox, SINGLES, 1, others)
        measured["append-batch"] = await _append(inbox, BATCHES, BATCH, others)
    print(json.dumps(measured))


@asynccontextmanager
async def _opened(file: Path) -> AsyncIterator[SqliteStore]:
    inbox = SqliteStore(file, clock=_clock, tail_entries=TAIL_ENTRIES)
    await inbox.open()
    try:
        yield inbox
    finally:
        await inbox.close()


def _remove(file: Path) -> None:
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()


async def _length(file: Path) -> int:
    async with _opened(file) as inbox:
        return (await inbox.head()).offset


def _draft(user: str) -> Draft:
    publication = Publication(Audience.users([user]), "mission.assigned", "A new mission", data=DATA)
    return _policy.draft(publication, _randomness.new_id(), _clock.now(), None)


async def _build(inbox: SqliteStore, entries: int, others: int) -> None:
    every = entries // (READERS * ENTRIES_OF_READER)

    def user_of(offset: int) -> str:
        return f"reader-{offset // every % READERS}" if offset % every == 0 else f"other-{offset % others}"

    for first in range(1, entries + 1, BUILD_BATCH):
        await inbox.append([_draft(user_of(n)) for n in range(first, min(first + BUILD_BATCH, entries + 1))])


async def _open(file: Path) -> float:
    times = []
    for _ in range(OPENINGS):
        start = time.perf_counter()
        async with _opened(file):
            times.append(time.perf_counter() - start)
    return statistics.median(times) * MILLI


async def _return(inbox: SqliteStore, entries: int) -> dict[str, float]:
    """Readers enter in a role that is new to them, read what they missed, and have their inboxes counted."""
    role = _randomness.new_id()
    half = Position((await inbox.head()).epoch, entries // 2)
    times: list[Sequence[float]] = []
    for number in range(READERS):
        user = f"reader-{number}"
        start = time.process_time()
        subscriber = await inbox.register(
            UserId(user), role, frozenset((Room.of_user(user), Room.of_role(role), EVERYONE))
        )
        entering = time.process_time() - start
        entered = time.perf_counter()
        page = await inbox.read(subscriber, half, max_entries=PAGE_ENTRIES, max_bytes=PAGE_BYTES)
        read = time.perf_counter()
        counted = await inbox.count(subscriber)
        times.append((entering, read - entered, time.perf_counter() - read))
        if abs(len(page.entries) - ENTRIES_OF_READER // 2) > 1 or counted.counts.total != ENTRIES_OF_READER:
            raise RuntimeError(f"{user} missed {len(page.entries)} entries of {counted.counts.total}")
    medians = (statistics.median(column) * MICRO for column in zip(*times, strict=True))
    return dict(zip(("register", "replay", "count"), medians, strict=True))


async def _append(inbox: SqliteStore, batches: int, batch: int, others: int) -> float:
    """The mean of an entry, so that what is put off to every so many commits is in it."""
    drafts = [_draft(f"other-{number * STRIDE % others}") for number in range(batches * batch)]
    start = time.process_time()
    for first in range(0, len(drafts), batch):
        await inbox.append(drafts[first : first + batch])
    return (time.process_time() - start) / len(drafts) * MICRO


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
