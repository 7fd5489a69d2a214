"""What every Inbox must do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Protocol

import pytest

from adapters.wire import notification_json
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import (
    EVERYONE,
    Appended,
    AppendOutcome,
    AudienceKind,
    Checkpoint,
    Draft,
    Entry,
    Json,
    Notification,
    Position,
    RecoveryReason,
    Room,
)
from domain.ports import Inbox
from tests.doubles import START, ManualClock

ANN, BOB = Room("user:ann"), Room("user:bob")
STORED, DUPLICATE, CONFLICT = AppendOutcome.STORED, AppendOutcome.DUPLICATE, AppendOutcome.CONFLICT

BATCH_WITHIN = 5.0
"""Seconds in which a follower gets what is there for it, with slack for a busy machine."""


class OpenInbox(Protocol):
    """Opens an empty log with these limits; all are wide where nothing is said."""

    def __call__(self, *, max_entries: int = ..., max_bytes: int = ..., retention: timedelta = ...) -> Inbox: ...


def draft(
    id_: str,
    *rooms: Room,
    own_id: bool = True,
    key: str | None = None,
    title: str = "t",
    body: str | None = None,
    data: bytes | None = None,
) -> Draft:
    notification = Notification(
        id=id_,
        type="test",
        title=title,
        body=body,
        data=Json(data) if data is not None else None,
        audience=AudienceKind.USER,
        created_at=START,
        expires_at=None,
    )
    return Draft(notification, frozenset(rooms or (ANN,)), own_id, key)


def outcomes(appended: Sequence[Appended]) -> list[AppendOutcome]:
    return [one.outcome for one in appended]


class Following:
    """One follower, and how far it has come."""

    def __init__(self, inbox: Inbox, after: Position) -> None:
        self._batches: AsyncIterator[Sequence[Entry]] = inbox.follow(after)
        self.offsets: list[int] = []

    async def until(self, offset: int) -> list[int]:
        async with asyncio.timeout(BATCH_WITHIN):
            while not self.offsets or self.offsets[-1] < offset:
                self.offsets.extend(entry.position.offset for entry in await anext(self._batches))
        return self.offsets

    def start(self, offset: int) -> asyncio.Task[list[int]]:
        return asyncio.create_task(self.until(offset))


async def turns() -> None:
    """Let everybody come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def offsets_of(inbox: Inbox, rooms: frozenset[Room], after: Position) -> list[int]:
    page = await inbox.since(rooms, after, max_entries=10_000, max_bytes=1 << 30)
    assert not page.more
    return [entry.position.offset for entry in page.entries]


def at(start: Position, offset: int) -> Position:
    return Position(start.epoch, start.offset + offset)


