"""A copy of the SQLite file of a log, made while a server serves from it, and put back where none does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from adapters.store.new_file import NotMade, give_name, refuse_existing, unfinished
from adapters.store.sqlite.schema import FileLock, check_version, unusable
from domain.model.value import value

PAGES_A_STEP: Final = 1_000

Tell: TypeAlias = Callable[[int, int], None]
"""Called with how many pages are copied, and how many there are."""


@value
class Copied:
    """``head`` is the offset of the last entry, 0 of an empty log; ``version`` that of the file; ``set_aside`` where
    the file is that was there before."""

    path: Path
    size: int
    version: int
    head: int
    notifications: int
    set_aside: Path | None = None


def back_up(source: Path, target: Path, tell: Tell) -> Copied:
    """All that is stored at one moment, in one file that is checked before it gets its name. Blocks.

    Raises StoreUnusable, of which NotMade is one; also where the target exists.
    """
    source, target = source.absolute(), target.absolute()
    if not source.is_file():
        raise NotMade(f"{source} is no file: there is nothing to back up")
    refuse_existing(target)
    with unfinished(target) as part:
        _copy(source, part, tell)
        copied = _checked(part, target)
        give_name(part, target)
    return copied


def restore(backup: Path, store: Path, tell: Tell, *, now: datetime, replace: bool = False) -> Copied:
    """Put a backup where a store is, while nobody serves from it. Blocks.

    A store that is there is set aside with ``replace``, and else refused. Raises StoreUnusable, of which NotMade is
    one.
    """
    backup, store = backup.absolute(), store.absolute()
    if not backup.is_file():
        raise NotMade(f"{backup} is no file: name a backup")
    _check_kind(backup)
    lock = FileLock(store)
    try:
        if store.exists() and not replace:
            raise NotMade(f"{store} exists: move it away, or say --replace, which keeps it beside the restored one")
        with unfinished(store) as part:
            _copy(backup, part, tell)
            copied = _checked(part, store)
            aside = _set_aside(store, now)
            give_name(part, store)
    finally:
        lock.release()
    return Copied(copied.path, copied.size, copied.version, copied.head, copied.notifications, aside)


def _check_kind(backup: Path) -> None:
    """Raises NotMade for what is no database: what is to be done then concerns the backup, and not the store."""
    try:
        with backup.open("rb") as file:
            first = file.read(len(_FIRST_OCTETS))
    except OSError as error:
        raise NotMade(f"{backup} cannot be read: {error.strerror}") from None
    if first and first != _FIRST_OCTETS:
        raise NotMade(f"{backup} is not a database of SQLite: name a file that the command backup has made")


def _copy(source: Path, target: Path, tell: Tell) -> None:
    """Raises StoreUnusable."""
    # mode=rw: where a server was killed, what is written last stands in a log that is to be read into the file first.
    with _complaining_of(source), closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True)) as db:
        db.execute("PRAGMA query_only = 1")
        if not check_version(db, source):
            raise NotMade(f"{source} is empty: nothing was ever stored in it")
        # One state for as long as it takes: otherwise every commit of a server would have the copy begin anew.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with closing(sqlite3.connect(target)) as copy:
            db.backup(
                copy, pages=PAGES_A_STEP, progress=lambda _status, left, total: tell(total - left, total), sleep=0
            )
            # One file, without others beside it.
            copy.execute("PRAGMA journal_mode = DELETE")


def _checked(part: Path, target: Path) -> Copied:
    """Raises StoreUnusable for a file that is damaged."""
    with _complaining_of(part), closing(sqlite3.connect(f"{part.as_uri()}?mode=ro", uri=True)) as db:
        version = check_version(db, part)
        (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            in_one_line = " ".join(said.split())
            raise NotMade(f"what was copied is damaged ({in_one_line}): put an earlier backup back")
        (head,) = db.execute("SELECT coalesce(max(offset), 0) FROM entries").fetchone()
        counted = "contents" if version >= _CONTENTS_SINCE else "entries WHERE event = 'notification.new'"
        (notifications,) = db.execute(f"SELECT count(*) FROM {counted}").fetchone()  # noqa: S608 (one of the two)
    return Copied(target, part.stat().st_size, version, head, notifications)


_CONTENTS_SINCE: Final = 3
_FIRST_OCTETS: Final = b"SQLite format 3\0"


def _set_aside(store: Path, now: datetime) -> Path | None:
    """With the log of the file, which SQLite would read into whatever had its name. None where there was no file."""
    aside = store.with_name(f"{store.name}.{now:%Y%m%dT%H%M%SZ}")
    if aside.exists():
        raise NotMade(f"{aside} exists: try again in a second")
    was_there = store.exists()
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            store.with_name(f"{store.name}{suffix}").rename(aside.with_name(f"{aside.name}{suffix}"))
    return aside if was_there else None


@contextmanager
def _complaining_of(path: Path) -> Iterator[None]:
    """Raises StoreUnusable."""
    try:
        yield
    except sqlite3.Error as error:
        raise unusable(path, error) from None
