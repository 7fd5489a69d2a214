"""What all whom it names have deleted, in a SQLite file: its content goes, in steps of a few milliseconds each.

To delete costs nothing for that: the state itself says that nobody has looked yet whether all have. What is for groups
stays, as others may have it.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from adapters.store.sqlite.amending import erase_told
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction
from domain.model.value import value

_UNSCRUBBED: Final = "unscrubbed"
"""The name in ``meta`` of how often something was erased of which copies may be left in unused space."""

_AT_ONCE = 500
_NAMES_BYTES = 64 * 1024

_UNSETTLED = """
    SELECT offset, user, payload IS NOT NULL AND substr(rooms, 1, 5) = CAST('user:' AS BLOB), length(rooms)
    FROM (SELECT offset, user FROM state WHERE deleted = 1 ORDER BY offset LIMIT ?) AS deleted
    LEFT JOIN contents USING (offset) ORDER BY offset"""


@value
class Deleted:
    """Whether there is more to look at, and the offsets of what lost its content."""

    more: bool
    erased: list[int]


def erase_deleted(transaction: LogTransaction) -> Deleted:
    """A step: look at some of what was deleted since."""
    db = transaction.db
    rows = db.execute(_UNSETTLED, (_AT_ONCE,)).fetchall()
    if not rows:
        return Deleted(more=False, erased=[])
    settled: list[tuple[int, int]] = []
    named: dict[int, None] = {}
    size = 0
    for offset, user, is_named, octets in rows:
        if is_named and offset not in named:
            size += octets
            if settled and size > _NAMES_BYTES:
                break
            named[offset] = None
        settled.append((user, offset))
    erased = [offset for offset in named if not _has_others(db, offset)]
    for offset in erased:
        (revised,) = db.execute("SELECT revised FROM contents WHERE offset = ?", (offset,)).fetchone()
        erase_told(transaction, revised)
    db.execute(
        "UPDATE contents SET type = '', payload = NULL WHERE offset IN (SELECT value FROM json_each(?))",
        (as_json(erased),),
    )
    _settle(db, settled)
    if erased:
        db.execute(
            """
            INSERT INTO meta (name, value) VALUES (?, 1)
            ON CONFLICT (name) DO UPDATE SET value = value + 1""",
            (_UNSCRUBBED,),
        )
    return Deleted(more=True, erased=erased)


def _settle(db: sqlite3.Connection, rows: list[tuple[int, int]]) -> None:
    """It was looked at what these users have deleted, at these offsets."""
    db.execute(
        """
        UPDATE state SET deleted = 2 WHERE (user, offset) IN (
            SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))""",
        (as_json(rows),),
    )


def unsettle(db: sqlite3.Connection, offsets: list[int]) -> None:
    """Of what lies there somebody is gone: all who are left may have deleted it."""
    db.execute(
        "UPDATE state SET deleted = 1 WHERE deleted = 2 AND offset IN (SELECT value FROM json_each(?))",
        (as_json(offsets),),
    )


def unscrubbed(db: sqlite3.Connection) -> int | None:
    """None where no copies of what was erased so can be left."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (_UNSCRUBBED,)).fetchone()
    return int(row[0]) if row is not None else None


def forget_unscrubbed(db: sqlite3.Connection, unscrubbed: int) -> None:
    """No copies are left of what was erased up to then."""
    db.execute("DELETE FROM meta WHERE name = ? AND value = ?", (_UNSCRUBBED, unscrubbed))


def _has_others(db: sqlite3.Connection, offset: int) -> bool:
    """Whether somebody has it whom it names."""
    (names,) = db.execute("SELECT rooms FROM contents WHERE offset = ?", (offset,)).fetchone()
    (has_others,) = db.execute(
        """
        SELECT EXISTS (
            SELECT 1 FROM json_each(:names) AS named
            WHERE NOT coalesce((
                SELECT deleted FROM state
                WHERE user = (SELECT id FROM rooms WHERE name = named.value) AND offset = :offset), 0))""",
        {"names": as_json(names.decode().split("\n")), "offset": offset},
    ).fetchone()
    return bool(has_others)
