"""What is bounded in an inbox in a SQLite file, whatever the log holds."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.store.sqlite import schema, threads
from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from domain.errors import StoreUnavailable
from domain.model import (
    EVERYONE,
    Arrived,
    InboxQuery,
    Position,
    RecipientPlace,
    Room,
    UserId,
)
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    BOB,
    COMPANY,
    STORED,
    Following,
    arrival,
    arrive,
    at,
    draft,
    offsets_of,
    outcomes,
    reader,
    register,
)
from tests.doubles import ManualClock
from tests.integration.sqlite_harness import opened
from tests.serving import eventually

pytestmark = pytest.mark.gen_test


async def test_more_than_can_wait_is_refused(path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "QUEUE_JOBS", 10)
    async with opened(path, clock) as inbox:
        with closing(sqlite3.connect(path, isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            answers = asyncio.gather(
                *(inbox.append([draft(f"n-{number}")]) for number in range(40)), return_exceptions=True
            )
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            outside.execute("ROLLBACK")
            found = await answers
        refused = [answer for answer in found if isinstance(answer, StoreUnavailable)]
        assert 1 <= 40 - len(refused) <= 21
        assert (await inbox.head()).offset == 40 - len(refused)
        await inbox.ensure_writable()
        assert outcomes(await inbox.append([draft("more")])) == [STORED]


class Gathering:
    """The writer's time, in which it pauses until the test says so."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun.set()
        assert self.over.wait(10)


