"""Taking back what was published: whoever has it is told, and nobody else ever sees it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from domain.errors import NotificationRecalled, UnknownNotification
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    Action,
    Addressed,
    Amended,
    AudienceKind,
    Counts,
    DeliveriesQuery,
    Entry,
    RecoveryReason,
    Room,
    UserId,
)
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    CONFLICT,
    DUPLICATE,
    Following,
    OpenedStore,
    OpenStore,
    assert_refused,
    at,
    draft,
    ids_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock


async def page_of(inbox: OpenedStore, *rooms: Room, after: int = 0) -> list[tuple[int, str, str]]:
    """Offsets, events and first ids, as whoever reads these rooms is given them."""
    head = await inbox.head()
    start = at(head, after - head.offset)
    page = await inbox.read(reader(*rooms), start, max_entries=1000, max_bytes=1 << 20)
    assert not page.more
    return [told(entry) for entry in page.entries]


def told(entry: Entry) -> tuple[int, str, str]:
    said = json.loads(entry.payload)
    return entry.position.offset, entry.event, said["ids"][0] if "ids" in said else said["id"]


class RecallContract:
    async def test_a_recall_is_an_entry_in_the_rooms_of_what_it_takes_back(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", ANN, BOB), draft("b", ANN)])
        recalled = await inbox.recall("a")
        assert (recalled.id, recalled.about, recalled.position) == ("a", start.offset + 1, at(start, 3))
        await following.until(start.offset + 3)
        entry = following.entries[-1]
        assert (entry.event, entry.about) == (NOTIFICATION_DELETED, start.offset + 1)
        assert entry.rooms == {ANN, BOB}
        assert json.loads(entry.payload) == {"ids": ["a"], "by": "publisher"}
        assert following.offsets == [start.offset + n for n in (1, 2, 3)]

    async def test_whoever_reads_from_before_it_is_never_given_it(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", ANN), draft("b", COMPANY), draft("c", EVERYONE), draft("d", ANN)])
        for id_ in ("a", "b", "c"):
            await inbox.recall(id_)
        kept = [(4, "notification.new", "d")]
        deleted = [(5, NOTIFICATION_DELETED, "a"), (6, NOTIFICATION_DELETED, "b"), (7, NOTIFICATION_DELETED, "c")]
        expected = [(start.offset + n, *rest) for n, *rest in (*kept, *deleted)]
        assert await page_of(inbox, ANN, COMPANY, EVERYONE, after=start.offset) == expected
        assert await page_of(inbox, ANN, after=start.offset + 4) == [expected[1]]

    async def test_pages_of_one_entry_come_to_the_same(self, inbox: OpenedStore) -> None:
        after = start = await inbox.head()
        await inbox.append([draft(id_, ANN) for id_ in "abcd"])
        for id_ in ("a", "c", "d"):
            await inbox.recall(id_)
        given = []
        while True:
            page = await inbox.read(reader(ANN), after, max_entries=1, max_bytes=1)
            given += [told(entry) for entry in page.entries]
            after = page.upto
            if not page.more:
                break
        assert given == await page_of(inbox, ANN, after=start.offset)
        assert [id_ for _, _, id_ in given] == ["b", "a", "c", "d"]

    async def test_a_follower_from_before_it_finds_its_place_empty(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b")])
        await inbox.recall("a")
        following = Following(inbox, start)
        await following.until(start.offset + 3)
        assert following.offsets == [start.offset + n for n in (1, 2, 3)]
        empty = following.entries[0]
        assert (empty.rooms, empty.payload) == (frozenset(), b"")

    async def test_it_leaves_lists_and_counts(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", COMPANY), draft("c", EVERYONE), draft("d")])
        await inbox.change(ann, Action.READ, ["a", "b"], START)
        await inbox.change(ann, Action.ARCHIVE, ["c"], START)
        for id_, counts in (("d", (0, 0, 2)), ("a", (0, 0, 1)), ("c", (0, 0, 1)), ("b", (0, 0, 0))):
            recalled = await inbox.recall(id_)
            counted = await inbox.count(ann)
            assert counted.counts == Counts(*counts)
            assert counted.as_of == recalled.position
            assert id_ not in await ids_of(inbox, ann)

    async def test_nothing_can_be_done_to_it_any_more(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        recalled = await inbox.recall("a")
        for action in Action:
            assert (await inbox.change(ann, action, ["a"], START)).changed == 0
        assert await inbox.head() == recalled.position
        assert (await inbox.read_all(ann, None, START)).changed == 1

    async def test_what_its_user_has_deleted_can_still_be_taken_back(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a", ANN, BOB)])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        await inbox.recall("a")
        assert (await inbox.count(ann)).counts == Counts(0, 0, 0)
        assert [id_ for _, _, id_ in await page_of(inbox, BOB)] == ["a"]

    async def test_what_has_expired_can_still_be_taken_back(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a", expires_at=START + timedelta(seconds=5))])
        clock.advance(10)
        await inbox.recall("a")
        assert (await inbox.count(ann)).counts == Counts(0, 0, 0)
        with pytest.raises(NotificationRecalled):
            await inbox.recall("a")

    async def test_an_expiry_of_it_changes_no_count_any_more(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a", expires_at=START + timedelta(seconds=5))])
        before = await inbox.count(ann)
        assert before.stands_until == START + timedelta(seconds=5)
        await inbox.recall("a")
        after = await inbox.count(ann)
        assert (after.counts, after.stands_until) == (Counts(0, 0, 0), None)
        assert after.room == before.room + 1

    async def test_what_it_had_pushed_out_is_there_again(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=2)
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in "abc"])
        assert await ids_of(inbox, ann) == ["c", "b"]
        await inbox.recall("c")
        assert await ids_of(inbox, ann) == ["b", "a"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)

    async def test_it_is_taken_back_once(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        recalled = await inbox.recall("a")
        with pytest.raises(NotificationRecalled):
            await inbox.recall("a")
        assert await inbox.head() == recalled.position

    async def test_of_many_who_take_it_back_at_once_one_does(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a"), draft("b")])
        done = await asyncio.gather(*(inbox.recall("a") for _ in range(8)), inbox.recall("b"), return_exceptions=True)
        assert sum(isinstance(one, NotificationRecalled) for one in done) == 7
        recalled = [one for one in done if isinstance(one, Amended)]
        assert (await inbox.head()).offset == max(one.position.offset for one in recalled)

    async def test_what_was_never_published_is_unknown(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        head = await inbox.head()
        for id_ in ("A", "b", "given-up-1"):
            with pytest.raises(UnknownNotification):
                await inbox.recall(id_)
        assert await inbox.head() == head

    async def test_its_id_is_still_taken(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", key="k")])
        await inbox.recall("a")
        again = await inbox.append([draft("a", key="k"), draft("a", title="other"), draft("b", key="k")])
        assert outcomes(again) == [DUPLICATE, CONFLICT, CONFLICT]
        assert again[0].position == at(start, 1)
        assert await page_of(inbox, ANN, after=start.offset) == [(start.offset + 2, NOTIFICATION_DELETED, "a")]

    async def test_published_and_taken_back_at_once(self, inbox: OpenedStore) -> None:
        """Whichever comes first."""
        start = await inbox.head()
        following = Following(inbox, start)
        for number in range(20):
            id_ = f"n-{number}"
            await asyncio.gather(inbox.append([draft(id_)]), inbox.recall(id_), return_exceptions=True)
            try:
                await inbox.recall(id_)
            except NotificationRecalled:
                pass
        head = await inbox.head()
        assert head.offset == start.offset + 40
        await following.until(head.offset)
        assert following.offsets == list(range(start.offset + 1, head.offset + 1))
        assert {event for _, event, _ in await page_of(inbox, ANN, after=start.offset)} == {NOTIFICATION_DELETED}

    async def test_one_for_many_users(self, inbox: OpenedStore) -> None:
        rooms = [Room.of_user(f"user-with-a-rather-long-name-{number}") for number in range(1500)]
        start = await inbox.head()
        await inbox.append([draft("a", *rooms)])
        await inbox.recall("a")
        for room in (rooms[0], rooms[-1]):
            assert await page_of(inbox, room, after=start.offset) == [(start.offset + 2, NOTIFICATION_DELETED, "a")]
        following = Following(inbox, start)
        await following.until(start.offset + 2)
        assert following.entries[-1].rooms == {*rooms}

    async def test_it_leaves_the_log_in_its_turn(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=timedelta(hours=1))
        start = await inbox.head()
        rooms = [Room.of_user(str(number)) for number in range(50)]
        await inbox.append([draft("a", ANN, *rooms), draft("b", BOB)])
        await inbox.recall("a")
        await pass_time(inbox, clock, timedelta(hours=2))
        await inbox.append([draft("c", BOB)])
        await pass_time(inbox, clock, timedelta(seconds=1))
        # What left the log was the recall, and not what it took back.
        await assert_refused(inbox, reader(ANN), at(start, 2), RecoveryReason.TRIMMED)
        assert await page_of(inbox, ANN, after=start.offset + 3) == []
        with pytest.raises(UnknownNotification):
            await inbox.recall("a")

    async def test_it_is_known_for_whom_it_was(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await register(inbox, "ann")
        await inbox.append([draft("a", ANN, BOB), draft("b", COMPANY)])
        clock.advance(60)
        await inbox.recall("a")
        await inbox.recall("b")
        found: dict[tuple[str, str], Addressed] = {}
        for user in ("ann", "bob", "carl"):
            for id_ in ("a", "b"):
                (one,) = (await inbox.addressed(UserId(user), DeliveriesQuery(id=id_))).notifications
                assert one.recalled
                assert one.expires_at == START + timedelta(seconds=60)
                found[user, id_] = one
        assert found["ann", "a"].audience is AudienceKind.USER
        assert found["ann", "a"].rooms == {ANN}
        assert found["bob", "a"].rooms == {BOB}
        assert not found["carl", "a"].rooms
        assert found["carl", "b"].audience is AudienceKind.ROLE
        assert found["carl", "b"].rooms == {COMPANY}
