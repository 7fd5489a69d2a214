"""A SQLite file that is imported into: until the import is finished nobody serves from it."""

from __future__ import annotations

import sqlite3

from adapters.store.sqlite.sealing import IMPORTED_INTO
from domain.model.value import value


@value
class Begun:
    """``name`` is that of the export, of which the lines up to ``upto`` are stored."""

    name: str
    upto: int
    is_finished: bool


def is_unfinished(db: sqlite3.Connection) -> bool:
    """Raises sqlite3.Error."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return bool(version > IMPORTED_INTO)


def begun(db: sqlite3.Connection) -> Begun | None:
    """None where nothing was ever imported. Raises sqlite3.Error."""
    known = dict(db.execute("SELECT name, value FROM meta WHERE name IN ('import', 'import_line')"))
    return Begun(known["import"], known["import_line"], not is_unfinished(db)) if known else None


def begin(db: sqlite3.Connection, name: str) -> None:
    """In a transaction of the caller's. Raises sqlite3.Error."""
    db.execute("INSERT INTO meta (name, value) VALUES ('import', ?), ('import_line', 0)", (name,))
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {IMPORTED_INTO + version}")


def advance(db: sqlite3.Connection, upto: int) -> None:
    """In a transaction of the caller's. Raises sqlite3.Error."""
    db.execute("UPDATE meta SET value = ? WHERE name = 'import_line'", (upto,))


def finish(db: sqlite3.Connection) -> None:
    """From now on it can be served from. On the disk when it returns. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    _go_on_erasing(db)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version - IMPORTED_INTO}")
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _go_on_erasing(db: sqlite3.Connection) -> None:
    """As it is where it was begun: what was placed for the user before that is in a room of another name. Of a user who
    is erased twice the first has what lies before it."""
    running = db.execute("SELECT id, user, offset FROM erasures WHERE user IS NOT NULL ORDER BY offset").fetchall()
    for id_, user, offset in running:
        room = db.execute("INSERT INTO rooms (name) VALUES ('erased:' || ?)", (id_,)).lastrowid
        db.execute("UPDATE erasures SET room = ? WHERE id = ?", (room, id_))
        db.execute(
            """
            UPDATE placed SET room = ? WHERE room = (SELECT id FROM rooms WHERE name = 'user:' || ?) AND offset < ?""",
            (room, user, offset),
        )
        # Nobody of that name has come since.
        db.execute(
            """
            DELETE FROM rooms WHERE name = 'user:' || ? AND trimmed = 0
                AND NOT EXISTS (SELECT 1 FROM placed WHERE room = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM starts WHERE user = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM marks WHERE user = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM state WHERE user = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM watermarks WHERE user = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM memberships WHERE user = rooms.id)
                AND NOT EXISTS (SELECT 1 FROM collapsing WHERE place IN (rooms.id, -rooms.id))""",
            (user,),
        )
        # But for what is to wait for them again.
        db.execute(
            """
            INSERT OR IGNORE INTO rooms (name) SELECT 'user:' || ?1 WHERE EXISTS (
                SELECT 1 FROM scheduled WHERE number > (SELECT at FROM erasures WHERE id = ?2)
                    AND instr(char(10) || CAST(rooms AS TEXT) || char(10), char(10) || 'user:' || ?1 || char(10)))""",
            (user, id_),
        )
