"""The log in a SQLite file: what a transaction appends to it, and how it is read.

What is read comes as one row of text, its parts and rows kept apart by control characters that neither JSON nor the
name of a room can hold: every row would cost a wait for the interpreter's lock while the loop is busy (measured: a
page of 500 rows 16 ms, as one row 1 ms).
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from adapters.store.sqlite.schema import microseconds, moment
from adapters.store.tail import FOLLOW_MAX_BYTES, FOLLOW_MAX_ENTRIES, weight
from domain.errors import CursorRefused
from domain.model import NOTIFICATION_NEW, Entry, Json, Page, Position, RecoveryReason, Room, Subscriber
from domain.model.value import value
from domain.rules.epochs import Generations
from domain.rules.recovery import floor_of

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

_ENTRY = """
    offset || char(31) || coalesce(expires_at, '') || char(31) || event || char(31)
    || CASE WHEN length(rooms) > :names THEN '' ELSE rooms END || char(31) || payload"""

_COLUMNS = 10
_MANY_NAMES_BYTES = 4096

_encoder = msgspec.json.Encoder(enc_hook=str)  # for rooms


@value
class NewEntry:
    """One event to be logged. ``type``, ``id``, ``key`` and ``digest`` are those of a new notification."""

    event: str
    payload: Json
    rooms: frozenset[Room]
    expires_at: datetime | None = None
    type: str | None = None
    id: str | None = None
    key: str | None = None
    digest: bytes | None = None

    @property
    def identifying(self) -> tuple[str | None, str | None, bytes | None]:
        return self.id, self.key, self.digest


@dataclass(eq=False, slots=True)
class LogTransaction:
    """What the writer's operations write through. ``entries`` are those it has added, ``head`` is the last of them."""

    db: sqlite3.Connection
    now: datetime
    stored_at: int
    head: int
    generations: Generations
    entries: list[Entry] = field(default_factory=list)

    @property
    def as_of(self) -> Position:
        return Position(self.generations.present, self.head)

    def log(self, new: Sequence[NewEntry]) -> None:
        """Append."""
        rows: list[tuple[object, ...]] = []
        placed: list[tuple[str, int, int, int | None]] = []
        for one in new:
            self.head += 1
            position = Position(self.generations.present, self.head)
            expires_at = microseconds(one.expires_at) if one.expires_at is not None else None
            rooms = "\n".join(sorted(one.rooms)).encode()
            rows.append(
                (self.head, self.stored_at, expires_at, one.event, one.type, *one.identifying, rooms, one.payload)
            )
            is_item = int(one.event == NOTIFICATION_NEW)
            placed.extend((room, self.head, is_item, expires_at) for room in one.rooms)
            self.entries.append(Entry(position, one.rooms, one.event, one.payload, one.expires_at))
        insert(self.db, "entries", _COLUMNS, rows)
        names = as_json({room for room, *_ in placed})
        self.db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (names,))
        self.db.execute(
            """
            INSERT INTO placed (room, offset, item, expires_at)
            SELECT rooms.id, json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
            FROM json_each(?) JOIN rooms ON rooms.name = json_extract(value, '$[0]')""",
            (as_json(placed),),
        )


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

    def put(self, offset: int, rooms: frozenset[Room]) -> None:
        with self._lock:
            if offset in self._sets:
                return
            self._sets[offset] = rooms
            self._rooms += len(rooms)
            while self._rooms > self._most:
                self._rooms -= len(self._sets.popitem(last=False)[1])


def as_json(value: object) -> str:
    """For ``json_each``: any number of values in one argument."""
    return _encoder.encode(value).decode()


