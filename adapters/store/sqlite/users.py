"""What a SQLite file knows of users: where they start in shared rooms, and what is known to have been received."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from adapters.store.sqlite.log import LogTransaction, as_json
from domain.errors import SynkroneError
from domain.model import Room, UserId
from domain.model.value import value

V = TypeVar("V")

Starts = dict[Room, int]
Marks = Mapping[str, int]


class Recent(Generic[V]):
    """What is known of the users that were seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[UserId, V] = OrderedDict()

    def get(self, user: UserId) -> V | None:
        value = self._values.get(user)
        if value is not None:
            self._values.move_to_end(user)
        return value

    def put(self, user: UserId, value: V) -> V:
        self._values[user] = value
        self._values.move_to_end(user)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value


@dataclass(eq=False, slots=True)
class MarksOfUser:
    """Marks by role. Unless ``complete`` there may be others in the file, and higher ones."""

    by_role: dict[str, int] = field(default_factory=dict)
    complete: bool = False

    def grow(self, marks: Marks) -> None:
        for role, offset in marks.items():
            self.by_role[role] = max(offset, self.by_role.get(role, 0))


def starts(db: sqlite3.Connection, user: UserId) -> Starts:
    rows = db.execute(
        """
        SELECT rooms.name, start FROM starts JOIN rooms ON rooms.id = room
        WHERE user = (SELECT id FROM rooms WHERE name = ?)""",
        (Room.of_user(user),),
    )
    return {Room(name): start for name, start in rows}


@value
class Entering:
    """A user in a role, and shared rooms that may be new to them."""

    user: UserId
    role: str
    rooms: frozenset[Room]


@value
class Entered:
    """The starts in those rooms, and the mark in the role."""

    starts: Starts
    mark: int


def register(transaction: LogTransaction, entering: Sequence[Entering]) -> Sequence[Entered | SynkroneError]:
    """An operation of the writer. Where there is no start yet it is the head, and a mark the user's highest."""
    pairs = as_json([(Room.of_user(one.user), room) for one in entering for room in one.rooms])
    roles = as_json([(Room.of_user(one.user), one.role) for one in entering])
    names = as_json({room for one in entering for room in (Room.of_user(one.user), *one.rooms)})
    pair = """
        FROM json_each(?) JOIN rooms AS own ON own.name = json_extract(value, '$[0]')
        JOIN rooms AS shared ON shared.name = json_extract(value, '$[1]')"""
    in_role = """
        FROM (SELECT json_extract(value, '$[0]') AS own, json_extract(value, '$[1]') AS role FROM json_each(?)) AS given
        JOIN rooms ON rooms.name = given.own"""
    db = transaction.db
    db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (names,))
    db.execute(
        f"INSERT OR IGNORE INTO starts (user, room, start) SELECT own.id, shared.id, ? {pair}",
        (transaction.head, pairs),
    )
    db.execute(
        f"""
        INSERT OR IGNORE INTO marks (user, role, offset)
        SELECT rooms.id, given.role, coalesce((SELECT max(offset) FROM marks WHERE user = rooms.id), 0) {in_role}""",  # noqa: S608
        (roles,),
    )
    (rows,) = db.execute(
        f"""
        SELECT json_group_array(json_array(own.name, shared.name, start)) {pair}
        JOIN starts ON user = own.id AND room = shared.id""",
        (pairs,),
    ).fetchone()
    found: dict[str, dict[Room, int]] = {}
    for own, room, start in json.loads(rows):
        found.setdefault(own, {})[Room(room)] = start
    (rows,) = db.execute(
        f"""
        SELECT json_group_array(json_array(given.own, given.role, offset)) {in_role}
        JOIN marks ON user = rooms.id AND marks.role = given.role""",
        (roles,),
    ).fetchone()
    reached = {(own, role): offset for own, role, offset in json.loads(rows)}
    return [Entered(found[own], reached[own, one.role]) for one in entering if (own := Room.of_user(one.user))]


def marks(db: sqlite3.Connection, user: UserId) -> Marks:
    rows = db.execute(
        "SELECT role, offset FROM marks WHERE user = (SELECT id FROM rooms WHERE name = ?)", (Room.of_user(user),)
    )
    return dict(rows.fetchall())


Advance = Mapping[tuple[UserId, str], int]


def acknowledge(
    transaction: LogTransaction, advances: Sequence[Advance]
) -> Sequence[Mapping[UserId, Marks] | SynkroneError]:
    """An operation of the writer: the marks as they are then."""
    rows = as_json([(Room.of_user(user), role, offset) for one in advances for (user, role), offset in one.items()])
    users = as_json({Room.of_user(user) for one in advances for user, _ in one})
    db = transaction.db
    db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (users,))
    db.execute(
        """
        INSERT INTO marks (user, role, offset)
        SELECT rooms.id, given.role, given.offset
        FROM (SELECT json_extract(value, '$[0]') AS own, json_extract(value, '$[1]') AS role,
                json_extract(value, '$[2]') AS offset
            FROM json_each(?)) AS given
        JOIN rooms ON rooms.name = given.own WHERE true
        ON CONFLICT DO UPDATE SET offset = max(offset, excluded.offset)""",
        (rows,),
    )
    (rows,) = db.execute(
        """
        SELECT json_group_array(json_array(name, role, offset))
        FROM (SELECT value FROM json_each(?)) JOIN rooms ON name = value JOIN marks ON user = id""",
        (users,),
    ).fetchone()
    found: dict[str, dict[str, int]] = {}
    for own, role, offset in json.loads(rows):
        found.setdefault(own, {})[role] = offset
    return [{user: found[Room.of_user(user)] for user, _ in one} for one in advances]


def checkpoint(db: sqlite3.Connection, source: str) -> str | None:
    row = db.execute("SELECT resume_id FROM checkpoints WHERE source = ?", (source,)).fetchone()
    return str(row[0]) if row is not None else None
