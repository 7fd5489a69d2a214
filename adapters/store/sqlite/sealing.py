"""The seal of a SQLite file whose store was moved elsewhere: nobody serves from it again.

It is part of the file itself, and never taken off.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from domain.model.value import value

SEALED: Final = 1_000_000
"""Added to the version of a file that is sealed: programs that know of no seals refuse it as one of a later version."""
IMPORTED_INTO: Final = 2_000_000
"""Added to that of a file that is not whole yet, with the same effect: ``importing`` has more of it."""


@value
class Seal:
    """Where the store is now, as a URL for operators, and the name of the move that brought it there."""

    place: str
    move: str


def seal_of(db: sqlite3.Connection) -> Seal | None:
    """None where there is none. Raises sqlite3.Error."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not SEALED < version < IMPORTED_INTO:
        return None
    known = dict(db.execute("SELECT name, value FROM meta WHERE name IN ('moved_to', 'move')"))
    return Seal(known["moved_to"], known["move"])


def put_seal(db: sqlite3.Connection, seal: Seal) -> None:
    """On the disk when it returns. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute("INSERT INTO meta (name, value) VALUES ('moved_to', ?), ('move', ?)", (seal.place, seal.move))
    db.execute(f"PRAGMA user_version = {SEALED + version}")
    db.execute("COMMIT")
    # Into the file itself, of which somebody may make a copy without its log.
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
