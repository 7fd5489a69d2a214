"""The course of a move: copy and verify, follow, and once the server has ended the rest, the seal and the opening.

Until the file is sealed it is what counts, and whatever happens it can be served from again. From then on it is the
database, which is opened right behind that. A move that broke off at any point goes on from there when it is run again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg

from adapters.store.moving.digests import digest
from adapters.store.moving.progress import Moved, Progress, Step
from adapters.store.moving.source import Amended, Erased, Extent, Row, Slice, Source, changed_since
from adapters.store.moving.tables import STATE, TABLES, Copied
from adapters.store.moving.target import Contained, Database, Target, failed, placed
from adapters.store.served import StoreUnusable
from adapters.store.sqlite import schema as sqlite
from adapters.store.sqlite.sealing import Seal, seal_of

__all__ = ["Database", "move"]

LOOK_SECONDS: Final = 0.02
"""How often is looked whether the server has ended."""

CAUGHT_UP_SECONDS: Final = 0.5
"""A round that takes no longer leaves as little for the next one."""

ROUND_SECONDS: Final = 1.0
ROUND_SHARE: Final = 20
"""Between two rounds of following is so many times as long as one takes: the machine is the server's."""


def move(path: Path, database: Database, *, tell: Callable[[Progress], None]) -> Moved:
    """Blocks until the server that serves from the file has ended, and everything is in the database.

    Raises StoreUnusable.
    """
    path = path.absolute()
    if not path.is_file():
        raise StoreUnusable(f"{path} is no file")
    with ExitStack() as stack, _faults(path):
        target = stack.enter_context(closing(Target(database)))
        lock = stack.enter_context(closing(_Lock(path)))
        if lock.take() and not _is_sealed(path):
            sqlite.prepare_file(path)
        source = stack.enter_context(closing(Source(path)))
        return _Course(source, target, lock, tell).run()


