"""The SQLite file of a log: its tables, how an older file becomes one of today's, and who may open it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from adapters.store.served import StoreUnusable
from adapters.store.sqlite.importing import is_unfinished
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.sealing import seal_of
from adapters.store.sqlite.version_5 import version_5
from adapters.store.sqlite.version_6 import version_6
from adapters.store.sqlite.version_7 import version_7
from adapters.store.sqlite.version_8 import version_8
from domain.errors import SynkroneError

_log = logging.getLogger("synkrone.store")

APPLICATION_ID: Final = 0x53594E4B
"""In the header of a file of ours: ``SYNK``."""

BUSY_SECONDS = 5.0
"""How long to wait for a lock that somebody who looks into the file from outside holds."""

# How payloads were stored when that was not noted yet.
_FIRST_FORM = 1

_JOURNAL_BYTES = 64 * 1024 * 1024
# For each connection. Measured with a million entries: neither more of it nor a mapping of the file into memory made
# anything faster; and of a mapped file an error of the disk is a signal that ends the process.
_CACHE_KIB = 8 * 1024

_ELSEWHERE = "or name another file in the setting store"

_encoder = msgspec.json.Encoder(enc_hook=str)  # for rooms


def as_json(value: object) -> str:
    """For ``json_each``: any number of values in one argument."""
    return _encoder.encode(value).decode()


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


def _version_3(db: sqlite3.Connection) -> None:
    """What notifications hold apart from the entries of the log, which leave it earlier."""
    for statement in (
        # The payload is last: what only needs the other columns reads no overflow pages. NULL is one that was erased:
        # what stays is by what a retry is known.
        """CREATE TABLE contents (
            offset INTEGER PRIMARY KEY, stored_at INTEGER NOT NULL, expires_at INTEGER, type TEXT NOT NULL,
            id TEXT NOT NULL, key TEXT, digest BLOB, form INTEGER NOT NULL, rooms BLOB, payload BLOB)""",
        """CREATE TABLE locators (
            locator INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (locator, offset)) WITHOUT ROWID""",
        f"""INSERT INTO contents
            SELECT offset, stored_at, expires_at, type, id, key, digest, {_FIRST_FORM}, rooms, payload
            FROM entries WHERE event = 'notification.new' ORDER BY offset""",  # noqa: S608
        """INSERT INTO locators
            SELECT locator, offset FROM (
                SELECT locator(id) AS locator, offset FROM contents
                UNION SELECT locator(key), offset FROM contents WHERE key IS NOT NULL)
            ORDER BY locator, offset""",
        "ALTER TABLE entries RENAME TO entries_2",
        # Of a notification the last three are with its contents.
        """CREATE TABLE entries (
            offset INTEGER PRIMARY KEY, stored_at INTEGER NOT NULL, event TEXT NOT NULL, form INTEGER, rooms BLOB,
            payload BLOB)""",
        f"""INSERT INTO entries
            SELECT offset, stored_at, event, CASE WHEN event <> 'notification.new' THEN {_FIRST_FORM} END,
                CASE WHEN event <> 'notification.new' THEN rooms END,
                CASE WHEN event <> 'notification.new' THEN payload END
            FROM entries_2 WHERE offset > (SELECT value FROM meta WHERE name = 'swept') ORDER BY offset""",  # noqa: S608
        "DROP TABLE entries_2",
        "DELETE FROM meta WHERE name = 'swept'",
    ):
        db.execute(statement)


def _version_4(db: sqlite3.Connection) -> None:
    """What stands against users."""
    db.execute(
        """CREATE TABLE restrictions (
            user TEXT PRIMARY KEY, offset INTEGER NOT NULL, issued_before INTEGER, blocked INTEGER NOT NULL,
            until INTEGER, reason TEXT) WITHOUT ROWID"""
    )


MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = (
    _version_1,
    _version_2,
    _version_3,
    _version_4,
    version_5,
    version_6,
    version_7,
    version_8,
)
"""What makes a file of version n one of n + 1. A new file goes through all of them, so that every file is the same."""


class FileInUse(StoreUnusable):
    """Another process has it open."""


class FileLock:
    """Held by the one process that has a store open. It is a file beside it, because closing any descriptor of the
    database itself would release the locks that SQLite holds on it."""

    def __init__(self, path: Path) -> None:
        """Raises FileInUse where another has it, and StoreUnusable where the file cannot be made."""
        path = path.absolute()
        lock = path
        try:
            _refuse_folder(path)
            lock = lock_of(path)
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot_open(lock, path, error) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise FileInUse(IN_USE.format(path)) from None
            raise StoreUnusable(f"{path} cannot be locked: {error.strerror}") from None

    def release(self) -> None:
        os.close(self._descriptor)


IN_USE = f"{{}} is in use by another process: stop that one first, {_ELSEWHERE}"


def lock_of(path: Path) -> Path:
    """The file that is locked while a store is open."""
    return path.with_name(f"{path.name}-lock")


def size_of(path: Path) -> int:
    """In bytes, of the file and what SQLite keeps beside it, some of which may be gone by now."""
    size = 0
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            size += Path(f"{path}{suffix}").stat().st_size
    return size


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
            "secure_delete = ON",
            f"query_only = {int(read_only)}",
        ):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def prepare_file(path: Path) -> None:
    """Create the file, or make an older one a file of today's version. Raises StoreUnusable."""
    path = path.absolute()
    try:
        # Before SQLite does: it keeps secrets and what is nobody else's business.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _cannot_open(path, path, error) from None
    try:
        with closing(connect(path)) as db:
            version = check_version(db, path)
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreUnusable(
                    f"{path} lies where SQLite cannot use a write-ahead log, as on a file system of the network: "
                    "name a file on a disk of this machine"
                )
            if 0 < version < len(MIGRATIONS):
                _log.info("%s is of version %d: it becomes one of version %d", path, version, len(MIGRATIONS))
            db.create_function("locator", 1, locator, deterministic=True)
            # A large file may have more to sort than fits into memory.
            db.execute("PRAGMA temp_store = FILE")
            for number, migrate in enumerate(MIGRATIONS[version:], version + 1):
                # Whole or not at all, should the process end in the middle of it.
                db.execute("BEGIN IMMEDIATE")
                migrate(db)
                db.execute(f"PRAGMA user_version = {number}")
                db.execute("COMMIT")
    except sqlite3.Error as error:
        raise unusable(path, error) from None


