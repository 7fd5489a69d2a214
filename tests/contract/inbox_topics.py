"""What every store must do with topics: what is for one is for those who were in it by then, whatever came after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.errors import TooManyTopics
from domain.model import (
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Action,
    ChangeMembers,
    Counts,
    DeliveriesQuery,
    InboxQuery,
    Notification,
    Position,
    RecoveryReason,
    Room,
    Span,
    UserId,
)
from domain.rules.deliveries import reach
from tests.contract.inbox_harness import (
    ANN,
    COMPANY,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    arrival,
    arrive,
    assert_refused,
    at,
    draft,
    ids_of,
    offsets_of,
    pass_time,
    register,
)
from tests.doubles import START, ManualClock

TOPIC = Room("topic:project-17")
OTHER = Room("topic:project-18")
MOST = 3


async def members(
    inbox: OpenedStore, add: Sequence[str] = (), remove: Sequence[str] = (), topic: str = "project-17"
) -> Position:
    return await inbox.change_members(topic, [*map(UserId, add)], [*map(UserId, remove)], most=MOST)


async def join(inbox: OpenedStore, *users: str) -> Position:
    return await members(inbox, add=users)


async def leave(inbox: OpenedStore, *users: str) -> Position:
    return await members(inbox, remove=users)


def retitled(notification: Notification) -> Notification:
    return replace(notification, title="other")


class TopicContract:
    async def test_of_what_came_before_somebody_started_nothing_is_told(self, inbox: OpenedStore) -> None:
        """Though it was for a topic as well, in which nobody is."""
        start = await inbox.head()
        await inbox.append([draft("a", TOPIC, Room.of_role("company"))])
        bob = await register(inbox, "bob", "company")
        await inbox.recall("a")
        assert (await inbox.read(bob, start, max_entries=10, max_bytes=1 << 20)).entries == ()

    async def test_a_member_has_what_came_while_they_were_one(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("before", TOPIC)])
        await join(inbox, "ann")
        await inbox.append([draft("during", TOPIC)])
        await leave(inbox, "ann")
        await inbox.append([draft("after", TOPIC)])
        await join(inbox, "ann")
        await inbox.append([draft("again", TOPIC)])
        assert await ids_of(inbox, ann) == ["again", "during"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        assert await offsets_of(inbox, ann, start) == [start.offset + 3, start.offset + 7]
        arrived = await arrive(inbox, arrival("ann", "company", start))
        assert [entry.position.offset for entry in arrived.page.entries] == [start.offset + 3, start.offset + 7]
        assert arrived.counted.counts == Counts(2, 2, 2)
        stays = [Span(TOPIC, start.offset + 2, start.offset + 4), Span(TOPIC, start.offset + 6)]
        assert sorted(arrived.spans, key=lambda stay: stay.after) == stays

    async def test_who_is_no_member_has_nothing_of_it(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC)])
        assert await ids_of(inbox, bob) == []
        assert await offsets_of(inbox, bob, start) == []
        assert (await inbox.change(bob, Action.READ, ["a"], START)).changed == 0
        assert (await inbox.change(ann, Action.READ, ["a"], START)).changed == 1

    async def test_a_member_need_never_have_come(self, inbox: OpenedStore) -> None:
        await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC)])
        ann = await register(inbox)
        assert await ids_of(inbox, ann) == ["a"]
        arrived = await arrive(inbox, arrival("ann", "company"))
        assert [entry.position.offset for entry in arrived.page.entries] == [(await inbox.head()).offset]

    async def test_a_change_is_one_entry_for_servers(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        users = [f"u-{number}" for number in range(2000)]
        assert await join(inbox, *users) == at(start, 1)
        assert await members(inbox, add=["ann"], remove=users[:2]) == at(start, 2)
        following = Following(inbox, start)
        await following.until(start.offset + 2)
        first, second = following.entries
        assert first.control == ChangeMembers("project-17", tuple(map(UserId, users)), ())
        assert second.control == ChangeMembers("project-17", (UserId("ann"),), (UserId("u-0"), UserId("u-1")))
        assert (first.rooms, second.rooms) == (frozenset(), frozenset())

    async def test_what_changes_nothing_leaves_no_trace(self, inbox: OpenedStore) -> None:
        head = await join(inbox, "ann")
        assert await join(inbox, "ann") == head
        assert await leave(inbox, "bob") == head
        assert await inbox.head() == head
        # Of those who are named only whom it changes something for are told.
        following = Following(inbox, head)
        await members(inbox, add=["ann", "bob"], remove=["carl"])
        await following.until(head.offset + 1)
        assert following.entries[0].control == ChangeMembers("project-17", (UserId("bob"),), ())

    async def test_nobody_is_in_more_topics_than_may_be(self, inbox: OpenedStore) -> None:
        for number in range(MOST):
            await members(inbox, add=["ann"], topic=str(number))
            await members(inbox, add=["carl"], topic=str(number))
        head = await inbox.head()
        # The first of those who are in too many, in the order in which they are named.
        for users, first in ((["bob", "ann"], "ann"), (["dan", "carl", "bob", "ann"], "carl")):
            with pytest.raises(TooManyTopics, match=f"^{first} ") as refused:
                await join(inbox, *users)
            assert refused.value.user == first
        assert await inbox.head() == head
        await members(inbox, remove=["ann"], topic="0")
        await join(inbox, "bob", "ann")
        # That they were in others is nothing to it.
        await members(inbox, add=["ann"], remove=["bob"], topic="1")

    async def test_what_was_received_stays_theirs(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC), draft("b", TOPIC)])
        await leave(inbox, "ann")
        assert (await inbox.change(ann, Action.ARCHIVE, ["a"], START)).counts == Counts(1, 1, 1)
        assert (await inbox.read_all(ann, None, START)).changed == 2
        assert (await inbox.change(ann, Action.DELETE, ["b"], START)).counts == Counts(0, 0, 0)
        assert await ids_of(inbox, ann) == ["a"]

    async def test_an_entry_for_several_groups_comes_once(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob", "admin")
        start = await members(inbox, add=["ann", "bob"])
        await members(inbox, add=["ann"], topic="project-18")
        await inbox.append([draft("a", TOPIC, OTHER, COMPANY), draft("b", OTHER, COMPANY)])
        assert await ids_of(inbox, ann) == ["b", "a"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        assert await offsets_of(inbox, ann, start) == [start.offset + 2, start.offset + 3]
        assert await ids_of(inbox, bob) == ["a"]

    async def test_pages_of_a_replay_have_all_of_it(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        expected = []
        for number in range(30):
            if number % 5 == 0:
                await (join if number % 10 == 0 else leave)(inbox, "ann")
            (appended,) = await inbox.append([draft(str(number), TOPIC if number % 3 else ANN)])
            if number % 10 < 5 or number % 3 == 0:
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

    async def test_who_has_left_is_told_what_becomes_of_what_they_have(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC), draft("b", TOPIC)])
        seen = await inbox.head()
        await members(inbox, add=["bob"], remove=["ann"])
        await inbox.append([draft("c", TOPIC)])
        await inbox.revise("a", retitled, START)
        await inbox.recall("b")
        await inbox.revise("c", retitled, START)
        page = await inbox.read(ann, seen, max_entries=100, max_bytes=1 << 20)
        assert [(entry.event, entry.about) for entry in page.entries] == [
            (NOTIFICATION_REVISED, start.offset + 1),
            (NOTIFICATION_DELETED, start.offset + 2),
        ]
        assert await ids_of(inbox, ann) == ["a"]
        assert await ids_of(inbox, bob) == ["c"]
        later = await inbox.read(bob, start, max_entries=100, max_bytes=1 << 20)
        assert [(entry.event, entry.about) for entry in later.entries] == [
            (NOTIFICATION_NEW, None),
            (NOTIFICATION_REVISED, seen.offset + 2),
        ]
        whole = await inbox.read(ann, start, max_entries=100, max_bytes=1 << 20)
        assert [(entry.event, entry.revised) for entry in whole.entries] == [
            (NOTIFICATION_NEW, seen.offset + 3),
            (NOTIFICATION_REVISED, None),
            (NOTIFICATION_DELETED, None),
        ]

    async def test_only_what_came_while_they_were_there_is_missing_to_them(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        await inbox.append([draft("a", TOPIC)])
        await join(inbox, "ann")
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("b", TOPIC)])
        # What has left the topic came before they did.
        assert await offsets_of(inbox, ann, start) == [start.offset + 3]
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("c", ANN)])
        await assert_refused(inbox, ann, at(start, 2), RecoveryReason.TRIMMED)
        assert await offsets_of(inbox, bob, at(start, 2)) == []
        arrived = await arrive(inbox, arrival("ann", "company", at(start, 2)))
        assert (arrived.recovered, arrived.reason) == (False, RecoveryReason.TRIMMED)

    async def test_its_members_by_then_are_the_recipients(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await join(inbox, "ann", "bob", "carl")
        await members(inbox, add=["dora"], remove=["bob"])
        await inbox.append([draft("a", TOPIC), draft("b", TOPIC, COMPANY)])
        await members(inbox, add=["emil"], remove=["carl"])
        published = await inbox.published("a")
        assert published is not None
        assert published.audience.rooms == {TOPIC}
        users: list[str] = []
        after = None
        while True:
            page = await inbox.recipients(published, after, 2)
            users += [one.user for one in page.recipients]
            after = page.next
            if after is None:
                break
        assert sorted(users) == ["ann", "carl", "dora"]
        both = await inbox.published("b")
        assert both is not None
        assert sorted(one.user for one in (await inbox.recipients(both, None, 100)).recipients) == [
            "ann",
            "carl",
            "dora",
        ]
        head = await inbox.head()
        await inbox.acknowledge({(UserId("ann"), "company"): head})
        assert (await inbox.tally(published, None)).tally.received == 1
        assert (await inbox.tally(both, None)).tally.received == 1

    async def test_the_ledger_knows_who_was_there(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await join(inbox, "ann")
        await inbox.append([draft("a", TOPIC)])
        await leave(inbox, "ann")
        await inbox.append([draft("b", TOPIC, COMPANY), draft("c", TOPIC)])
        page = await inbox.addressed(UserId("ann"), DeliveriesQuery())
        assert [one.id for one in page.notifications] == ["b", "a"]
        assert [one.rooms for one in page.notifications] == [{TOPIC, COMPANY}, {TOPIC}]
        reached = [reach(UserId("ann"), one, page.starts, page.spans, page.marks).rooms for one in page.notifications]
        assert reached == [{COMPANY}, {TOPIC}]
        (other,) = (await inbox.addressed(UserId("ann"), DeliveriesQuery(id="c"))).notifications
        assert reach(UserId("ann"), other, page.starts, page.spans, page.marks).rooms == frozenset()