def insert(db: sqlite3.Connection, table: str, columns: int, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows of all the columns, in few statements, of which there are few different ones."""
    row = f"({', '.join('?' * columns)})"
    done = 0
    size = 64
    while done < len(rows):
        while size > len(rows) - done:
            size //= 2
        values = [value for one in rows[done : done + size] for value in one]
        db.execute(f"INSERT INTO {table} VALUES {', '.join([row] * size)}", values)  # noqa: S608
        done += size


def head(db: sqlite3.Connection) -> int:
    """The offset of the last entry, be it gone or not."""
    return int(db.execute(HEAD).fetchone()[0])


def log_floor(db: sqlite3.Connection) -> int:
    """The offset up to which everything has left the log, though not every inbox."""
    return int(db.execute("SELECT value FROM meta WHERE name = 'log_floor'").fetchone()[0])


def trimmed(db: sqlite3.Connection, subscriber: Subscriber) -> int:
    """The highest offset of an entry that has left the log and that the subscriber could have reached; or 0."""
    rows = db.execute(
        f"SELECT name, {TRIMMED} FROM rooms WHERE name IN (SELECT value FROM json_each(?))",  # noqa: S608
        (as_json(list(subscriber.starts)),),
    )
    return floor_of(subscriber.starts, dict(rows.fetchall()))


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
    if log_floor(db) > reading.after and trimmed(db, reading.subscriber) > reading.after:
        raise CursorRefused(RecoveryReason.TRIMMED)
    return readable_page(db, reading), head(db)


def readable_page(db: sqlite3.Connection, reading: Reading) -> Page:
    """A page after a position of which nothing was trimmed."""
    sizes = _sizes(db, reading)
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
    upto = entries[-1].position if more else Position(reading.generations.present, head(db))
    return Page(entries, upto, more)


def _sizes(db: sqlite3.Connection, reading: Reading) -> list[tuple[int, int, int]]:
    """Of the entries that may be on a page, and one more: offset, bytes of the payload, bytes of the rooms' names."""
    limit = reading.max_entries + 1
    starts = reading.subscriber.starts
    if not starts:
        return []
    room = """
        SELECT offset FROM (SELECT offset FROM placed
        WHERE room = (SELECT id FROM rooms WHERE name = ?) AND offset > ? ORDER BY offset LIMIT ?)"""
    arguments: list[object] = []
    for name, start in starts.items():
        arguments += (name, max(start, reading.after), limit)
    (sizes,) = db.execute(
        f"""
        SELECT group_concat(offset || ' ' || payload || ' ' || rooms, ',') FROM (
            SELECT offset, length(payload) AS payload, length(rooms) AS rooms
            FROM ({" UNION ".join([room] * len(starts))}) JOIN entries USING (offset) ORDER BY offset LIMIT ?)""",  # noqa: S608
        (*arguments, limit),
    ).fetchone()
    if sizes is None:
        return []
    found: list[tuple[int, int, int]] = []
    for one in sizes.split(","):
        offset, payload, rooms = one.split(" ")
        found.append((int(offset), int(payload), int(rooms)))
    return sorted(found)


def _entries(
    db: sqlite3.Connection, generations: Generations, offsets: Sequence[int], room_sets: RoomSets
) -> tuple[Entry, ...]:
    (rows,) = db.execute(
        f"""
        SELECT CAST(group_concat({_ENTRY}, char(30)) AS BLOB)
        FROM (SELECT value FROM json_each(:offsets)) JOIN entries ON offset = value""",  # noqa: S608
        {"offsets": as_json(list(offsets)), "names": _MANY_NAMES_BYTES},
    ).fetchone()
    if rows is None:
        return ()
    entries: list[Entry] = []
    for row in rows.split(ROW):
        offset, expires_at, event, names, payload = row.split(FIELD, 4)
        rooms = _rooms(names) if names else _many_rooms(db, int(offset), room_sets)
        ends = moment(int(expires_at)) if expires_at else None
        entries.append(Entry(generations.position(int(offset)), rooms, event.decode(), Json(payload), ends))
    return tuple(sorted(entries, key=lambda entry: entry.position.offset))


def _rooms(names: bytes) -> frozenset[Room]:
    return frozenset(map(Room, names.decode().split("\n")))


def _many_rooms(db: sqlite3.Connection, offset: int, room_sets: RoomSets) -> frozenset[Room]:
    rooms = room_sets.get(offset)
    if rooms is None:
        (names,) = db.execute("SELECT rooms FROM entries WHERE offset = ?", (offset,)).fetchone()
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
        """
        SELECT group_concat(size) FROM (
            SELECT length(payload) + length(rooms) AS size
            FROM entries WHERE offset > ? AND offset <= ? ORDER BY offset LIMIT ?)""",
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
    return _entries(db, generations, range(after + 1, after + 1 + number), room_sets)


def tail_floor(db: sqlite3.Connection, max_entries: int, max_bytes: int) -> int:
    """The offset after which the entries fit into a tail of that size."""
    newest = db.execute(
        """
        SELECT offset, length(payload), length(rooms) - length(replace(CAST(rooms AS TEXT), char(10), '')) + 1
        FROM entries WHERE offset > ? ORDER BY offset DESC LIMIT ?""",
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
