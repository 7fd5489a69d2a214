"""The log in a SQLite file: how it is read.

What is read comes as one row of text, its parts and rows kept apart by control characters that neither JSON nor the
name of a room can hold: every row would cost a wait for the interpreter's lock while the loop is busy (measured: a
page of 500 rows 16 ms, as one row 1 ms).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache

from adapters.contract.controls import read_control
from adapters.store.form import change, notification, other_form, unknown_form
from adapters.store.sqlite.collapsing import KEYED, as_followed, as_read
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.topics import ENTRIES, GROUPS, Groups, stays_after, stays_of
from adapters.store.tail import FOLLOW_MAX_BYTES, FOLLOW_MAX_ENTRIES, NOBODY, as_seen_by, erased, has_content, weight
from adapters.store.times import moment
from domain.errors import CursorRefused
from domain.model import (
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Entry,
    Page,
    Position,
    RecoveryReason,
    Room,
    Span,
    Subscriber,
)
from domain.model.value import value
from domain.rules.epochs import Generations
from domain.rules.recovery import floor_in_topics, floor_of, is_told, may_miss

FIELD, ROW = b"\x1f", b"\x1e"

PAGE_TOTAL_BYTES = 16 * 1024 * 1024
"""Of a page, the names of its rooms among it: a page of entries for thousands of users each ends early."""

HEAD = """
    SELECT max(coalesce((SELECT max(offset) FROM entries), 0), (SELECT value FROM meta WHERE name = 'log_floor'))"""
TRIMMED = """
    max(trimmed, coalesce((SELECT max(offset) FROM placed WHERE room = rooms.id
        AND offset <= (SELECT value FROM meta WHERE name = 'log_floor')), 0))"""
"""Of one of the ``rooms``, the last offset that has left the log: what is at or below the floor, but still placed, is
in inboxes only."""

_SNAPSHOT = f"SELECT ({HEAD}), (SELECT value FROM meta WHERE name = 'log_floor'), ({GROUPS})"  # noqa: S608

_OF_ENTRY = "LEFT JOIN contents ON contents.offset = entries.offset"
_ROOMS_BYTES = "coalesce(length(contents.rooms), length(entries.rooms), 0)"
_PAYLOAD_BYTES = "coalesce(length(contents.payload), length(entries.payload), 0)"
_MANY = b"\x1d"
_ENTRY = f"""
    value || char(31) || coalesce(contents.expires_at, entries.expires_at, '')
    || char(31) || coalesce(event, '') || char(31)
    || CASE WHEN {_ROOMS_BYTES} > :names THEN char({_MANY[0]}) ELSE coalesce(contents.rooms, entries.rooms, '') END
    || char(31) || coalesce(contents.stored_at, entries.stored_at, '') || char(31) || coalesce(about, revised, '')
    || char(31) || coalesce(contents.payload, entries.payload, '')"""

_ENTRIES = f"""
    SELECT CAST(group_concat({_ENTRY}, char(30)) AS BLOB),
        {other_form("coalesce(contents.form, entries.form)", "value")}
    FROM (SELECT value FROM json_each(:offsets)) LEFT JOIN contents ON contents.offset = value
    LEFT JOIN entries ON contents.offset IS NULL AND entries.offset = value"""  # noqa: S608
_MANY_NAMES_BYTES = 4096


class RoomSets:
    """The rooms of the entries with the most of them, as they were read last, for many users who read the same.

    Measured: reading an entry of 10,000 rooms takes 40 ms, nearly all of it for their names.
    """

    def __init__(self, most: int = 200_000) -> None:
        """``most`` is how many rooms in all."""
        self._most = most
        self._rooms = 0
        self._sets: OrderedDict[int, frozenset[Room]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, offset: int) -> frozenset[Room] | None:
        with self._lock:
            return self._sets.get(offset)

    def clear(self) -> None:
        with self._lock:
            self._sets.clear()
            self._rooms = 0

    def put(self, offset: int, rooms: frozenset[Room]) -> None:
        with self._lock:
            if offset in self._sets:
                return
            self._sets[offset] = rooms
            self._rooms += len(rooms)
            while self._rooms > self._most:
                self._rooms -= len(self._sets.popitem(last=False)[1])


def head(db: sqlite3.Connection) -> int:
    """The offset of the last entry, be it gone or not."""
    return int(db.execute(HEAD).fetchone()[0])


def log_floor(db: sqlite3.Connection) -> int:
    """The offset up to which everything has left the log, though not every inbox."""
    return int(db.execute("SELECT value FROM meta WHERE name = 'log_floor'").fetchone()[0])


@value
class Snapshot:
    """What is to be known of one for most of what is asked of it, in one query: its ``head``, its ``floor`` (see
    ``log_floor``), and which groups there are."""

    head: int
    floor: int
    groups: Groups


def snapshot_of(db: sqlite3.Connection) -> Snapshot:
    head, floor, groups = db.execute(_SNAPSHOT).fetchone()
    return Snapshot(int(head), int(floor), Groups(groups))


def trimmed(db: sqlite3.Connection, subscriber: Subscriber, groups: Groups) -> int:
    """The highest offset of an entry that has left the log and that the subscriber could have reached; or 0."""
    spans = stays_of(db, subscriber.user, subscriber.starts, groups)
    rows = db.execute(
        f"SELECT name, {TRIMMED} FROM rooms WHERE name IN (SELECT value FROM json_each(?))",  # noqa: S608
        (as_json([*subscriber.starts, *{span.room for span in spans}]),),
    )
    lost = dict(rows.fetchall())
    return max(floor_of(subscriber.starts, lost), floor_in_topics(spans, lost))


@value
class Reading:
    """A request for a page."""

    generations: Generations
    subscriber: Subscriber
    after: int
    max_entries: int
    max_bytes: int
    room_sets: RoomSets


def page(db: sqlite3.Connection, reading: Reading) -> tuple[Page, int]:
    """A page, and the head of its snapshot. Raises CursorRefused: TRIMMED."""
    subscriber, snapshot = reading.subscriber, snapshot_of(db)
    if may_miss(subscriber, reading.after, snapshot.floor) and trimmed(db, subscriber, snapshot.groups) > reading.after:
        raise CursorRefused(RecoveryReason.TRIMMED)
    spans = stays_of(db, subscriber.user, subscriber.starts, snapshot.groups)
    return readable_page(db, reading, snapshot.head, spans), snapshot.head


def readable_page(db: sqlite3.Connection, reading: Reading, head: int, spans: Sequence[Span]) -> Page:
    """A page after a position of which nothing was trimmed, from a snapshot with that head in which the subscriber has
    these stays. Raises UnknownForm."""
    subscriber = reading.subscriber
    sizes, keyed, raised = _sizes(db, reading, spans)
    chosen: list[int] = []
    size = total = 0
    for offset, payload, rooms in sizes:
        size += payload
        total += payload + rooms
        if chosen and (len(chosen) >= reading.max_entries or size > reading.max_bytes or total > PAGE_TOTAL_BYTES):
            break
        chosen.append(offset)
    entries = _entries(db, reading.generations, chosen, reading.room_sets)
    more = len(chosen) < len(sizes)
    upto = entries[-1].position if more else Position(reading.generations.present, head)
    # Most pages are of nothing else than what is new: those are not gone through again and again.
    if any(entry.about is not None or not entry.payload for entry in entries):
        entries = tuple(entry for entry in entries if has_content(entry) and is_told(entry, subscriber.starts, spans))
        if any(entry.event == NOTIFICATION_REVISED for entry in entries):
            entries = _without_deleted(db, subscriber, entries)
        entries = as_read(db, subscriber, entries, keyed)
    elif keyed:
        entries = as_read(db, subscriber, entries, keyed)
    return Page(as_seen_by(entries, raised), upto, more)


def _without_deleted(db: sqlite3.Connection, subscriber: Subscriber, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """But for those that revise what the subscriber has deleted or snoozed, or what is in no inbox any more, of which
    nobody knows who had deleted it."""
    rows = db.execute(
        """
        SELECT offset FROM json_each(:abouts) JOIN contents ON offset = value
        WHERE NOT coalesce((SELECT deleted OR snoozed_until IS NOT NULL FROM state
            WHERE user = (SELECT id FROM rooms WHERE name = :own) AND state.offset = contents.offset), 0)""",
        {
            "own": Room.of_user(subscriber.user),
            "abouts": as_json([entry.about for entry in entries if entry.about is not None]),
        },
    )
    there = {offset for (offset,) in rows}
    return tuple(entry for entry in entries if entry.event != NOTIFICATION_REVISED or entry.about in there)


def _sizes(
    db: sqlite3.Connection, reading: Reading, spans: Sequence[Span]
) -> tuple[list[list[int]], frozenset[int], dict[int, int]]:
    """Of the entries that may be on a page, and one more: offset, bytes of the payload, bytes of the rooms' names. The
    offsets of those with a key. And where what is new once more for the user is so, by the offset of the
    notification."""
    starts = reading.subscriber.starts
    if not starts and not spans:
        return [], frozenset(), {}
    own = Room.of_user(reading.subscriber.user)
    arguments: dict[str, object] = {"own": own, "limit": reading.max_entries + 1}
    for number, (name, start) in enumerate(starts.items()):
        arguments |= {f"room{number}": name, f"after{number}": max(start, reading.after)}
    if spans:
        arguments["spans"] = stays_after(spans, reading.after)
    sizes, keyed, raised = db.execute(_sizes_in(len(starts), in_topics=bool(spans)), arguments).fetchone()
    return (
        sorted(json.loads(sizes)) if sizes is not None else [],
        frozenset(json.loads(keyed)) if keyed is not None else frozenset(),
        dict(json.loads(raised)) if raised is not None else {},
    )


@cache
def _sizes_in(rooms: int, *, in_topics: bool) -> str:
    each = [
        f"""
        SELECT * FROM (SELECT offset, item FROM placed
        WHERE room = (SELECT id FROM rooms WHERE name = :room{number}) AND offset > :after{number}
        ORDER BY offset LIMIT :limit)"""  # noqa: S608
        for number in range(rooms)
    ]
    if in_topics:
        each.append(ENTRIES)
    return f"""
        SELECT '[' || group_concat('[' || offset || ',' || payload || ',' || rooms || ']') || ']',
            '[' || group_concat(CASE WHEN item = {KEYED} THEN offset END) || ']',
            (SELECT '[' || group_concat('[' || offset || ',' || raised || ']') || ']' FROM state
                WHERE user = (SELECT id FROM rooms WHERE name = :own) AND raised IS NOT NULL)
        FROM (
            SELECT found.offset AS offset, item, {_PAYLOAD_BYTES} AS payload, {_ROOMS_BYTES} AS rooms
            FROM ({" UNION ".join(each)} ORDER BY 1 LIMIT :limit) AS found
            LEFT JOIN contents ON item AND contents.offset = found.offset
            LEFT JOIN entries ON NOT item AND entries.offset = found.offset)"""  # noqa: S608


def _entries(
    db: sqlite3.Connection,
    generations: Generations,
    offsets: Sequence[int],
    room_sets: RoomSets,
    *,
    timed: bool = False,
) -> tuple[Entry, ...]:
    """With ``timed`` they say when they were stored. Raises UnknownForm."""
    rows, unknown = db.execute(_ENTRIES, {"offsets": as_json(list(offsets)), "names": _MANY_NAMES_BYTES}).fetchone()
    if unknown is not None:
        raise unknown_form(unknown)
    if rows is None:
        return ()
    entries: list[Entry] = []
    # Of what one user is given nearly all has the same.
    rooms_of: dict[bytes, frozenset[Room]] = {}
    for row in rows.split(ROW):
        # An event has what it is about, and a notification what it was revised by.
        at, expires_at, event, names, stored_at, other, payload = row.split(FIELD, 6)
        offset = int(at)
        position = generations.position(offset)
        if not payload:
            entries.append(erased(position))
            continue
        rooms = _many_rooms(db, offset, room_sets) if names == _MANY else rooms_of.get(names)
        if rooms is None:
            rooms = rooms_of[names] = _rooms(names)
        ends = moment(int(expires_at)) if expires_at else None
        then = moment(int(stored_at)) if timed else None
        offset_of_other = int(other) if other else None
        if event:
            name, content = event.decode(), change(offset, payload)
            control = read_control(name, content) if not rooms else None
            entries.append(Entry(position, rooms, name, content, ends, control, then, offset_of_other))
        else:
            told = notification(offset, payload)
            entries.append(Entry(position, rooms, NOTIFICATION_NEW, told, ends, None, then, None, offset_of_other))
    entries.sort(key=_offset)
    return tuple(entries)


def _offset(entry: Entry) -> int:
    return entry.position.offset


def _rooms(names: bytes) -> frozenset[Room]:
    return frozenset(map(Room, names.decode().split("\n"))) if names else NOBODY


def _many_rooms(db: sqlite3.Connection, offset: int, room_sets: RoomSets) -> frozenset[Room]:
    rooms = room_sets.get(offset)
    if rooms is None:
        (names,) = db.execute(
            """
            SELECT coalesce((SELECT rooms FROM contents WHERE offset = :offset),
                (SELECT rooms FROM entries WHERE offset = :offset))""",
            {"offset": offset},
        ).fetchone()
        rooms = _rooms(names)
        room_sets.put(offset, rooms)
    return rooms


@value
class Following:
    """A request for what comes after an offset, in all rooms, up to the offset ``upto``."""

    generations: Generations
    after: int
    upto: int
    room_sets: RoomSets


def following(db: sqlite3.Connection, request: Following) -> tuple[Entry, ...]:
    """At least one entry. Raises CursorRefused: TRIMMED."""
    if log_floor(db) > request.after:
        raise CursorRefused(RecoveryReason.TRIMMED)
    return stored(db, request.generations, request.after, request.upto, request.room_sets)


def stored(
    db: sqlite3.Connection, generations: Generations, after: int, upto: int, room_sets: RoomSets
) -> tuple[Entry, ...]:
    """The entries after an offset up to another, as many as a follower is given at once."""
    (sizes,) = db.execute(
        f"""
        SELECT group_concat(size) FROM (
            SELECT {_PAYLOAD_BYTES} + {_ROOMS_BYTES} AS size FROM entries {_OF_ENTRY}
            WHERE entries.offset > ? AND entries.offset <= ? ORDER BY entries.offset LIMIT ?)""",  # noqa: S608
        (after, upto, FOLLOW_MAX_ENTRIES),
    ).fetchone()
    if sizes is None:
        return ()
    number = size = 0
    for one in sizes.split(","):
        size += int(one)
        if number and size > FOLLOW_MAX_BYTES:
            break
        number += 1
    # In the log no offset is missing.
    entries = _entries(db, generations, range(after + 1, after + 1 + number), room_sets, timed=True)
    return tuple(as_followed(db, entries))


def tail_floor(db: sqlite3.Connection, max_entries: int, max_bytes: int) -> int:
    """The offset after which the entries fit into a tail of that size."""
    newest = db.execute(
        f"""
        SELECT offset, payload_bytes, length(rooms) - length(replace(rooms, char(10), '')) + 1 FROM (
            SELECT entries.offset AS offset, {_PAYLOAD_BYTES} AS payload_bytes,
                CAST(coalesce(contents.rooms, entries.rooms, '') AS TEXT) AS rooms
            FROM entries {_OF_ENTRY} WHERE entries.offset > ? ORDER BY entries.offset DESC LIMIT ?)""",  # noqa: S608
        (log_floor(db), max_entries),
    )
    floor = head(db)
    size = 0
    for offset, payload, rooms in newest:
        size += weight(payload, rooms)
        if size > max_bytes:
            break
        floor = offset - 1
    return floor