def check_file(path: Path) -> str | None:
    """Whether the file could be opened, or made, as far as can be seen without changing anything.

    What another process that has it open stands in the way of is no fault of the file, and answered with. Raises
    StoreUnusable. Not for the process that has the store open: closing the file would release SQLite's locks on it.
    """
    path = path.absolute()
    try:
        return _check(path)
    except OSError as error:
        raise _cannot_open(path, path, error) from None


def _check(path: Path) -> str | None:
    """Raises StoreUnusable and OSError."""
    _refuse_folder(path)
    folder, lock = path.parent, lock_of(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    # Not only whether this user may: some file systems let nobody make a file, and say so only then.
    tempfile.TemporaryFile(dir=folder).close()
    for file in (lock, path):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise _cannot_open(file, path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if path.exists():
        _check_content(path)
    return IN_USE.format(path) if lock.exists() and _is_locked(lock) else None


def unusable(path: Path, error: sqlite3.Error) -> StoreUnusable:
    """What SQLite says of a file, and what can be done."""
    known = {
        sqlite3.SQLITE_NOTADB: f"is not a database of SQLite: move it away, {_ELSEWHERE}",
        sqlite3.SQLITE_CORRUPT: f"is damaged ({error}): put a backup back, {_ELSEWHERE}",
        sqlite3.SQLITE_FULL: "cannot be opened, as the disk is full: make room on it",
        sqlite3.SQLITE_READONLY: f"may not be written: let the user of this process write it, {_ELSEWHERE}",
        sqlite3.SQLITE_BUSY: "is locked by another process that looks into it: end that one first",
    }
    # The lowest octet of an extended code is the code itself.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return StoreUnusable(f"{path.absolute()} {known.get(primary, f'cannot be opened: {error}')}")


def unreadable(path: Path, error: SynkroneError) -> StoreUnusable:
    """What is stored is not what this program would have."""
    return StoreUnusable(f"{path.absolute()} cannot be opened: {error}: put a backup back, {_ELSEWHERE}")


def _refuse_folder(path: Path) -> None:
    """Before a lock is left beside it. Raises StoreUnusable and OSError."""
    if path.is_dir():
        raise StoreUnusable(f"{path} is a directory: name a file in it, such as sqlite:///{path / 'synkrone.db'}")


def _cannot_open(file: Path, store: Path, error: OSError) -> StoreUnusable:
    """``file`` is that of the store, or its lock."""
    folder = store.parent
    if error.errno == errno.ENOENT and not folder.exists():
        why = f"the folder {folder} does not exist: make it first, {_ELSEWHERE}"
    elif error.errno == errno.ENOTDIR:
        why = f"{folder} is not a folder: name a file in one in the setting store"
    elif error.errno in (errno.EACCES, errno.EPERM):
        place = file if os.access(folder, os.X_OK) and file.is_file() else folder
        why = f"the user of this process ({os.geteuid()}) may not write {place}: let it, {_ELSEWHERE}"
    elif error.errno == errno.EROFS:
        why = f"{folder} is read-only: name a file elsewhere in the setting store"
    else:
        why = f"{error.strerror or error}: name a file elsewhere in the setting store"
    return StoreUnusable(f"{store} cannot be opened: {why}")


def version_at_rest(path: Path) -> int | None:
    """That of a file that nobody writes; None where there is none, or it cannot be said without leaving traces. Raises
    StoreUnusable."""
    path = path.absolute()
    try:
        return _check_content(path) if path.exists() else None
    except OSError as error:
        raise _cannot_open(path, path, error) from None


def _check_content(path: Path) -> int | None:
    """Its version, where that can be seen. Raises StoreUnusable and OSError."""
    log = path.with_name(f"{path.name}-wal")
    if not path.stat().st_size or (log.exists() and log.stat().st_size):
        # Empty, or what is written last stands in the log, which cannot be read without leaving traces.
        return None
    try:
        # Immutable: without locks, and without files beside it.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            return check_version(db, path)
    except sqlite3.Error as error:
        raise unusable(path, error) from None


def _is_locked(lock: Path) -> bool:
    """Whether a process has the store open. Raises OSError."""
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_version(db: sqlite3.Connection, path: Path) -> int:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise StoreUnusable(f"{path} is a database of another application: name another file in the setting store")
    if is_unfinished(db):
        raise StoreUnusable(
            f"an import into {path} is not finished: run synkrone-socket import again with the same file, "
            f"or move it away, {_ELSEWHERE}"
        )
    seal = seal_of(db)
    if seal is not None:
        raise StoreUnusable(f"{path} was moved to {seal.place}: name that in the setting store")
    if not 0 < version <= len(MIGRATIONS):
        raise StoreUnusable(
            f"{path} is of version {version}, and this program knows versions up to {len(MIGRATIONS)}: "
            "use the newer program that made it, or put a backup back"
        )
    return int(version)
