"""What every store must do with users who are erased: nothing of them is left, and nothing of others is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import pytest

from domain.errors import UnknownNotification
from domain.model import (
    EVERYONE,
    Action,
    Audience,
    BlockUser,
    ChangeMembers,
    Counts,
    DeliveriesQuery,
    DisconnectUser,
    EraseUser,
    Erasure,
    ErasureState,
    ItemState,
    Position,
    Receipt,
    RecoveryReason,
    Room,
    ScheduledNotification,
    Span,
    Subscriber,
    UserId,
)
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    CONFLICT,
    DUPLICATE,
    HOUR,
    STORED,
    WITHIN,
    Following,
    OpenedStore,
    OpenStore,
    arrival,
    arrive,
    assert_readable,
    draft,
    entries_of,
    events_of,
    ids_of,
    is_readable,
    items_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.contract.inbox_ledger import PHONE, connection, notes
from tests.contract.inbox_recipients import recipients_of
from tests.contract.inbox_revisions import titled
from tests.contract.inbox_schedule import deliver, later
from tests.contract.inbox_topics import OTHER, TOPIC, join, leave, members
from tests.doubles import START, ManualClock

ANN_ID, BOB_ID = UserId("ann"), UserId("bob")


async def erase(inbox: OpenedStore, user: UserId = ANN_ID, id_: str = "erasure") -> Erasure:
    """Until it is done."""
    return await finish(inbox, (await inbox.begin_erasure(user, id_, START)).id)


async def finish(inbox: OpenedStore, id_: str = "erasure") -> Erasure:
    """What was begun."""
    for _ in range(1000):
        found = await inbox.erasure(id_)
        assert found is not None
        if found.state is ErasureState.DONE:
            return found
        await inbox.tidy()
    raise AssertionError("it does not end")


async def found(inbox: OpenedStore, id_: str) -> Erasure:
    erasure = await inbox.erasure(id_)
    assert erasure is not None
    return erasure


async def assert_nothing_is_found(inbox: OpenedStore) -> None:
    """Of what was published and came for them."""
    for id_ in ("n", "both", "topic", "before", "before-both"):
        published = await inbox.published(id_)
        assert published is None or ANN not in published.audience.rooms
    assert [await inbox.scheduled(id_) for id_ in ("waits", "before-waits")] == [None, None]
    assert list(await inbox.roles(ANN_ID)) == []
    restriction = await inbox.restriction(ANN_ID)
    assert restriction is None or restriction.block is None or restriction.block.reason is None


Came = Callable[[OpenedStore], Awaitable[object]]


async def _publish(inbox: OpenedStore) -> None:
    await inbox.append([draft("n")])


async def _publish_for_others_too(inbox: OpenedStore) -> None:
    await inbox.append([draft("both", ANN, BOB)])


async def _publish_and_take_back(inbox: OpenedStore) -> None:
    await inbox.append([draft("n"), draft("both", ANN, BOB)])
    await inbox.recall("n")
    await inbox.recall("both")


async def _schedule(inbox: OpenedStore) -> None:
    await inbox.append([later("waits", START + HOUR)])


async def _come_back(inbox: OpenedStore) -> None:
    await register(inbox)


async def _come_back_and_read(inbox: OpenedStore) -> None:
    ann = await register(inbox)
    await inbox.append([draft("n")])
    await inbox.change(ann, Action.READ, ["n"], START, by="ann's phone")
    await inbox.acknowledge({(ANN_ID, "company"): await inbox.head()})


async def _join(inbox: OpenedStore) -> None:
    await join(inbox, "ann")


async def _join_and_leave(inbox: OpenedStore) -> None:
    await join(inbox, "ann")
    await leave(inbox, "ann")


async def _block(inbox: OpenedStore) -> None:
    await inbox.append_control(BlockUser(ANN_ID, None, "abuse of ann"))


async def _disconnect(inbox: OpenedStore) -> None:
    await inbox.append_control(DisconnectUser(ANN_ID, reconnect=True))


CAME: Sequence[Came] = (
    _publish,
    _publish_for_others_too,
    _publish_and_take_back,
    _schedule,
    _come_back,
    _come_back_and_read,
    _join,
    _join_and_leave,
    _block,
    _disconnect,
)
"""What may come for somebody who is being erased."""

Late = Callable[[OpenedStore, Subscriber, Position], Awaitable[object]]

SHARED_IDS = ("shared-read", "shared-snoozed", "shared")
SINCE_IDS = ("since", "since-read", "since-snoozed")
_ALL_IDS = (*SHARED_IDS, "own", *SINCE_IDS)


async def use_inbox(inbox: OpenedStore, subscriber: Subscriber) -> Position:
    """A subscriber's own notification, and those of their role, of which they have read one and snoozed one."""
    await inbox.append([draft("own", Room.of_user(subscriber.user))])
    await inbox.append([draft(id_, Room.of_role(subscriber.role)) for id_ in SHARED_IDS])
    await inbox.change(subscriber, Action.READ, ["shared-read"], START, by="phone")
    await inbox.snooze(subscriber, ["shared-snoozed"], START + HOUR, START)
    return await inbox.head()


