"""A SQLite file as what is imported into: it is made, where there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

from adapters.store.moving.destination import Batch
from adapters.store.moving.file_origin import FileOrigin, faults_of
from adapters.store.moving.lines import Header
from adapters.store.moving.source import Row
from adapters.store.seals import SEALED
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.collapsing import KEYED, PLACE
from adapters.store.sqlite.erasing import FREEING
from adapters.store.sqlite.importing import Begun, advance, begin, begun, finish, is_unfinished
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.schema import FileLock, as_json, check_version, connect, prepare_file
from adapters.store.sqlite.transaction import Placing, place


class FileDestination:
    def __init__(self, path: Path) -> None:
        """Raises StoreUnusable, also where another process has the file open."""
        self._path = path.absolute()
        self._lock = FileLock(self._path)
        self._db: sqlite3.Connection | None = None
        try:
            with self.faults():
                if not _is_used(self._path):
                    prepare_file(self._path)
                self._db = connect(self._path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._lock.release()

    @property
    def place(self) -> str:
        return f"sqlite:///{self._path}"

    @property
    def begun(self) -> Begun | None:
        return begun(self._opened())

    def begin(self, header: Header) -> None:
        db = self._opened()
        with _transaction(db):
            (is_used,) = db.execute("SELECT EXISTS (SELECT 1 FROM generations)").fetchone()
            if is_used:
                raise StoreUnusable(f"{self._path} holds a store already: move it away, or name another file")
            db.executemany(
                "UPDATE meta SET value = ? WHERE name = ?",
                ((bytes.fromhex(header.secret), "secret"), (header.floor, "log_floor")),
            )
            begin(db, header.name)

    def write(self, batch: Batch) -> None:
        db = self._opened()
        try:
            with _transaction(db):
                _write_log(db, batch)
                for table, rows in batch.tables.items():
                    _WRITERS[table](db, rows)
                advance(db, batch.upto)
        except sqlite3.IntegrityError:
            raise StoreUnusable(f"two of the lines up to {batch.upto} say what only one can") from None

    def written(self) -> FileOrigin:
        return FileOrigin(self._path)

    def finish(self, header: Header) -> None:  # noqa: ARG002 (all that it says was written when it began)
        finish(self._opened())

    def faults(self) -> AbstractContextManager[None]:
        return faults_of(self._path)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreUnusable(f"{self._path} is not open")
        return self._db


def _is_used(path: Path) -> bool:
    """Whether it holds a store or a part of one: it is not changed into one of today's version. Raises StoreUnusable
    for what is no store, and sqlite3.Error."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with closing(connect(path)) as db:
        if is_unfinished(db):
            return True
        if not check_version(db, path):
            return False
        (is_used,) = db.execute("SELECT EXISTS (SELECT 1 FROM generations)").fetchone()
        return bool(is_used)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _write_log(db: sqlite3.Connection, batch: Batch) -> None:
    db.executemany(
        """
        INSERT INTO entries (offset, stored_at, event, form, rooms, payload, about, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        [(*row[:4], _octets(row[4]), _octets(row[5]), *row[6:]) for row in batch.entries],
    )
    db.executemany(
        """
        INSERT INTO contents (
            offset, stored_at, expires_at, id, type, form, rooms, payload, recalled, revised, key, digest)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [(*row[:6], *map(_octets, row[6:9]), *row[9:]) for row in batch.contents],
    )
    db.executemany(
        "INSERT INTO locators (locator, offset) VALUES (?, ?)",
        sorted({(locator(name), row[0]) for row in batch.contents for name in _names(row[3], row[10])}),
    )
    items: list[Placing] = [
        (room, row[0], 1, row[2]) for row in batch.contents if row[6] for room in row[6].split("\n")
    ]
    changes: list[Placing] = [
        (room, row[0], 0, row[7]) for row in batch.entries if row[4] for room in row[4].split("\n")
    ]
    if items or changes:
        place(db, items + changes)


