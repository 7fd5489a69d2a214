"""What a SQLite file knows of users: where they start in shared rooms, and what is known to have been received."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from adapters.store.registration import Registration
from adapters.store.sqlite.erased import erased, erased_lately
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction
from domain.model import Room, UserId


def register(transaction: LogTransaction, registrations: Sequence[Registration]) -> None:
    """Where there is no start yet it is the head, and a mark the user's highest."""
    new = [(Room.of_user(one.user), one) for one in registrations]
    pairs = as_json([(own, room) for own, one in new for room in one.rooms if room != own])
    roles = as_json([(own, one.role) for own, one in new])
    names = as_json({room for own, one in new for room in (own, *one.rooms)})
    db = transaction.db
    db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (names,))
    db.execute(
        """
        INSERT OR IGNORE INTO starts (user, room, start)
        SELECT own.id, shared.id, ?
        FROM json_each(?) JOIN rooms AS own ON own.name = json_extract(value, '$[0]')
        JOIN rooms AS shared ON shared.name = json_extract(value, '$[1]')""",
        (transaction.head, pairs),
    )
    db.execute(
        """
        INSERT OR IGNORE INTO marks (user, role, offset)
        SELECT rooms.id, given.role, coalesce((SELECT max(offset) FROM marks WHERE user = rooms.id), 0)
        FROM (SELECT json_extract(value, '$[0]') AS own, json_extract(value, '$[1]') AS role FROM json_each(?)) AS given
        JOIN rooms ON rooms.name = given.own""",
        (roles,),
    )
    for user, offset in erased(db, {one.user for one in registrations}).items():
        _begin_anew(db, Room.of_user(user), offset)


def _begin_anew(db: sqlite3.Connection, own: Room, erased: int) -> None:
    """Where the user is a new one: what lies before the offset as of which they were erased is lost, and they have no
    cursor of it."""
    (user,) = db.execute("SELECT id FROM rooms WHERE name = ?", (own,)).fetchone()
    is_new = db.execute(
        "INSERT INTO starts (user, room, start) VALUES (?1, ?1, ?2) ON CONFLICT DO UPDATE SET start = excluded.start "
        "WHERE excluded.start > start",
        (user, erased - 1),
    ).rowcount
    if is_new:
        db.execute("UPDATE rooms SET trimmed = max(trimmed, ?) WHERE id = ?", (erased, user))
        db.execute("UPDATE marks SET offset = max(offset, ?) WHERE user = ?", (erased, user))


def roles(db: sqlite3.Connection, user: UserId) -> Sequence[str]:
    rows = db.execute(
        "SELECT role FROM marks JOIN rooms ON rooms.id = marks.user WHERE rooms.name = ? ORDER BY role",
        (Room.of_user(user),),
    )
    return [str(role) for (role,) in rows]


Advance = Mapping[tuple[UserId, str], int]


def acknowledge(transaction: LogTransaction, advances: Sequence[Advance]) -> Sequence[None]:
    """An operation of the writer. Where no mark grows nothing is written."""
    gone = erased_lately(transaction, {user for one in advances for user, _ in one})
    given = [
        (Room.of_user(user), role, offset)
        for one in advances
        for (user, role), offset in one.items()
        if offset > gone.get(user, 0)
    ]
    rows = as_json(given)
    users = as_json({own for own, *_ in given})
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
        ON CONFLICT DO UPDATE SET offset = excluded.offset WHERE excluded.offset > offset""",
        (rows,),
    )
    return [None] * len(advances)


def checkpoint(db: sqlite3.Connection, source: str) -> str | None:
    row = db.execute("SELECT resume_id FROM checkpoints WHERE source = ?", (source,)).fetchone()
    return str(row[0]) if row is not None else None