async def test_who_publishes_while_others_do_shares_their_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathering = Gathering()
    monkeypatch.setattr(threads, "time", gathering)
    async with opened(path, SystemClock()) as inbox:
        queue = inbox._opened().writer._queue
        with closing(sqlite3.connect(path, isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            first = asyncio.create_task(inbox.append([draft("a")]))
            await asyncio.sleep(0)
            # The writer has it, and waits for the file.
            await eventually(lambda: not queue._jobs)
            others = [asyncio.create_task(inbox.append([draft(name)])) for name in ("b", "c")]
            await asyncio.sleep(0)
            outside.execute("ROLLBACK")
            await asyncio.gather(first, *others)
            await eventually(gathering.begun.is_set)
            assert 0 <= gathering.seconds <= threads.GATHERING_SECONDS
            later = []
            for name in ("d", "e"):
                later.append(asyncio.create_task(inbox.append([draft(name)])))
                await asyncio.sleep(0)
            gathering.over.set()
            await asyncio.gather(*later)
            # What one commit stores is stored at one time.
            times = outside.execute("SELECT group_concat(id, '') FROM contents GROUP BY stored_at ORDER BY stored_at")
            assert [names for (names,) in times] == ["a", "bc", "de"]


async def test_a_publisher_who_is_alone_never_waits_for_others(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GATHERING_SECONDS", 3600.0)
    async with opened(path, clock) as inbox:
        for name in ("a", "b", "c"):
            assert outcomes(await inbox.append([draft(name)])) == [STORED]


async def test_readers_do_not_wait_for_the_writer(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, tail_entries=1) as inbox:
        await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b")])
        with closing(sqlite3.connect(path, isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            blocked = asyncio.create_task(inbox.append([draft("c")]))
            async with asyncio.timeout(2):
                assert await offsets_of(inbox, reader(ANN), start) == [1, 2]
                assert (await inbox.count(reader(ANN))).counts.total == 2
                assert (await arrive(inbox, arrival())).counted.counts.total == 2
                new = asyncio.create_task(arrive(inbox, arrival("new")))
            assert not blocked.done()
            assert not new.done()
            outside.execute("ROLLBACK")
        assert outcomes(await blocked) == [STORED]
        assert (await new).subscriber.user == "new"


async def test_an_answer_comes_after_everything_it_has_seen(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: list[Callable[[], None]] = []
    is_committed = asyncio.Event()
    done = SqliteStore._done

    def hold(inbox: SqliteStore, state: Any, group: Any) -> None:
        committed.append(partial(done, inbox, state, group))
        is_committed.set()

    async with opened(path, clock) as inbox:
        await register(inbox)
    monkeypatch.setattr(SqliteStore, "_done", hold)
    async with opened(path, clock, tail_entries=1) as inbox:
        start = await inbox.head()
        appending = asyncio.create_task(inbox.append([draft("a"), draft("b")]))
        await is_committed.wait()
        # The file has them, and nobody was told.
        answers = [
            asyncio.ensure_future(answer)
            for answer in (
                inbox.count(reader(ANN)),
                inbox.list_items(reader(ANN), InboxQuery()),
                arrive(inbox, arrival("ann", "company", start)),
            )
        ]
        # Whoever asks later is answered, by the same threads.
        for _ in range(10):
            await inbox.checkpoint("s")
        assert not any(answer.done() for answer in answers)
        committed.pop()()
        await appending
        for answer in answers:
            answered: Any = await answer
            if isinstance(answered, Arrived):
                # The tail has only the last of them, and had the place of the cursor when they arrived.
                assert (answered.page.upto, len(answered.page.entries)) == (at(start, 2), 2)
                answered = answered.counted
            assert (answered.as_of, answered.counts.total) == (at(start, 2), 2)
        monkeypatch.undo()


async def test_the_tail_is_bounded_whoever_follows(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, tail_entries=100, tail_bytes=200_000) as inbox:
        start = await inbox.head()
        following = Following(inbox, start)
        (first,) = await inbox.append([draft("first")])
        await following.until(first.position.offset)
        for batch in range(20):
            await inbox.append([draft(f"{batch}-{number}", body="x" * 1000) for number in range(100)])
        assert inbox._state is not None
        assert len(inbox._state.tail) <= 100
        assert inbox._state.tail.bytes <= 200_000
        assert await following.until(start.offset + 2001) == list(range(1, 2002))
        waiting = following.start(start.offset + 2002)
        await inbox.append([draft("last")])
        assert (await waiting)[-1] == 2002
    async with opened(path, clock, tail_entries=100, tail_bytes=200_000) as inbox:
        assert inbox._state is not None
        assert 0 < len(inbox._state.tail) <= 100
        assert inbox._state.tail.bytes <= 200_000
        assert await offsets_of(inbox, reader(ANN), start) == list(range(1, 2003))


class Steps:
    """Counts what SQLite's virtual machine does for an inbox."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        for module in ("store", "opening"):
            monkeypatch.setattr(f"adapters.store.sqlite.{module}.connect", self._connect)

    def _connect(self, path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        db = schema.connect(path, read_only=read_only)
        db.set_progress_handler(self._count, 1)
        return db

    def _count(self) -> int:
        self.number += 1
        return 0


async def test_the_cost_is_that_of_what_is_asked_for_and_not_of_the_log(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def costs(batches: int) -> dict[str, int]:
        file = path.with_name(f"{batches}.db")
        async with opened(file, clock, tail_entries=10) as inbox:
            await inbox.append([draft("first")])
            for batch in range(batches):
                await inbox.append([draft(f"{batch}-{number}", BOB, Room(f"user:{number}")) for number in range(500)])
        found: dict[str, int] = {}
        steps = Steps(monkeypatch)
        async with opened(file, clock, tail_entries=10) as inbox:
            found["open"] = steps.number
            start = Position((await inbox.head()).epoch, 0)
            page = await inbox.read(reader(ANN, BOB, Room("user:7")), start, max_entries=5, max_bytes=1 << 20)
            assert (len(page.entries), page.more) == (5, True)
            found["since"] = steps.number
            await inbox.append([draft("one more")])
            found["append"] = steps.number
            await inbox.count(reader(ANN))
            found["count"] = steps.number
            await arrive(inbox, arrival("ann", "company", await inbox.head()))
            found["arrive"] = steps.number
            await inbox.tidy()
            found["tidy"] = steps.number
        monkeypatch.undo()
        return found

    few, many = await costs(1), await costs(20)
    assert all(0 < many[name] < 1.2 * few[name] + 50 for name in few), (few, many)


async def test_a_revision_of_what_is_for_everyone_does_not_look_at_all_who_have_deleted_it(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cost(users: int) -> int:
        file = path.with_name(f"{users}.db")
        async with opened(file, clock) as inbox:
            await inbox.append([draft("a", EVERYONE)])
        with closing(sqlite3.connect(file)) as db, db:
            db.executemany("INSERT INTO rooms (name) VALUES (?)", [(f"user:{number}",) for number in range(users)])
            db.execute(
                """
                INSERT INTO state (user, offset, deleted)
                SELECT rooms.id, contents.offset, 1 FROM rooms, contents WHERE name LIKE 'user:%'"""
            )
        steps = Steps(monkeypatch)
        async with opened(file, clock) as inbox:
            before = steps.number
            await inbox.revise("a", lambda notification: replace(notification, title="2"), clock.now())
            found = steps.number - before
        monkeypatch.undo()
        return found

    few, many = await cost(10), await cost(1000)
    assert 0 < many < 1.2 * few + 50, (few, many)


@pytest.mark.parametrize("rooms", [(COMPANY, ADMIN), (COMPANY, Room.of_topic("p"))])
async def test_a_page_of_recipients_costs_the_same_whatever_their_number(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, rooms: tuple[Room, ...]
) -> None:
    async def cost(number: int) -> int:
        file = path.with_name(str(number))
        async with opened(file, clock) as inbox:
            await inbox.append([draft("any", *rooms)])
        with closing(sqlite3.connect(file)) as outside:
            outside.executescript(_IN_GROUPS.format(number=number))
        steps, place = Steps(monkeypatch), RecipientPlace(0, UserId("u2500"))
        async with opened(file, clock) as inbox:
            notification = await inbox.published("any")
            assert notification is not None
            before = steps.number
            assert len((await inbox.recipients(notification, place, 50)).recipients) == 50
            await inbox.tally(notification, place)
            found = steps.number - before
        monkeypatch.undo()
        return found

    few, many = await cost(8_000), await cost(24_000)
    assert 0 < many < 1.2 * few, (few, many)


_IN_GROUPS = """
    INSERT OR IGNORE INTO rooms (name)
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})
        SELECT 'user:u' || n FROM numbers;
    INSERT OR IGNORE INTO starts (user, room, start)
        SELECT rooms.id, shared.id, 0 FROM rooms CROSS JOIN rooms AS shared
        WHERE rooms.name GLOB 'user:*' AND shared.name GLOB 'role:*';
    INSERT OR IGNORE INTO memberships (user, room, after)
        SELECT rooms.id, shared.id, 0 FROM rooms CROSS JOIN rooms AS shared
        WHERE rooms.name GLOB 'user:*' AND shared.name GLOB 'topic:*'"""
