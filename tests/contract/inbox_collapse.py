"""Notifications with a collapse key: the last one takes the place of the others, for each user by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapters.contract.events import item_json
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Action,
    Counts,
    DeliveriesQuery,
    Draft,
    Entry,
    InboxQuery,
    ItemState,
    Room,
    Subscriber,
    UserId,
)
from domain.ports import Revise
from tests.contract.inbox_harness import (
    ADMIN,
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
    ids_of,
    outcomes,
    pass_time,
    register,
)
from tests.doubles import START, ManualClock


def keyed(id_: str, *rooms: Room, key: str = "k", **members: Any) -> Draft:
    return draft(id_, *rooms, collapse_key=key, **members)


def titled(title: str) -> Revise:
    return lambda notification: replace(notification, title=title)


async def listed(inbox: OpenedStore, whom: Subscriber, **query: Any) -> list[str]:
    """The ids, the newest first, and the counts agree with them."""
    listing = await inbox.list_items(whom, InboxQuery(state=ItemState.ALL, limit=1000, **query))
    items = [json.loads(item_json(item)) for item in listing.items]
    assert listing.counts == (await inbox.count(whom)).counts
    current = [item for item in items if item["archived_at"] is None]
    if not query:
        assert listing.counts == Counts(
            sum(item["read_at"] is None for item in current),
            sum(item["seen_at"] is None for item in current),
            len(current),
        )
    return [item["id"] for item in items]


async def page_of(inbox: OpenedStore, whom: Subscriber, after: int = 0, **limits: int) -> list[tuple[str, str, bool]]:
    """Events and ids, as they are given to whoever reads on from there, and whether there was one before."""
    head = await inbox.head()
    position = at(head, after - head.offset)
    given: list[Entry] = []
    while True:
        page = await inbox.read(whom, position, max_entries=limits.get("most", 1000), max_bytes=1 << 20)
        given += page.entries
        position = page.upto
        if not page.more:
            return [told(entry) for entry in given]


def told(entry: Entry) -> tuple[str, str, bool]:
    said = json.loads(entry.payload)
    return entry.event, said["ids"][0] if "ids" in said else said["id"], entry.follows is not None


def places(entry: Entry, start: int) -> dict[Room, int]:
    return {room: offset - start for room, offset in (entry.earlier or {}).items()}


class CollapseContract:
    async def test_the_last_one_is_in_the_inbox_unread_at_the_top(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("a"), draft("b")])
        await inbox.change(ann, Action.READ, ["a"], START)
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        await inbox.append([keyed("c")])
        assert await listed(inbox, ann) == ["c", "b"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        assert await listed(inbox, ann, type="test") == ["c", "b"]

    async def test_the_payload_has_the_key_and_without_one_has_no_such_member(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("a"), draft("b")])
        items = (await inbox.list_items(ann, InboxQuery())).items
        assert [json.loads(item.payload).get("collapse_key", "none") for item in items] == ["none", "k"]

    async def test_other_keys_and_other_users_keep_theirs(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([keyed("a", ANN, BOB), keyed("b", ANN, key="other"), keyed("c", ANN)])
        assert await listed(inbox, ann) == ["c", "b"]
        assert await listed(inbox, bob) == ["a"]

    async def test_those_of_one_batch_collapse_too(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed(str(number)) for number in range(5)])
        assert await listed(inbox, ann) == ["4"]

    async def test_of_one_for_everyone_only_the_user_s_goes_who_gets_another(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([keyed("all", EVERYONE)])
        await inbox.append([keyed("own", ANN)])
        assert (await listed(inbox, ann), await listed(inbox, bob)) == (["own"], ["all"])
        await inbox.append([keyed("role", COMPANY)])
        assert (await listed(inbox, ann), await listed(inbox, bob)) == (["role"], ["role"])
        admin = await register(inbox, "bob", "admin")
        assert await listed(inbox, admin) == ["all"]

    async def test_of_one_for_several_roles_it_goes_where_there_is_another(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob", "admin")
        rooms = frozenset((Room("user:carl"), COMPANY, ADMIN, EVERYONE))
        carl = await inbox.register(UserId("carl"), "admin", rooms)
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([keyed("both", COMPANY, ADMIN)])
        await inbox.append([keyed("one", COMPANY)])
        assert [await listed(inbox, one) for one in (ann, bob, carl)] == [["one"], ["both"], ["one"]]
        assert [(await page_of(inbox, one))[-1][1] for one in (ann, bob, carl)] == ["one", "both", "one"]
        await inbox.append([keyed("again", ADMIN, COMPANY)])
        for one in (ann, bob, carl):
            assert await listed(inbox, one) == ["again"]
            assert (await inbox.count(one)).counts == Counts(1, 1, 1)
            assert [id_ for _, id_, _ in await page_of(inbox, one)] == ["again"]
        await following.until(start.offset + 3)
        assert [dict(entry.earlier or {}) for entry in following.entries] == [
            {},
            {COMPANY: start.offset + 1, ADMIN: start.offset + 1},
            {COMPANY: start.offset + 2, ADMIN: start.offset + 1},
        ]

    async def test_what_lies_before_a_user_s_start_takes_no_place(self, inbox: OpenedStore) -> None:
        await inbox.append([keyed("own", ANN), keyed("all", EVERYONE)])
        ann = await register(inbox)
        assert await listed(inbox, ann) == ["own"]
        await inbox.append([keyed("next", EVERYONE)])
        assert await listed(inbox, ann) == ["next"]

    async def test_an_earlier_one_does_not_come_back(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("a"), keyed("b")])
        await inbox.recall("b")
        assert await listed(inbox, ann) == []
        await inbox.append([keyed("c"), keyed("d", expires_at=START + HOUR)])
        assert await listed(inbox, ann) == ["d"]
        clock.advance(7200)
        assert await listed(inbox, ann) == []
        await inbox.append([keyed("e"), keyed("f")])
        await inbox.change(ann, Action.DELETE, ["f"], START)
        assert await listed(inbox, ann) == []

    async def test_nor_where_the_later_one_was_for_others_too(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("a", ANN), keyed("b", EVERYONE)])
        await inbox.recall("b")
        assert await listed(inbox, ann) == []
        assert await page_of(inbox, ann) == [(NOTIFICATION_DELETED, "b", False)]

    async def test_one_that_was_replaced_is_as_unknown(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([keyed("a", ANN), keyed("all", EVERYONE), keyed("b", ANN)])
        for action in Action:
            assert (await inbox.change(ann, action, ["a", "all", "x"], START)).changed == 0
        assert (await inbox.change(bob, Action.READ, ["all"], START)).changed == 1
        assert (await inbox.change(ann, Action.READ, ["a", "b"], START)).changed == 1

    async def test_what_is_read_up_to_a_place_is_what_was_not_replaced(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("all", EVERYONE), draft("x"), keyed("b", ANN)])
        changed = await inbox.read_all(ann, await inbox.head(), START)
        assert (changed.changed, changed.counts) == (2, Counts(0, 0, 2))
        await inbox.append([keyed("c", EVERYONE)])
        changed = await inbox.read_all(ann, None, START)
        assert (changed.changed, changed.counts) == (1, Counts(0, 0, 2))

    async def test_those_that_were_replaced_push_nothing_out(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b"), *(keyed(f"k{number}") for number in range(10))])
        assert await listed(inbox, ann) == ["k9", "b", "a"]
        assert (await inbox.count(ann)).room == 0
        await inbox.append([keyed("all", EVERYONE), draft("c")])
        assert await listed(inbox, ann) == ["c", "all", "b"]

    async def test_whoever_reads_from_before_is_given_the_last_alone(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), (await inbox.head()).offset
        await inbox.append([keyed("a"), draft("x"), keyed("b"), keyed("all", EVERYONE), draft("y")])
        expected = [
            (NOTIFICATION_NEW, "x", False),
            (NOTIFICATION_NEW, "all", True),
            (NOTIFICATION_NEW, "y", False),
        ]
        assert await page_of(inbox, ann, start) == expected
        assert await page_of(inbox, ann, start + 1) == expected
        assert await page_of(inbox, ann, start + 2) == expected[1:]
        for most in (1, 2, 3):
            assert await page_of(inbox, ann, start, most=most) == expected

    async def test_a_page_says_what_is_told_of_one_that_is_over(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann, start = await register(inbox), await inbox.head()
        ends = START + HOUR
        await inbox.append(
            [keyed("a", expires_at=ends), keyed("b"), keyed("c", expires_at=ends), draft("d", expires_at=ends)]
        )
        clock.advance(2 * 3600)
        page = await inbox.read(ann, start, max_entries=10, max_bytes=1 << 20)
        assert [json.loads(entry.over or "null") for entry in page.entries] == [
            {"ids": ["c"], "by": "publisher", "collapse_key": "k"},
            None,
        ]

    async def test_a_page_says_which_was_the_first(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([keyed("a", EVERYONE), keyed("b"), keyed("c", BOB), keyed("d")])
        page = await inbox.read(ann, start, max_entries=10, max_bytes=1 << 20)
        assert [(entry.collapse_key, entry.follows) for entry in page.entries] == [("k", start.offset + 1)]
        bob = await inbox.register(UserId("bob"), "company", frozenset((BOB,)))
        page = await inbox.read(bob, start, max_entries=10, max_bytes=1 << 20)
        assert [(entry.collapse_key, entry.follows) for entry in page.entries] == [("k", None)]

    async def test_whoever_follows_is_told_where_there_were_others(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([keyed("a", ANN), keyed("b", BOB), keyed("c", COMPANY), keyed("d", ANN), draft("e", ANN)])
        await inbox.append([keyed("f", EVERYONE)])
        await following.until(start.offset + 6)
        assert [places(entry, start.offset) for entry in following.entries] == [
            {},
            {},
            {ANN: 1, BOB: 2},
            {ANN: 1, COMPANY: 3},
            {},
            {ANN: 4, BOB: 2, COMPANY: 3},
        ]
        assert [entry.collapse_key for entry in following.entries] == ["k", "k", "k", "k", None, "k"]

    async def test_a_revision_keeps_the_key_and_the_place(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([keyed("a"), keyed("b"), draft("c")])
        following = Following(inbox, start)
        await inbox.revise("b", titled("2"), START)
        await following.until(start.offset + 4)
        assert json.loads(following.entries[-1].payload)["collapse_key"] == "k"
        assert await listed(inbox, ann) == ["c", "b"]
        assert [event for event, *_ in await page_of(inbox, ann, start.offset + 3)] == [NOTIFICATION_REVISED]

    async def test_whoever_has_a_later_one_hears_no_more_of_it(self, inbox: OpenedStore) -> None:
        ann, bob, start = await register(inbox), await register(inbox, "bob"), await inbox.head()
        following = Following(inbox, start)
        await inbox.append([keyed("a", ANN, BOB), keyed("all", EVERYONE), keyed("b", ANN)])
        await inbox.revise("a", titled("2"), START)
        await inbox.revise("all", titled("2"), START)
        await following.until(start.offset + 5)
        assert following.entries[3].rooms == {BOB} or following.entries[3].later is not None
        assert following.entries[4].later == {ANN: start.offset + 3}
        assert await page_of(inbox, ann, start.offset + 3) == []
        assert await page_of(inbox, bob, start.offset + 3) == [(NOTIFICATION_REVISED, "all", True)]

    async def test_whoever_is_told_that_the_last_was_taken_back_is_told_the_key(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([keyed("a"), keyed("b"), draft("c")])
        for id_ in "abc":
            await inbox.recall(id_)
        await following.until(start.offset + 6)
        assert [json.loads(entry.payload) for entry in following.entries[3:]] == [
            {"ids": ["a"], "by": "publisher"},
            {"ids": ["b"], "by": "publisher", "collapse_key": "k"},
            {"ids": ["c"], "by": "publisher"},
        ]

    async def test_a_retry_is_a_duplicate_with_the_same_key_only(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([keyed("a"), keyed("b")])
        again = await inbox.append([keyed("a"), keyed("b", key="other"), draft("a")])
        assert outcomes(again) == [DUPLICATE, CONFLICT, CONFLICT]
        assert await listed(inbox, ann) == ["b"]
        assert outcomes(await inbox.append([keyed("c")])) == [STORED]

    async def test_of_many_published_at_once_one_stays(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        rooms = [(ANN,), (BOB,), (ANN, BOB), (COMPANY,), (EVERYONE,)]
        positions = await asyncio.gather(
            *(inbox.append([keyed(str(number), *rooms[number % 5])]) for number in range(50))
        )
        offsets = {one[0].position.offset: one[0].id for one in positions}
        in_order = [offsets[offset] for offset in sorted(offsets)]
        for whom, others in ((ann, 1), (bob, 0)):
            last = [id_ for id_ in in_order if int(id_) % 5 != others][-1]
            assert await listed(inbox, whom) == [last]

    async def test_what_is_gone_leaves_nothing_behind(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = await register(inbox)
        await inbox.append([keyed("a", ANN, BOB), keyed("b", EVERYONE), keyed("c", ANN)])
        await inbox.recall("c")
        await pass_time(inbox, clock, timedelta(hours=2))
        assert await listed(inbox, ann) == []
        await inbox.append([keyed("d"), keyed("a", EVERYONE)])
        assert await listed(inbox, ann) == ["a"]
        page = await inbox.read(ann, at(await inbox.head(), -2), max_entries=10, max_bytes=1 << 20)
        assert [told(entry) for entry in page.entries] == [(NOTIFICATION_NEW, "a", True)]

    async def test_a_thousand_of_users_and_one_for_all_of_them(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        rooms: Sequence[Room] = [Room.of_user(str(number)) for number in range(1000)]
        await inbox.append([keyed("many", ANN, *rooms), keyed("all", EVERYONE), keyed("again", ANN, *rooms)])
        assert await listed(inbox, ann) == ["again"]

    async def test_one_that_waits_takes_its_place_when_it_is_due(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann, start = await register(inbox), await inbox.head()
        following = Following(inbox, start)
        waiting = replace(keyed("later", data=b'{"collapse_key":"x"}'), deliver_at=START + HOUR, waits=True)
        await inbox.append([waiting, keyed("a")])
        assert await listed(inbox, ann) == ["a"]
        clock.advance(3600)
        await inbox.deliver_due(clock.now(), 10)
        assert await listed(inbox, ann) == ["later"]
        await following.until(start.offset + 2)
        assert places(following.entries[1], start.offset) == {ANN: 1}
        assert await page_of(inbox, ann, start.offset) == [(NOTIFICATION_NEW, "later", True)]

    async def test_one_that_was_replaced_is_still_found(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([keyed("a"), keyed("b")])
        page = await inbox.addressed(UserId("ann"), DeliveriesQuery(id="a"))
        assert [(one.id, one.rooms) for one in page.notifications] == [("a", frozenset({ANN}))]
        assert page.notifications[0].replaced_at is not None
        page = await inbox.addressed(UserId("ann"), DeliveriesQuery(id="b"))
        assert page.notifications[0].replaced_at is None
        found = await inbox.published("a")
        assert found is not None
        assert found.audience.rooms == {ANN}
        assert await ids_of(inbox, await register(inbox)) == ["b"]
