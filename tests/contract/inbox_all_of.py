"""What every store must do with what is for those who are in all of some groups: it is for who was in each by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Action,
    Counts,
    DeliveriesQuery,
    Entry,
    InboxQuery,
    Notification,
    Position,
    RecoveryReason,
    Room,
    Span,
    Subscriber,
    UserId,
    roles_in,
)
from domain.rules.deliveries import reach
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    COMPANY,
    HOUR,
    OpenedStore,
    OpenStore,
    arrival,
    arrive,
    assert_refused,
    at,
    draft,
    entries_of,
    ids_of,
    offsets_of,
    pass_time,
    register,
)
from tests.contract.inbox_recipients import recipients_of, tally
from tests.doubles import START, ManualClock

TOPIC, OTHER = Room("topic:p"), Room("topic:q")
ROLE_AND_TOPIC = Room.of_all([COMPANY, TOPIC])
BOTH_TOPICS = Room.of_all([TOPIC, OTHER])
BOTH_ROLES = Room.of_all([COMPANY, ADMIN])
TOGETHER = "admin\x1fcompany"


async def members(inbox: OpenedStore, topic: Room, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Position:
    name = topic.removeprefix("topic:")
    return await inbox.change_members(name, [*map(UserId, add)], [*map(UserId, remove)], most=1000)


async def register_in(inbox: OpenedStore, user: str, roles: str) -> Subscriber:
    rooms = (Room.of_user(user), EVERYONE, *map(Room.of_role, roles_in(roles)))
    return await inbox.register(UserId(user), roles, frozenset(rooms))


def retitled(notification: Notification) -> Notification:
    return replace(notification, title="other")


class AllOfContract:
    async def test_who_is_in_all_of_them_has_it(self, inbox: OpenedStore) -> None:
        ann, bob, carl = await register(inbox), await register(inbox, "bob", "admin"), await register(inbox, "carl")
        start = await members(inbox, TOPIC, ["ann", "bob"])
        await inbox.append([draft("a", ROLE_AND_TOPIC)])
        assert await ids_of(inbox, ann) == ["a"]
        assert (await inbox.count(ann)).counts == Counts(1, 1, 1)
        assert await offsets_of(inbox, ann, start) == [start.offset + 1]
        assert (await entries_of(inbox, ann, start))[0].rooms == {ROLE_AND_TOPIC}
        for other in (bob, carl):
            assert await ids_of(inbox, other) == []
            assert (await inbox.count(other)).counts == Counts(0, 0, 0)
            assert await offsets_of(inbox, other, start) == []
            assert (await inbox.change(other, Action.READ, ["a"], START)).changed == 0
        assert (await inbox.change(ann, Action.READ, ["a"], START)).changed == 1

    async def test_it_is_for_who_was_in_all_of_them_by_then(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        changes = [
            ((TOPIC, ["ann"], []), False),
            ((OTHER, ["ann"], []), True),
            ((TOPIC, [], ["ann"]), False),
            ((OTHER, [], ["ann"]), False),
            ((TOPIC, ["ann"], []), False),
            ((OTHER, ["ann"], []), True),
            ((OTHER, [], ["ann"]), False),
            ((OTHER, ["ann"], []), True),
        ]
        expected: list[str] = []
        for number, (change, is_theirs) in enumerate(changes):
            await members(inbox, *change)
            await inbox.append([draft(f"{number}", BOTH_TOPICS)])
            expected += [f"{number}"] * is_theirs
        assert await ids_of(inbox, ann) == expected[::-1] == ["7", "5", "1"]
        assert (await inbox.count(ann)).counts == Counts(3, 3, 3)
        offsets = [start.offset + 2 * int(number) + 2 for number in expected]
        assert await offsets_of(inbox, ann, start) == offsets
        arrived = await arrive(inbox, arrival("ann", "company", start))
        assert [entry.position.offset for entry in arrived.page.entries] == offsets
        assert arrived.counted.counts == Counts(3, 3, 3)
        # Of stays in topics alone servers are told: the others follow from them.
        assert {span.room for span in arrived.spans} == {TOPIC, OTHER}
        assert Span(TOPIC, start.offset + 1, start.offset + 5) in arrived.spans

    async def test_it_follows_the_roles_that_one_has(self, inbox: OpenedStore) -> None:
        start = await members(inbox, TOPIC, ["ann"])
        await register(inbox, "ann", "company")
        await inbox.append([draft("a", ROLE_AND_TOPIC)])
        admin = await register(inbox, "ann", "admin")
        await inbox.append([draft("b", Room.of_all([ADMIN, TOPIC]))])
        assert await ids_of(inbox, admin) == ["b"]
        company = await register(inbox, "ann", "company")
        assert await ids_of(inbox, company) == ["a"]
        # What lies before they first came in a role does not exist for them there.
        bob = await register(inbox, "bob", "company")
        await members(inbox, TOPIC, ["bob"])
        assert await ids_of(inbox, bob) == []
        assert await offsets_of(inbox, bob, start) == []

    async def test_roles_alone_have_to_be_had_together(self, inbox: OpenedStore) -> None:
        both, one = await register_in(inbox, "ann", TOGETHER), await register(inbox, "bob", "company")
        await register(inbox, "bob", "admin")
        start = await inbox.head()
        await inbox.append([draft("a", BOTH_ROLES)])
        assert await ids_of(inbox, both) == ["a"]
        assert await offsets_of(inbox, both, start) == [start.offset + 1]
        assert await ids_of(inbox, one) == []
        assert await offsets_of(inbox, one, start) == []
        assert [one.user for one in await recipients_of(inbox, "a")] == ["ann"]
        await inbox.acknowledge({(UserId("bob"), "admin"): await inbox.head()})
        assert (await tally(inbox, "a")).received == 0
        await inbox.acknowledge({(UserId("ann"), TOGETHER): await inbox.head()})
        assert (await tally(inbox, "a")).received == 1
        page = await inbox.addressed(UserId("bob"), DeliveriesQuery(id="a"))
        assert reach(UserId("bob"), page.notifications[0], page.starts, page.spans, page.marks).rooms == frozenset()

    async def test_pages_of_a_replay_have_all_of_it(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        expected = []
        is_in = {TOPIC: False, OTHER: False}
        for number in range(30):
            if number % 3 == 0:
                topic = TOPIC if number % 2 else OTHER
                await members(inbox, topic, *(((), ["ann"]) if is_in[topic] else (["ann"], ())))
                is_in[topic] = not is_in[topic]
            room = (BOTH_TOPICS, ROLE_AND_TOPIC, TOPIC, ANN)[number % 4]
            (appended,) = await inbox.append([draft(str(number), room)])
            if {BOTH_TOPICS: all(is_in.values()), ANN: True}.get(room, is_in[TOPIC]):
                expected.append(appended.position.offset)
        for size in (1, 2, 7):
            found: list[int] = []
            after, more = start, True
            while more:
                page = await inbox.read(ann, after, max_entries=size, max_bytes=1 << 20)
                found += [entry.position.offset for entry in page.entries]
                after, more = page.upto, page.more
            assert found == expected
        listed: list[int] = []
        before: int | None = None
        while True:
            listing = await inbox.list_items(ann, InboxQuery(limit=4, before=before))
            listed += [item.offset for item in listing.items]
            before = listing.next
            if before is None:
                break
        assert listed == expected[::-1]
        assert (await inbox.count(ann)).counts.total == len(expected)

    async def test_what_was_received_stays_theirs(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await members(inbox, TOPIC, ["ann"])
        await inbox.append([draft("a", ROLE_AND_TOPIC), draft("b", ROLE_AND_TOPIC)])
        await members(inbox, TOPIC, (), ["ann"])
        assert (await inbox.change(ann, Action.ARCHIVE, ["a"], START)).counts == Counts(1, 1, 1)
        assert (await inbox.read_all(ann, await inbox.head(), START)).changed == 2
        assert (await inbox.change(ann, Action.DELETE, ["b"], START)).counts == Counts(0, 0, 0)
        assert await ids_of(inbox, ann) == ["a"]

    async def test_what_becomes_of_it_is_told_to_who_has_it(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await members(inbox, TOPIC, ["ann", "bob"])
        start = await members(inbox, OTHER, ["ann"])
        await inbox.append([draft("a", BOTH_TOPICS), draft("b", BOTH_TOPICS)])
        seen = await inbox.head()
        await members(inbox, OTHER, ["bob"], ["ann"])
        await inbox.append([draft("c", BOTH_TOPICS)])
        await inbox.revise("a", retitled, START)
        await inbox.recall("b")
        await inbox.revise("c", retitled, START)

        def told(entries: Sequence[Entry]) -> list[tuple[str, int | None]]:
            return [(entry.event, entry.about) for entry in entries]

        assert told(await entries_of(inbox, ann, seen)) == [
            (NOTIFICATION_REVISED, start.offset + 1),
            (NOTIFICATION_DELETED, start.offset + 2),
        ]
        assert told(await entries_of(inbox, bob, start)) == [
            (NOTIFICATION_NEW, None),
            (NOTIFICATION_REVISED, seen.offset + 2),
        ]
        assert await ids_of(inbox, ann) == ["a"]
        assert await ids_of(inbox, bob) == ["c"]

    async def test_only_what_came_for_them_is_missing_to_them(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", BOTH_TOPICS)])
        await members(inbox, TOPIC, ["ann", "bob"])
        await members(inbox, OTHER, ["ann"])
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("b", BOTH_TOPICS)])
        assert await offsets_of(inbox, ann, start) == [start.offset + 4]
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("c", ANN)])
        await assert_refused(inbox, ann, at(start, 3), RecoveryReason.TRIMMED)
        assert await offsets_of(inbox, bob, at(start, 3)) == []
        arrived = await arrive(inbox, arrival("ann", "company", at(start, 3)))
        assert (arrived.recovered, arrived.reason) == (False, RecoveryReason.TRIMMED)
        other = await arrive(inbox, arrival("bob", "company", at(start, 3)))
        assert other.recovered

    async def test_who_was_in_all_of_them_by_then_are_the_recipients(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob", "carl", "dora"):
            await register(inbox, user)
        await register(inbox, "emil", "admin")
        await members(inbox, TOPIC, ["ann", "bob", "carl", "emil", "never"])
        await members(inbox, OTHER, ["dora"], [])
        await members(inbox, TOPIC, ["dora"], ["bob"])
        await inbox.append([draft("a", ROLE_AND_TOPIC), draft("b", Room.of_all([COMPANY, TOPIC, OTHER]))])
        await members(inbox, TOPIC, ["bob"], ["carl"])
        for limit in (1, 2, 100):
            found = await recipients_of(inbox, "a", limit)
            assert sorted(one.user for one in found) == ["ann", "carl", "dora"]
            assert [one.user for one in await recipients_of(inbox, "b", limit)] == ["dora"]
        published = await inbox.published("a")
        assert published is not None
        assert published.audience.rooms == {ROLE_AND_TOPIC}
        await inbox.acknowledge({(UserId("ann"), "company"): await inbox.head()})
        await inbox.acknowledge({(UserId("emil"), "admin"): await inbox.head()})
        assert (await tally(inbox, "a")).received == 1

    async def test_the_ledger_knows_who_was_in_all_of_them(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await members(inbox, TOPIC, ["ann"])
        await inbox.append([draft("a", ROLE_AND_TOPIC)])
        await members(inbox, TOPIC, (), ["ann"])
        await inbox.append([draft("b", ROLE_AND_TOPIC), draft("c", COMPANY)])
        page = await inbox.addressed(UserId("ann"), DeliveriesQuery())
        assert [one.id for one in page.notifications] == ["c", "a"]
        assert [one.rooms for one in page.notifications] == [{COMPANY}, {ROLE_AND_TOPIC}]
        assert {span.room for span in page.spans} == {TOPIC}
        (theirs,) = (await inbox.addressed(UserId("ann"), DeliveriesQuery(id="a"))).notifications
        (other,) = (await inbox.addressed(UserId("ann"), DeliveriesQuery(id="b"))).notifications
        for one, rooms in ((theirs, {ROLE_AND_TOPIC}), (other, set())):
            assert reach(UserId("ann"), one, page.starts, page.spans, page.marks).rooms == rooms

    async def test_many_groups_with_any_names(self, inbox: OpenedStore) -> None:
        names = ['"', "\\", "a,b", "ä\U0001f600", "'", "%", "role:x", "all:topic:x", "{}", "null"]
        ann = await register(inbox)
        for name in names:
            await members(inbox, Room.of_topic(name), ["ann"])
        room = Room.of_all([COMPANY, *map(Room.of_topic, names)])
        await inbox.append([draft("a", room)])
        await members(inbox, Room.of_topic(names[3]), (), ["ann"])
        await inbox.append([draft("b", room), draft("c", Room.of_all(map(Room.of_topic, names[:3])))])
        assert await ids_of(inbox, ann) == ["c", "a"]

    async def test_what_is_for_others_takes_no_place(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = await register(inbox)
        await members(inbox, TOPIC, ["ann"])
        await inbox.append([draft(f"own-{number}", ROLE_AND_TOPIC) for number in range(3)])
        await inbox.append([draft(f"other-{number}", BOTH_TOPICS) for number in range(5)])
        assert await ids_of(inbox, ann) == ["own-2", "own-1", "own-0"]
        await inbox.append([draft("last", ROLE_AND_TOPIC)])
        assert await ids_of(inbox, ann) == ["last", "own-2", "own-1"]
        assert (await inbox.count(ann)).counts == Counts(3, 3, 3)

    @pytest.mark.parametrize("first", [True, False])
    async def test_whether_it_is_the_first_for_them_makes_no_difference(
        self, inbox: OpenedStore, *, first: bool
    ) -> None:
        """Nobody is to have come to a topic after something was for it and another."""
        ann = await register(inbox)
        start = await inbox.head()
        if first:
            await inbox.append([draft("before", ROLE_AND_TOPIC)])
        await members(inbox, TOPIC, ["ann"])
        await inbox.append([draft("a", ROLE_AND_TOPIC)])
        assert await ids_of(inbox, ann) == ["a"]
        assert len(await offsets_of(inbox, ann, start)) == 1