def _late_change(action: Action) -> Late:
    async def change(inbox: OpenedStore, subscriber: Subscriber, _: Position) -> None:
        changed = await inbox.change(subscriber, action, _ALL_IDS, START, by="phone")
        assert (changed.changed, changed.counts) == (0, Counts(0, 0, 0))

    return change


async def _late_read_all(inbox: OpenedStore, subscriber: Subscriber, _: Position) -> None:
    changed = await inbox.read_all(subscriber, None, START, by="phone")
    assert (changed.changed, changed.counts) == (0, Counts(0, 0, 0))


async def _late_read_up_to(inbox: OpenedStore, subscriber: Subscriber, before: Position) -> None:
    for up_to in (before, await inbox.head()):
        changed = await inbox.read_all(subscriber, up_to, START, by="phone")
        assert (changed.changed, changed.counts) == (0, Counts(0, 0, 0))


async def _late_snooze(inbox: OpenedStore, subscriber: Subscriber, _: Position) -> None:
    changed = await inbox.snooze(subscriber, _ALL_IDS, START + 2 * HOUR, START)
    assert (changed.changed, changed.counts) == (0, Counts(0, 0, 0))


async def _late_wake(inbox: OpenedStore, subscriber: Subscriber, _: Position) -> None:
    changed = await inbox.snooze(subscriber, _ALL_IDS, START, START)
    assert (changed.changed, changed.counts) == (0, Counts(0, 0, 0))


async def _late_return(inbox: OpenedStore, _: Subscriber, _before: Position) -> None:
    await deliver(inbox, START + 2 * HOUR)


async def _late_mark(inbox: OpenedStore, subscriber: Subscriber, before: Position) -> None:
    await inbox.acknowledge({(subscriber.user, subscriber.role): before, (subscriber.user, "other"): before})


async def _late_notes(inbox: OpenedStore, subscriber: Subscriber, before: Position) -> None:
    receipt = Receipt(START, {PHONE: before.offset})
    whose = connection(PHONE, 1, START, subscriber.user)
    await inbox.record(notes(START, whose, receipts=((subscriber.user, receipt),)))


LATE: Mapping[str, Late] = {
    **{f"change {action.value}": _late_change(action) for action in Action},
    "read_all": _late_read_all,
    "read_all up_to": _late_read_up_to,
    "snooze": _late_snooze,
    "snooze for now": _late_wake,
    "deliver_due": _late_return,
    "acknowledge": _late_mark,
    "record": _late_notes,
}
"""All by which something of a subscriber is stored that may have been under way as they were erased: of the position up
to which they had used their inbox by then."""


