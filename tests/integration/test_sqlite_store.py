"""An inbox in a SQLite file outlives the process: nothing is lost, and cursors stay good or are refused."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.store.sqlite.store import SqliteStore
from domain.errors import StoreUnavailable
from domain.model import (
    EVERYONE,
    Action,
    Checkpoint,
    InboxQuery,
    Position,
    RecoveryReason,
    UserId,
)
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    DUPLICATE,
    HOUR,
    STORED,
    Following,
    arrival,
    assert_readable,
    assert_refused,
    at,
    draft,
    floor_of,
    ids_of,
    items_of,
    mark_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
    turns,
)
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import copy, opened

pytestmark = pytest.mark.gen_test


async def test_a_restart_loses_nothing(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append(
            [draft("a"), draft("b", COMPANY), draft("c", EVERYONE, BOB)], checkpoint=Checkpoint("s", "7")
        )
        await inbox.append([draft("made", own_id=False, key="k", expires_at=START + HOUR)])
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        await inbox.read_all(ann, at(start, 2), START)
        await inbox.read_all(ann, None, START + HOUR / 2)
        await inbox.acknowledge({(UserId("ann"), "company"): at(start, 3), (UserId("bob"), "admin"): at(start, 1)})
        before = (
            await inbox.read(ann, start, max_entries=100, max_bytes=1 << 20),
            await items_of(inbox, ann),
            (await inbox.count(ann)).counts,
            await inbox.secret(),
        )
        head = await inbox.head()
    async with opened(path, clock) as inbox:
        assert await register(inbox) == ann
        again = await inbox.read(ann, start, max_entries=100, max_bytes=1 << 20)
        assert again.entries == before[0].entries
        assert (await items_of(inbox, ann), (await inbox.count(ann)).counts, await inbox.secret()) == before[1:]
        assert (await inbox.head()).offset == head.offset
        assert await inbox.checkpoint("s") == "7"
        assert (await mark_of(inbox, ann)).offset == start.offset + 3
        assert (await mark_of(inbox, reader(BOB, user="bob", role="company"))).offset == start.offset + 1
        assert (
            outcomes(await inbox.append([draft("a"), draft("other", own_id=False, key="k", expires_at=START + HOUR)]))
            == [DUPLICATE] * 2
        )
        (new,) = await inbox.append([draft("new")])
        assert new.position.offset == head.offset + 1


async def test_cursors_of_every_earlier_generation_are_good_up_to_its_end(path: Path, clock: ManualClock) -> None:
    ends: list[Position] = []
    for number in range(4):
        async with opened(path, clock) as inbox:
            # One generation stores nothing.
            if number != 2:
                await inbox.append([draft(f"{number}-{item}") for item in range(3)])
            ends.append(await inbox.head())
    async with opened(path, clock) as inbox:
        assert [end.offset for end in ends] == [3, 6, 6, 9]
        assert len({end.epoch for end in ends}) == 4
        for end in ends:
            await assert_readable(inbox, reader(ANN), Position(end.epoch, 0))
            assert await offsets_of(inbox, reader(ANN), end) == list(range(end.offset + 1, 10))
            await assert_refused(inbox, reader(ANN), at(end, 1), RecoveryReason.INVALID)
        # What is read later carries the cursor it had from the first.
        page = await inbox.read(reader(ANN), Position(ends[0].epoch, 0), max_entries=100, max_bytes=1 << 20)
        assert [entry.position.epoch for entry in page.entries] == [
            end.epoch for end in ends for _ in range(3) if end != ends[2]
        ]


async def test_a_generation_is_forgotten_when_its_cursors_are_too_old(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR) as inbox:
        await inbox.append([draft("a")])
        first = await inbox.head()
    clock.advance(1800)
    async with opened(path, clock, retention_log=HOUR) as inbox:
        await pass_time(inbox, clock, timedelta(seconds=1799))
        await assert_readable(inbox, reader(BOB), first)
        await pass_time(inbox, clock, timedelta(seconds=300))
        await assert_refused(inbox, reader(ANN), at(first, -1))
        await assert_readable(inbox, reader(BOB), first)
        await pass_time(inbox, clock, timedelta(seconds=1501))
        await assert_refused(inbox, reader(BOB), first, RecoveryReason.UNKNOWN_EPOCH)
        assert await offsets_of(inbox, reader(ANN), await floor_of(inbox, reader(ANN))) == []
    async with opened(path, clock, retention_log=HOUR) as inbox:
        await assert_refused(inbox, reader(BOB), first, RecoveryReason.UNKNOWN_EPOCH)


async def test_offsets_go_on_where_everything_was_trimmed(path: Path, clock: ManualClock) -> None:
    limits = {"retention_log": HOUR, "retention_inbox": HOUR}
    async with opened(path, clock, **limits) as inbox:
        await inbox.append([draft("a"), draft("b")])
        head = await inbox.head()
        await pass_time(inbox, clock, 2 * HOUR)
        await assert_refused(inbox, reader(ANN), Position(head.epoch, 0))
    async with opened(path, clock, **limits) as inbox:
        assert (await inbox.head()).offset == head.offset
        (new,) = await inbox.append([draft("c")])
        assert new.position.offset == head.offset + 1
        await assert_refused(inbox, reader(ANN), at(head, -1))


async def test_cursors_of_what_a_backup_does_not_have_are_refused(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a"), draft("b")])
        kept = await inbox.head()
    copy(path, backup)
    async with opened(path, clock) as inbox:
        await inbox.append([draft("lost-1"), draft("lost-2")])
        lost = await inbox.head()
    copy(backup, path)
    async with opened(path, clock) as inbox:
        appended = await inbox.append([draft(f"new-{number}") for number in range(5)])
        for offset in (kept.offset, kept.offset + 1, lost.offset, lost.offset + 1):
            await assert_refused(inbox, reader(ANN), Position(lost.epoch, offset), RecoveryReason.UNKNOWN_EPOCH)
        await assert_refused(inbox, reader(ANN), at(kept, 1), RecoveryReason.INVALID)
        assert await offsets_of(inbox, reader(ANN), kept) == [one.position.offset for one in appended]


async def test_a_backup_of_an_open_store_refuses_what_came_after_it(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a")])
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        kept = await inbox.head()
        await inbox.append([draft("lost")])
        lost = await inbox.head()
    async with opened(backup, clock) as inbox:
        await inbox.append([draft("new-1"), draft("new-2")])
        await assert_refused(inbox, reader(ANN), lost, RecoveryReason.INVALID)
        assert await ids_of(inbox, reader(ANN)) == ["new-2", "new-1", "a"]
        assert len(await offsets_of(inbox, reader(ANN), kept)) == 2


async def test_a_closed_store_is_unavailable(path: Path, clock: ManualClock) -> None:
    inbox = SqliteStore(path, clock=clock)
    for _ in range(2):
        for attempt in (
            inbox.head(),
            inbox.append([draft("a")]),
            inbox.count(reader(ANN)),
            inbox.list_items(reader(ANN), InboxQuery()),
            inbox.register(UserId("ann"), "company", frozenset((ANN,))),
            inbox.arrive([arrival()]),
            inbox.secret(),
            inbox.ensure_writable(),
            inbox.tidy(),
            anext(inbox.tail(Position("e", 0))),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt
        await inbox.close()
        await inbox.open()
        await inbox.close()


async def test_closing_finishes_what_was_asked_for_and_ends_those_who_follow(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        following = Following(inbox, await inbox.head())
        waiting = following.start(1000)
        await asyncio.sleep(0)
        asked = [asyncio.create_task(inbox.append([draft(f"n-{number}")])) for number in range(50)]
        counting = asyncio.create_task(inbox.count(reader(ANN)))
        await asyncio.sleep(0)
        await inbox.close()
        assert [outcomes(await one) for one in asked] == [[STORED]] * 50
        assert (await counting).counts.total <= 50
        with pytest.raises(StoreUnavailable):
            await waiting
    assert sorted(file.name for file in path.parent.iterdir()) == ["inbox.db", "inbox.db-lock"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("inbox-")]
    async with opened(path, clock) as inbox:
        assert len(await ids_of(inbox, reader(ANN))) == 50


async def test_closing_ends_those_who_wait_for_something_to_happen(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        waiting = Following(inbox, await inbox.head()).start(1)
        await turns()
    with pytest.raises(StoreUnavailable):
        await waiting


async def test_who_stops_waiting_disturbs_nobody(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        asked = [asyncio.create_task(inbox.append([draft(f"n-{number}")])) for number in range(40)]
        await asyncio.sleep(0)
        for task in asked[::2]:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [answer for answer in answers[1::2] if not isinstance(answer, list)] == []
        retried = await asyncio.gather(*(inbox.append([draft(f"n-{number}")]) for number in range(40)))
        assert (await inbox.head()).offset == 40
        assert len({one.position.offset for (one,) in retried}) == 40
