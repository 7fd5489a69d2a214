"""Whatever is done to a store, what it lists and counts is what a recount of the log alone gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from adapters.contract.events import item_json
from domain.errors import (
    CursorRefused,
    NotificationDeleted,
    NotificationExpired,
    NotificationRecalled,
    UnknownNotification,
)
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_REVISED,
    Action,
    AppendOutcome,
    Audience,
    Draft,
    Entry,
    InboxQuery,
    ItemState,
    Notification,
    Position,
    RecoveryReason,
    Room,
    Span,
    Subscriber,
    UserId,
)
from domain.policy import may_collapse
from tests.contract.inbox_harness import (
    OpenedStore,
    arrival,
    arrive,
    floor_of,
    with_payloads,
)
from tests.contract.recount_erasures import ErasureRules
from tests.doubles import ManualClock
from tests.stays import is_in, stays_of

T = TypeVar("T")

USERS = ("ann", "bob", "carl")
ROLES = ("company", "admin")
TOPICS = ("p", "q")
TYPES = ("x", "y")
KEYS = ("k", "l")
TIMES = ("read_at", "seen_at", "archived_at")
# A half second, so that nothing is exactly as old as that: every other span is of whole seconds.
RETENTION = timedelta(hours=100, milliseconds=500)


@dataclass(frozen=True, slots=True)
class Recounted:
    """``items`` as they are listed, the newest first, and with them ``offsets``; what is ``away`` is so listed among
    what is snoozed, and ``everything`` is both."""

    items: list[dict[str, Any]]
    offsets: list[int]
    away: list[dict[str, Any]]
    everything: list[dict[str, Any]]
    placed: int
    too_old: int
    expired: int
    stands_until: datetime | None

    @property
    def snoozed(self) -> frozenset[str]:
        return frozenset(item["id"] for item in self.away)

    def listed(self, state: ItemState) -> list[dict[str, Any]]:
        match state:
            case ItemState.SNOOZED:
                return self.away
            case ItemState.ALL_AND_SNOOZED:
                return self.everything
            case _:
                return [item for item in self.items if is_listed(item, state)]

    @property
    def counts(self) -> tuple[int, int, int]:
        current = [item for item in self.items if item["archived_at"] is None]
        unread = [item for item in current if item["read_at"] is None]
        unseen = [item for item in current if item["seen_at"] is None]
        return len(unread), len(unseen), len(current)


@lru_cache(maxsize=1000)
def told_in(payload: bytes) -> Mapping[str, Any]:
    """The JSON of it, which every look at a log needs again."""
    told: dict[str, Any] = json.loads(payload)
    return told


def recount(
    log: Sequence[Entry], subscriber: Subscriber, now: datetime, *, per_user: int, retention: timedelta
) -> Recounted:
    """As a client would do it that was told every event there ever was."""
    states: dict[str, dict[str, Any]] = {}
    entries: dict[str, Entry] = {}
    places: dict[str, int] = {}
    snoozed: dict[str, str] = {}
    for entry in log:
        if entry.control is not None:
            continue
        said = told_in(entry.payload)
        if entry.event == "notification.new" and entry.about is None:
            states[said["id"]] = dict(said)
            entries[said["id"]] = entry
        elif entry.event == "notification.new":
            if f"user:{subscriber.user}" in entry.rooms and said["id"] in states:
                # Where it lies is another place, and its age is what it was.
                states[said["id"]] = dict(said)
                places[said["id"]] = entry.position.offset
                snoozed.pop(said["id"], None)
        elif entry.event == NOTIFICATION_REVISED:
            if said["id"] in states:
                states[said["id"]] |= {name: said[name] for name in said if name not in TIMES}
                entries[said["id"]] = replace(entries[said["id"]], expires_at=entry.expires_at)
        elif entry.about is not None:
            # It is as if it had never been there.
            for id_ in said["ids"]:
                states.pop(id_, None)
        elif f"user:{subscriber.user}" in entry.rooms:
            for id_ in list(states) if said.get("all") else said["ids"]:
                if entry.event == "notification.deleted":
                    states[id_]["deleted"] = True
                elif "snoozed_until" in said["change"]:
                    snoozed[id_] = said["change"]["snoozed_until"]
                elif id_ not in snoozed:
                    for name, time in said["change"].items():
                        states[id_][name] = time and (states[id_][name] or time)

    replaced, stays = replaced_for(log, subscriber), stays_of(log, subscriber.user)
    placed = [
        id_
        for id_ in reversed(states)
        if is_theirs(subscriber, entries[id_], stays) and entries[id_].position.offset not in replaced
    ][:per_user]
    leaves_at = {
        id_: max(datetime.fromisoformat(states[id_]["created_at"]), stored_at(entries[id_])) + retention
        for id_ in placed
    }
    young = [id_ for id_ in placed if now < leaves_at[id_]]
    there = []
    away: set[str] = set()
    for id_ in young:
        expires_at = entries[id_].expires_at
        if "deleted" in states[id_] or (expires_at is not None and now >= expires_at):
            continue
        if id_ in snoozed:
            away.add(id_)
        else:
            there.append(id_)
            leaves_at[id_] = min(leaves_at[id_], expires_at or leaves_at[id_])

    def place(id_: str) -> int:
        return places.get(id_, entries[id_].position.offset)

    def listed(ids: Iterable[str]) -> list[dict[str, Any]]:
        in_order = sorted(ids, key=place, reverse=True)
        return [states[id_] | ({"snoozed_until": snoozed[id_]} if id_ in away else {}) for id_ in in_order]

    return Recounted(
        items=listed(there),
        offsets=sorted(map(place, there), reverse=True),
        away=listed(away),
        everything=listed([*there, *away]),
        placed=len(placed),
        too_old=len(placed) - len(young),
        expired=sum(now >= (entries[id_].expires_at or now + retention) for id_ in young),
        stands_until=min((leaves_at[id_] for id_ in there if states[id_]["archived_at"] is None), default=None),
    )


def stored_at(entry: Entry) -> datetime:
    """What was scheduled may come later than it was due."""
    assert entry.stored_at is not None
    return entry.stored_at


def can_reach(subscriber: Subscriber, entry: Entry) -> bool:
    return any(entry.position.offset > subscriber.starts.get(room, 10**18) for room in entry.rooms)


def is_theirs(subscriber: Subscriber, entry: Entry, stays: Sequence[Span]) -> bool:
    """Also by stays in topics."""
    return any(is_in(room, entry.position.offset, subscriber.starts, stays) for room in entry.rooms)


def replaced_for(log: Sequence[Entry], subscriber: Subscriber) -> set[int]:
    """The offsets of what later ones with the same collapse key have taken the place of, also of what was before they
    came: what revises that comes to them."""
    offsets: dict[str, list[int]] = {}
    last: dict[str, int] = {}
    for entry in log:
        is_first = entry.event == "notification.new" and entry.about is None
        key = told_in(entry.payload).get("collapse_key") if is_first else None
        if key is not None:
            offsets.setdefault(key, []).append(entry.position.offset)
            if can_reach(subscriber, entry):
                last[key] = entry.position.offset
    return {offset for key, of_key in offsets.items() for offset in of_key if offset < last.get(key, 0)}


def deleted_by_all(log: Sequence[Entry]) -> set[str]:
    """The ids of what all whom it names have deleted."""
    named: dict[str, frozenset[Room]] = {}
    deleted: dict[str, set[Room]] = {}
    for entry in log:
        if entry.control is not None or entry.about is not None:
            continue
        said = told_in(entry.payload)
        if entry.event == "notification.new" and all(room.is_own for room in entry.rooms):
            named[said["id"]] = entry.rooms
        elif entry.event == NOTIFICATION_DELETED:
            for id_ in said["ids"]:
                deleted.setdefault(id_, set()).update(entry.rooms)
    return {id_ for id_, rooms in named.items() if rooms <= deleted.get(id_, set())}


def is_listed(item: dict[str, Any], state: ItemState) -> bool:
    is_archived, is_read = item["archived_at"] is not None, item["read_at"] is not None
    return {
        ItemState.ALL: True,
        ItemState.ARCHIVED: is_archived,
        ItemState.CURRENT: not is_archived,
        ItemState.READ: not is_archived and is_read,
        ItemState.UNREAD: not is_archived and not is_read,
    }[state]


audiences = st.one_of(
    st.sets(st.sampled_from(USERS), min_size=1).map(Audience.users),
    st.sampled_from(ROLES).map(Audience.role),
    st.just(Audience.everyone()),
    st.sampled_from(TOPICS).map(Audience.topic),
    st.sets(st.sampled_from([*map(Room.of_topic, TOPICS), *map(Room.of_role, ROLES)]), min_size=1, max_size=3).map(
        Audience.any_of
    ),
    st.sets(st.sampled_from([*map(Room.of_topic, TOPICS), *map(Room.of_role, ROLES)]), min_size=2, max_size=3).map(
        Audience.all_of
    ),
)
subscribers = st.tuples(st.sampled_from(USERS), st.sampled_from(ROLES))
picks = st.lists(st.integers(0, 20), min_size=1, max_size=6, unique=True)


class InboxMachine(ErasureRules):
    """Subclass it, and give it an ``open_inbox``, which opens what keeps items for RETENTION, ``per_user`` of each.

    ``log`` is all that a follower was given since the beginning, and ``logged_at`` when each was.
    """

    log_retention = RETENTION
    """How long a cursor stays good."""
    per_user = 12
    remembered = RETENTION

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.inbox = self.run(self.open_inbox())
        self.start = self.run(self.inbox.head())
        self.follower = self.inbox.tail(self.start)
        self.log: list[Entry] = []
        self.logged_at: list[datetime] = []
        self.subscribers: dict[tuple[str, str], Subscriber] = {}
        self.marks: dict[tuple[str, str], int] = {}
        self.published: list[Draft] = []
        self.recalled: set[str] = set()

    async def open_inbox(self) -> OpenedStore:
        raise NotImplementedError

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self.count_call(getattr(coroutine, "__name__", ""))
        # Not by its run(), which puts signal handlers in place each time.
        return self.runner.get_loop().run_until_complete(coroutine)

    def teardown(self) -> None:
        self.run(self.stop())
        self.runner.close()

    async def stop(self) -> None:
        await self.follower.aclose()  # type: ignore[attr-defined]  # whose type says no more than that it iterates
        await self.inbox.close()

    async def catch_up(self) -> Position:
        head = await self.inbox.head()
        async with asyncio.timeout(5):
            while (self.log[-1].position if self.log else self.start).offset < head.offset:
                batch = with_payloads(await anext(self.follower))
                self.log.extend(batch)
                self.logged_at.extend([self.clock.now()] * len(batch))
        return head

    def recounted(self, subscriber: Subscriber) -> Recounted:
        return recount(self.log, subscriber, self.clock.now(), per_user=self.per_user, retention=RETENTION)

    def subscriber(self, user: str, role: str) -> Subscriber:
        rooms = frozenset((Room.of_user(user), Room.of_role(role), EVERYONE))
        subscriber = self.run(self.inbox.register(UserId(user), role, rooms))
        assert self.subscribers.setdefault((user, role), subscriber) == subscriber
        marks = [mark for (known, _), mark in self.marks.items() if known == user]
        highest = max(marks) if marks else self.mark_of_new(user)
        self.marks.setdefault((user, role), highest)
        return subscriber

    @initialize(whom=subscribers)
    def somebody_is_there(self, whom: tuple[str, str]) -> None:
        self.subscriber(*whom)

    @rule(whom=subscribers)
    def register(self, whom: tuple[str, str]) -> None:
        self.subscriber(*whom)

    @rule(
        to=audiences,
        number=st.integers(1, 4),
        type_=st.sampled_from(TYPES),
        hours=st.none() | st.integers(0, 30),
        key=st.none() | st.sampled_from(KEYS),
    )
    def publish(self, to: Audience, number: int, type_: str, hours: int | None, key: str | None) -> None:
        now = self.clock.now()
        key = key if may_collapse(to) else None
        batch: list[Draft] = []
        for _ in range(number):
            id_ = f"n-{len(self.published) + len(batch)}"
            expires_at = now + timedelta(hours=hours) if hours is not None else None
            notification = Notification(id_, type_, "t", None, None, to.kind, now, expires_at, key)
            batch.append(Draft(notification, to.rooms, own_id=True))
        self.count(f"publish to {to.kind.value if len(to.rooms) == 1 else f'several: {to.kind.value}'}")
        if key is not None:
            self.count("publish with a collapse key")
        self.published.extend(batch)
        self.run(self.inbox.append(batch))

    @rule(topic=st.sampled_from(TOPICS), add=st.sets(st.sampled_from(USERS)), remove=st.sets(st.sampled_from(USERS)))
    def change_members(self, topic: str, add: set[str], remove: set[str]) -> None:
        head = self.run(self.catch_up())
        room = Room.of_topic(topic)
        members = {
            user
            for user in USERS
            if any(stay.room == room and stay.upto is None for stay in stays_of(self.log, UserId(user)))
        }
        adding, removing = [*map(UserId, sorted(add - remove))], [*map(UserId, sorted(remove - add))]
        at = self.run(self.inbox.change_members(topic, adding, removing, most=len(TOPICS)))
        changes = bool(set(adding) - members or set(removing) & members)
        assert at.offset == head.offset + changes

    @precondition(lambda self: self.published)
    @rule(pick=st.integers(0, 20))
    def retry(self, pick: int) -> None:
        """Of one that is too old to be known the store may make another, with another time."""
        draft = self.published[-1 - pick % len(self.published)]
        if self.clock.now() - draft.notification.created_at < RETENTION:
            again = self.asked.get(draft.notification.id, draft)
            self.count("publish again")
            (appended,) = self.run(self.inbox.append([again]))
            assert appended.outcome is AppendOutcome.DUPLICATE

    @precondition(lambda self: self.published)
    @rule(pick=st.integers(0, 20))
    def recall(self, pick: int) -> None:
        """One of the newest, or one that was taken back before, or is too old to be known."""
        notification = self.published[-1 - pick % len(self.published)].notification
        head = self.run(self.inbox.head())
        try:
            amended = self.run(self.inbox.recall(notification.id))
        except NotificationRecalled:
            assert notification.id in self.recalled
        except UnknownNotification:
            assert notification.id in self.gone or self.clock.now() - notification.created_at > RETENTION
        else:
            assert notification.id not in self.recalled | self.gone
            assert amended.position.offset == head.offset + 1
            self.recalled.add(notification.id)

    @precondition(lambda self: self.published)
    @rule(
        pick=st.integers(0, 20),
        title=st.sampled_from("tuv"),
        type_=st.sampled_from(TYPES),
        hours=st.none() | st.integers(1, 30),
    )
    def revise(self, pick: int, title: str, type_: str, hours: int | None) -> None:
        """One of the newest, or one that was taken back, has expired, or is too old to be known; it may stay as it
        is."""
        notification, now = self.published[-1 - pick % len(self.published)].notification, self.clock.now()
        expires_at = now + timedelta(hours=hours) if hours is not None else None
        head = self.run(self.inbox.head())
        seen: list[Notification] = []

        def revise(present: Notification) -> Notification:
            seen.append(present)
            return replace(present, title=title, type=type_, expires_at=expires_at)

        try:
            amended = self.run(self.inbox.revise(notification.id, revise, now))
        except NotificationRecalled:
            assert notification.id in self.recalled
        except NotificationDeleted:
            assert notification.id in deleted_by_all(self.log)
        except UnknownNotification:
            assert notification.id in self.gone or now - notification.created_at > RETENTION
        except NotificationExpired:
            expiries = [one.expires_at for one in self.log if self.id_of(one) == notification.id]
            assert expiries[-1] is not None
            assert expiries[-1] <= now
        else:
            assert notification.id not in self.recalled | self.gone | deleted_by_all(self.log)
            is_other = revise(seen[-1]) != seen[0]
            assert (amended.position.offset == head.offset + 1) is is_other

    def id_at(self, number: int) -> str:
        if number < len(self.published):
            return self.published[number].notification.id
        return f"n-{number}"

    @staticmethod
    def id_of(entry: Entry) -> str | None:
        return str(told_in(entry.payload).get("id"))

    @rule(whom=subscribers, action=st.sampled_from(Action), which=picks)
    def change(self, whom: tuple[str, str], action: Action, which: list[int]) -> None:
        """The newest ones, counted from the end, in this order: some of others, and some that never were."""
        ids = [self.id_at(number) for pick in which if (number := len(self.published) - pick) >= 0]
        subscriber = self.subscriber(*whom)
        self.clock.advance(1)
        recounted = self.recounted(subscriber)
        before = {item["id"]: dict(item) for item in recounted.items}
        snoozed = len(recounted.snoozed & {*ids}) if action is Action.DELETE else 0
        changed = self.run(self.inbox.change(subscriber, action, ids, self.clock.now()))
        self.run(self.catch_up())
        after = {item["id"]: item for item in self.recounted(subscriber).items}
        assert changed.changed == snoozed + sum(after.get(id_) != item for id_, item in before.items())

    @rule(whom=subscribers, which=picks, hours=st.integers(-1, 9))
    def snooze(self, whom: tuple[str, str], which: list[int], hours: int) -> None:
        """Some of the newest; for a time that has passed, what is snoozed comes back."""
        ids = [self.id_at(number) for pick in which if (number := len(self.published) - pick) >= 0]
        subscriber, now = self.subscriber(*whom), self.clock.now()
        until = now + timedelta(hours=hours)
        before = self.recounted(subscriber)
        listed = {item["id"] for item in before.items}
        changed = self.run(self.inbox.snooze(subscriber, ids, until, now))
        if hours <= 0:
            assert changed.changed == len(before.snoozed & {*ids})
            return
        wanted = {id_ for id_ in before.snoozed & {*ids} if self.snoozes[whom[0], id_] != until} | listed & {*ids}
        assert changed.changed == len(wanted)
        self.snoozes.update({(whom[0], id_): until for id_ in wanted})

    @rule(whom=subscribers, back=st.none() | st.integers(0, 30))
    def read_all(self, whom: tuple[str, str], back: int | None) -> None:
        subscriber = self.subscriber(*whom)
        self.clock.advance(1)
        up_to = self.log[-1 - back % len(self.log)].position if back is not None and self.log else None
        before = self.recounted(subscriber)
        unread = [
            offset
            for item, offset in zip(before.items, before.offsets, strict=True)
            if (up_to is None or offset <= up_to.offset) and None in (item["read_at"], item["seen_at"])
        ]
        head = self.run(self.inbox.head())
        try:
            changed = self.run(self.inbox.read_all(subscriber, up_to, self.clock.now()))
        except CursorRefused:
            assert back is not None
            assert self.clock.now() - self.logged_at[-1 - back % len(self.log)] > self.log_retention
            return
        assert changed.changed == len(unread)
        assert changed.as_of.offset == head.offset + bool(unread)

    @precondition(lambda self: self.log)
    @rule(whom=subscribers, back=st.integers(0, 30))
    def acknowledge(self, whom: tuple[str, str], back: int) -> None:
        subscriber, position = self.subscriber(*whom), self.log[-1 - back % len(self.log)].position
        self.run(self.inbox.acknowledge({(subscriber.user, subscriber.role): position}))
        # Of a generation that is forgotten no position is known any more.
        if self.run(self.refusal(subscriber, position)) is not RecoveryReason.UNKNOWN_EPOCH:
            self.marks[whom] = max(self.marks[whom], position.offset)

    @rule(
        whom=subscribers,
        backs=st.lists(st.none() | st.integers(0, 30), max_size=2),
        unstored=st.none() | st.integers(1, 30),
        replays_undelivered=st.booleans(),
        max_entries=st.integers(1, 5),
    )
    def arrive(
        self,
        whom: tuple[str, str],
        backs: list[int | None],
        unstored: int | None,
        replays_undelivered: bool,  # noqa: FBT001 (drawn)
        max_entries: int,
    ) -> None:
        """As if it were asked for singly: register, a reading from each cursor, else from the mark, and the counts."""
        cursors = [self.position(back) if back is not None else None for back in backs]
        mark = self.position(unstored) if unstored is not None else None
        arrived = self.run(
            arrive(
                self.inbox,
                arrival(
                    *whom,
                    *cursors,
                    unstored_mark=mark,
                    replays_undelivered=replays_undelivered,
                    max_entries=max_entries,
                ),
            )
        )
        subscriber = self.subscriber(*whom)
        assert arrived.subscriber == subscriber
        assert arrived.counted == self.run(self.inbox.count(subscriber))
        page = self.run(self.inbox.read(subscriber, arrived.after, max_entries=max_entries, max_bytes=1 << 30))
        assert arrived.page == page
        refused = [self.run(self.refusal(subscriber, cursor)) for cursor in cursors]
        if cursors and refused.count(None) == len(cursors):
            assert (arrived.recovered, arrived.reason) == (True, None)
            assert arrived.after.offset == max(cursor.offset for cursor in cursors if cursor is not None)
            return
        wrong = {reason for reason in refused if reason is not None}
        assert not arrived.recovered
        if not replays_undelivered:
            expected = self.run(self.inbox.head()).offset
        else:
            received = max(self.marks[whom], mark.offset if mark is not None else 0)
            expected = max(received, self.run(floor_of(self.inbox, subscriber)).offset)
            if not wrong and received < expected:
                wrong = {RecoveryReason.TRIMMED}
        assert arrived.after.offset == expected
        assert (arrived.reason in wrong) if wrong else (arrived.reason is None)

    def position(self, back: int) -> Position:
        """Of an entry counted from the end; just ahead of it, for 0."""
        head = self.run(self.inbox.head())
        return Position(head.epoch, max(0, head.offset + 1 - back))

    async def refusal(self, subscriber: Subscriber, cursor: Position | None) -> RecoveryReason | None:
        if cursor is None:
            return RecoveryReason.INVALID
        try:
            await self.inbox.read(subscriber, cursor, max_entries=1, max_bytes=1)
        except CursorRefused as refused:
            return refused.reason
        return None

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.count("time passes")
        self.clock.advance(hours * 3600)

    @rule()
    def tidy(self) -> None:
        for _ in range(1000):
            if not self.run(self.inbox.tidy()):
                self.contents_are_there_but_for_what_all_have_deleted()
                return
        raise AssertionError("there is no end of tidying")

    def contents_are_there_but_for_what_all_have_deleted(self) -> None:
        self.run(self.catch_up())
        gone = deleted_by_all(self.log)
        for draft in self.published[-20:]:
            id_ = draft.notification.id
            found = self.run(self.inbox.published(id_))
            if found is not None:
                assert (found.payload is None) is (id_ in self.recalled | gone)
                assert found.is_recalled is (id_ in self.recalled)

    @precondition(lambda self: self.subscribers)
    @rule(
        pick=st.integers(0, 20),
        state=st.sampled_from(ItemState),
        type_=st.none() | st.sampled_from(TYPES),
        limit=st.integers(1, 5),
    )
    def leaf_through(self, pick: int, state: ItemState, type_: str | None, limit: int) -> None:
        subscriber = list(self.subscribers.values())[pick % len(self.subscribers)]
        found: list[str] = []
        before = None
        for _ in range(100):
            query = InboxQuery(limit=limit, before=before, state=state, type=type_)
            page = self.run(self.inbox.list_items(subscriber, query))
            found.extend(json.loads(item_json(item))["id"] for item in page.items)
            before = page.next
            if before is None:
                break
            assert len(page.items) == limit
        expected = self.recounted(subscriber).listed(state)
        assert found == [item["id"] for item in expected if type_ in (None, item["type"])]

    @invariant()
    def everything_is_as_the_log_says(self) -> None:
        head = self.run(self.catch_up())
        for subscriber in self.subscribers.values():
            expected = self.recounted(subscriber)
            counted, listing, snoozed = self.run(self.look(subscriber))
            counts = counted.counts
            assert (counts.unread, counts.unseen, counts.total) == expected.counts
            assert listing.counts == counts
            assert [json.loads(item_json(item)) for item in listing.items] == expected.items
            assert [item.offset for item in listing.items] == expected.offsets
            assert [json.loads(item_json(item)) for item in snoozed.items] == expected.away
            assert snoozed.counts == counts
            assert counted.as_of == listing.as_of
            assert counted.as_of.offset == head.offset
            assert counted.stands_until == expected.stands_until
            current = [
                offset
                for item, offset in zip(expected.items, expected.offsets, strict=True)
                if item["archived_at"] is None
            ]
            given_up = self.run(self.inbox.given_up())
            assert given_up < min(expected.offsets, default=head.offset + 1)
            assert counted.oldest is None or given_up < counted.oldest <= min(current, default=head.offset + 1)
            # What is gone for good takes no room once it was removed.
            room = self.per_user - expected.placed
            assert room <= counted.room <= room + expected.too_old

    async def look(self, subscriber: Subscriber) -> tuple[Any, Any, Any]:
        return await asyncio.gather(
            self.inbox.count(subscriber),
            self.inbox.list_items(subscriber, InboxQuery(limit=1000, state=ItemState.ALL)),
            self.inbox.list_items(subscriber, InboxQuery(limit=1000, state=ItemState.SNOOZED)),
        )

    @invariant()
    def the_log_reads_as_it_was_given(self) -> None:
        gone = deleted_by_all(self.log)
        for subscriber in self.subscribers.values():
            floor, page = self.run(self.read(subscriber))
            entries = [one for one in page.entries if not self.outlives(one) and self.id_of(one) not in gone]
            stays = stays_of(self.log, subscriber.user)
            assert entries == [
                entry
                for entry in self.as_read_by(subscriber, gone)
                if entry.position.offset > floor.offset and self.is_for(entry, subscriber, stays)
            ]

    @staticmethod
    def is_for(entry: Entry, subscriber: Subscriber, stays: Sequence[Span]) -> bool:
        """Of what is about another in a topic whoever has that, though they have left since."""
        offset = entry.position.offset
        if entry.about is not None and any(room.is_topic for room in entry.rooms):
            offset = entry.about
        return any(is_in(room, offset, subscriber.starts, stays) for room in entry.rooms)

    def as_read_by(self, subscriber: Subscriber, gone: Collection[str]) -> Iterator[Entry]:
        """What is left of the log, in whatever rooms it is, but for the ``gone``."""
        own = frozenset((Room.of_user(subscriber.user),))
        abouts = [(entry.about, entry) for entry in self.log if entry.about is not None]
        last = {about: entry for about, entry in abouts if entry.event != "notification.new"}
        back = {about: entry for about, entry in abouts if entry.event == "notification.new" and entry.rooms == own}
        deleted = {
            id_
            for entry in self.log
            if entry.event == NOTIFICATION_DELETED and entry.rooms == {Room.of_user(subscriber.user)}
            for id_ in told_in(entry.payload)["ids"]
        }
        replaced = replaced_for(self.log, subscriber)
        snoozed = self.snoozed_by(own)
        for entry in self.log:
            if self.id_of(entry) in gone:
                # It is there until the store has come to it.
                continue
            offset = entry.about if entry.about is not None else entry.position.offset
            if entry.event != NOTIFICATION_DELETED and offset in replaced:
                continue
            about, returned = last.get(offset), back.get(offset)
            if about is not None and about.event == NOTIFICATION_DELETED:
                if entry is about:
                    yield entry
            elif entry.about is not None and entry.event == "notification.new":
                if entry is returned:
                    yield self.with_content_of(entry, about)
            elif entry.about is None:
                told = self.with_content_of(entry, about)
                if about is not None:
                    told = replace(told, revised=about.position.offset)
                yield self.left_to(told, returned)
            elif entry is about and not self.outlives(entry) and self.id_of(entry) not in deleted | snoozed:
                yield self.left_to(entry, returned)

    def snoozed_by(self, own: frozenset[Room]) -> set[str]:
        """As the log has it: of what has expired it does not say that it never comes back."""
        snoozed: set[str] = set()
        for entry in self.log:
            said = told_in(entry.payload)
            if entry.rooms != own:
                continue
            if "snoozed_until" in said.get("change", ()):
                snoozed.update(said["ids"])
            elif entry.event == NOTIFICATION_DELETED:
                snoozed.difference_update(said["ids"])
            elif entry.event == "notification.new" and entry.about is not None:
                snoozed.discard(said["id"])
        return snoozed

    @staticmethod
    def with_content_of(entry: Entry, revision: Entry | None) -> Entry:
        return replace(entry, payload=revision.payload, expires_at=revision.expires_at) if revision else entry

    @staticmethod
    def left_to(entry: Entry, returned: Entry | None) -> Entry:
        """What came back behind it is given there."""
        if returned is None or returned.position.offset < entry.position.offset:
            return entry
        return replace(entry, revised=max(entry.revised or 0, returned.position.offset))

    def outlives(self, entry: Entry) -> bool:
        """Whether it revises what is gone by now, and nobody knows who had deleted it, or for whom it was snoozed."""
        if entry.event != NOTIFICATION_REVISED or entry.about is None:
            return False
        if entry.expires_at is not None and entry.expires_at <= self.clock.now():
            return True
        return self.clock.now() - self.logged_at[entry.about - self.start.offset - 1] >= RETENTION

    async def read(self, subscriber: Subscriber) -> tuple[Position, Any]:
        floor = await floor_of(self.inbox, subscriber)
        return floor, await self.inbox.read(subscriber, floor, max_entries=10_000, max_bytes=1 << 30)