class _Lock:
    """That of the file: whoever has it may serve from the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: sqlite.FileLock | None = None

    def take(self) -> bool:
        """Whether it is held. False while a server has the file open."""
        if self._held is None:
            with suppress(sqlite.FileInUse):
                self._held = sqlite.FileLock(self._path)
        return self._held is not None

    def close(self) -> None:
        if self._held is not None:
            self._held.release()


class _Course:
    def __init__(self, source: Source, target: Target, lock: _Lock, tell: Callable[[Progress], None]) -> None:
        self._path = source.path
        self._source = source
        self._target = target
        self._lock = lock
        self._tell = tell
        self._copied = [(table, Copied(source, table)) for table in TABLES]
        self._upto = 0
        # What entries up to here say of what was copied is in the database, be they copied themselves or not.
        self._told_upto = 0
        # How far users were erased when all was compared last, and when the tables were copied.
        self._compared_at = self._copied_at = Erased(0, ())

    def run(self) -> Moved:
        self._source.check()
        if self._is_finished():
            return Moved(self._target.head, 0, before=True)
        self._begin()
        self._verify()
        self._catch_up()
        self._verify_tables()
        self._follow()
        return self._finish()

    def _is_finished(self) -> bool:
        begun, seal = self._target.move, self._source.seal
        name = begun.name if begun is not None else None
        if seal is not None and seal.move != name:
            raise StoreUnusable(
                f"{self._path} was moved to {seal.place}, and {self._target.place} is not that database"
            )
        if begun is None or not begun.is_finished:
            return False
        if seal is None:
            raise StoreUnusable(f"{self._target.place} holds a store already, which is not that of {self._path}")
        return True

    def _begin(self) -> None:
        begun, extent = self._target.move, self._source.extent
        self._told_upto = extent.head
        self._copied_at = self._source.erased
        if begun is None:
            self._target.begin(self._source.secret, extent.first - 1)
            self._upto = extent.first - 1
            return
        if self._target.secret != self._source.secret:
            raise StoreUnusable(f"a move of another file than {self._path} into {self._target.place} was begun")
        if begun.copied_upto > extent.head:
            raise self._difference(extent.head, begun.copied_upto)
        self._upto = begun.copied_upto
        # What has changed since that run is not known: they are copied anew.
        for table in TABLES:
            self._target.empty(table)

    def _verify(self) -> None:
        """What was copied by an earlier run: the file may be another one by now, put back from a backup. And what was
        erased since it was copied, of which no entry tells: that is copied anew."""
        self._compared_at = self._source.erased
        self._trim()
        after = self._source.extent.first - 1
        while after < self._upto:
            self._tell(Progress(Step.VERIFYING, after, self._upto))
            part, extent = self._source.slice_after(after, self._upto)
            # Also by what has left the log since.
            self._target.amend(changed_since(part, self._upto))
            entries_after = max(after, extent.first_entry - 1)
            # The first contents are on their way out: of their rooms some may be gone.
            contents_after = max(after, extent.first_content)
            whole = [row for row in part.contents if row[0] > contents_after]
            expected = _contained(Slice(after, part.upto, part.entries, whole))
            if self._target.contained(entries_after, contents_after, part.upto) != expected:
                if self._compared_at.last:
                    self._target.copy_anew(part)
                if self._target.contained(entries_after, contents_after, part.upto) != expected:
                    raise self._difference(after, part.upto)
            after = part.upto

    def _catch_up(self) -> None:
        """Until there is little left for the pause, or it becomes no less."""
        took = float("inf")
        while took > CAUGHT_UP_SECONDS:
            before, began = took, time.monotonic()
            self._advance(Step.COPYING)
            took = time.monotonic() - began
            if took >= before:
                return

    def _advance(self, step: Step) -> None:
        """Bring the database to where the file is. While a server writes there is more by the end."""
        head = self._trim()
        while self._upto < head:
            self._tell(Progress(step, self._upto, head))
            part, extent = self._source.slice_after(self._upto)
            if extent.first_entry - 1 > max(part.after, self._told_upto):
                self._amend_untold(extent)
            if self._target.copy(part) != _contained(part):
                raise self._difference(part.after, part.upto)
            self._upto = part.upto
        while not self._advance_tables():
            pass
        self._tell(Progress(step, self._upto, max(self._upto, head)))

    def _advance_tables(self) -> bool:
        """Whether that is done: of a user who is erased meanwhile nobody knows any more which rows were theirs, and all
        are copied anew."""
        erased = self._source.erased
        if erased != self._copied_at:
            for table, copied in self._copied:
                self._target.empty(table)
                copied.clear()
        self._copied_at = erased
        try:
            for table, copied in self._copied:
                for rows in copied.changed():
                    self._target.put(table, rows)
                    if table.name == STATE:
                        self._amend_erased(rows)
                for keys in copied.gone():
                    self._target.remove(table, keys)
        except StoreUnusable:
            if self._source.erased == erased:
                raise
        return self._source.erased == erased

    def _amend_erased(self, rows: Sequence[Row]) -> None:
        """No entry says so, but that it was looked at is a change of what users have done to it."""
        erased = self._source.erased_among([offset for _, offset, *_ in rows], self._upto)
        if erased.contents:
            self._target.amend(erased)

    def _amend_untold(self, extent: Extent) -> None:
        """Entries have left the log before they were read, and may have said something of what was copied."""
        for rows in self._source.changed_upto(self._upto, self._told_upto):
            self._target.amend(Amended((), rows))
        self._told_upto = extent.head

    def _trim(self) -> int:
        """Let the database lose what the file has lost. The offset of the file's last entry."""
        extent = self._source.extent
        self._target.trim(extent)
        rooms = self._source.rooms_at(extent.first_content)
        if rooms is not None:
            self._target.keep_rooms(extent.first_content, rooms)
        self._upto = max(self._upto, extent.first - 1)
        return extent.head

    def _verify_tables(self) -> None:
        while (other := self._other_table()) is not None:
            if self._source.erased == self._copied_at:
                raise StoreUnusable(f"what was copied of {other} is not what is in the database: {_ANEW}")
            self._advance(Step.COPYING)

    def _other_table(self) -> str | None:
        """One that is not as it was copied."""
        for table, copied in self._copied:
            if self._target.digest_of(table) != digest(copied.rows()):
                return table.name
        return None

    def _follow(self) -> None:
        """Until the server has ended, and no other can begin to serve from the file."""
        due = 0.0
        while not self._lock.take():
            began = time.monotonic()
            if began >= due:
                self._advance(Step.FOLLOWING)
                erased = self._source.erased
                if erased != self._compared_at and not erased.running:
                    self._verify()
                now = time.monotonic()
                due = now + max(ROUND_SECONDS, ROUND_SHARE * (now - began))
            time.sleep(LOOK_SECONDS)

    def _finish(self) -> Moved:
        began = time.monotonic()
        self._advance(Step.FINISHING)
        if self._compared_at.running or self._source.erased != self._compared_at:
            self._verify()
        head = self._source.extent.head
        if self._target.head != head:
            raise self._difference(self._target.head, head)
        self._target.flush()
        begun = self._target.move
        if begun is not None and self._source.seal is None:
            self._source.put_seal(Seal(self._target.place, begun.name))
        self._target.finish()
        return Moved(head, time.monotonic() - began)

    def _difference(self, after: int, upto: int) -> StoreUnusable:
        places = f"{self._path} and {self._target.place}"
        return StoreUnusable(f"{places} do not have the same between the offsets {after} and {upto}: {_ANEW}")


_ANEW: Final = "drop the schema synkrone there, and run it again"


def _contained(part: Slice) -> Contained:
    """What the database has of a slice once it is copied."""
    return Contained(digest(part.entries), digest(part.contents), sum(1 for _ in placed(part.contents, part.entries)))


def _is_sealed(path: Path) -> bool:
    with closing(sqlite.connect(path)) as db:
        return seal_of(db) is not None


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Whatever fails is said in a line."""
    try:
        yield
    except sqlite3.Error as error:
        raise sqlite.unusable(path, error) from None
    except psycopg.Error as error:
        raise failed(error) from None
