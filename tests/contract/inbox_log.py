"""What every store must do as a log: storing once, in one order, and giving it to those who follow."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.contract.events import notification_json
from domain.errors import CheckpointMoved, CursorRefused
from domain.model import EVERYONE, Action, Appended, Checkpoint, Draft, Entry, Position, RecoveryReason, Room, TailEntry
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    CONFLICT,
    DUPLICATE,
    HOUR,
    STORED,
    WITHIN,
    Following,
    OpenedStore,
    OpenStore,
    age,
    assert_refused,
    at,
    draft,
    ids_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    turns,
)
from tests.doubles import START, ManualClock


class AppendContract:
    async def test_positions_follow_each_other_in_the_order_of_the_batch(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        first = await inbox.append([draft("a"), draft("b")])
        second = await inbox.append([draft("c")])
        assert [*first, *second] == [
            Appended(STORED, "a", at(start, 1)),
            Appended(STORED, "b", at(start, 2)),
            Appended(STORED, "c", at(start, 3)),
        ]
        assert await inbox.head() == at(start, 3)

    async def test_cursors_can_be_stored_and_read_back(self, inbox: OpenedStore) -> None:
        (appended,) = await inbox.append([draft("a")])
        for position in (appended.position, await inbox.head()):
            assert Position.parse(str(position)) == position

    async def test_an_entry_is_what_recipients_get(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        one = draft("a", ANN, EVERYONE, body="Grüße", data=b'{ "n": 1e2 }', expires_at=START + HOUR)
        await inbox.append([one])
        page = await inbox.read(reader(ANN), start, max_entries=1, max_bytes=1)
        expected = Entry(
            at(start, 1),
            frozenset((ANN, EVERYONE)),
            "notification.new",
            notification_json(one.notification),
            START + HOUR,
        )
        assert page.entries == (expected,)
        assert b'{ "n": 1e2 }' in bytes(expected.payload)
        following = Following(inbox, start)
        await following.until(start.offset + 1)
        assert following.entries == [expected]

    async def test_the_same_id_with_the_same_content_is_stored_once(self, inbox: OpenedStore) -> None:
        (first,) = await inbox.append([draft("a", data=b'{"x":1,"y":2}')])
        await inbox.append([draft("b")])
        again = await inbox.append([draft("a", data=b'{"y": 2, "x": 1}'), draft("c")])
        assert outcomes(again) == [DUPLICATE, STORED]
        assert (again[0].id, again[0].position) == ("a", first.position)
        assert again[1].position.offset == first.position.offset + 2

    @pytest.mark.parametrize("other", [draft("a", title="other"), draft("a", BOB), draft("a", data=b"{}")])
    async def test_the_same_id_with_other_content_is_a_conflict(self, inbox: OpenedStore, other: Draft) -> None:
        (first,) = await inbox.append([draft("a")])
        assert await inbox.append([other]) == [Appended(CONFLICT, "a", first.position)]
        assert await inbox.head() == first.position

    async def test_the_same_key_is_the_same_publication(self, inbox: OpenedStore) -> None:
        (first,) = await inbox.append([draft("made-1", own_id=False, key="k")])
        again = await inbox.append([draft("made-2", own_id=False, key="k")])
        other = await inbox.append([draft("made-3", own_id=False, key="k", title="other")])
        assert again == [Appended(DUPLICATE, "made-1", first.position)]
        assert other == [Appended(CONFLICT, "made-1", first.position)]

    async def test_without_an_id_or_a_key_nothing_is_a_duplicate(self, inbox: OpenedStore) -> None:
        appended = await inbox.append([draft(f"made-{number}", own_id=False) for number in range(3)])
        assert outcomes(appended) == [STORED] * 3

    async def test_an_id_that_was_made_here_cannot_be_taken_by_a_publisher(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("made-1", own_id=False)])
        assert outcomes(await inbox.append([draft("made-1")])) == [CONFLICT]

    async def test_an_id_and_a_key_of_two_publications_conflict(self, inbox: OpenedStore) -> None:
        (first, second) = await inbox.append([draft("a"), draft("b", key="k", title="other")])
        head = await inbox.head()
        (mixed,) = await inbox.append([draft("a", key="k")])
        assert mixed.outcome is CONFLICT
        assert mixed.position in (first.position, second.position)
        assert await inbox.head() == head

    async def test_duplicates_and_conflicts_within_one_batch(self, inbox: OpenedStore) -> None:
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
        assert await offsets_of(inbox, reader(ANN), start) == [start.offset + n for n in (1, 2, 3)]

    async def test_a_conflict_keeps_an_all_or_nothing_batch_out(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "1"))
        head = await inbox.head()
        batch = [draft("new", key="k"), draft("a"), draft("a", title="other"), draft("new", title="other")]
        appended = await inbox.append(batch, checkpoint=Checkpoint("s", "2", "1"), all_or_nothing=True)
        assert [one.id for one in appended] == ["new", "a", "a", "new"]
        assert [number for number, one in enumerate(appended) if one.outcome is CONFLICT] == [2, 3]
        assert STORED not in outcomes(appended)
        assert all(one.position.offset <= head.offset for one in appended)
        assert await inbox.head() == head
        assert await inbox.checkpoint("s") == "1"
        assert outcomes(await inbox.append([draft("new", title="other"), draft("x", key="k")])) == [STORED, STORED]

    async def test_without_a_conflict_an_all_or_nothing_batch_is_stored(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        assert outcomes(await inbox.append([draft("a"), draft("b")], all_or_nothing=True)) == [DUPLICATE, STORED]

    async def test_many_retries_at_once_are_stored_once(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        batch = [draft(f"n-{number}") for number in range(600)]
        answers = await asyncio.gather(*(inbox.append(batch, all_or_nothing=True) for _ in range(10)))
        assert [outcomes(answer)[0] for answer in answers].count(STORED) == 1
        assert len({tuple(one.position for one in answer) for answer in answers}) == 1
        assert await inbox.head() == at(start, 600)

    async def test_a_checkpoint_is_stored_with_its_batch(self, inbox: OpenedStore) -> None:
        assert await inbox.checkpoint("s") is None
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "1"))
        await inbox.append([], checkpoint=Checkpoint("other", "9"))
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "2", "1"))
        assert (await inbox.checkpoint("s"), await inbox.checkpoint("other")) == ("2", "9")

    async def test_what_stands_before_a_checkpoint_that_has_moved_on_is_not_stored(self, inbox: OpenedStore) -> None:
        """Two servers who take over the same source do not store what it brings twice."""
        start = await inbox.head()
        await inbox.append([draft("a")], checkpoint=Checkpoint("s", "1"))
        for stale in (Checkpoint("s", "1"), Checkpoint("s", "2", "0"), Checkpoint("other", "1", "0")):
            with pytest.raises(CheckpointMoved):
                await inbox.append([draft("b")], checkpoint=stale)
        assert (await inbox.head(), await inbox.checkpoint("s")) == (at(start, 1), "1")
        assert await inbox.checkpoint("other") is None
        await inbox.append([draft("b")], checkpoint=Checkpoint("s", "2", "1"))
        assert (await inbox.head(), await inbox.checkpoint("s")) == (at(start, 2), "2")

    async def test_of_many_who_move_a_checkpoint_at_once_one_does(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        answers = await asyncio.gather(
            *(inbox.append([draft("m", own_id=False)], checkpoint=Checkpoint("s", "1")) for _ in range(20)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, CheckpointMoved) for answer in answers) == 19
        assert await inbox.head() == at(start, 1)

    async def test_a_notification_for_many_is_one_entry(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", *(Room.of_user(f"u-{number}") for number in range(10_000)))])
        assert await inbox.head() == at(start, 1)
        for user in ("u-0", "u-9999"):
            own = reader(Room.of_user(user), user=user)
            assert await offsets_of(inbox, own, start) == [start.offset + 1]
            assert await ids_of(inbox, own) == ["a"]

    async def test_the_events_of_users_have_their_place_in_the_same_order(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        ann = reader(ANN, EVERYONE)
        await inbox.append([draft("a", ANN), draft("b", EVERYONE)])
        await inbox.change(ann, Action.SEEN, ["b"], START)
        await inbox.append([draft("c", BOB)])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        await inbox.read_all(ann, None, START)
        await inbox.append([draft("d", ANN)])
        following = Following(inbox, start)
        await following.until(start.offset + 7)
        assert [entry.position for entry in following.entries] == [at(start, n) for n in range(1, 8)]
        told = [(entry.event, json.loads(entry.payload)) for entry in following.entries]
        assert [event for event, _ in told] == [
            "notification.new",
            "notification.new",
            "notification.updated",
            "notification.new",
            "notification.deleted",
            "notification.updated",
            "notification.new",
        ]
        assert told[2][1]["ids"] == ["b"]
        assert told[4][1] == {"ids": ["a"]}
        assert told[5][1]["all"] is True
        # What somebody does is for their own devices alone.
        assert [set(following.entries[n].rooms) for n in (2, 4, 5)] == [{ANN}] * 3
        assert await offsets_of(inbox, ann, start) == [start.offset + n for n in (1, 2, 3, 5, 6, 7)]
        assert await offsets_of(inbox, reader(BOB, EVERYONE, user="bob"), start) == [start.offset + n for n in (2, 4)]

    async def test_an_id_is_known_as_long_as_its_entry_is_kept(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await inbox.append([draft("a"), draft("made", own_id=False, key="k")])
        await pass_time(inbox, clock, HOUR * 0.99)
        again = await inbox.append([draft("a"), draft("made-2", own_id=False, key="k")])
        assert outcomes(again) == [DUPLICATE, DUPLICATE]

    async def test_offsets_go_on_where_everything_was_trimmed(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await inbox.append([draft("a"), draft("b")])
        head = await inbox.head()
        await pass_time(inbox, clock, 2 * HOUR)
        assert await inbox.head() == head
        (appended,) = await inbox.append([draft("c")])
        assert appended.position == at(head, 1)


class FollowContract:
    async def test_a_follower_gets_every_entry_once_in_order_and_waits_for_more(self, inbox: OpenedStore) -> None:
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

    async def test_a_follower_is_told_when_what_comes_was_stored(self, inbox: OpenedStore, clock: ManualClock) -> None:
        following = Following(inbox, start := await inbox.head())
        clock.advance(60)
        await inbox.append([draft("a"), draft("b", BOB)])
        await following.until(start.offset + 2)
        assert [entry.stored_at for entry in following.entries] == [clock.now()] * 2

    async def test_followers_do_not_share_what_they_get(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        tasks = [Following(inbox, start).start(start.offset + 50) for _ in range(3)]
        await turns()
        for number in range(50):
            await inbox.append([draft(f"n-{number}")])
            if number % 7 == 0:
                await turns()
        expected = [start.offset + n for n in range(1, 51)]
        assert await asyncio.gather(*tasks) == [expected] * 3

    async def test_a_large_backlog_comes_in_order(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}") for number in range(2500)])
        assert await Following(inbox, start).until(start.offset + 2500) == [start.offset + n for n in range(1, 2501)]

    async def test_a_follower_far_behind_catches_up_while_more_comes(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}") for number in range(1200)])
        following = Following(inbox, start).start(start.offset + 1300)
        for number in range(1200, 1300):
            await inbox.append([draft(f"n-{number}")])
        assert await following == [start.offset + n for n in range(1, 1301)]

    async def test_what_a_follower_wants_has_its_payload_and_the_rest_its_place(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        wanted = {ANN}
        following = inbox.tail(start, lambda rooms: not wanted.isdisjoint(rooms))
        await inbox.append([draft("a", ANN), draft("b", BOB), draft("c", ANN, BOB)])
        given: list[TailEntry] = []
        async with asyncio.timeout(WITHIN):
            while len(given) < 3:
                given += await anext(following)
            await inbox.append([draft("d", BOB)])
            await turns()
            wanted.add(BOB)
            while len(given) < 4:
                given += await anext(following)
        everything = Following(inbox, start)
        await everything.until(start.offset + 4)
        assert [(one.position, one.rooms, one.event) for one in given] == [
            (one.position, one.rooms, one.event) for one in everything.entries
        ]
        assert [given[number] for number in (0, 2, 3)] == [everything.entries[number] for number in (0, 2, 3)]

    async def test_what_was_answered_can_be_read(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        for number in range(1, 6):
            (appended,) = await inbox.append([draft(f"n-{number}")])
            assert await inbox.head() == appended.position
            assert await offsets_of(inbox, reader(ANN), at(start, number - 1)) == [start.offset + number]

    async def test_what_a_follower_was_not_given_yet_outlives_the_retention(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a")])
        await following.until(start.offset + 1)
        await inbox.append([draft("b")])
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("c")])
        assert await following.until(start.offset + 3) == [start.offset + n for n in (1, 2, 3)]

    async def test_a_cancelled_follower_holds_nothing_back(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        task = Following(inbox, start).start(start.offset + 100)
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await inbox.append([draft("a")])
        await pass_time(inbox, clock, 2 * HOUR)
        await assert_refused(inbox, reader(ANN), start)

    async def test_a_follower_of_what_is_gone_is_told(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await age(inbox, clock, [draft("a")], [draft("b")])
        for after, reason in (
            (start, RecoveryReason.TRIMMED),
            (at(start, 3), RecoveryReason.INVALID),
            (Position("another", 0), RecoveryReason.UNKNOWN_EPOCH),
        ):
            with pytest.raises(CursorRefused) as refused:
                await anext(inbox.tail(after))
            assert refused.value.reason is reason
        assert await Following(inbox, at(start, 1)).until(start.offset + 2) == [start.offset + 2]
