"""What the suites of the Store port share: notifications to publish, somebody to read them, and time that passes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest

from adapters.contract.events import item_json
from domain.errors import CursorRefused
from domain.model import (
    EVERYONE,
    Appended,
    AppendOutcome,
    Arrival,
    Arrived,
    AudienceKind,
    Draft,
    Entry,
    InboxQuery,
    ItemState,
    Json,
    Notification,
    Position,
    RecoveryReason,
    Room,
    Subscriber,
    TailEntry,
    UserId,
)
from domain.ports import Store
from tests.doubles import START, ManualClock

ANN, BOB = Room("user:ann"), Room("user:bob")
COMPANY, ADMIN = Room("role:company"), Room("role:admin")
STORED, DUPLICATE, CONFLICT = AppendOutcome.STORED, AppendOutcome.DUPLICATE, AppendOutcome.CONFLICT

WITHIN = 15.0
"""Seconds in which what is there is given, with slack for a busy machine."""

HOUR = timedelta(hours=1)


class OpenedStore(Store, Protocol):
    """A store, and what the server does with it beside asking."""

    async def close(self) -> None: ...

    async def tidy(self) -> bool: ...

    async def size(self) -> int: ...


class OpenStore(Protocol):
    """Opens an empty store. What is older than ``retention`` leaves the log, lists and counts."""

    async def __call__(
        self, *, retention: timedelta = ..., inbox_per_user: int = ..., scheduled_most: int = ...
    ) -> OpenedStore: ...


def draft(
    id_: str,
    *rooms: Room,
    own_id: bool = True,
    key: str | None = None,
    title: str = "t",
    body: str | None = None,
    data: bytes | None = None,
    type_: str = "test",
    created_at: datetime = START,
    expires_at: datetime | None = None,
    collapse_key: str | None = None,
) -> Draft:
    notification = Notification(
        id=id_,
        type=type_,
        title=title,
        body=body,
        data=Json(data) if data is not None else None,
        audience=AudienceKind.USER,
        created_at=created_at,
        expires_at=expires_at,
        collapse_key=collapse_key,
    )
    return Draft(notification, frozenset(rooms or (ANN,)), own_id, key)


def outcomes(appended: Sequence[Appended]) -> list[AppendOutcome]:
    return [one.outcome for one in appended]


def reader(*rooms: Room, start: int = 0, user: str = "ann", role: str = "company") -> Subscriber:
    """Who has the same start in all of the rooms, and was not asked for in ``enter``."""
    return Subscriber(UserId(user), role, dict.fromkeys(rooms or (ANN,), start))


def at(start: Position, offset: int) -> Position:
    return Position(start.epoch, start.offset + offset)


async def register(inbox: Store, user: str = "ann", role: str = "company") -> Subscriber:
    """As a connection of the user does it."""
    return await inbox.register(UserId(user), role, rooms_of(user, role))


def rooms_of(user: str, role: str) -> frozenset[Room]:
    return frozenset((Room.of_user(user), Room.of_role(role), EVERYONE))


def with_payloads(entries: Sequence[TailEntry]) -> list[Entry]:
    """As whoever wants everything is given them."""
    given = [entry for entry in entries if isinstance(entry, Entry)]
    assert given == [*entries]
    return given


class Following:
    """One follower, and how far it has come."""

    def __init__(self, inbox: Store, after: Position) -> None:
        self._batches = inbox.tail(after)
        self.entries: list[Entry] = []

    @property
    def offsets(self) -> list[int]:
        return [entry.position.offset for entry in self.entries]

    async def until(self, offset: int, *, within: float = WITHIN) -> list[int]:
        async with asyncio.timeout(within):
            while not self.entries or self.entries[-1].position.offset < offset:
                self.entries.extend(with_payloads(await anext(self._batches)))
        return self.offsets

    def start(self, offset: int, *, within: float = WITHIN) -> asyncio.Task[list[int]]:
        return asyncio.create_task(self.until(offset, within=within))


async def turns() -> None:
    """Let everybody come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def entries_of(inbox: Store, subscriber: Subscriber, after: Position) -> list[Entry]:
    page = await inbox.read(subscriber, after, max_entries=10_000, max_bytes=1 << 30)
    assert not page.more
    return list(page.entries)


