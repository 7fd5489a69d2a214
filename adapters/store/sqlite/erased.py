"""Who was erased, as a SQLite file remembers it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from datetime import timedelta

from adapters.store.decisions import Known
from adapters.store.drafts import PreparedDraft
from adapters.store.seals import Seals
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.times import microseconds
from domain.model import Room, Subscriber, UserId

LATE = timedelta(days=1)
"""What is said later of something that happened before a user was erased is not believed to be said at all."""


def seals(db: sqlite3.Connection) -> Seals:
    (secret,) = db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
    return Seals(secret)


def tombstones(db: sqlite3.Connection, drafts: Iterable[PreparedDraft]) -> list[Known]:
    """What of them was for somebody who was erased: as it was published, where it is published again."""
    (any_ever,) = db.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()
    if not any_ever:
        return []
    known = seals(db)
    found: list[Known] = []
    for one in drafts:
        id_, key = one.draft.notification.id, one.draft.idempotency_key
        by_key = _tombstone(db, known.key(key)) if key is not None else None
        sealed = _tombstone(db, known.id(id_)) or by_key
        if sealed is None:
            continue
        offset, digest = sealed
        is_same = one.digest is not None and digest == known.digest(one.digest)
        found.append(Known(id_, key if by_key is not None else None, offset, one.digest if is_same else None))
    return found


def _tombstone(db: sqlite3.Connection, name: bytes) -> tuple[int, bytes | None] | None:
    row: tuple[int, bytes | None] | None = db.execute(
        "SELECT offset, digest FROM tombstones WHERE name = ?", (name,)
    ).fetchone()
    return row


def erased_lately(transaction: LogTransaction, users: Collection[UserId]) -> dict[UserId, int]:
    """At which offset those of them were who were so lately that something of before may still be said."""
    since = microseconds(transaction.now - LATE)
    (any_lately,) = transaction.db.execute(
        "SELECT EXISTS (SELECT 1 FROM erasures WHERE begun_at > ?)", (since,)
    ).fetchone()
    return erased(transaction.db, users) if any_lately else {}


def erased(db: sqlite3.Connection, users: Iterable[UserId]) -> dict[UserId, int]:
    """At which offset those of them were who ever were, as far as it is remembered."""
    (any_ever,) = db.execute("SELECT EXISTS (SELECT 1 FROM erasures)").fetchone()
    if not any_ever:
        return {}
    known = seals(db)
    found: dict[UserId, int] = {}
    for user in users:
        (offset,) = db.execute("SELECT max(offset) FROM erasures WHERE who = ?", (known.user(user),)).fetchone()
        if offset is not None:
            found[user] = offset
    return found


def is_erased(transaction: LogTransaction, subscriber: Subscriber) -> bool:
    """Whether it is the user of before, who asked as they were erased. Without a role it is nobody who ever came."""
    if not subscriber.role:
        return False
    offset = erased_lately(transaction, (subscriber.user,)).get(subscriber.user, 0)
    return subscriber.starts.get(Room.of_user(subscriber.user), 0) < offset - 1


def know_again(db: sqlite3.Connection, rooms: Collection[Room]) -> None:
    """Those of them who are being erased have something again, which is placed nowhere yet."""
    users = db.execute("SELECT user FROM erasures WHERE done_at IS NULL AND user IS NOT NULL")
    again = {own for (user,) in users if (own := Room.of_user(user)) in rooms}
    db.executemany("INSERT OR IGNORE INTO rooms (name) VALUES (?)", [(own,) for own in again])


def rooms_of_erased(db: sqlite3.Connection, upto: int) -> frozenset[Room]:
    """Of users who are being erased, and were as of an offset or later."""
    rows = db.execute("SELECT user FROM erasures WHERE done_at IS NULL AND user IS NOT NULL AND offset >= ?", (upto,))
    return frozenset(Room.of_user(user) for (user,) in rows)


def rooms_not_withdrawn(db: sqlite3.Connection, number: int) -> frozenset[Room]:
    """Of users who are being erased, for whom what waits under a number may wait still."""
    rows = db.execute("SELECT user FROM erasures WHERE done_at IS NULL AND step = 0 AND at >= ?", (number,))
    return frozenset(Room.of_user(user) for (user,) in rows)