@pytest.mark.gen_test
class InboxContract:
    """Subclass it, and give it an ``open_inbox``, which opens logs that live by the ``clock``."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def open_inbox(self, clock: ManualClock) -> OpenInbox:
        raise NotImplementedError

    @pytest.fixture
    def inbox(self, open_inbox: OpenInbox) -> Inbox:
        return open_inbox()

    # append

    async def test_positions_follow_each_other_in_the_order_of_the_batch(self, inbox: Inbox) -> None:
        start = await inbox.head()
        first = await inbox.append([draft("a"), draft("b")])
        second = await inbox.append([draft("c")])
        assert [*first, *second] == [
            Appended(STORED, "a", at(start, 1)),
            Appended(STORED, "b", at(start, 2)),
            Appended(STORED, "c", at(start, 3)),
        ]
        assert await inbox.head() == at(start, 3)

    async def test_cursors_can_be_stored_and_read_back(self, inbox: Inbox) -> None:
        (appended,) = await inbox.append([draft("a")])
        for position in (appended.position, await inbox.head()):
            assert Position.parse(str(position)) == position

    async def test_an_entry_is_what_recipients_get(self, inbox: Inbox) -> None:
        start = await inbox.head()
        one = draft("a", ANN, EVERYONE, body="Grüße", data=b'{ "n": 1e2 }')
        await inbox.append([one])
        page = await inbox.since(frozenset((ANN,)), start, max_entries=1, max_bytes=1)
        (entry,) = page.entries
        assert entry == Entry(
            at(start, 1), frozenset((ANN, EVERYONE)), "notification.new", notification_json(one.notification), None
        )
        assert b'{ "n": 1e2 }' in bytes(entry.payload)

    async def test_the_same_id_with_the_same_content_is_stored_once(self, inbox: Inbox) -> None:
        (first,) = await inbox.append([draft("a", data=b'{"x":1,"y":2}')])
        await inbox.append([draft("b")])
        again = await inbox.append([draft("a", data=b'{"y": 2, "x": 1}'), draft("c")])
        assert outcomes(again) == [DUPLICATE, STORED]
        assert (again[0].id, again[0].position) == ("a", first.position)
        assert again[1].position.offset == first.position.offset + 2

    @pytest.mark.parametrize("other", [draft("a", title="other"), draft("a", BOB), draft("a", data=b"{}")])
    async def test_the_same_id_with_other_content_is_a_conflict(self, inbox: Inbox, other: Draft) -> None:
        (first,) = await inbox.append([draft("a")])
        assert await inbox.append([other]) == [Appended(CONFLICT, "a", first.position)]
        assert await inbox.head() == first.position

    async def test_the_same_key_is_the_same_publication(self, inbox: Inbox) -> None:
        (first,) = await inbox.append([draft("made-1", own_id=False, key="k")])
        again = await inbox.append([draft("made-2", own_id=False, key="k")])
        other = await inbox.append([draft("made-3", own_id=False, key="k", title="other")])
        assert again == [Appended(DUPLICATE, "made-1", first.position)]
        assert other == [Appended(CONFLICT, "made-1", first.position)]

    async def test_without_an_id_or_a_key_nothing_is_a_duplicate(self, inbox: Inbox) -> None:
        appended = await inbox.append([draft(f"made-{number}", own_id=False) for number in range(3)])
        assert outcomes(appended) == [STORED] * 3

    async def test_an_id_that_was_made_here_cannot_be_taken_by_a_publisher(self, inbox: Inbox) -> None:
        await inbox.append([draft("made-1", own_id=False)])
        assert outcomes(await inbox.append([draft("made-1")])) == [CONFLICT]

    async def test_duplicates_and_conflicts_within_one_batch(self, inbox: Inbox) -> None:
        start = await inbox.head()
        appended = await inbox.append(
            [
                draft("a"),
                draft("a"),
                draft("a", title="other"),
                draft("made-1", own_id=False, key="k"),
                draft("made-2", own_id=False, key="k"),
                draft("b"),
            ]
        )
        assert appended == [
            Appended(STORED, "a", at(start, 1)),
            Appended(DUPLICATE, "a", at(start, 1)),
            Appended(CONFLICT, "a", at(start, 1)),
            Appended(STORED, "made-1", at(start, 2)),
            Appended(DUPLICATE, "made-1", at(start, 2)),
            Appended(STORED, "b", at(start, 3)),
        ]
        assert await offsets_of(inbox, frozenset((ANN,)), start) == [start.offset + n for n in (1, 2, 3)]

    async def test_a_conflict_keeps_an_all_or_nothing_batch_out(self, inbox: Inbox) -> None:
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "1"))
        head = await inbox.head()
        batch = [draft("new", key="k"), draft("a"), draft("a", title="other"), draft("new", title="other")]
        appended = await inbox.append(batch, checkpoint=Checkpoint("s", "2"), all_or_nothing=True)
        assert [one.id for one in appended] == ["new", "a", "a", "new"]
        assert [number for number, one in enumerate(appended) if one.outcome is CONFLICT] == [2, 3]
        assert STORED not in outcomes(appended)
        assert all(one.position.offset <= head.offset for one in appended)
        assert await inbox.head() == head
        assert await inbox.checkpoint("s") == "1"
        assert outcomes(await inbox.append([draft("new", title="other"), draft("x", key="k")])) == [STORED, STORED]

    async def test_without_a_conflict_an_all_or_nothing_batch_is_stored(self, inbox: Inbox) -> None:
        await inbox.append([draft("a")])
        assert outcomes(await inbox.append([draft("a"), draft("b")], all_or_nothing=True)) == [DUPLICATE, STORED]

    async def test_many_retries_at_once_are_stored_once(self, inbox: Inbox) -> None:
        start = await inbox.head()
        batch = [draft(f"n-{number}") for number in range(600)]
        answers = await asyncio.gather(*(inbox.append(batch, all_or_nothing=True) for _ in range(10)))
        assert [outcomes(answer)[0] for answer in answers].count(STORED) == 1
        assert len({tuple(one.position for one in answer) for answer in answers}) == 1
        assert await inbox.head() == at(start, 600)

    async def test_a_checkpoint_is_stored_with_its_batch(self, inbox: Inbox) -> None:
        assert await inbox.checkpoint("s") is None
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "1"))
        await inbox.append([], checkpoint=Checkpoint("other", "9"))
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "2"))
        assert (await inbox.checkpoint("s"), await inbox.checkpoint("other")) == ("2", "9")

    # since

    async def test_a_page_holds_the_entries_of_the_rooms_each_once(self, inbox: Inbox) -> None:
        start = await inbox.head()
        rooms = [(ANN,), (BOB,), (ANN, BOB, EVERYONE), (EVERYONE,), (BOB,), (Room("user:annie"),)]
        await inbox.append([draft(f"n-{number}", *names) for number, names in enumerate(rooms)])
        found = await offsets_of(inbox, frozenset((ANN, EVERYONE)), start)
        assert [offset - start.offset for offset in found] == [1, 3, 4]
        assert await offsets_of(inbox, frozenset((ANN, EVERYONE)), at(start, 3)) == [start.offset + 4]
        assert await offsets_of(inbox, frozenset((Room("user:carl"),)), start) == []

    async def test_a_page_without_more_was_read_up_to_the_head(self, inbox: Inbox) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", BOB)])
        page = await inbox.since(frozenset((ANN,)), start, max_entries=1, max_bytes=1)
        assert ([entry.position for entry in page.entries], page.upto, page.more) == (
            [at(start, 1)],
            at(start, 2),
            False,
        )

    async def test_pages_are_bounded_in_bytes_and_hold_at_least_one(self, inbox: Inbox) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}", body="x" * 1000) for number in range(4)])
        (first, *_) = (await inbox.since(frozenset((ANN,)), start, max_entries=10, max_bytes=1 << 20)).entries
        size = len(first.payload)
        for max_bytes, count in ((1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (3 * size, 3)):
            page = await inbox.since(frozenset((ANN,)), start, max_entries=10, max_bytes=max_bytes)
            assert (len(page.entries), page.more) == (count, True)
            assert page.entries[-1].position.offset <= page.upto.offset < start.offset + count + 1

    @pytest.mark.parametrize("seed", range(10))
    async def test_reading_page_after_page_gives_all_and_nothing_twice(self, inbox: Inbox, seed: int) -> None:
        chance = random.Random(seed)
        names = [Room(f"user:{number}") for number in range(6)]
        start = await inbox.head()
        audiences = [frozenset(chance.sample(names, chance.randint(1, 4))) for _ in range(chance.randint(0, 200))]
        await inbox.append([draft(f"n-{number}", *rooms) for number, rooms in enumerate(audiences)])
        mine = frozenset(chance.sample(names, chance.randint(1, 4)))
        after = at(start, chance.randint(0, len(audiences)))
        expected = [
            start.offset + number
            for number, rooms in enumerate(audiences, 1)
            if rooms & mine and start.offset + number > after.offset
        ]
        found: list[int] = []
        while True:
            page = await inbox.since(mine, after, max_entries=chance.randint(1, 30), max_bytes=chance.randint(1, 8000))
            found.extend(entry.position.offset for entry in page.entries)
            assert page.continues_at.offset >= after.offset
            after = page.upto
            if not page.more:
                break
        assert found == expected
        assert after == await inbox.head()

    async def test_a_position_ahead_of_the_log_is_refused(self, inbox: Inbox) -> None:
        (last,) = await inbox.append([draft("a")])
        assert await offsets_of(inbox, frozenset((ANN,)), last.position) == []
        with pytest.raises(CursorRefused) as refused:
            await offsets_of(inbox, frozenset((ANN,)), at(last.position, 1))
        assert refused.value.reason is RecoveryReason.INVALID

    async def test_a_position_of_another_log_is_refused(self, inbox: Inbox) -> None:
        with pytest.raises(CursorRefused) as refused:
            await offsets_of(inbox, frozenset((ANN,)), Position("another", 0))
        assert refused.value.reason is RecoveryReason.UNKNOWN_EPOCH

    # trimming

    async def assert_trimmed(self, inbox: Inbox, room: Room, after: Position) -> None:
        with pytest.raises(CursorRefused) as refused:
            await offsets_of(inbox, frozenset((room,)), after)
        assert refused.value.reason is RecoveryReason.TRIMMED

    async def test_only_rooms_that_lost_an_entry_after_it_refuse_a_position(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=3)
        start = await inbox.head()
        await inbox.append([draft("a", ANN), draft("b", ANN)])
        await inbox.append([draft("c", BOB), draft("d", ANN), draft("e", BOB)])
        await self.assert_trimmed(inbox, ANN, start)
        await self.assert_trimmed(inbox, ANN, at(start, 1))
        assert await offsets_of(inbox, frozenset((ANN,)), at(start, 2)) == [start.offset + 4]
        assert await offsets_of(inbox, frozenset((BOB,)), start) == [start.offset + 3, start.offset + 5]
        with pytest.raises(CursorRefused):
            await offsets_of(inbox, frozenset((ANN, BOB)), start)

    async def test_the_oldest_entries_go_when_the_log_is_full_of_bytes(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_bytes=400_000)
        start = await inbox.head()
        for number in range(60):
            await inbox.append([draft(f"n-{number}", body="x" * 20_000)])
        await self.assert_trimmed(inbox, ANN, at(start, 39))
        assert await offsets_of(inbox, frozenset((ANN,)), at(start, 50)) == [start.offset + n for n in range(51, 61)]

    async def test_old_entries_go_as_later_ones_come(self, open_inbox: OpenInbox, clock: ManualClock) -> None:
        inbox = open_inbox(retention=timedelta(hours=1))
        start = await inbox.head()
        await inbox.append([draft("a")])
        clock.advance(3599)
        await inbox.append([draft("b")])
        assert len(await offsets_of(inbox, frozenset((ANN,)), start)) == 2
        clock.advance(2)
        await inbox.append([draft("c")])
        await self.assert_trimmed(inbox, ANN, start)
        assert len(await offsets_of(inbox, frozenset((ANN,)), at(start, 1))) == 2

    async def test_what_is_trimmed_may_be_published_again(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=2)
        await inbox.append([draft("a", key="k"), draft("b")])
        assert outcomes(await inbox.append([draft("a", key="k")])) == [DUPLICATE]
        await inbox.append([draft("c")])
        assert outcomes(await inbox.append([draft("a", key="k"), draft("c")])) == [STORED, DUPLICATE]

    # follow

    async def test_a_follower_gets_every_entry_once_in_order_and_waits_for_more(self, inbox: Inbox) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", BOB), draft("c")])
        following = Following(inbox, at(start, 1))
        assert await following.until(start.offset + 3) == [start.offset + 2, start.offset + 3]
        more = following.start(start.offset + 5)
        await turns()
        assert not more.done()
        await inbox.append([draft("d")])
        await turns()
        await inbox.append([draft("a"), draft("e")])
        assert await more == [start.offset + n for n in (2, 3, 4, 5)]

    async def test_followers_do_not_share_what_they_get(self, inbox: Inbox) -> None:
        start = await inbox.head()
        tasks = [Following(inbox, start).start(start.offset + 50) for _ in range(3)]
        await turns()
        for number in range(50):
            await inbox.append([draft(f"n-{number}")])
            if number % 7 == 0:
                await turns()
        expected = [start.offset + n for n in range(1, 51)]
        assert await asyncio.gather(*tasks) == [expected] * 3

    async def test_a_large_backlog_comes_in_order(self, inbox: Inbox) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}") for number in range(2500)])
        assert await Following(inbox, start).until(start.offset + 2500) == [start.offset + n for n in range(1, 2501)]

    async def test_what_a_follower_was_not_given_yet_is_never_trimmed(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=3)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", BOB)], checkpoint=Checkpoint("s", "1"))
        await following.until(start.offset + 1)
        await inbox.append([draft("b"), draft("c"), draft("d")])
        with pytest.raises(StoreUnavailable):
            await inbox.append([draft("e"), draft("b")], checkpoint=Checkpoint("s", "2"))
        assert (await inbox.head(), await inbox.checkpoint("s")) == (at(start, 4), "1")
        assert len(await offsets_of(inbox, frozenset((ANN,)), start)) == 3
        assert await following.until(start.offset + 4) == [start.offset + n for n in (1, 2, 3, 4)]
        assert outcomes(await inbox.append([draft("e")])) == [STORED]

    async def test_what_a_follower_was_not_given_yet_outlives_the_retention(
        self, open_inbox: OpenInbox, clock: ManualClock
    ) -> None:
        inbox = open_inbox(retention=timedelta(hours=1))
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a")])
        await following.until(start.offset + 1)
        await inbox.append([draft("b")])
        clock.advance(7200)
        await inbox.append([draft("c")])
        assert await following.until(start.offset + 3) == [start.offset + n for n in (1, 2, 3)]

    async def test_a_cancelled_follower_holds_nothing_back(self, open_inbox: OpenInbox) -> None:
        inbox = open_inbox(max_entries=3)
        start = await inbox.head()
        task = Following(inbox, start).start(start.offset + 100)
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for number in range(10):
            assert outcomes(await inbox.append([draft(f"n-{number}")])) == [STORED]
