"""What a transaction appends to the log in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TypeAlias

from adapters.contract.controls import control_event
from adapters.store.drafts import PreparedDraft
from adapters.store.following import as_followed
from adapters.store.form import FORM
from adapters.store.sqlite.collapsing import KEYED, Keyed, collapse
from adapters.store.sqlite.schema import as_json
from adapters.store.times import microseconds
from domain.model import NOTIFICATION_NEW, Control, Entry, Json, Position, Room
from domain.model.value import value
from domain.rules.epochs import Generations


@value
class NewNotification:
    """A draft that is to be logged. The locators are those of its id and its key."""

    prepared: PreparedDraft
    locators: Sequence[int]


@value
class NewChange:
    """An event about notifications that is to be logged, for some rooms. With ``about`` it revises what lies at that
    offset, or takes it back. The last two are as those of an ``Entry``."""

    event: str
    payload: Json
    rooms: frozenset[Room]
    about: int | None = None
    expires_at: datetime | None = None
    collapse_key: str | None = None
    later: Mapping[Room, int] | None = None


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

    def log_notifications(self, new: Sequence[NewNotification]) -> None:
        """Append them; at least one."""
        epoch = self.generations.present
        contents: list[object] = []
        locators: list[object] = []
        placed: list[Placing] = []
        keyed: list[Keyed] = []
        first = self.head + 1
        for offset, one in enumerate(new, first):
            draft = one.prepared.draft
            notification, payload = draft.notification, one.prepared.payload
            ends = notification.expires_at
            expires_at = microseconds(ends) if ends is not None else None
            contents += (
                offset,
                expires_at,
                notification.type,
                notification.id,
                draft.idempotency_key,
                one.prepared.digest,
                "\n".join(draft.rooms).encode(),
                payload,
            )
            for locator in one.locators:
                locators += (locator, offset)
            if notification.collapse_key is not None:
                keyed.append(Keyed(offset, notification.collapse_key, draft.rooms))
            item = 1 if notification.collapse_key is None else KEYED
            placed += [(room, offset, item, expires_at) for room in draft.rooms]
            self.entries.append(
                Entry(Position(epoch, offset), draft.rooms, NOTIFICATION_NEW, payload, ends, stored_at=self.now)
            )
        self.head += len(new)
        _ENTRIES.insert(self.db, range(first, self.head + 1), self.stored_at)
        _CONTENTS.insert(self.db, contents, self.stored_at)
        _LOCATORS.insert(self.db, locators)
        place(self.db, placed)
        for each in keyed:
            number = each.offset - self.head - 1
            earlier = collapse(self.db, each)
            self.entries[number] = as_followed(self.entries[number], each.key, earlier)

    def log_changes(self, new: Sequence[NewChange]) -> None:
        """Append them; at least one."""
        changes: list[object] = []
        placed: list[Placing] = []
        for one in new:
            self.head += 1
            expires_at = microseconds(one.expires_at) if one.expires_at is not None else None
            changes += (self.head, one.event, "\n".join(one.rooms).encode(), one.payload, one.about, expires_at)
            placed += [(room, self.head, 0, expires_at) for room in one.rooms]
            self.entries.append(
                Entry(
                    self.as_of,
                    one.rooms,
                    one.event,
                    one.payload,
                    one.expires_at,
                    None,
                    self.now,
                    one.about,
                    collapse_key=one.collapse_key,
                    later=one.later,
                )
            )
        _CHANGES.insert(self.db, changes, self.stored_at)
        place(self.db, placed)

    def log_control(self, control: Control) -> None:
        """Append it; no room has it."""
        self.head += 1
        event, payload = control_event(control)
        _CHANGES.insert(self.db, (self.head, event, None, payload, None, None), self.stored_at)
        self.entries.append(Entry(self.as_of, frozenset(), event, payload, control=control))


def place(db: sqlite3.Connection, placed: Sequence[Placing]) -> None:
    """Say what lies in which rooms."""
    rows = as_json(placed)
    # Nearly always all of the rooms are known.
    if _place_in_known_rooms(db, rows) < len(placed):
        names = as_json({room for room, *_ in placed})
        db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (names,))
        _place_in_known_rooms(db, rows)


def _place_in_known_rooms(db: sqlite3.Connection, rows: str) -> int:
    """How many were placed that were not before."""
    return db.execute(
        """
        INSERT OR IGNORE INTO placed (room, offset, item, expires_at)
        SELECT rooms.id, json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
        FROM json_each(?) JOIN rooms ON rooms.name = json_extract(value, '$[0]')""",
        (rows,),
    ).rowcount


Placing: TypeAlias = tuple[Room, int, int, int | None]
"""A room, an offset, whether it is an item, and when it expires."""


class Insert:
    """Inserts rows, many in a statement, of which there are few different ones."""

    def __init__(self, into: str, row: str, *, most: int, on_conflict: str = "") -> None:
        """In ``row`` what differs is ``{}``, and ``?1`` what all have in common. At most so many rows at once: a power
        of two. ``on_conflict`` is what follows the rows."""
        self._into = into
        self._row = row
        self._width = row.count("{}")
        self._most = most
        self._on_conflict = on_conflict
        self._statements: dict[int, str] = {}

    def insert(self, db: sqlite3.Connection, values: Sequence[object], common: object = None) -> None:
        """``values`` are those of all rows, one after the other."""
        done, left, size = 0, len(values) // self._width, self._most
        while left:
            while size > left:
                size //= 2
            upto = done + size * self._width
            db.execute(self._statement(size), (common, *values[done:upto]))
            done, left = upto, left - size

    def _statement(self, rows: int) -> str:
        if rows not in self._statements:
            numbers = count(2)
            each = (self._row.format(*(f"?{next(numbers)}" for _ in range(self._width))) for _ in range(rows))
            self._statements[rows] = f"INSERT INTO {self._into} VALUES {', '.join(each)} {self._on_conflict}"  # noqa: S608
        return self._statements[rows]


_ENTRIES = Insert("entries (offset, stored_at, event)", f"({{}}, ?1, '{NOTIFICATION_NEW}')", most=256)
_CONTENTS = Insert(
    "contents (offset, stored_at, expires_at, type, id, key, digest, form, rooms, payload)",
    f"({{}}, ?1, {{}}, {{}}, {{}}, {{}}, {{}}, {FORM}, {{}}, {{}})",
    most=64,
)
_CHANGES = Insert(
    "entries (offset, stored_at, event, form, rooms, payload, about, expires_at)",
    f"({{}}, ?1, {{}}, {FORM}, {{}}, {{}}, {{}}, {{}})",
    most=64,
)
_LOCATORS = Insert("locators", "({}, {})", most=256)
