"""Every store keeps the contract; and what is particular to each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest
from tornado.ioloop import IOLoop

from adapters.store.memory import MemoryStore
from adapters.store.sqlite.store import SqliteStore
from adapters.store.tail import FOLLOW_MAX_BYTES, FOLLOW_MAX_ENTRIES
from domain.errors import PublicationTooLarge, StoreUnavailable
from domain.model import EVERYONE, Action, Checkpoint, Counts, InboxQuery, Position, RecoveryReason, Room
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    DUPLICATE,
    HOUR,
    STORED,
    Following,
    OpenedStore,
    OpenStore,
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
)
from tests.contract.store import StoreContract
from tests.doubles import START, ManualClock
from tests.folders import folder_in_memory

TraceFunction = Callable[[FrameType, str, Any], Any]


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def open_inbox(self, clock: ManualClock) -> OpenStore:
        async def open_inbox(
            *,
            retention: timedelta = timedelta(days=30),
            inbox_per_user: int = 10_000,
            scheduled_most: int = 1_000_000,
        ) -> OpenedStore:
            return MemoryStore(
                clock=clock, retention=retention, inbox_per_user=inbox_per_user, scheduled_most=scheduled_most
            )

        return open_inbox

    async def test_a_cursor_of_an_earlier_process_is_of_another_epoch(self, open_inbox: OpenStore) -> None:
        before = await (await open_inbox()).head()
        await assert_refused(await open_inbox(), reader(ANN), before, RecoveryReason.UNKNOWN_EPOCH)

    async def test_offsets_begin_at_one(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, epoch="e")
        assert await inbox.head() == Position("e", 0)
        (appended,) = await inbox.append([draft("a")])
        assert appended.position == Position("e", 1)

    async def test_the_wall_clock_ages_nothing(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, retention=HOUR)
        start = await inbox.head()
        await inbox.append([draft("a")])
        clock.jump(timedelta(days=365))
        await inbox.append([draft("b")])
        assert len(await offsets_of(inbox, reader(ANN), start)) == 2
        assert (await inbox.count(reader(ANN))).stands_until == clock.now() + HOUR

    async def test_whoever_counts_many_large_inboxes_leaves_others_their_turns(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock)
        await inbox.append([draft(f"n-{number}") for number in range(1000)])
        turns_of_others = 0

        async def others() -> None:
            nonlocal turns_of_others
            while True:
                turns_of_others += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        for _ in range(40):
            await inbox.count(reader(ANN))
        task.cancel()
        assert turns_of_others >= 9

    async def test_old_entries_go_as_later_ones_come(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, retention=HOUR)
        start = await inbox.head()
        await inbox.append([draft("a")])
        clock.advance(3601)
        await inbox.append([draft("b")])
        await assert_refused(inbox, reader(ANN), start)

    async def test_the_oldest_entries_go_when_the_log_is_full(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=3)
        start = await inbox.head()
        await inbox.append([draft("a", ANN), draft("b", ANN)])
        await inbox.append([draft("c", BOB), draft("d", ANN), draft("e", BOB)])
        await assert_refused(inbox, reader(ANN), at(start, 1))
        assert await offsets_of(inbox, reader(ANN), at(start, 2)) == [start.offset + 4]
        assert await offsets_of(inbox, reader(BOB), start) == [start.offset + 3, start.offset + 5]
        assert await ids_of(inbox, reader(ANN, BOB)) == ["e", "d", "c"]
        assert await inbox.given_up() == start.offset + 2
        assert (await inbox.count(reader(ANN))).oldest == start.offset + 4

    async def test_the_oldest_entries_go_when_the_log_is_full_of_bytes(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_bytes=400_000)
        start = await inbox.head()
        for number in range(60):
            await inbox.append([draft(f"n-{number}", body="x" * 20_000)])
        await assert_refused(inbox, reader(ANN), at(start, 39))
        assert await inbox.given_up() >= 40
        assert await offsets_of(inbox, reader(ANN), at(start, 50)) == [start.offset + n for n in range(51, 61)]

    async def test_what_is_trimmed_may_be_published_again(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=2)
        await inbox.append([draft("a", key="k"), draft("b")])
        assert outcomes(await inbox.append([draft("a", key="k")])) == [DUPLICATE]
        await inbox.append([draft("c")])
        assert outcomes(await inbox.append([draft("a", key="k"), draft("c")])) == [STORED, DUPLICATE]

    async def test_what_a_follower_was_not_given_yet_is_never_trimmed(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=3)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", BOB)], checkpoint=Checkpoint("s", "1"))
        await following.until(start.offset + 1)
        await inbox.append([draft("b"), draft("c"), draft("d")])
        with pytest.raises(StoreUnavailable):
            await inbox.append([draft("e"), draft("b")], checkpoint=Checkpoint("s", "2", "1"))
        with pytest.raises(StoreUnavailable):
            await inbox.change(reader(ANN), Action.READ, ["b"], START)
        with pytest.raises(StoreUnavailable):
            await inbox.read_all(reader(ANN), None, START)
        assert (await inbox.head(), await inbox.checkpoint("s")) == (at(start, 4), "1")
        assert (await inbox.count(reader(ANN))).counts == Counts(3, 3, 3)
        assert len(await offsets_of(inbox, reader(ANN), start)) == 3
        assert await following.until(start.offset + 4) == [start.offset + n for n in (1, 2, 3, 4)]
        assert outcomes(await inbox.append([draft("e")])) == [STORED]

    async def test_what_is_trimmed_by_an_entry_of_the_user_s_leaves_no_state(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=3)
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b"), draft("c")])
        # It makes room for what says so by trimming the very one that it marks.
        changed = await inbox.change(ann, Action.READ, ["a", "b"], START)
        assert (changed.changed, changed.counts) == (2, Counts(1, 1, 2))
        state = inbox._users[ann.user].state
        for number in range(50):
            await inbox.append([draft(f"n-{number}")])
            await inbox.change(ann, Action.SEEN, [f"n-{number}"], START)
        assert len(state._touched) <= 3
        for number in range(50, 100):
            await inbox.append([draft(f"n-{number}")])
            await inbox.read_all(ann, None, START)
        assert len(state._all_read) <= 3

    async def test_a_room_whose_losses_were_forgotten_is_taken_to_have_lost_some(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=1, max_trimmed_rooms=1)
        start = await inbox.head()
        await inbox.append([draft("a", ANN)])
        await inbox.append([draft("b", BOB)])
        await inbox.append([draft("c", EVERYONE)])
        await assert_refused(inbox, reader(ANN), start)
        await assert_refused(inbox, reader(BOB), at(start, 1))
        await assert_refused(inbox, reader(Room("user:never-named")), start)
        assert await offsets_of(inbox, reader(ANN), at(start, 1)) == []
        assert await offsets_of(inbox, reader(Room("user:never-named")), at(start, 1)) == []

    async def test_who_was_forgotten_is_a_new_user(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_users=2)
        (appended,) = await inbox.append([draft("a", EVERYONE)])
        ann = await register(inbox)
        await inbox.acknowledge({(ann.user, ann.role): appended.position})
        await inbox.append([draft("b", EVERYONE)])
        await register(inbox, "bob")
        assert await ids_of(inbox, await register(inbox)) == ["b"]
        for user in ("carl", "dora"):
            await register(inbox, user)
        ann = await register(inbox)
        assert await ids_of(inbox, ann) == []
        assert (await mark_of(inbox, ann)).offset == 0

    async def test_a_batch_larger_than_the_log_is_not_stored(self, clock: ManualClock) -> None:
        for inbox in (MemoryStore(clock=clock, max_entries=2), MemoryStore(clock=clock, max_bytes=5000)):
            await inbox.append([draft("a")])
            head = await inbox.head()
            with pytest.raises(PublicationTooLarge):
                await inbox.append([draft(f"n-{number}", body="x" * 2000) for number in range(3)])
            assert await inbox.head() == head
            assert len(await offsets_of(inbox, reader(ANN), Position(head.epoch, 0))) == 1

    async def test_a_follower_gets_bounded_batches_and_the_loop_runs_in_between(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock)
        start = await inbox.head()
        await inbox.append([draft(f"s-{number}") for number in range(FOLLOW_MAX_ENTRIES + 1)])
        await inbox.append([draft(f"l-{number}", body="x" * 100_000) for number in range(4)])
        await inbox.append([draft("huge", body="x" * (FOLLOW_MAX_BYTES + 1))])
        turns: list[int] = []
        counts: list[int] = []
        async for entries in inbox.tail(start):
            counts.append(len(entries))
            assert len(turns) == len(counts) - 1
            asyncio.get_running_loop().call_soon(turns.append, 1)
            if entries[-1].position == await inbox.head():
                break
        assert counts == [FOLLOW_MAX_ENTRIES, 3, 2, 1]

    async def test_reading_costs_what_it_gives_and_not_what_the_log_holds(self, clock: ManualClock) -> None:
        async def steps_of_a_read(entries: int) -> int:
            inbox = MemoryStore(clock=clock)
            start = await inbox.head()
            await inbox.append([draft("a")])
            await inbox.append([draft(f"n-{number}", BOB) for number in range(entries)])
            steps = 0

            def count(frame: FrameType, event: str, _argument: object) -> TraceFunction:
                nonlocal steps
                frame.f_trace_opcodes = True
                steps += event == "opcode"
                return count

            subscriber = reader(ANN, BOB)
            before = sys.gettrace()
            sys.settrace(count)
            try:
                page = await inbox.read(subscriber, start, max_entries=2, max_bytes=1 << 20)
            finally:
                sys.settrace(before)
            assert len(page.entries) == 2
            return steps

        # Python 3.12 counts from the second time on.
        await steps_of_a_read(5)
        assert await steps_of_a_read(5000) == await steps_of_a_read(5) > 100

    async def test_indexes_are_gone_with_the_entries(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock, max_entries=10)
        for number in range(1000):
            await inbox.append([draft(f"n-{number}", Room(f"user:{number}"), EVERYONE, key=f"k-{number}")])
        assert len(inbox._by_id) == len(inbox._by_key) == len(inbox._records) == len(inbox._tail) == 10

    async def test_who_snoozes_the_same_again_and_again_takes_no_more_space(self, clock: ManualClock) -> None:
        inbox = MemoryStore(clock=clock)
        ann = await register(inbox)
        await inbox.append([draft(f"n-{number}") for number in range(100)])
        for number in range(50):
            until = START + HOUR * (10 + number % 2)
            assert (await inbox.snooze(ann, [f"n-{each}" for each in range(100)], until, START)).changed == 100
        assert len(inbox._snoozes) <= 1000
        assert await inbox.waiting() == 100


class TestSqliteStore(StoreContract):
    tail_entries: ClassVar[int] = 50_000

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        with folder_in_memory() as folder:
            yield Path(folder)

    @pytest.fixture
    def open_inbox(self, clock: ManualClock, io_loop: IOLoop, folder: Path) -> Iterator[OpenStore]:
        opened: list[SqliteStore] = []

        async def open_inbox(
            *,
            retention: timedelta = timedelta(days=30),
            inbox_per_user: int = 10_000,
            scheduled_most: int = 1_000_000,
        ) -> OpenedStore:
            inbox = SqliteStore(
                folder / f"{len(opened)}.db",
                clock=clock,
                retention_log=retention,
                retention_inbox=retention,
                inbox_per_user=inbox_per_user,
                scheduled_most=scheduled_most,
                tail_entries=self.tail_entries,
            )
            await inbox.open()
            opened.append(inbox)
            return inbox

        yield open_inbox
        for inbox in opened:
            io_loop.run_sync(inbox.close)

    async def test_items_leave_one_by_one_as_they_grow_old(self, clock: ManualClock, folder: Path) -> None:
        inbox = SqliteStore(
            folder / "long.db",
            clock=clock,
            retention_log=HOUR,
            retention_inbox=9 * HOUR,
            tail_entries=self.tail_entries,
        )
        await inbox.open()
        try:
            ann = await register(inbox)
            for number in range(5):
                await inbox.append([draft(f"n-{number}")])
                await inbox.change(ann, Action.SEEN, [f"n-{number}"], START)
                await pass_time(inbox, clock, 2 * HOUR)
            for left in range(4, -1, -1):
                assert await ids_of(inbox, ann) == [f"n-{number}" for number in range(4, 4 - left, -1)]
                assert (await inbox.count(ann)).counts == Counts(unread=left, unseen=0, total=left)
                await pass_time(inbox, clock, 2 * HOUR)
        finally:
            await inbox.close()

    async def test_items_outlive_the_log(self, clock: ManualClock, folder: Path) -> None:
        inbox = SqliteStore(
            folder / "long.db",
            clock=clock,
            retention_log=HOUR,
            retention_inbox=10 * HOUR,
            tail_entries=self.tail_entries,
        )
        await inbox.open()
        try:
            ann = await register(inbox)
            start = await inbox.head()
            await inbox.append([draft("a"), draft("b"), draft("c", EVERYONE), draft("d")])
            await inbox.change(ann, Action.SEEN, ["b"], START)
            await inbox.read_all(ann, at(start, 1), START)
            await pass_time(inbox, clock, 2 * HOUR)
            await assert_refused(inbox, ann, start)
            assert await ids_of(inbox, ann) == ["d", "c", "b", "a"]
            assert (await inbox.count(ann)).counts == Counts(unread=3, unseen=2, total=4)
            listing = await inbox.list_items(ann, InboxQuery(limit=2))
            assert listing.next is not None
            assert len((await inbox.list_items(ann, InboxQuery(limit=2, before=listing.next))).items) == 2
            # What is said of them is news of today.
            assert (await inbox.change(ann, Action.DELETE, ["d"], START)).changed == 1
            assert (await inbox.read_all(ann, at(start, 2), START)).changed == 1
            assert (await inbox.read_all(ann, None, START)).changed == 1
            assert len(await offsets_of(inbox, ann, await floor_of(inbox, ann))) == 3
            assert [item["read_at"] is None for item in await items_of(inbox, ann)] == [False] * 3
            counted = await inbox.count(ann)
            assert counted.stands_until is not None
            assert START + 10 * HOUR <= counted.stands_until <= START + 10 * HOUR + timedelta(seconds=1)
            await pass_time(inbox, clock, 9 * HOUR)
            assert (await inbox.count(ann)).counts == Counts(0, 0, 0)
            assert await ids_of(inbox, ann) == []
        finally:
            await inbox.close()


class TestSqliteStoreBehindItsTail(TestSqliteStore):
    """Nearly everything is read from the file."""

    tail_entries = 1
