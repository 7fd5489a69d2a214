"""What users snooze: it is gone, and comes back as if it were new, once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    NOTIFICATION_UPDATED,
    Action,
    Counts,
    InboxQuery,
    ItemState,
    Position,
    Room,
)
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    at,
    draft,
    entries_of,
    events_of,
    ids_of,
    items_of,
    pass_time,
    register,
)
from tests.contract.inbox_schedule import deliver, later
from tests.doubles import START, ManualClock

UNTIL = START + HOUR
MANAGER = Room("role:manager")


class SnoozeContract:
    async def test_what_is_snoozed_is_gone(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", ANN, BOB), draft("b"), draft("c", COMPANY), draft("d", EVERYONE)])
        changed = await inbox.snooze(ann, ["d", "a", "x", "c"], UNTIL, START)
        assert (changed.changed, changed.counts, changed.as_of) == (3, Counts(1, 1, 1), at(start, 5))
        assert (await inbox.count(ann)).counts == Counts(1, 1, 1)
        for state in (ItemState.ALL, ItemState.CURRENT, ItemState.UNREAD):
            assert await ids_of(inbox, ann, state) == ["b"]
        assert await ids_of(inbox, bob) == ["d", "c", "a"]
        assert (await events_of(inbox, ann, at(start, 4))) == [
            (NOTIFICATION_UPDATED, {"ids": ["d", "a", "c"], "change": {"snoozed_until": "2030-01-31T13:00:00.000Z"}})
        ]
        assert await events_of(inbox, bob, at(start, 4)) == []
        assert await inbox.waiting() == 3

    async def test_it_comes_back_at_the_top_and_unread(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a"), draft("b", EVERYONE), draft("c")])
        await inbox.change(ann, Action.READ, ["a", "b", "c"], START)
        await inbox.change(ann, Action.ARCHIVE, ["b"], START)
        await inbox.snooze(ann, ["b", "a"], UNTIL, START)
        assert await deliver(inbox, UNTIL - timedelta(microseconds=1)) == 0
        clock.advance(3600)
        due = await inbox.deliver_due(clock.now(), 10)
        assert ([*due.late], due.next) == ([0.0, 0.0], None)
        head = await inbox.head()
        assert head.offset == start.offset + 8
        items = await items_of(inbox, ann)
        assert {item["id"] for item in items[:2]} == {"a", "b"}
        assert [item["read_at"] for item in items] == [None, None, "2030-01-31T12:00:00.000Z"]
        assert {(item["seen_at"], item["archived_at"]) for item in items[:2]} == {(None, None)}
        assert (await inbox.count(ann)).counts == Counts(2, 2, 3)
        await following.until(head.offset)
        told = following.entries[-2:]
        assert {(entry.event, entry.rooms) for entry in told} == {(NOTIFICATION_NEW, frozenset((ANN,)))}
        assert {json.loads(entry.payload)["id"]: entry.about for entry in told} == {
            "a": start.offset + 1,
            "b": start.offset + 2,
        }
        listing = await inbox.list_items(ann, InboxQuery())
        assert [item.offset for item in listing.items] == [start.offset + n for n in (8, 7, 3)]
        assert await inbox.waiting() == 0
        assert await deliver(inbox, UNTIL) == 0

    async def test_lists_are_leafed_through_by_where_it_came_back(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in "abcdef"])
        await inbox.snooze(ann, ["a", "c"], UNTIL, START)
        await inbox.append([draft("g")])
        await deliver(inbox, UNTIL)
        await inbox.append([draft("h")])
        seen: list[str] = []
        before: int | None = None
        while True:
            page = await inbox.list_items(ann, InboxQuery(limit=2, before=before))
            seen += [json.loads(item.payload)["id"] for item in page.items]
            before = page.next
            if before is None:
                break
        assert (seen[0], set(seen[1:3]), seen[3:]) == ("h", {"a", "c"}, ["g", "f", "e", "d", "b"])
        typed = await inbox.list_items(ann, InboxQuery(type="test", state=ItemState.UNREAD))
        assert len(typed.items) == 8

    async def test_a_replay_from_before_it_gives_it_once(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", EVERYONE), draft("b", EVERYONE)])
        await inbox.revise("a", lambda one: replace(one, title="x"), START)
        await inbox.snooze(ann, ["a"], UNTIL, START)
        await deliver(inbox, UNTIL)
        raised = (await inbox.head()).offset
        left, kept, revised, updated, back = await entries_of(inbox, ann, start)
        assert (left.revised, kept.revised, updated.revised, back.revised) == (raised, None, None, None)
        assert (revised.event, revised.revised, revised.about) == (NOTIFICATION_REVISED, raised, start.offset + 1)
        assert (back.position.offset, back.about, back.event) == (raised, start.offset + 1, NOTIFICATION_NEW)
        assert json.loads(back.payload)["title"] == "x"
        assert await entries_of(inbox, ann, at(start, raised - start.offset - 1)) == [back]
        # For others it is what it was.
        assert [entry.revised for entry in await entries_of(inbox, bob, start)] == [start.offset + 3, None, None]
        page = await inbox.read(ann, start, max_entries=1, max_bytes=1 << 20)
        assert [entry.revised for entry in page.entries] == [raised]

    async def test_snoozed_again_it_is_for_the_other_time(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        assert (await inbox.snooze(ann, ["a"], UNTIL, START)).changed == 1
        assert (await inbox.snooze(ann, ["a"], UNTIL, START)).changed == 0
        assert (await inbox.snooze(ann, ["a"], UNTIL + HOUR, START)).changed == 1
        assert await inbox.waiting() == 1
        assert await deliver(inbox, UNTIL) == 0
        assert (await inbox.deliver_due(UNTIL, 10)).next == UNTIL + HOUR
        assert await deliver(inbox, UNTIL + HOUR) == 1
        assert await ids_of(inbox, ann) == ["a"]

    async def test_what_came_back_is_snoozed_once_more(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b")])
        for number in range(1, 4):
            await inbox.snooze(ann, ["a"], START + number * HOUR, START)
            assert await ids_of(inbox, ann) == ["b"]
            assert await deliver(inbox, START + number * HOUR) == 1
            assert await ids_of(inbox, ann) == ["a", "b"]
        head = await inbox.head()
        new = [entry for entry in await entries_of(inbox, ann, start) if entry.event == NOTIFICATION_NEW]
        # The first is left to the last one, and what came in between is gone.
        assert [(entry.position.offset, entry.revised) for entry in new] == [
            (start.offset + 1, head.offset),
            (start.offset + 2, None),
            (head.offset, None),
        ]
        following = Following(inbox, start)
        assert await following.until(head.offset) == list(range(start.offset + 1, head.offset + 1))

    async def test_a_time_that_has_passed_brings_it_back_now(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        head = await inbox.head()
        assert (await inbox.snooze(ann, ["a", "b"], START, START)).changed == 0
        assert await inbox.head() == head
        await inbox.snooze(ann, ["a"], UNTIL, START)
        changed = await inbox.snooze(ann, ["a", "b"], START - HOUR, START)
        assert (changed.changed, changed.counts) == (1, Counts(2, 2, 2))
        assert await ids_of(inbox, ann) == ["a", "b"]
        assert await inbox.waiting() == 0

    async def test_nothing_but_deleting_can_be_done_to_it(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        snoozed = await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        for action in Action:
            if action is not Action.DELETE:
                assert (await inbox.change(ann, action, ["a", "b"], START)).changed == 0
        assert (await inbox.read_all(ann, None, START)).changed == 0
        assert await inbox.head() == snoozed.as_of
        changed = await inbox.change(ann, Action.DELETE, ["a"], START)
        assert (changed.changed, changed.counts) == (1, Counts(0, 0, 0))
        assert await deliver(inbox, UNTIL) == 1
        assert await ids_of(inbox, ann) == ["b"]

    async def test_what_is_over_by_then_never_comes_back(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", expires_at=UNTIL), draft("c")])
        await inbox.snooze(ann, ["a", "b", "c"], UNTIL, START)
        await inbox.recall("a")
        head = await inbox.head()
        clock.advance(3600)
        await deliver(inbox, clock.now())
        assert (await inbox.head()).offset == head.offset + 1
        assert await ids_of(inbox, ann) == ["c"]
        assert (await inbox.deliver_due(clock.now(), 10)).next is None

    async def test_put_off_and_back_it_comes_back_once(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        for until in (UNTIL, UNTIL + HOUR, UNTIL):
            await inbox.snooze(ann, ["a"], until, START)
        assert await inbox.waiting() == 1
        head = await inbox.head()
        assert await deliver(inbox, UNTIL + HOUR) == 1
        assert (await inbox.head()).offset == head.offset + 1
        assert await ids_of(inbox, ann) == ["a", "b"]

    async def test_what_was_replaced_meanwhile_never_comes_back(self, inbox: OpenedStore) -> None:
        ann, manager = await register(inbox), await register(inbox, role="manager")
        pairs = ((ANN, ANN), (ANN, EVERYONE), (COMPANY, COMPANY), (EVERYONE, ANN), (EVERYONE, EVERYONE))
        for number, (room, other) in enumerate(pairs):
            old, new, key = f"old-{number}", f"new-{number}", f"k-{number}"
            await inbox.append([draft(old, room, collapse_key=key)])
            await inbox.snooze(ann, [old], UNTIL, START)
            await inbox.append([draft(new, other, collapse_key=key)])
        head, ids = await inbox.head(), [f"new-{number}" for number in (4, 3, 2, 1, 0)]
        assert await ids_of(inbox, ann) == ids
        await deliver(inbox, UNTIL)
        assert await inbox.head() == head
        assert await inbox.waiting() == 0
        assert await ids_of(inbox, ann) == ids
        assert (await inbox.count(ann)).counts == Counts(5, 5, 5)
        assert (await inbox.count(manager)).counts == Counts(4, 4, 4)
        assert (await inbox.snooze(ann, ["old-0"], START, START)).changed == 0
        # Whatever becomes of what took its place.
        await inbox.recall("new-0")
        assert "old-0" not in await ids_of(inbox, ann)

    async def test_of_several_roles_each_counts_in_which_it_is_theirs(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        both = {COMPANY, MANAGER}
        await inbox.append([draft("a", *both, collapse_key="k"), draft("b", *both, collapse_key="l")])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        # In this role they came too late to have had them.
        await register(inbox, role="manager")
        await inbox.append([draft("c", MANAGER, collapse_key="k"), draft("d", COMPANY, collapse_key="l")])
        await deliver(inbox, UNTIL)
        assert await ids_of(inbox, ann) == ["a", "d"]

    async def test_in_one_of_their_roles_it_is_back_where_it_was_replaced_in_another(self, inbox: OpenedStore) -> None:
        ann, manager = await register(inbox), await register(inbox, role="manager")
        await inbox.append([draft("a", COMPANY, MANAGER, collapse_key="k")])
        await inbox.snooze(ann, ["a"], UNTIL, START)
        await inbox.append([draft("b", MANAGER, collapse_key="k")])
        await deliver(inbox, UNTIL)
        assert await ids_of(inbox, ann) == ["a"]
        assert await ids_of(inbox, manager) == ["b"]

    async def test_what_came_back_is_replaced_as_any_other(self, inbox: OpenedStore) -> None:
        ann, manager = await register(inbox), await register(inbox, role="manager")
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", collapse_key="k"), draft("b", collapse_key="l")])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        # In one of the roles alone: it is back for the other.
        await inbox.append([draft("c", COMPANY, collapse_key="k")])
        await deliver(inbox, UNTIL)
        assert await ids_of(inbox, ann) == ["b", "c"]
        assert set(await ids_of(inbox, manager)) == {"a", "b"}
        head = await inbox.head()
        await following.until(head.offset)
        (back,) = [one for one in following.entries if one.about == start.offset + 1]
        assert (back.collapse_key, back.later) == ("k", {COMPANY: start.offset + 4})
        told = [json.loads(one.payload)["id"] for one in await entries_of(inbox, ann, at(start, 4))]
        assert told == ["b"]
        await inbox.append([draft("d", EVERYONE, collapse_key="l")])
        assert await ids_of(inbox, ann) == ["d", "c"]
        assert await ids_of(inbox, manager) == ["d", "a"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        told = [json.loads(one.payload)["id"] for one in await entries_of(inbox, ann, at(start, 4))]
        assert told == ["d"]

    async def test_what_was_for_a_topic_comes_back_to_who_has_left(self, inbox: OpenedStore) -> None:
        ann, topic = await register(inbox), Room.of_topic("t")
        start = await inbox.head()
        await inbox.change_members("t", [ann.user], [], most=1)
        await inbox.append([draft("a", topic), draft("b", topic)])
        assert (await inbox.snooze(ann, ["a"], UNTIL, START)).changed == 1
        assert await ids_of(inbox, ann) == ["b"]
        await inbox.change_members("t", [], [ann.user], most=1)
        await inbox.append([draft("c", topic)])
        assert await deliver(inbox, UNTIL) == 1
        assert await ids_of(inbox, ann) == ["a", "b"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        raised = await inbox.head()
        left, other, _, back = await entries_of(inbox, ann, start)
        assert (left.revised, other.revised) == (raised.offset, None)
        assert (back.position, back.about, back.rooms) == (raised, start.offset + 2, frozenset((ANN,)))
        assert (await inbox.change(ann, Action.READ, ["a"], START)).counts == Counts(1, 1, 2)

    async def test_what_came_back_is_revised_and_recalled(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", ANN, BOB)])
        await inbox.snooze(ann, ["a"], UNTIL, START)
        await deliver(inbox, UNTIL)
        raised = await inbox.head()
        await inbox.revise("a", lambda one: replace(one, title="x"), START)
        assert [item["title"] for item in await items_of(inbox, ann)] == ["x"]
        before = Position(raised.epoch, raised.offset - 1)
        back, told = await entries_of(inbox, ann, before)
        assert (back.event, json.loads(back.payload)["title"], told.event) == (
            NOTIFICATION_NEW,
            "x",
            NOTIFICATION_REVISED,
        )
        await inbox.recall("a")
        assert [entry.event for entry in await entries_of(inbox, ann, before)] == [NOTIFICATION_DELETED]
        assert await ids_of(inbox, ann) == []
        assert (await inbox.count(ann)).counts == Counts(0, 0, 0)
        head = await inbox.head()
        assert await following.until(head.offset) == list(range(start.offset + 1, head.offset + 1))

    async def test_what_came_back_is_read_and_deleted_as_any_other(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a", EVERYONE), draft("b")])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        await deliver(inbox, UNTIL)
        middle = await inbox.head()
        await inbox.append([draft("c")])
        assert (await inbox.change(ann, Action.READ, ["a"], START)).counts == Counts(2, 2, 3)
        assert (await inbox.read_all(ann, middle, START)).counts == Counts(1, 1, 3)
        assert (await inbox.change(ann, Action.DELETE, ["a"], START)).counts == Counts(1, 1, 2)
        assert await ids_of(inbox, ann, ItemState.READ) == ["b"]
        assert (await inbox.read_all(ann, None, START)).counts == Counts(0, 0, 2)

    async def test_of_what_is_changed_meanwhile_nothing_is_told(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", ANN, BOB), draft("b", EVERYONE)])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        for id_ in ("a", "b"):
            await inbox.revise(id_, lambda one: replace(one, title="x"), START)
        middle = at(start, 2)
        assert [name for name, _ in await events_of(inbox, ann, middle)] == [NOTIFICATION_UPDATED]
        assert [name for name, _ in await events_of(inbox, bob, middle)] == [NOTIFICATION_REVISED] * 2
        await deliver(inbox, UNTIL)
        entries = await entries_of(inbox, ann, middle)
        told = [entry for entry in entries if entry.revised is None]
        assert [entry.event for entry in told] == [NOTIFICATION_UPDATED, NOTIFICATION_NEW, NOTIFICATION_NEW]
        assert [json.loads(entry.payload)["title"] for entry in told[1:]] == ["x", "x"]

    async def test_due_and_deleted_at_once(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        for number in range(20):
            id_ = f"n-{number}"
            await inbox.append([draft(id_)])
            await inbox.snooze(ann, [id_], UNTIL, START)
            await asyncio.gather(inbox.deliver_due(UNTIL, 10), inbox.change(ann, Action.DELETE, [id_], START))
            assert await ids_of(inbox, ann) == []
        assert await inbox.waiting() == 0

    async def test_of_many_who_deliver_at_once_each_comes_back_by_one(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        ids = [f"n-{number}" for number in range(100)]
        await inbox.append([draft(id_, EVERYONE) for id_ in ids])
        start = await inbox.head()
        for user in (ann, bob):
            await inbox.snooze(user, ids, UNTIL, START)
        await inbox.append([later(f"s-{number}", UNTIL) for number in range(50)])
        came = await asyncio.gather(*(inbox.deliver_due(UNTIL, 30) for _ in range(12)))
        assert sum(len(one.late) for one in came) == 250
        assert (await inbox.head()).offset == start.offset + 252
        assert len(await ids_of(inbox, ann)) == 150
        assert (await inbox.count(bob)).counts == Counts(100, 100, 100)

    async def test_no_more_comes_back_at_once_than_is_well_stored(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        ids = [f"n-{number}" for number in range(12)]
        for id_ in ids:
            await inbox.append([draft(id_, body="x" * 1_000_000)])
        await inbox.snooze(ann, ids, UNTIL, START)
        came: list[int] = []
        while await inbox.waiting():
            came.append(len((await inbox.deliver_due(UNTIL, 500)).late))
        assert sum(came) == 12
        assert 0 < max(came) < 12
        assert (await inbox.count(ann)).counts == Counts(12, 12, 12)

    async def test_it_leaves_the_inbox_in_its_turn(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=2 * HOUR)
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        await inbox.snooze(ann, ["a"], UNTIL, START)
        await inbox.snooze(ann, ["b"], START + 9 * HOUR, START)
        clock.advance(3600)
        await deliver(inbox, clock.now())
        await inbox.append([draft("c")])
        assert await ids_of(inbox, ann) == ["c", "a"]
        await pass_time(inbox, clock, timedelta(seconds=3601))
        assert await ids_of(inbox, ann) == ["c"]
        await pass_time(inbox, clock, timedelta(hours=1))
        clock.advance(7 * 3600)
        head = await inbox.head()
        await deliver(inbox, clock.now())
        assert await inbox.head() == head