async def offsets_of(inbox: Store, subscriber: Subscriber, after: Position) -> list[int]:
    return [entry.position.offset for entry in await entries_of(inbox, subscriber, after)]


async def events_of(inbox: Store, subscriber: Subscriber, after: Position) -> list[tuple[str, dict[str, Any]]]:
    """What a client that has everything up to a position is sent: names and first arguments."""
    return [(entry.event, json.loads(entry.payload)) for entry in await entries_of(inbox, subscriber, after)]


async def items_of(
    inbox: Store,
    subscriber: Subscriber,
    state: ItemState = ItemState.ALL,
    *,
    limit: int = 1000,
    type_: str | None = None,
) -> list[dict[str, Any]]:
    """The objects of a list, newest first."""
    listing = await inbox.list_items(subscriber, InboxQuery(limit=limit, state=state, type=type_))
    return [json.loads(item_json(item)) for item in listing.items]


async def ids_of(inbox: Store, subscriber: Subscriber, state: ItemState = ItemState.ALL) -> list[str]:
    return [item["id"] for item in await items_of(inbox, subscriber, state)]


async def assert_refused(
    inbox: Store, subscriber: Subscriber, after: Position, reason: RecoveryReason = RecoveryReason.TRIMMED
) -> None:
    """By what reads from there, be it much or little."""
    for max_entries in (10_000, 1):
        with pytest.raises(CursorRefused) as refused:
            await inbox.read(subscriber, after, max_entries=max_entries, max_bytes=1 << 30)
        assert refused.value.reason is reason


async def assert_readable(inbox: Store, subscriber: Subscriber, after: Position) -> None:
    assert await is_readable(inbox, subscriber, after)


async def is_readable(inbox: Store, subscriber: Subscriber, after: Position) -> bool:
    """False only for what was trimmed."""
    try:
        await inbox.read(subscriber, after, max_entries=1, max_bytes=1)
    except CursorRefused as refused:
        if refused.reason is not RecoveryReason.TRIMMED:
            raise
        return False
    return True


async def floor_of(inbox: Store, subscriber: Subscriber) -> Position:
    """The first position that can be read from: all before it are refused, and none after it."""
    head = await inbox.head()
    low, high = 0, head.offset
    while low < high:
        middle = (low + high) // 2
        if await is_readable(inbox, subscriber, Position(head.epoch, middle)):
            high = middle
        else:
            low = middle + 1
    return Position(head.epoch, low)


def arrival(
    user: str = "ann",
    role: str = "company",
    *cursors: Position | None,
    rooms: frozenset[Room] | None = None,
    unstored_mark: Position | None = None,
    replays_undelivered: bool = True,
    max_entries: int = 10_000,
    max_bytes: int = 1 << 30,
) -> Arrival:
    """As a connection of the user makes it."""
    rooms = rooms if rooms is not None else rooms_of(user, role)
    return Arrival(UserId(user), role, rooms, cursors, unstored_mark, replays_undelivered, max_entries, max_bytes)


async def arrive(inbox: Store, one: Arrival) -> Arrived:
    (arrived,) = await inbox.arrive([one])
    return arrived


async def mark_of(inbox: Store, subscriber: Subscriber) -> Position:
    """Where a user continues in a role who brings nothing; of their log nothing may be gone."""
    arrived = await arrive(inbox, arrival(subscriber.user, subscriber.role, rooms=frozenset(subscriber.starts)))
    assert arrived.reason is None
    return arrived.after


async def pass_time(inbox: OpenedStore, clock: ManualClock, span: timedelta) -> None:
    """So much time, in which the server has put everything in order."""
    clock.advance(span.total_seconds())
    async with asyncio.timeout(WITHIN):
        while await inbox.tidy():
            pass


async def age(inbox: OpenedStore, clock: ManualClock, old: Sequence[Draft], young: Sequence[Draft]) -> None:
    """Publish so that with a retention of an hour only the young ones are left."""
    await inbox.append(old)
    clock.advance(1800)
    await inbox.append(young)
    await pass_time(inbox, clock, timedelta(seconds=1801))
