"""Makes ``inbox-1.sqlite``: a store as version 1 left it, for the tests of what later versions make of it.

``python -m tests.data.make_inbox_1``. Its tables are written out here, and stay as they are.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

FILE = Path(__file__).with_name("inbox-1.sqlite")
SECRET = bytes(range(32))
OPENED = datetime(2030, 1, 31, 12, 0, 0, tzinfo=UTC)
FIRST, SECOND = "00000000000000a1", "00000000000000b2"
"""Two generations: of the offsets 1 to 4, and from 5 on."""

ROOMS = ("user:ann", "user:bob", "role:company", "everyone")
ANN, BOB, COMPANY, EVERYONE = 1, 2, 3, 4

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE generations (
    number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, first INTEGER NOT NULL, opened_at INTEGER NOT NULL);
CREATE TABLE entries (
    offset INTEGER PRIMARY KEY, stored_at INTEGER NOT NULL, expires_at INTEGER, event TEXT NOT NULL, type TEXT,
    id TEXT, key TEXT, digest BLOB, rooms BLOB NOT NULL, payload BLOB NOT NULL);
CREATE UNIQUE INDEX entries_id ON entries (id) WHERE id IS NOT NULL;
CREATE UNIQUE INDEX entries_key ON entries (key) WHERE key IS NOT NULL;
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE placed (
    room INTEGER NOT NULL, offset INTEGER NOT NULL, item INTEGER NOT NULL, expires_at INTEGER,
    PRIMARY KEY (room, offset)) WITHOUT ROWID;
CREATE TABLE starts (
    user INTEGER NOT NULL, room INTEGER NOT NULL, start INTEGER NOT NULL, PRIMARY KEY (user, room)) WITHOUT ROWID;
CREATE TABLE marks (
    user INTEGER NOT NULL, role TEXT NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (user, role)) WITHOUT ROWID;
CREATE TABLE state (
    user INTEGER NOT NULL, offset INTEGER NOT NULL, read_at INTEGER, seen_at INTEGER, archived_at INTEGER,
    deleted INTEGER NOT NULL, PRIMARY KEY (user, offset)) WITHOUT ROWID;
CREATE INDEX state_offset ON state (offset);
CREATE TABLE checkpoints (source TEXT PRIMARY KEY, resume_id TEXT NOT NULL) WITHOUT ROWID;
PRAGMA application_id = 0x53594E4B;
PRAGMA user_version = 1;
"""

NOTIFICATIONS = (
    (1, "n-1", (ANN,)),
    (2, "n-2", (ANN, BOB)),
    (3, "n-3", (COMPANY,)),
    (5, "n-5", (EVERYONE,)),
    (6, "n-6", (ANN,)),
)
UPDATED = (4, json.dumps({"ids": ["n-1"], "change": {"read_at": "2030-01-31T12:00:00.000Z"}}), ANN)


def payload(id_: str) -> bytes:
    members = {
        "id": id_,
        "type": "test",
        "title": "t",
        "body": None,
        "data": None,
        "created_at": "2030-01-31T12:00:00.000Z",
    }
    times = {"read_at": None, "seen_at": None, "archived_at": None}
    return json.dumps(members | {"expires_at": None, "audience": "user"} | times, separators=(",", ":")).encode()


def insert(db: sqlite3.Connection, *entry: object) -> None:
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", entry)


def make(path: Path) -> None:
    path.unlink(missing_ok=True)
    now = int(OPENED.timestamp() * 1_000_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        db.execute("INSERT INTO meta VALUES ('secret', ?), ('log_floor', 0), ('swept', 0)", (SECRET,))
        db.execute("INSERT INTO generations VALUES (1, ?, 1, ?), (2, ?, 5, ?)", (FIRST, now, SECOND, now))
        db.executemany("INSERT INTO rooms VALUES (?, ?)", enumerate(ROOMS, 1))
        for offset, id_, rooms in NOTIFICATIONS:
            names = "\n".join(sorted(ROOMS[room - 1] for room in rooms)).encode()
            insert(
                db, offset, now, None, "notification.new", "test", id_, f"k-{offset}", bytes(32), names, payload(id_)
            )
            db.executemany("INSERT INTO placed VALUES (?, ?, 1, NULL)", [(room, offset) for room in rooms])
        offset, text, room = UPDATED
        insert(
            db,
            offset,
            now,
            None,
            "notification.updated",
            None,
            None,
            None,
            None,
            ROOMS[room - 1].encode(),
            text.encode(),
        )
        db.execute("INSERT INTO placed VALUES (?, ?, 0, NULL)", (room, offset))
        db.execute("INSERT INTO state VALUES (?, 1, ?, ?, NULL, 0)", (ANN, now, now))
        db.executemany("INSERT INTO starts VALUES (?, ?, ?)", [(ANN, COMPANY, 0), (ANN, EVERYONE, 0)])
        db.execute("INSERT INTO marks VALUES (?, 'company', 3)", (ANN,))
        db.execute("INSERT INTO checkpoints VALUES ('feed', 'r-6')")


if __name__ == "__main__":
    make(FILE)
