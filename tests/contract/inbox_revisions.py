"""Giving what was published other content: whoever has it is given that, and whoever has not is given nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.contract.events import item_json
from domain.errors import InvalidPublication, NotificationExpired, NotificationRecalled, UnknownNotification
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Action,
    Amended,
    Counts,
    Entry,
    FieldError,
    InboxQuery,
    ItemState,
    Json,
    Notification,
    Room,
    Subscriber,
)
from domain.ports import Revise
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    DUPLICATE,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    arrival,
    arrive,
    at,
    draft,
    ids_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock


def to(**members: Any) -> Revise:
    return lambda notification: replace(notification, **members)


def titled(title: str) -> Revise:
    return to(title=title)


async def revise(inbox: OpenedStore, id_: str, *titles: str, now: datetime = START) -> list[Amended]:
    return [await inbox.revise(id_, titled(title), now) for title in titles]


async def page_of(inbox: OpenedStore, whom: Subscriber, after: int = 0) -> list[tuple[int, str, str | None]]:
    """Offsets, events and titles, as they are given to whoever reads on from there. Of what was revised since: None."""
    head = await inbox.head()
    page = await inbox.read(whom, at(head, after - head.offset), max_entries=1000, max_bytes=1 << 20)
    arrived = await arrive(
        inbox,
        arrival(whom.user, whom.role, at(head, after - head.offset), max_entries=1000, rooms=frozenset(whom.starts)),
    )
    assert not page.more
    if arrived.subscriber == whom:
        assert [told(entry) for entry in arrived.page.entries] == [told(entry) for entry in page.entries]
    return [told(entry) for entry in page.entries]


def told(entry: Entry) -> tuple[int, str, str | None]:
    title = json.loads(entry.payload).get("title") if entry.revised is None else None
    return entry.position.offset, entry.event, title


async def listed(inbox: OpenedStore, whom: Subscriber, **query: Any) -> list[dict[str, Any]]:
    listing = await inbox.list_items(whom, InboxQuery(state=ItemState.ALL, limit=1000, **query))
    return [json.loads(item_json(item)) for item in listing.items]


def titles(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["title"] for item in items]


class RevisionContract:
    async def test_a_revision_is_an_entry_with_all_of_the_new_content(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a", ANN, COMPANY, body="b", data=b'{"n": 1}'), draft("b", BOB)])
        await following.until(start.offset + 2)
        now = START + timedelta(seconds=90)
        revised = await inbox.revise("a", to(type="other", title="t2", data=Json(b'{"n": 2}')), now)
        assert (revised.id, revised.about, revised.position) == ("a", start.offset + 1, at(start, 3))
        await following.until(start.offset + 3)
        first, _, last = following.entries
        assert (last.event, last.about, last.revised) == (NOTIFICATION_REVISED, start.offset + 1, None)
        assert last.rooms == {ANN, COMPANY}
        expected = json.loads(first.payload)
        expected |= {"type": "other", "title": "t2", "data": {"n": 2}, "revised_at": "2030-01-31T12:01:30.000Z"}
        assert json.loads(last.payload) == expected
        assert first.revised is None

    async def test_whoever_reads_from_before_it_is_given_the_last_content_alone(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a", title="a1"), draft("b", title="b1")])
        await revise(inbox, "a", "a2", "a3")
        one, two, five = (start.offset + n for n in (1, 2, 4))
        expected = [(one, NOTIFICATION_NEW, None), (two, NOTIFICATION_NEW, "b1"), (five, NOTIFICATION_REVISED, "a3")]
        assert await page_of(inbox, ann, start.offset) == expected
        assert await page_of(inbox, ann, one) == expected[1:]
        assert await page_of(inbox, ann, two) == expected[2:]
        assert await page_of(inbox, ann, start.offset + 3) == expected[2:]
        assert await page_of(inbox, ann, five) == []

    async def test_what_was_revised_says_where_its_content_is_told(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a")])
        (_, last) = await revise(inbox, "a", "2", "3")
        page = await inbox.read(reader(ANN), start, max_entries=10, max_bytes=1 << 20)
        assert [(entry.revised, entry.about) for entry in page.entries] == [
            (last.position.offset, None),
            (None, start.offset + 1),
        ]
        assert json.loads(page.entries[0].payload)["title"] == "3"

    async def test_pages_of_one_entry_come_to_the_same(self, inbox: OpenedStore) -> None:
        after = start = await inbox.head()
        await inbox.append([draft(id_) for id_ in "abc"])
        await revise(inbox, "b", "b2", "b3")
        await revise(inbox, "a", "a2")
        given: list[tuple[int, str, str | None]] = []
        while True:
            page = await inbox.read(reader(ANN), after, max_entries=1, max_bytes=1)
            given += [told(entry) for entry in page.entries]
            after = page.upto
            if not page.more:
                break
        assert given == await page_of(inbox, reader(ANN), start.offset)

    async def test_a_follower_finds_no_offset_missing(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b")])
        await revise(inbox, "a", "2", "3")
        following = Following(inbox, start)
        await following.until(start.offset + 4)
        assert following.offsets == [start.offset + n for n in (1, 2, 3, 4)]
        empty = following.entries[2]
        assert (empty.rooms, empty.payload) == (frozenset(), b"")
        assert json.loads(following.entries[0].payload)["title"] == "3"

    async def test_its_place_and_what_was_done_to_it_stay(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft(id_, title=id_) for id_ in "abcd"])
        await inbox.change(ann, Action.READ, ["a", "b"], START)
        await inbox.change(ann, Action.ARCHIVE, ["b"], START)
        before = await listed(inbox, ann)
        counts = (await inbox.count(ann)).counts
        for id_ in "abc":
            await inbox.revise(id_, to(title=f"{id_}2", type="other"), START)
        after = await listed(inbox, ann)
        assert titles(after) == ["d", "c2", "b2", "a2"]
        for name in ("id", "created_at", "read_at", "seen_at", "archived_at"):
            assert [item[name] for item in after] == [item[name] for item in before]
        counted = await inbox.count(ann)
        assert counted.counts == counts == Counts(2, 2, 3)
        assert counted.as_of == await inbox.head()
        assert titles(await listed(inbox, ann, type="other")) == ["c2", "b2", "a2"]
        await inbox.change(ann, Action.UNREAD, ["a"], START)
        assert (await inbox.count(ann)).counts == Counts(3, 2, 3)

    async def test_the_same_again_changes_nothing(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", title="1", data=b'{"n": 1}')])
        nothing = await inbox.revise("a", to(title="1", data=Json(b'{"n": 1}')), START)
        assert nothing.position == await inbox.head()
        (revised,) = await revise(inbox, "a", "2")
        (again,) = await revise(inbox, "a", "2", now=START + HOUR)
        assert again == revised
        assert await inbox.head() == revised.position

    async def test_what_refuses_it_leaves_everything_as_it_was(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a", title="1")])
        head = await inbox.head()

        def refuse(_: Notification) -> Notification:
            raise InvalidPublication([FieldError("title", "is not good enough")])

        with pytest.raises(InvalidPublication, match="is not good enough"):
            await inbox.revise("a", refuse, START)
        assert await inbox.head() == head
        assert titles(await listed(inbox, ann)) == ["1"]

    async def test_what_was_never_published_is_unknown(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        with pytest.raises(UnknownNotification):
            await revise(inbox, "b", "2")

    async def test_what_was_taken_back_or_has_expired_is_not_revised(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a"), draft("b", expires_at=START + HOUR)])
        await revise(inbox, "a", "2")
        await inbox.recall("a")
        head = await inbox.head()
        with pytest.raises(NotificationRecalled):
            await revise(inbox, "a", "3")
        with pytest.raises(NotificationExpired):
            await revise(inbox, "b", "2", now=START + HOUR)
        assert await inbox.head() == head

    async def test_what_was_revised_is_taken_back_whole(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a"), draft("b", title="b1")])
        await revise(inbox, "a", "2", "3")
        await inbox.recall("a")
        given = [(start.offset + 2, NOTIFICATION_NEW, "b1"), (start.offset + 5, NOTIFICATION_DELETED, None)]
        assert await page_of(inbox, ann, start.offset) == given
        assert await page_of(inbox, ann, start.offset + 2) == given[1:]
        assert await ids_of(inbox, ann) == ["b"]
        following = Following(inbox, start)
        await following.until(start.offset + 5)
        assert b'"3"' not in b"".join(entry.payload for entry in following.entries)

    async def test_when_it_expires_changes(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a"), draft("b", expires_at=START + HOUR), draft("c", expires_at=START + HOUR)])
        await inbox.revise("a", to(expires_at=START + 2 * HOUR), START)
        await inbox.revise("b", to(expires_at=None), START)
        await inbox.revise("c", to(title="c2"), START)
        assert (await inbox.count(ann)).stands_until == START + HOUR
        page = await inbox.read(ann, start, max_entries=10, max_bytes=1 << 20)
        assert [entry.expires_at for entry in page.entries if entry.event == NOTIFICATION_REVISED] == [
            START + 2 * HOUR,
            None,
            START + HOUR,
        ]
        clock.advance(3600)
        assert await ids_of(inbox, ann) == ["b", "a"]
        clock.advance(3600)
        assert await ids_of(inbox, ann) == ["b"]
        assert (await inbox.count(ann)).counts == Counts(1, 1, 1)

    async def test_whoever_has_deleted_it_is_told_nothing_of_it(self, inbox: OpenedStore) -> None:
        ann, start = await register(inbox), await inbox.head()
        bob = await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB), draft("b", EVERYONE)])
        await inbox.change(ann, Action.DELETE, ["a", "b"], START)
        (first,) = await revise(inbox, "a", "a2")
        (second,) = await revise(inbox, "b", "b2")
        assert [event for _, event, _ in await page_of(inbox, ann, start.offset + 2)] == [NOTIFICATION_DELETED]
        assert [title for _, _, title in await page_of(inbox, bob, start.offset + 2)] == ["a2", "b2"]
        following = Following(inbox, start)
        await following.until(second.position.offset)
        (told_of_a,) = [entry for entry in following.entries if entry.position == first.position]
        assert told_of_a.rooms == {BOB}
        assert (await inbox.count(ann)).counts == Counts(0, 0, 0)

    async def test_of_many_at_once_each_is_made_of_the_one_before(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", body="")])

        def longer(notification: Notification) -> Notification:
            return replace(notification, body=f"{notification.body}x")

        done = await asyncio.gather(*(inbox.revise("a", longer, START) for _ in range(12)))
        assert sorted(one.position.offset for one in done) == [start.offset + n for n in range(2, 14)]
        page = await inbox.read(reader(ANN), at(start, 1), max_entries=100, max_bytes=1 << 20)
        assert [json.loads(entry.payload)["body"] for entry in page.entries] == ["x" * 12]

    async def test_its_id_stays_that_of_what_was_published(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", title="1")])
        await revise(inbox, "a", "2")
        assert outcomes(await inbox.append([draft("a", title="1")])) == [DUPLICATE]

    async def test_one_for_many_users(self, inbox: OpenedStore) -> None:
        rooms = [Room.of_user(f"user-with-a-rather-long-name-{number}") for number in range(1500)]
        start = await inbox.head()
        await inbox.append([draft("a", *rooms)])
        await inbox.revise("a", to(title="2", expires_at=START + HOUR), START)
        await revise(inbox, "a", "3")
        for room in (rooms[0], rooms[-1]):
            given = await page_of(inbox, reader(room), start.offset)
            assert given == [(start.offset + 1, NOTIFICATION_NEW, None), (start.offset + 3, NOTIFICATION_REVISED, "3")]
        following = Following(inbox, start)
        await following.until(start.offset + 3)
        assert following.entries[-1].rooms == {*rooms}

    async def test_once_what_it_revises_is_in_no_inbox_it_is_told_no_more(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann, start = await register(inbox), await inbox.head()
        await inbox.append([draft("a")])
        clock.advance(1800)
        (revised,) = await revise(inbox, "a", "2", now=clock.now())
        await inbox.append([draft("b")])
        assert [offset for offset, *_ in await page_of(inbox, ann, start.offset + 1)] == [
            start.offset + 2,
            start.offset + 3,
        ]
        await pass_time(inbox, clock, timedelta(seconds=1900))
        assert await ids_of(inbox, ann) == ["b"]
        # Its entry has not left the log.
        assert revised.position == at(start, 2)
        assert [offset for offset, *_ in await page_of(inbox, ann, start.offset + 1)] == [start.offset + 3]
        with pytest.raises(UnknownNotification):
            await revise(inbox, "a", "3", now=clock.now())
