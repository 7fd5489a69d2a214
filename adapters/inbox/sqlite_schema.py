"""The SQLite file of a log: its tables, how an older file becomes one of today's, and who may open it."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from domain.errors import SynkroneError

APPLICATION_ID: Final = 0x53594E4B
"""In the header of a file of ours: ``SYNK``."""

BUSY_SECONDS = 5.0
"""How long to wait for a lock that somebody who looks into the file from outside holds."""

_JOURNAL_BYTES = 64 * 1024 * 1024
# For each connection. Measured with a million entries: neither more of it nor a mapping of the file into memory made
# anything faster; and of a mapped file an error of the disk is a signal that ends the process.
_CACHE_KIB = 8 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class StoreUnusable(SynkroneError):
    """The store cannot be opened."""

    code = "store_unusable"


def microseconds(time: datetime) -> int:
    """As times are stored: since 1970, in UTC."""
    return (time - _EPOCH) // _MICROSECOND


def moment(stored: int) -> datetime:
    """The time that ``microseconds`` made a number of."""
    return _EPOCH + timedelta(microseconds=stored)


def _version_1(db: sqlite3.Connection) -> None:
    for statement in (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        """CREATE TABLE generations (
            number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, first INTEGER NOT NULL, opened_at INTEGER NOT NULL)""",
        # The payload is last: what only needs the other columns reads no overflow pages.
        """CREATE TABLE entries (
            offset INTEGER PRIMARY KEY, stored_at INTEGER NOT NULL, expires_at INTEGER, event TEXT NOT NULL, type TEXT,
            id TEXT, key TEXT, digest BLOB, rooms BLOB NOT NULL, payload BLOB NOT NULL)""",
        "CREATE UNIQUE INDEX entries_id ON entries (id) WHERE id IS NOT NULL",
        "CREATE UNIQUE INDEX entries_key ON entries (key) WHERE key IS NOT NULL",
        "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        """CREATE TABLE placed (
            room INTEGER NOT NULL, offset INTEGER NOT NULL, item INTEGER NOT NULL, expires_at INTEGER,
            PRIMARY KEY (room, offset)) WITHOUT ROWID""",
        """CREATE TABLE starts (
            user INTEGER NOT NULL, room INTEGER NOT NULL, start INTEGER NOT NULL,
            PRIMARY KEY (user, room)) WITHOUT ROWID""",
        """CREATE TABLE marks (
            user INTEGER NOT NULL, role TEXT NOT NULL, offset INTEGER NOT NULL,
            PRIMARY KEY (user, role)) WITHOUT ROWID""",
        """CREATE TABLE state (
            user INTEGER NOT NULL, offset INTEGER NOT NULL, read_at INTEGER, seen_at INTEGER, archived_at INTEGER,
            deleted INTEGER NOT NULL, PRIMARY KEY (user, offset)) WITHOUT ROWID""",
        "CREATE INDEX state_offset ON state (offset)",
        "CREATE TABLE checkpoints (source TEXT PRIMARY KEY, resume_id TEXT NOT NULL) WITHOUT ROWID",
    ):
        db.execute(statement)
    db.execute(
        "INSERT INTO meta (name, value) VALUES ('secret', ?), ('log_floor', 0), ('swept', 0)",
        (secrets.token_bytes(32),),
    )
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _version_2(db: sqlite3.Connection) -> None:
    """Rooms that lost entries for good, and everything read at once."""
    db.execute("ALTER TABLE rooms ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE watermarks (
            user INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL,
            PRIMARY KEY (user, offset)) WITHOUT ROWID"""
    )


MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = (_version_1, _version_2)
"""What makes a file of version n one of n + 1. A new file goes through all of them, so that every file is the same."""


class FileLock:
    """Held by the one process that has a store open. It is a file beside it, because closing any descriptor of the
    database itself would release the locks that SQLite holds on it."""

    def __init__(self, path: Path) -> None:
        """Raises StoreUnusable where another has it, or the file cannot be made."""
        lock = path.with_name(f"{path.name}-lock")
        try:
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{lock} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            why = "is in use by another process" if isinstance(error, BlockingIOError) else error.strerror
            raise StoreUnusable(f"{path} {why}") from None

    def release(self) -> None:
        os.close(self._descriptor)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection for one thread at a time. Raises sqlite3.Error."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_SECONDS,
        cached_statements=256,
    )
    try:
        for pragma in (
            "synchronous = FULL",
            f"journal_size_limit = {_JOURNAL_BYTES}",
            f"cache_size = -{_CACHE_KIB}",
            "mmap_size = 0",
            "temp_store = MEMORY",
            f"query_only = {int(read_only)}",
        ):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def prepare_file(path: Path) -> None:
    """Create the file, or make an older one a file of today's version. Raises StoreUnusable."""
    try:
        # Before SQLite does: it keeps secrets and what is nobody else's business.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be opened: {error.strerror}") from None
    try:
        with closing(connect(path)) as db:
            version = _version_of(db, path)
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreUnusable(f"{path} lies where SQLite cannot use a write-ahead log")
            for number, migrate in enumerate(MIGRATIONS[version:], version + 1):
                db.execute("BEGIN IMMEDIATE")
                migrate(db)
                db.execute(f"PRAGMA user_version = {number}")
                db.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnusable(f"{path} cannot be opened: {error}") from None


def _version_of(db: sqlite3.Connection, path: Path) -> int:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise StoreUnusable(f"{path} is a database of another application")
    if not 0 < version <= len(MIGRATIONS):
        raise StoreUnusable(f"{path} is of version {version}, and this program knows versions up to {len(MIGRATIONS)}")
    return int(version)
