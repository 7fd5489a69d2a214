"""What every store must do with what users delete: once all whom it names have, its content is gone, and no sooner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import NotificationDeleted, NotificationRecalled
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    Action,
    Counts,
    DeliveriesQuery,
    NotificationState,
    Room,
    UserId,
)
from tests.contract.inbox_erasures import erase
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    CONFLICT,
    DUPLICATE,
    HOUR,
    STORED,
    Following,
    OpenedStore,
    OpenStore,
    at,
    draft,
    entries_of,
    ids_of,
    outcomes,
    pass_time,
    register,
)
from tests.contract.inbox_recipients import published, recipients_of
from tests.contract.inbox_revisions import page_of, revise
from tests.contract.inbox_schedule import deliver, later
from tests.contract.inbox_topics import TOPIC, join
from tests.doubles import START, ManualClock


async def tidy(inbox: OpenedStore) -> None:
    for _ in range(1000):
        if not await inbox.tidy():
            return
    raise AssertionError("there is no end of tidying")


async def delete(inbox: OpenedStore, user: str, *ids: str) -> None:
    """By a device of the user, and until all that is owed for that is done."""
    changed = await inbox.change(await register(inbox, user), Action.DELETE, ids, START)
    assert changed.changed == len(ids)
    await tidy(inbox)


async def has_content(inbox: OpenedStore, id_: str) -> bool:
    return (await published(inbox, id_)).payload is not None


class DeletionContract:
    async def test_the_last_whom_it_names_takes_the_content_along(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob"):
            await register(inbox, user)
        await inbox.append([draft("one"), draft("two", ANN, BOB), draft("other")])
        await delete(inbox, "ann", "one", "two")
        assert [await has_content(inbox, id_) for id_ in ("one", "two", "other")] == [False, True, True]
        await delete(inbox, "bob", "two")
        assert [await has_content(inbox, id_) for id_ in ("one", "two", "other")] == [False, False, True]

    async def test_both_at_once_are_the_last(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB)])
        for whom in (ann, bob):
            await inbox.change(whom, Action.DELETE, ["a"], START)
        await tidy(inbox)
        assert not await has_content(inbox, "a")

    async def test_what_somebody_has_who_never_came_stays(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a", ANN, Room.of_user("never"))])
        await delete(inbox, "ann", "a")
        assert await has_content(inbox, "a")

    async def test_what_is_for_groups_stays(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await join(inbox, "ann")
        rooms = {"role": COMPANY, "all": EVERYONE, "topic": TOPIC}
        await inbox.append([draft(id_, room) for id_, room in rooms.items()])
        await inbox.append([draft("any", TOPIC, COMPANY)])
        await delete(inbox, "ann", *rooms, "any")
        assert all([await has_content(inbox, id_) for id_ in (*rooms, "any")])

    async def test_backends_are_told_all_but_the_content(self, inbox: OpenedStore) -> None:
        await register(inbox, "bob")
        ann = await register(inbox)
        await inbox.append([draft("a", ANN, BOB)])
        await inbox.change(ann, Action.READ, ["a"], START)
        await delete(inbox, "ann", "a")
        await inbox.change(await register(inbox, "bob"), Action.DELETE, ["a"], START)
        before = await published(inbox, "a"), await recipients_of(inbox, "a")
        of_ann = await inbox.addressed(UserId("ann"), DeliveriesQuery())
        await tidy(inbox)
        now = await published(inbox, "a")
        assert now == replace(before[0], payload=None)
        assert now.state is NotificationState.SENT
        assert await recipients_of(inbox, "a") == before[1]
        assert await inbox.addressed(UserId("ann"), DeliveriesQuery()) == of_ann
        (known,) = (await inbox.addressed(UserId("ann"), DeliveriesQuery(id="a"))).notifications
        assert (known.deleted, known.recalled, known.read_at) == (True, False, START)

    async def test_a_retry_is_known_as_before(self, inbox: OpenedStore) -> None:
        await register(inbox)
        drafts = [draft("a"), draft("x-1", own_id=False, key="key")]
        first = await inbox.append(drafts)
        await delete(inbox, "ann", "a", "x-1")
        again = await inbox.append([drafts[0], draft("x-2", own_id=False, key="key")])
        assert outcomes(again) == [DUPLICATE] * 2
        assert [(one.id, one.position) for one in again] == [(one.id, one.position) for one in first]
        other = await inbox.append([draft("a", title="other"), draft("x-3", own_id=False, key="key", title="other")])
        assert outcomes(other) == [CONFLICT] * 2
        assert not await has_content(inbox, "a")
        assert await ids_of(inbox, await register(inbox)) == []

    async def test_the_log_has_no_gap(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a"), draft("b"), draft("c", ANN, BOB)])
        await delete(inbox, "ann", "a", "c")
        await inbox.append([draft("d")])
        following = Following(inbox, start)
        assert await following.until(start.offset + 5) == [start.offset + n for n in range(1, 6)]
        assert [entry.rooms for entry in following.entries] == [frozenset(), {ANN}, {ANN, BOB}, {ANN}, {ANN}]
        assert [entry.position.offset - start.offset for entry in await entries_of(inbox, ann, start)] == [2, 3, 4, 5]
        for after in range(5):
            page = await inbox.read(ann, at(start, after), max_entries=1, max_bytes=1)
            while page.more and not page.entries:
                page = await inbox.read(ann, page.upto, max_entries=1, max_bytes=1)
            (entry,) = page.entries
            assert entry.position.offset == start.offset + max(after + 1, 2)
            assert page.more is (after < 4)

    async def test_who_has_it_still_is_given_it(self, inbox: OpenedStore) -> None:
        bob, start = await register(inbox, "bob"), await inbox.head()
        await register(inbox)
        await inbox.append([draft("a", ANN, BOB)])
        await delete(inbox, "ann", "a")
        assert await ids_of(inbox, bob) == ["a"]
        assert [entry.event for entry in await entries_of(inbox, bob, start)] == [NOTIFICATION_NEW]
        assert (await inbox.count(bob)).counts == Counts(1, 1, 1)

    async def test_it_keeps_its_place_among_those_in_the_inbox(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in "abcd"])
        await delete(inbox, "ann", "d", "b")
        assert await ids_of(inbox, ann) == ["c"]
        assert (await inbox.count(ann)).room == 0

    async def test_its_revisions_go_along(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB)])
        await revise(inbox, "a", "2")
        await delete(inbox, "ann", "a")
        await revise(inbox, "a", "3")
        await delete(inbox, "bob", "a")
        for user, deleted in (("ann", 3), ("bob", 5)):
            told = await page_of(inbox, await register(inbox, user), start.offset)
            assert told == [(start.offset + deleted, NOTIFICATION_DELETED, None)]
        following = Following(inbox, start)
        await following.until(start.offset + 5)
        assert [bool(entry.payload) for entry in following.entries] == [False, False, True, False, True]
        assert await ids_of(inbox, ann) == []

    @pytest.mark.parametrize("is_tidied", [False, True])
    async def test_it_cannot_be_given_other_content(self, inbox: OpenedStore, *, is_tidied: bool) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB)])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        await revise(inbox, "a", "2")
        await inbox.change(bob, Action.DELETE, ["a"], START)
        if is_tidied:
            await tidy(inbox)
        head = await inbox.head()
        with pytest.raises(NotificationDeleted):
            await revise(inbox, "a", "3")
        await tidy(inbox)
        assert not await has_content(inbox, "a")
        assert await inbox.head() == head

    @pytest.mark.parametrize("key", [None, "key"])
    async def test_it_can_still_be_taken_back(self, inbox: OpenedStore, key: str | None) -> None:
        await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a", collapse_key=key)])
        await delete(inbox, "ann", "a")
        recalled = await inbox.recall("a")
        assert recalled.about == start.offset + 1
        assert (await published(inbox, "a")).state is NotificationState.RECALLED
        await tidy(inbox)
        with pytest.raises(NotificationRecalled):
            await revise(inbox, "a", "2")
        assert len(await entries_of(inbox, await register(inbox), start)) == 2

    async def test_what_was_taken_back_by_then_stays_so(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        await inbox.recall("a")
        await tidy(inbox)
        assert (await published(inbox, "a")).state is NotificationState.RECALLED

    async def test_what_has_come_back_is_gone_too(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", ANN, BOB)])
        for whom in (ann, bob):
            await inbox.snooze(whom, ["a"], START + HOUR, START)
        await delete(inbox, "ann", "a")
        await deliver(inbox, START + HOUR)
        assert await ids_of(inbox, bob) == ["a"]
        await delete(inbox, "bob", "a")
        assert await inbox.waiting() == 0
        events = [entry.event for entry in await entries_of(inbox, bob, start)]
        assert NOTIFICATION_NEW not in events
        following = Following(inbox, start)
        head = await inbox.head()
        await following.until(head.offset)
        assert all(not entry.payload for entry in following.entries if entry.event == NOTIFICATION_NEW)

    async def test_what_was_sent_later_goes_as_well(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([later("a", START + HOUR)])
        await deliver(inbox, START + HOUR)
        await delete(inbox, "ann", "a")
        assert not await has_content(inbox, "a")

    async def test_of_those_with_a_key_the_last_goes_and_the_earlier_stay_away(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a", collapse_key="k")])
        await inbox.append([draft("b", collapse_key="k")])
        await delete(inbox, "ann", "b")
        assert await ids_of(inbox, ann) == []
        assert [entry.event for entry in await entries_of(inbox, ann, start)] == [NOTIFICATION_DELETED]
        await inbox.append([draft("c", collapse_key="k")])
        assert await ids_of(inbox, ann) == ["c"]
        assert [entry.position.offset for entry in await entries_of(inbox, ann, start)] == [
            start.offset + 3,
            start.offset + 4,
        ]

    async def test_who_is_erased_has_it_no_more(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob", "cid"):
            await register(inbox, user)
        await inbox.append([draft("a", ANN, BOB), draft("b", ANN, BOB, Room.of_user("cid"))])
        await delete(inbox, "bob", "a", "b")
        assert await has_content(inbox, "a")
        await erase(inbox)
        await tidy(inbox)
        assert not await has_content(inbox, "a")
        assert await has_content(inbox, "b")
        assert (await published(inbox, "a")).audience.rooms == {BOB}

    async def test_what_is_left_can_be_erased_with_its_user(self, inbox: OpenedStore) -> None:
        await register(inbox)
        one = draft("a")
        await inbox.append([one])
        await delete(inbox, "ann", "a")
        await erase(inbox)
        assert await inbox.published("a") is None
        assert outcomes(await inbox.append([one])) == [DUPLICATE]

    async def test_what_is_left_grows_old(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await register(inbox)
        await inbox.append([draft("a")])
        await delete(inbox, "ann", "a")
        await pass_time(inbox, clock, HOUR + timedelta(seconds=1))
        assert await inbox.published("a") is None
        assert outcomes(await inbox.append([draft("a")])) == [STORED]

    async def test_many_at_once(self, inbox: OpenedStore) -> None:
        names = [Room.of_user(f"u-{number}") for number in range(2000)]
        await inbox.append([draft(f"n-{number}") for number in range(700)])
        await inbox.append([draft(f"m-{number}", ANN, *names) for number in range(5)])
        await register(inbox)
        for first in range(0, 700, 350):
            ids = [f"n-{number}" for number in range(first, first + 350)]
            await inbox.change(await register(inbox), Action.DELETE, ids, START)
        await delete(inbox, "ann", *(f"m-{number}" for number in range(5)))
        assert not any([await has_content(inbox, f"n-{number}") for number in range(0, 700, 33)])
        assert all([await has_content(inbox, f"m-{number}") for number in range(5)])
