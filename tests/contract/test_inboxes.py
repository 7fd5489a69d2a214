"""Every Inbox keeps the contract; and what is particular to each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest

from adapters.inbox.memory import FOLLOW_MAX_BYTES, FOLLOW_MAX_ENTRIES, MemoryInbox
from domain.errors import CursorRefused, PublicationTooLarge
from domain.model import EVERYONE, Position, RecoveryReason, Room
from tests.contract.inbox import ANN, BOB, InboxContract, OpenInbox, at, draft, offsets_of
from tests.doubles import ManualClock

TraceFunction = Callable[[FrameType, str, Any], Any]


class TestMemoryInbox(InboxContract):
    @pytest.fixture
    def open_inbox(self, clock: ManualClock) -> OpenInbox:
        def open_inbox(
            *, max_entries: int = 100_000, max_bytes: int = 1 << 28, retention: timedelta = timedelta(days=30)
        ) -> MemoryInbox:
            return MemoryInbox(clock=clock, max_entries=max_entries, max_bytes=max_bytes, retention=retention)

        return open_inbox

    async def test_a_cursor_of_an_earlier_process_is_of_another_epoch(self, open_inbox: OpenInbox) -> None:
        before = await open_inbox().head()
        with pytest.raises(CursorRefused) as refused:
            await offsets_of(open_inbox(), frozenset((ANN,)), before)
        assert refused.value.reason is RecoveryReason.UNKNOWN_EPOCH

    async def test_offsets_begin_at_one(self, clock: ManualClock) -> None:
        inbox = MemoryInbox(clock=clock, epoch="e")
        assert await inbox.head() == Position("e", 0)
        (appended,) = await inbox.append([draft("a")])
        assert appended.position == Position("e", 1)

    async def test_the_wall_clock_ages_nothing(self, open_inbox: OpenInbox, clock: ManualClock) -> None:
        inbox = open_inbox(retention=timedelta(hours=1))
        start = await inbox.head()
        await inbox.append([draft("a")])
        clock.jump(timedelta(days=365))
        await inbox.append([draft("b")])
        assert len(await offsets_of(inbox, frozenset((ANN,)), start)) == 2

    async def test_a_room_whose_losses_were_forgotten_is_taken_to_have_lost_some(self, clock: ManualClock) -> None:
        inbox = MemoryInbox(clock=clock, max_entries=1, max_trimmed_rooms=1)
        start = await inbox.head()
        await inbox.append([draft("a", ANN)])
        await inbox.append([draft("b", BOB)])
        await inbox.append([draft("c", EVERYONE)])
        await self.assert_trimmed(inbox, ANN, start)
        await self.assert_trimmed(inbox, BOB, at(start, 1))
        await self.assert_trimmed(inbox, Room("user:never-named"), start)
        assert await offsets_of(inbox, frozenset((ANN,)), at(start, 1)) == []
        assert await offsets_of(inbox, frozenset((Room("user:never-named"),)), at(start, 1)) == []

    async def test_a_batch_larger_than_the_log_is_not_stored(self, open_inbox: OpenInbox) -> None:
        for inbox in (open_inbox(max_entries=2), open_inbox(max_bytes=5000)):
            await inbox.append([draft("a")])
            head = await inbox.head()
            with pytest.raises(PublicationTooLarge):
                await inbox.append([draft(f"n-{number}", body="x" * 2000) for number in range(3)])
            assert await inbox.head() == head
            assert len(await offsets_of(inbox, frozenset((ANN,)), Position(head.epoch, 0))) == 1

    async def test_a_follower_of_what_is_gone_is_told(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=1)
        start = await inbox.head()
        await inbox.append([draft("a")])
        await inbox.append([draft("b")])
        for after, reason in (
            (start, RecoveryReason.TRIMMED),
            (at(start, 3), RecoveryReason.INVALID),
            (Position("another", 0), RecoveryReason.UNKNOWN_EPOCH),
        ):
            with pytest.raises(CursorRefused) as refused:
                await anext(inbox.follow(after))
            assert refused.value.reason is reason

    async def test_a_follower_gets_bounded_batches_and_the_loop_runs_in_between(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox()
        start = await inbox.head()
        await inbox.append([draft(f"s-{number}") for number in range(FOLLOW_MAX_ENTRIES + 1)])
        await inbox.append([draft(f"l-{number}", body="x" * 100_000) for number in range(4)])
        await inbox.append([draft("huge", body="x" * (FOLLOW_MAX_BYTES + 1))])
        turns: list[int] = []
        counts: list[int] = []
        async for entries in inbox.follow(start):
            counts.append(len(entries))
            assert len(turns) == len(counts) - 1
            asyncio.get_running_loop().call_soon(turns.append, 1)
            if entries[-1].position == await inbox.head():
                break
        assert counts == [FOLLOW_MAX_ENTRIES, 3, 2, 1]

    async def test_reading_costs_what_it_gives_and_not_what_the_log_holds(self, open_inbox: OpenInbox) -> None:
        async def steps_of_a_read(entries: int) -> int:
            inbox = open_inbox()
            start = await inbox.head()
            await inbox.append([draft("a")])
            await inbox.append([draft(f"n-{number}", BOB) for number in range(entries)])
            steps = 0

            def count(frame: FrameType, event: str, _argument: object) -> TraceFunction:
                nonlocal steps
                frame.f_trace_opcodes = True
                steps += event == "opcode"
                return count

            before = sys.gettrace()
            sys.settrace(count)
            try:
                page = await inbox.since(frozenset((ANN, BOB)), start, max_entries=2, max_bytes=1 << 20)
            finally:
                sys.settrace(before)
            assert len(page.entries) == 2
            return steps

        assert await steps_of_a_read(5000) == await steps_of_a_read(5) > 100

    async def test_indexes_are_gone_with_the_entries(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=10)
        assert isinstance(inbox, MemoryInbox)
        for number in range(1000):
            await inbox.append([draft(f"n-{number}", Room(f"user:{number}"), EVERYONE, key=f"k-{number}")])
        assert len(inbox._by_id) == len(inbox._by_key) == len(inbox._records) == 10
        assert len(inbox._rooms) == 11
        assert len(inbox._rooms[EVERYONE]) <= 20