class ErasureContract:
    async def test_a_user_who_was_erased_has_nothing(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", ANN, BOB), draft("c", COMPANY), draft("d", EVERYONE)])
        await inbox.change(ann, Action.READ, ["a", "c"], START)
        erased = await erase(inbox)
        assert (erased.state, erased.user, erased.begun_at) == (ErasureState.DONE, None, START)
        anew = await register(inbox)
        assert await ids_of(inbox, anew) == []
        assert (await inbox.count(anew)).counts == Counts(0, 0, 0)
        assert await events_of(inbox, anew, await inbox.head()) == []
        page = await inbox.addressed(ANN_ID, DeliveriesQuery())
        assert list(page.notifications) == []
        assert (await arrive(inbox, arrival("ann", "company", start))).reason is RecoveryReason.TRIMMED

    async def test_it_is_hidden_at_once(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", ANN, BOB)])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        anew = await register(inbox)
        assert await ids_of(inbox, anew) == []
        assert await ids_of(inbox, reader(ANN, start=anew.starts[ANN])) == []
        assert (await inbox.change(ann, Action.READ, ["a", "b"], START)).changed == 0
        assert (await inbox.read_all(ann, None, START)).changed == 0

    async def test_others_keep_what_is_theirs(self, inbox: OpenedStore) -> None:
        bob = await register(inbox, "bob")
        await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", ANN, BOB), draft("c", BOB), draft("d", COMPANY)])
        await inbox.change(bob, Action.READ, ["b"], START)
        before = await items_of(inbox, bob), await events_of(inbox, bob, start)
        await erase(inbox)
        assert (await items_of(inbox, bob), await events_of(inbox, bob, start)) == before
        published = await inbox.published("b")
        assert published is not None
        assert published.audience.rooms == {BOB}
        assert await inbox.published("a") is None

    async def test_the_last_of_several_takes_the_content_along(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", ANN, BOB)])
        await erase(inbox, ANN_ID, "first")
        assert await inbox.published("a") is not None
        await erase(inbox, BOB_ID, "second")
        assert await inbox.published("a") is None

    async def test_offsets_have_no_gap(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", BOB)])
        await inbox.change(ann, Action.SEEN, ["a"], START)
        await inbox.append_control(DisconnectUser(ANN_ID, reconnect=True))
        await erase(inbox)
        await inbox.append([draft("c")])
        following = Following(inbox, start)
        assert await following.until(start.offset + 6) == [start.offset + n for n in range(1, 7)]
        rooms = [entry.rooms for entry in following.entries]
        assert rooms == [frozenset(), {BOB}, frozenset(), frozenset(), frozenset(), {ANN}]
        assert all(ANN not in room for room in rooms[:5])
        assert b"ann" not in b"".join(entry.payload for entry in following.entries[:4])

    async def test_every_follower_is_told(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        waiting = following.start(start.offset + 1)
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        await waiting
        assert [entry.control for entry in following.entries] == [EraseUser(ANN_ID)]

    async def test_who_comes_back_is_a_new_user(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", COMPANY)])
        await inbox.acknowledge({(ANN_ID, "company"): await inbox.head()})
        cursor = await inbox.head()
        await erase(inbox)
        await inbox.append([draft("c"), draft("d", COMPANY)])
        came = await arrive(inbox, arrival("ann", "company", cursor))
        assert (came.recovered, came.reason) == (False, RecoveryReason.TRIMMED)
        assert [entry.event for entry in came.page.entries] == ["notification.new"]
        assert await ids_of(inbox, came.subscriber) == ["c"]
        again = await arrive(inbox, arrival("ann", "company", cursor))
        assert (again.recovered, again.reason) == (False, RecoveryReason.TRIMMED)
        with_new = await arrive(inbox, arrival("ann", "company", await inbox.head()))
        assert (with_new.recovered, with_new.reason) == (True, None)
        without = await arrive(inbox, arrival("ann", "admin"))
        assert (without.recovered, without.reason) == (False, None)
        assert ann.starts[ANN] < came.subscriber.starts[ANN]

    async def test_what_comes_later_is_theirs(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a")])
        await erase(inbox)
        await inbox.append([draft("b"), draft("c", ANN, BOB)])
        ann = await register(inbox)
        assert await ids_of(inbox, ann) == ["c", "b"]
        assert (await inbox.change(ann, Action.READ, ["a", "b"], START)).changed == 1
        assert (await inbox.read_all(ann, None, START)).changed == 1
        assert (await inbox.count(ann)).counts == Counts(0, 0, 2)

    async def test_somebody_is_erased_again(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a")])
        await erase(inbox, id_="first")
        await register(inbox)
        await inbox.append([draft("b")])
        cursor = await inbox.head()
        await erase(inbox, id_="second")
        ann = await register(inbox)
        assert await ids_of(inbox, ann) == []
        assert (await arrive(inbox, arrival("ann", "company", cursor))).reason is RecoveryReason.TRIMMED

    async def test_somebody_who_was_never_seen_can_be_erased(self, inbox: OpenedStore) -> None:
        assert (await erase(inbox)).state is ErasureState.DONE
        assert await ids_of(inbox, await register(inbox)) == []

    async def test_it_is_known_when_somebody_was_erased_last(self, inbox: OpenedStore) -> None:
        assert await inbox.erased_at(ANN_ID) == 0
        for id_ in ("first", "second"):
            await inbox.append([draft(id_)])
            before = await inbox.head()
            await inbox.begin_erasure(ANN_ID, id_, START)
            assert await inbox.erased_at(ANN_ID) == before.offset + 1
            await finish(inbox, id_)
            assert await inbox.erased_at(ANN_ID) == before.offset + 1
        assert await inbox.erased_at(BOB_ID) == 0

    async def test_an_unknown_erasure_is_none(self, inbox: OpenedStore) -> None:
        assert await inbox.erasure("unknown") is None

    async def test_what_was_published_for_them_never_comes_back(self, inbox: OpenedStore) -> None:
        first = [draft("a"), draft("b", ANN, BOB), draft("x-1", own_id=False, key="key")]
        published = await inbox.append(first)
        await erase(inbox)
        again = await inbox.append([*first[:2], draft("x-2", own_id=False, key="key")])
        assert outcomes(again) == [DUPLICATE] * 3
        assert [one.position for one in again] == [one.position for one in published]
        assert [one.id for one in again[:2]] == ["a", "b"]
        other = await inbox.append([draft("a", title="other"), draft("x-3", own_id=False, key="key", title="other")])
        assert outcomes(other) == [CONFLICT] * 2
        assert outcomes(await inbox.append([draft("c"), draft("a"), draft("d")])) == [STORED, DUPLICATE, STORED]
        assert await ids_of(inbox, await register(inbox)) == ["d", "c"]

    async def test_what_was_published_for_them_cannot_be_changed(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a"), draft("b", ANN, BOB)])
        await erase(inbox)
        with pytest.raises(UnknownNotification):
            await inbox.recall("a")
        with pytest.raises(UnknownNotification):
            await inbox.revise("a", lambda before: before, START)
        start = await inbox.head()
        await inbox.recall("b")
        assert [entry.rooms for entry in await entries_of(inbox, reader(ANN, BOB), start)] == [{BOB}]

    async def test_what_is_being_erased_cannot_be_changed(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", ANN, BOB), draft("c", ANN, BOB), draft("d")])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        with pytest.raises(UnknownNotification):
            await inbox.recall("a")
        with pytest.raises(UnknownNotification):
            await inbox.revise("d", titled("new"), START)
        await inbox.recall("b")
        await inbox.revise("c", titled("new"), START)
        await erase(inbox, id_="another")
        following = Following(inbox, start)
        await following.until((await inbox.head()).offset)
        assert [entry.rooms for entry in following.entries if entry.about is not None] == [{BOB}, {BOB}]
        assert await ids_of(inbox, await register(inbox)) == []
        assert await ids_of(inbox, await register(inbox, "bob")) == ["c"]

    async def test_what_was_taken_back_loses_the_name(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a"), draft("b", ANN, BOB)])
        await inbox.recall("a")
        await inbox.recall("b")
        await erase(inbox)
        (left,) = (await inbox.addressed(BOB_ID, DeliveriesQuery(id="b"))).notifications
        assert left.recalled
        (of_ann,) = (await inbox.addressed(ANN_ID, DeliveriesQuery(id="b"))).notifications
        assert not of_ann.rooms

    async def test_marks_of_before_come_too_late(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a")])
        before = await inbox.head()
        await erase(inbox)
        await inbox.acknowledge({(ANN_ID, "company"): before})
        assert list(await inbox.roles(ANN_ID)) == []

    @pytest.mark.parametrize("is_done", [False, True], ids=["running", "done"])
    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    async def test_what_was_under_way_comes_too_late(self, inbox: OpenedStore, late: Late, *, is_done: bool) -> None:
        bob = await register(inbox, "bob")
        ann = await register(inbox)
        before = await use_inbox(inbox, ann)
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        if is_done:
            await finish(inbox)
        await inbox.append([draft("since", COMPANY)])
        start = await inbox.head()
        await late(inbox, ann, before)
        assert await inbox.head() == start
        assert list(await inbox.roles(ANN_ID)) == []
        assert await inbox.waiting() == 0
        page = await inbox.addressed(ANN_ID, DeliveriesQuery())
        assert (list(page.notifications), page.starts, page.marks) == ([], {}, {})
        erasure = await found(inbox, "erasure")
        if erasure.state is ErasureState.RUNNING:
            assert (await inbox.begin_erasure(ANN_ID, "another", START)).id == "erasure"
        await finish(inbox)
        assert await inbox.head() == start
        assert (await inbox.count(bob)).counts == Counts(4, 4, 4)
        anew = await register(inbox)
        assert await events_of(inbox, anew, start) == []
        await inbox.append([draft("later", COMPANY)])
        assert [(item["id"], item["read_at"]) for item in await items_of(inbox, anew)] == [("later", None)]

    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    async def test_what_was_under_way_changes_nothing_of_who_came_back(self, inbox: OpenedStore, late: Late) -> None:
        ann = await register(inbox)
        before = await use_inbox(inbox, ann)
        await erase(inbox)
        anew = await register(inbox)
        await inbox.append([draft(id_, COMPANY) for id_ in SINCE_IDS])
        await inbox.change(anew, Action.READ, ["since-read"], START)
        await inbox.snooze(anew, ["since-snoozed"], START + 3 * HOUR, START)
        known = [await items_of(inbox, anew, state) for state in (ItemState.ALL, ItemState.SNOOZED)]
        start = await inbox.head()
        await late(inbox, ann, before)
        assert await inbox.head() == start
        assert [await items_of(inbox, anew, state) for state in (ItemState.ALL, ItemState.SNOOZED)] == known
        assert (await inbox.change(anew, Action.READ, ["since"], START)).changed == 1
        assert (await inbox.snooze(anew, ["since"], START + 3 * HOUR, START)).changed == 1
        assert (await inbox.snooze(anew, ["since", "since-snoozed"], START, START)).changed == 2
        assert (await inbox.read_all(anew, None, START)).changed == 2

    async def test_who_is_looked_up_as_they_are_erased_is_new_from_then_on(self, inbox: OpenedStore) -> None:
        await arrive(inbox, arrival("ann"))
        await inbox.append([draft("a"), draft("b")])
        looking = asyncio.create_task(register(inbox))
        beginning = asyncio.create_task(inbox.begin_erasure(ANN_ID, "erasure", START))
        await asyncio.sleep(0)
        # Whatever both come to is met in one turn.
        time.sleep(0.2)  # noqa: ASYNC251
        await asyncio.gather(looking, beginning)
        erased = await inbox.head()
        await finish(inbox)
        assert (await register(inbox)).starts[ANN] == erased.offset - 1

    async def test_a_mark_that_comes_late_makes_nobody_known(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a")])
        before = await inbox.head()
        await erase(inbox)
        await inbox.append([draft("b", EVERYONE)])
        received = await inbox.head()
        await inbox.acknowledge({(ANN_ID, "company"): received})
        came = await arrive(inbox, arrival("ann", "company", before))
        assert (came.recovered, came.reason) == (False, RecoveryReason.TRIMMED)
        assert came.subscriber.starts[ANN] >= before.offset
        assert (await arrive(inbox, arrival("ann", "admin"))).after == received

    async def test_what_lies_before_cannot_be_read_from(self, inbox: OpenedStore) -> None:
        first = await inbox.head()
        await inbox.append([draft("b")])
        await erase(inbox, id_="first")
        assert not await is_readable(inbox, await register(inbox), first)
        await inbox.append([draft("a")])
        second = await inbox.head()
        await erase(inbox, id_="second")
        ann = await register(inbox)
        assert not await is_readable(inbox, ann, first)
        assert not await is_readable(inbox, ann, second)
        await assert_readable(inbox, ann, await inbox.head())

    async def test_what_waits_for_them_is_cancelled(self, inbox: OpenedStore) -> None:
        waiting = [later("a", START + HOUR), later("b", START + HOUR, ANN, BOB)]
        await inbox.append(waiting)
        await erase(inbox)
        assert (await inbox.scheduled("a"), await inbox.waiting()) == (None, 1)
        with pytest.raises(UnknownNotification):
            await inbox.cancel("a")
        with pytest.raises(UnknownNotification):
            await inbox.revise_scheduled("a", titled("new"), START)
        assert outcomes(await inbox.append(waiting[:1])) == [DUPLICATE]
        start = await inbox.head()
        await deliver(inbox, START + HOUR)
        assert [entry.rooms for entry in await entries_of(inbox, reader(ANN, BOB), start)] == [{BOB}]

    async def test_no_report_finds_them_as_soon_as_it_has_begun(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a"), draft("b", ANN, BOB), draft("c"), draft("d", ANN, BOB)])
        for id_ in ("c", "d"):
            await inbox.recall(id_)
        await inbox.append([later("e", START + HOUR), later("f", START + HOUR, ANN, BOB), later("g", START + HOUR)])
        await inbox.cancel("g")
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        for _ in range(2):
            found = {id_: await inbox.published(id_) for id_ in "abcd"}
            audiences = {id_: one.audience for id_, one in found.items() if one is not None}
            assert audiences == {"b": Audience.user("bob"), "d": Audience.user("bob")}
            for id_ in "abcd":
                page = await inbox.addressed(ANN_ID, DeliveriesQuery(id=id_))
                assert [one.rooms for one in page.notifications if one.rooms] == [], id_
            waiting = {id_: await inbox.scheduled(id_) for id_ in "efg"}
            assert {id_: one.audience for id_, one in waiting.items() if one is not None} == {"f": Audience.user("bob")}
            for id_ in "eg":
                with pytest.raises(UnknownNotification):
                    await inbox.cancel(id_)
            await finish(inbox)

    async def test_no_group_has_them_as_soon_as_it_has_begun(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob"):
            await register(inbox, user)
        await join(inbox, "ann", "bob")
        both = [COMPANY, TOPIC]
        groups = {"everyone": [EVERYONE], "role": [COMPANY], "topic": [TOPIC], "any": both, "all": [Room.of_all(both)]}
        await inbox.append([draft(id_, *rooms) for id_, rooms in groups.items()])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        for _ in range(2):
            for id_ in groups:
                assert [one.user for one in await recipients_of(inbox, id_)] == ["bob"], id_
            await finish(inbox)

    async def test_what_waited_as_they_were_erased_never_comes(self, inbox: OpenedStore) -> None:
        waiting = [later("a", START + HOUR), later("b", START + HOUR, ANN, BOB), later("c", START + HOUR, BOB)]
        await inbox.append(waiting)
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        start = await inbox.head()
        # Another erasure may come first: nothing of this one is done yet.
        await deliver(inbox, START + HOUR)
        rooms = [entry.rooms for entry in await entries_of(inbox, reader(ANN, BOB), start)]
        assert rooms == [{BOB}, {BOB}]
        assert (await inbox.scheduled("a"), await inbox.waiting()) == (None, 0)
        await finish(inbox)
        assert await ids_of(inbox, await register(inbox)) == []
        assert outcomes(await inbox.append(waiting)) == [DUPLICATE, DUPLICATE, DUPLICATE]

    async def test_what_is_to_wait_since_they_were_erased_comes(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR), later("b", START + 2 * HOUR, BOB)])
        await deliver(inbox, START + HOUR)
        await inbox.append([later("c", START + 2 * HOUR)])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        await inbox.cancel("b")
        assert outcomes(await inbox.append([later("d", START + 2 * HOUR)])) == [STORED]
        ann = await register(inbox)
        await finish(inbox)
        assert await inbox.waiting() == 1
        await deliver(inbox, START + 2 * HOUR)
        assert await ids_of(inbox, ann) == ["d"]

    async def test_what_is_to_wait_has_the_number_of_none_that_was_to_go(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + 2 * HOUR, ANN, BOB), later("b", START + HOUR, BOB)])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        await deliver(inbox, START + HOUR)
        await inbox.append([later("c", START + 3 * HOUR)])
        ann = await register(inbox)
        await finish(inbox)
        await deliver(inbox, START + 3 * HOUR)
        assert await ids_of(inbox, ann) == ["c"]

    async def test_what_was_cancelled_names_them_no_more(self, inbox: OpenedStore) -> None:
        cancelled = [later("a", START + HOUR), later("b", START + HOUR, ANN, BOB)]
        await inbox.append(cancelled)
        for id_ in ("a", "b"):
            await inbox.cancel(id_)
        await erase(inbox)
        assert await inbox.scheduled("a") is None
        assert await inbox.scheduled("b") == ScheduledNotification("b", START + HOUR, Audience.user("bob"), None)
        assert outcomes(await inbox.append(cancelled)) == [DUPLICATE, DUPLICATE]

    async def test_what_they_have_snoozed_does_not_come_back(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        bob = await register(inbox, "bob")
        await inbox.append([draft("a"), draft("b", ANN, BOB), draft("c", COMPANY)])
        for subscriber in (ann, bob):
            await inbox.snooze(subscriber, ["a", "b", "c"], START + HOUR, START)
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        start = await inbox.head()
        await deliver(inbox, START + HOUR)
        await erase(inbox, id_="another")
        assert await inbox.waiting() == 0
        assert sorted(await ids_of(inbox, bob)) == ["b", "c"]
        following = Following(inbox, start)
        await following.until(start.offset + 2)
        assert [entry.rooms for entry in following.entries[:2]] == [{BOB}, {BOB}]

    async def test_what_came_back_to_them_is_in_nobodys_way(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", EVERYONE)])
        for hours, user in enumerate((ann, bob), 1):
            await inbox.snooze(user, ["a"], START + hours * HOUR, START)
        await deliver(inbox, START + HOUR)
        await erase(inbox)
        async with asyncio.timeout(WITHIN):
            await deliver(inbox, START + 2 * HOUR)
        assert await ids_of(inbox, bob) == ["a"]
        assert (await inbox.count(bob)).counts == Counts(1, 1, 1)

    async def test_it_goes_on_once_every_follower_has_been_told(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a")])
        following = Following(inbox, start)
        await following.until(start.offset + 1)
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        for _ in range(20):
            await inbox.tidy()
        await following.until(start.offset + 2)
        assert (await finish(inbox)).state is ErasureState.DONE

    async def test_a_block_stands(self, inbox: OpenedStore) -> None:
        await inbox.append_control(BlockUser(ANN_ID, None, "abuse"))
        await erase(inbox)
        restriction = await inbox.restriction(ANN_ID)
        assert restriction is not None
        assert restriction.block is not None
        assert restriction.block.reason is None

    async def test_who_was_in_topics_has_left_them_all(self, inbox: OpenedStore) -> None:
        await register(inbox)
        bob = await register(inbox, "bob")
        start = await inbox.head()
        await join(inbox, "ann", "bob")
        await inbox.append([draft("a", TOPIC)])
        await leave(inbox, "ann")
        await join(inbox, "ann", "cid")
        await members(inbox, add=["ann"], topic="project-18")
        await inbox.append([draft("b", TOPIC), draft("c", OTHER)])
        assert await ids_of(inbox, bob) == ["b", "a"]
        upto = await inbox.head()
        await erase(inbox)
        assert await ids_of(inbox, await register(inbox)) == []
        assert not (await arrive(inbox, arrival("ann"))).spans
        assert list((await arrive(inbox, arrival("bob"))).spans) == [Span(TOPIC, start.offset + 1, None)]
        assert await ids_of(inbox, bob) == ["b", "a"]
        following = Following(inbox, start)
        await following.until(upto.offset)
        assert [entry.control for entry in following.entries if isinstance(entry.control, ChangeMembers)] == [
            ChangeMembers("project-17", (BOB_ID,), ()),
            ChangeMembers("project-17", (), ()),
            ChangeMembers("project-17", (UserId("cid"),), ()),
            ChangeMembers("project-18", (), ()),
        ]

    async def test_who_comes_back_to_a_topic_begins_there_anew(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC)])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        again = await join(inbox, "ann")
        await inbox.append([draft("b", TOPIC)])
        for _ in range(1000):
            if not await inbox.tidy():
                break
        came = await arrive(inbox, arrival("ann"))
        assert list(came.spans) == [Span(TOPIC, again.offset, None)]
        assert await ids_of(inbox, came.subscriber) == ["b"]

    async def test_others_have_lost_nothing(self, inbox: OpenedStore) -> None:
        bob = await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", ANN, BOB)])
        await erase(inbox)
        await assert_readable(inbox, bob, start)
        assert await offsets_of(inbox, bob, start) == [start.offset + 2]

    async def test_what_is_left_grows_old(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await inbox.append([draft("a"), draft("b", ANN, BOB)])
        await erase(inbox)
        await pass_time(inbox, clock, 3 * HOUR)
        assert outcomes(await inbox.append([draft("a"), draft("b", ANN, BOB)])) == [STORED, STORED]

    @pytest.mark.parametrize("steps", [0, 1, 3])
    async def test_asked_again_while_it_runs_it_is_the_same(self, inbox: OpenedStore, steps: int) -> None:
        await register(inbox)
        await inbox.append([draft("a"), later("b", START + HOUR)])
        await join(inbox, "ann")
        first = await inbox.begin_erasure(ANN_ID, "first", START)
        # What is of others makes no difference.
        await register(inbox, "bob")
        await inbox.append([draft("c", BOB), draft("d", EVERYONE), later("e", START + HOUR, BOB)])
        await inbox.append_control(BlockUser(BOB_ID, None, "abuse"))
        for _ in range(steps):
            await inbox.tidy()
        first = await found(inbox, first.id)
        second = await inbox.begin_erasure(ANN_ID, "second", START + timedelta(seconds=1))
        if first.state is ErasureState.RUNNING and first.user is not None:
            assert second == first
            assert await inbox.erasure("second") is None
        await finish(inbox, second.id)

    @pytest.mark.parametrize("steps", [0, 1, 3])
    @pytest.mark.parametrize("came", CAME)
    async def test_erased_again_while_it_runs_nothing_is_left_of_between(
        self, inbox: OpenedStore, came: Came, steps: int
    ) -> None:
        start = await inbox.head()
        await register(inbox, "bob")
        await register(inbox)
        await inbox.append([draft("before"), draft("before-both", ANN, BOB), later("before-waits", START + HOUR)])
        await inbox.begin_erasure(ANN_ID, "first", START)
        for _ in range(steps):
            await inbox.tidy()
        await came(inbox)
        for _ in range(steps):
            await inbox.tidy()
        upto = await inbox.head()
        second = await inbox.begin_erasure(ANN_ID, "second", START)
        assert second.id == "second"
        await assert_nothing_is_found(inbox)
        await finish(inbox, "second")
        await assert_nothing_is_found(inbox)
        assert await inbox.waiting() == 0
        for id_ in ("n", "both", "before", "before-both"):
            addressed = await inbox.addressed(ANN_ID, DeliveriesQuery(id=id_))
            assert not [one for one in addressed.notifications if one.rooms]
        await finish(inbox, "first")
        following = Following(inbox, start)
        await following.until(upto.offset)
        assert all(ANN not in entry.rooms for entry in following.entries)
        changes = [entry.control for entry in following.entries if isinstance(entry.control, ChangeMembers)]
        assert not [change for change in changes if change.names(ANN_ID)]
        await deliver(inbox, START + HOUR)
        assert await ids_of(inbox, await register(inbox)) == []
        waiting = [later("before-waits", START + HOUR), later("waits", START + HOUR), draft("n"), draft("before")]
        outcomes_of = {one.id: one.outcome for one in await inbox.append(waiting)}
        assert outcomes_of["before"] is outcomes_of["before-waits"] is DUPLICATE

    async def test_what_comes_behind_the_second_of_two_is_theirs(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), later("b", START + HOUR)])
        await inbox.begin_erasure(ANN_ID, "first", START)
        await register(inbox)
        await inbox.append([draft("c"), later("d", START + HOUR)])
        await inbox.begin_erasure(ANN_ID, "second", START)
        await inbox.append([draft("e"), later("f", START + HOUR)])
        ann = await register(inbox)
        await inbox.change(ann, Action.READ, ["e"], START)
        await join(inbox, "ann")
        assert await ids_of(inbox, ann) == ["e"]
        await finish(inbox, "first")
        await finish(inbox, "second")
        assert await ids_of(inbox, ann) == ["e"]
        assert await inbox.waiting() == 1
        assert (await inbox.count(ann)).counts == Counts(0, 0, 1)
        await deliver(inbox, START + HOUR)
        assert await ids_of(inbox, ann) == ["f", "e"]
        assert [span.room for span in (await arrive(inbox, arrival("ann"))).spans] == [TOPIC]

    @pytest.mark.parametrize("steps", [0, 2])
    async def test_of_much_that_waited_nothing_comes(self, inbox: OpenedStore, steps: int) -> None:
        waiting = [later(f"w-{n}", START + HOUR, *((ANN, BOB) if n % 3 == 0 else (ANN,))) for n in range(1200)]
        for first in range(0, 1200, 400):
            await inbox.append(waiting[first : first + 400])
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        await inbox.append([later("since", START + 2 * HOUR)])
        for _ in range(steps):
            await inbox.tidy()
        for _ in range(20):
            await deliver(inbox, START + HOUR)
        await finish(inbox)
        assert await inbox.waiting() == 1
        assert len(await ids_of(inbox, await register(inbox, "bob"))) == 400
        ann = await register(inbox)
        assert await ids_of(inbox, ann) == []
        await deliver(inbox, START + 2 * HOUR)
        assert await ids_of(inbox, ann) == ["since"]
        assert outcomes(await inbox.append(waiting[:2])) == [DUPLICATE, DUPLICATE]

    async def test_of_what_names_thousands_none_names_them(self, inbox: OpenedStore) -> None:
        start, others = await inbox.head(), [Room.of_user(f"somebody-{number}") for number in range(4000)]
        for number in range(8):
            await inbox.append([draft(f"n-{number}", ANN, *others), draft(f"taken-back-{number}", ANN, *others)])
            await inbox.append([later(f"w-{number}", START + HOUR, ANN, *others)])
            await inbox.recall(f"taken-back-{number}")
        upto = await inbox.head()
        await inbox.begin_erasure(ANN_ID, "erasure", START)
        for _ in range(4):
            await inbox.deliver_due(START + HOUR, 1)
            await inbox.tidy()
        await finish(inbox)
        await deliver(inbox, START + HOUR)
        following = Following(inbox, start)
        await following.until(upto.offset)
        assert all(ANN not in entry.rooms for entry in following.entries)
        assert await ids_of(inbox, await register(inbox)) == []
        for id_ in ("n", "taken-back", "w"):
            for number in range(8):
                published = await inbox.published(f"{id_}-{number}")
                assert published is not None
                assert published.audience.rooms == {*others}

    async def test_of_many_changes_of_topics_none_names_them(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        for number in range(520):
            if number in {1, 500, 519}:
                await members(inbox, add=["ann", "cid"], topic=f"project-{number}")
            else:
                await members(inbox, add=[f"u-{number}"], topic=f"project-{number}")
        upto = await inbox.head()
        await erase(inbox)
        following = Following(inbox, start)
        await following.until(upto.offset)
        changes = [entry.control for entry in following.entries if isinstance(entry.control, ChangeMembers)]
        named = [user for change in changes for user in change.joined]
        assert (len(changes), named.count(ANN_ID), named.count(UserId("cid"))) == (520, 0, 3)

    async def test_many_notifications_and_many_readers(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        names = [Room.of_user(f"u-{number}") for number in range(50)]
        drafts = [draft(f"n-{number}", ANN, *(names if number % 3 else ())) for number in range(1200)]
        await inbox.append(drafts)
        for first in range(0, 1200, 400):
            await inbox.change(ann, Action.READ, [f"n-{number}" for number in range(first, first + 400)], START)
        await erase(inbox)
        assert await ids_of(inbox, await register(inbox)) == []
        other = await register(inbox, "u-7")
        assert len(await ids_of(inbox, other)) == 800