def _write_starts(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    _know(db, [f"user:{row[0]}" for row in rows] + [row[1] for row in rows])
    db.executemany(
        f"INSERT INTO starts (user, room, start) VALUES ({_USER}, (SELECT id FROM rooms WHERE name = ?2), ?3)",  # noqa: S608
        rows,
    )


def _write_memberships(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    _know(db, [f"user:{row[0]}" for row in rows] + [row[1] for row in rows])
    db.executemany(
        f"""
        INSERT INTO memberships (user, room, after, upto)
        VALUES ({_USER}, (SELECT id FROM rooms WHERE name = ?2), ?3, ?4)""",  # noqa: S608
        rows,
    )


def _write_trimmed(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    _know(db, [row[0] for row in rows])
    db.executemany("UPDATE rooms SET trimmed = ?2 WHERE name = ?1", rows)


def _write_scheduled(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany(
        """
        INSERT INTO scheduled (number, due, ended, expires_at, id, key, digest, type, form, rooms, payload)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [
            (*row[:6], bytes.fromhex(row[6]) if row[6] is not None else None, *row[7:9], *map(_octets, row[9:]))
            for row in rows
        ],
    )
    db.executemany(
        "INSERT INTO locators (locator, offset) VALUES (?, ?)",
        sorted({(locator(name), -row[0]) for row in rows for name in _names(row[4], row[5])}),
    )


def _names(id_: str, key: str | None) -> list[str]:
    """By which something is found, other than by seals."""
    return [name for name in (id_, key) if name is not None and not name.startswith(SEALED)]


def _write_collapsing(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """The log was written before."""
    _know(db, [row[1] for row in rows])
    db.executemany(
        f"""
        INSERT INTO collapsing (key, place, offset, superseded)
        SELECT ?1, {PLACE}, ?3, ?4 FROM rooms WHERE name = ?2""",  # noqa: S608
        rows,
    )
    at = "room = (SELECT id FROM rooms WHERE name = ?) AND offset = ?"
    db.executemany(f"DELETE FROM placed WHERE {at}", [(row[1], row[2]) for row in rows if row[3]])  # noqa: S608
    db.executemany(
        f"UPDATE placed SET item = {KEYED} WHERE {at}",  # noqa: S608
        [(row[1], row[2]) for row in rows if not row[3]],
    )


def _write_erasures(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany(
        f"""
        INSERT INTO erasures (id, who, user, offset, begun_at, done_at, at, step)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?3 IS NULL THEN {FREEING} ELSE 0 END)""",  # noqa: S608
        [(row[0], bytes.fromhex(row[1]), *row[2:]) for row in rows],
    )


def _write_tombstones(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany(
        "INSERT INTO tombstones (name, offset, digest) VALUES (?, ?, ?)",
        [
            (bytes.fromhex(name), offset, bytes.fromhex(digest) if digest is not None else None)
            for name, offset, digest in rows
        ],
    )


def _writer(statement: str, *, of_users: bool) -> Callable[[sqlite3.Connection, Sequence[Row]], None]:
    def write(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        if of_users:
            _know(db, [f"user:{row[0]}" for row in rows])
        db.executemany(statement, rows)

    return write


def _know(db: sqlite3.Connection, rooms: Sequence[str]) -> None:
    db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (as_json(rooms),))


def _octets(text: str | None) -> bytes | None:
    return text.encode() if text is not None else None


_USER: Final = "(SELECT id FROM rooms WHERE name = 'user:' || ?1)"
_WRITERS: Final[Mapping[str, Callable[[sqlite3.Connection, Sequence[Row]], None]]] = {
    "epochs": _writer("INSERT INTO generations (number, epoch, first, opened_at) VALUES (?, ?, ?, ?)", of_users=False),
    "checkpoints": _writer("INSERT INTO checkpoints (source, resume_id) VALUES (?, ?)", of_users=False),
    "trimmed": _write_trimmed,
    "starts": _write_starts,
    "marks": _writer(f"INSERT INTO marks (user, role, offset) VALUES ({_USER}, ?2, ?3)", of_users=True),  # noqa: S608
    "watermarks": _writer(
        f"INSERT INTO watermarks (user, offset, at, read_by) VALUES ({_USER}, ?2, ?3, ?4)",  # noqa: S608
        of_users=True,
    ),
    "state": _writer(
        f"""
        INSERT INTO state (
            user, offset, read_at, seen_at, archived_at, deleted, read_by, deleted_at, snoozed_until, raised)
        VALUES ({_USER}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)""",  # noqa: S608
        of_users=True,
    ),
    "scheduled": _write_scheduled,
    "memberships": _write_memberships,
    "restrictions": _writer(
        "INSERT INTO restrictions (user, offset, issued_before, blocked, until, reason) VALUES (?, ?, ?, ?, ?, ?)",
        of_users=False,
    ),
    "collapsing": _write_collapsing,
    "erasures": _write_erasures,
    "tombstones": _write_tombstones,
}
