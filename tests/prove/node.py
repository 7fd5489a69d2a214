"""The server of this project, with two things that a run may do to it from outside.

Its wall clock is apart from the true time by the seconds in the file CLOCK in its folder. And where PROVE_FAULT names
one of FAULTS, the server has it: ``make prove`` has to find each.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from adapters.transport.socketio.transport import SocketIoTransport
from adapters.transport.sse.transport import SseTransport
from domain.model import Appended, AppendOutcome, Arrival, Arrived, Counted, Draft, Identity, Page, Position, Room
from domain.policy import ConnectionPolicy
from entrypoints import serving

CLOCK = "clock"
FAULT = "PROVE_FAULT"

STORES: Sequence[type] = (PostgresqlStore, SqliteStore)
TRANSPORTS: Sequence[type] = (SocketIoTransport, SseTransport)


def has_bad_luck(chance: float) -> bool:
    return random.random() < chance


def patch(owners: Sequence[type], name: str, around: Callable[[Any], Any]) -> None:
    """Put something around a method of each."""
    for owner in owners:
        setattr(owner, name, around(getattr(owner, name)))


# the clock


def follow_clock(file: Path) -> None:
    """As an operator sets it, or a time server: what is measured between two moments is not touched."""
    read_at, apart = 0.0, timedelta()

    def now(_self: SystemClock) -> datetime:
        nonlocal read_at, apart
        if time.monotonic() - read_at > 0.1:
            read_at = time.monotonic()
            apart = timedelta(seconds=float(file.read_text())) if file.exists() else timedelta()
        return datetime.now(UTC) + apart

    SystemClock.now = now  # type: ignore[method-assign, assignment]


# faults


def lost_in_replay() -> None:
    """One of the entries that a client has missed is left out."""
    _change_pages(lambda entries: entries[:-1] if len(entries) > 1 and has_bad_luck(0.5) else entries)


def doubled_in_replay() -> None:
    """One of them is sent twice."""
    _change_pages(lambda entries: (*entries, entries[-1]) if entries and has_bad_luck(0.5) else entries)


def _change_pages(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> None:
    def changed(page: Page) -> Page:
        return replace(page, entries=change(page.entries))

    def around_arrive(arrive: Any) -> Any:
        async def wrong(store: Any, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
            return [replace(arrived, page=changed(arrived.page)) for arrived in await arrive(store, arrivals)]

        return wrong

    def around_read(read: Any) -> Any:
        async def wrong(store: Any, *arguments: Any, **options: Any) -> Page:
            return changed(await read(store, *arguments, **options))

        return wrong

    patch(STORES, "arrive", around_arrive)
    patch(STORES, "read", around_read)


def out_of_order() -> None:
    """What is sent to some is overtaken by what is sent to them next."""

    def around(send: Any) -> Any:
        late: list[tuple[Any, Collection[Any], Any]] = []

        def wrong(transport: Any, outlets: Collection[Any], frame: Any) -> None:
            if not late and len(outlets) > 1 and has_bad_luck(0.1):
                late.append((transport, tuple(outlets), frame))
                return
            send(transport, outlets, frame)
            while late:
                send(*late.pop())

        return wrong

    patch(TRANSPORTS, "send", around)


def foreign_room() -> None:
    """Somebody is put into the room of another user, too."""

    def around(rooms: Any) -> Any:
        def wrong(policy: ConnectionPolicy, identity: Identity) -> frozenset[Room]:
            stranger = {Room.of_user("ada")} if has_bad_luck(0.2) else set()
            return frozenset(rooms(policy, identity) | stranger)

        return wrong

    patch([ConnectionPolicy], "rooms", around)


def acknowledged_too_early() -> None:
    """A publisher is told that it is stored while it is about to be, and where it will probably lie."""
    storing: set[asyncio.Task[Any]] = set()

    def around(append: Any) -> Any:
        async def wrong(store: Any, batch: Sequence[Draft], **options: Any) -> Sequence[Appended]:
            if options.get("checkpoint") is not None or not has_bad_luck(0.3):
                result: Sequence[Appended] = await append(store, batch, **options)
                return result
            head = await store.head()
            storing.add(asyncio.create_task(append(store, batch, **options)))
            return [
                Appended(AppendOutcome.STORED, draft.notification.id, Position(head.epoch, head.offset + number))
                for number, draft in enumerate(batch, 1)
            ]

        return wrong

    patch(STORES, "append", around)


def stored_twice() -> None:
    """A retry is stored again, under another id."""
    known: set[str] = set()

    def around(append: Any) -> Any:
        async def wrong(store: Any, batch: Sequence[Draft], **options: Any) -> Sequence[Appended]:
            again = []
            for draft in batch:
                notification = draft.notification
                if notification.id in known:
                    notification = replace(notification, id=f"{notification.id}.again.{random.randrange(1000)}")
                known.add(draft.notification.id)
                again.append(replace(draft, notification=notification))
            result: Sequence[Appended] = await append(store, again, **options)
            return result

        return wrong

    patch(STORES, "append", around)


def off_by_one() -> None:
    """A count has one too many."""

    def around(count: Any) -> Any:
        async def wrong(store: Any, *arguments: Any) -> Counted:
            counted: Counted = await count(store, *arguments)
            if has_bad_luck(0.1):
                counts = counted.counts
                return replace(counted, counts=replace(counts, unread=counts.unread + 1, total=counts.total + 1))
            return counted

        return wrong

    patch(STORES, "count", around)


def forgotten_cursor() -> None:
    """A client that says where it was is taken for one that was never there."""

    def around(arrive: Any) -> Any:
        async def wrong(store: Any, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
            forgotten = [replace(one, cursors=()) if has_bad_luck(0.2) else one for one in arrivals]
            result: Sequence[Arrived] = await arrive(store, forgotten)
            return result

        return wrong

    patch(STORES, "arrive", around)


FAULTS: Mapping[str, tuple[Callable[[], None], frozenset[str]]] = {
    "lost-in-replay": (lost_in_replay, frozenset({"lost"})),
    "doubled-in-replay": (doubled_in_replay, frozenset({"twice"})),
    "out-of-order": (out_of_order, frozenset({"order"})),
    "foreign-room": (foreign_room, frozenset({"stranger"})),
    "acknowledged-too-early": (acknowledged_too_early, frozenset({"lost", "order", "retry"})),
    "stored-twice": (stored_twice, frozenset({"retry"})),
    "off-by-one": (off_by_one, frozenset({"counts"})),
    "forgotten-cursor": (forgotten_cursor, frozenset({"recovered"})),
}
"""Each by its name, with the promises of the checker of which it breaks at least one."""


def main() -> int:
    follow_clock(Path(CLOCK))
    fault = os.environ.get(FAULT)
    if fault:
        FAULTS[fault][0]()
    return serving.main()


if __name__ == "__main__":
    sys.exit(main())
