"""A PostgreSQL database as one thread uses it: one connection, made anew after it broke, and snapshots of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg import Cursor
from psycopg.pq import TransactionStatus

from adapters.store.postgresql.connecting import Address, Line, is_uncertain, local_settings
from adapters.store.times import microseconds, moment
from domain.model import Entry, Position
from domain.model.value import value
from domain.rules.epochs import Generation, Generations

Row = tuple[Any, ...]
Parameters = Mapping[str, object]

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
_IS_SAME = "(SELECT incarnation = synkrone.incarnation() FROM synkrone.epochs ORDER BY number DESC LIMIT 1)"


def _log(is_same: str) -> bytes:
    return f"""
        SELECT synkrone.head(), floor, has_groups,
            (SELECT epoch FROM synkrone.epochs ORDER BY number LIMIT 1),
            (SELECT epoch FROM synkrone.epochs ORDER BY number DESC LIMIT 1),
            {is_same}
        FROM synkrone.log""".encode()  # noqa: S608


_LOG, _LOG_AND_WHETHER_IT_IS_THE_SAME = _log("NULL"), _log(_IS_SAME)


def stored_time(at: datetime | None) -> int | None:
    """In microseconds; None is the time at which it is stored, by the clock of the database."""
    return microseconds(at) if at is not None else None


class Database:
    """For one thread at a time. Everything raises psycopg.Error, after which ``recover`` is to be called."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line: Line | None = None
        self._generations: Generations | None = None
        self.answered: list[UUID] = []
        """The appends whose outcome is known: their names need not be kept any longer."""
        self.last: Position | None = None
        """Of what was appended over this connection."""

    @property
    def line(self) -> Line:
        if self._line is None:
            self._line = self._address.connect()
        return self._line

    @property
    def process_id(self) -> int | None:
        """Of the server's process that serves the connection."""
        return self._line.info.backend_pid if self._line is not None and not self._line.closed else None

    def execute(self, query: bytes, parameters: Parameters | None = None) -> Cursor[Row]:
        line = self.line
        if self._address.has_session or line.info.transaction_status is not TransactionStatus.IDLE:
            return line.execute(query, parameters, binary=True)
        with line.pipeline():
            self.begin()
            cursor = line.execute(query, parameters, binary=True)
            line.execute(b"COMMIT")
        return cursor

    def begin(self) -> None:
        """A transaction in which every statement sees what was there before it."""
        self.line.execute(_BEGIN)
        if not self._address.has_session:
            self.line.execute(local_settings(self.line))

    def one(self, query: bytes, parameters: Parameters | None = None) -> Row:
        """The first row of those that there are."""
        row = self.execute(query, parameters).fetchone()
        if row is None:
            raise psycopg.DataError("a row was expected")
        return row

    def all_of(self, query: bytes, each: Sequence[Parameters]) -> list[list[Row]]:
        """The rows of the same query with each of the parameters; one wait for all of them."""
        if not each:
            return []
        with self.line.pipeline():
            cursors = [self.execute(query, parameters) for parameters in each]
        return [cursor.fetchall() for cursor in cursors]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.line.transaction():
            if not self._address.has_session:
                self.line.execute(local_settings(self.line))
            yield

    @contextmanager
    def snapshot(self, *, asks_whether_same: bool = False) -> Iterator[Snapshot]:
        """Everything that is read in it is of one moment."""
        line = self.line
        settings = b"" if self._address.has_session else local_settings(line) + b"; "
        log = _LOG_AND_WHETHER_IT_IS_THE_SAME if asks_whether_same else _LOG
        cursor = line.execute(_BEGIN_SNAPSHOT + settings + log)
        while cursor.nextset():
            pass
        head, floor, has_groups, oldest, newest, is_same = cursor.fetchone() or (0, 0, False, None, None, None)
        yield Snapshot(self, head, floor, has_groups, self.generations(oldest, newest), is_same)
        self.line.execute(b"COMMIT")

    def generations(self, oldest: str | None, newest: str | None) -> Generations:
        """Those from one epoch to another. They are read only where they are not the ones that were read last."""
        known = self._generations
        if known is None or (known.known[0].epoch, known.present) != (oldest, newest):
            known = self._generations = self.read_generations()
        return known

    def generations_with(self, epoch: str | None) -> Generations:
        """Those that are known, and at least up to that epoch."""
        known = self._generations
        if known is None or (epoch is not None and all(one.epoch != epoch for one in known.known)):
            known = self._generations = self.read_generations()
        return known

    def read_generations(self) -> Generations:
        rows = self.execute(b"SELECT number, epoch, first, opened_at FROM synkrone.epochs ORDER BY number").fetchall()
        return Generations([Generation(number, epoch, first, moment(at)) for number, epoch, first, at in rows])

    def begin_epoch(self, at: datetime | None, known: int = 0, known_epoch: str | None = None) -> None:
        """Where the database is another one than that of the last epoch, or has less than was ``known`` in it."""
        self.execute(
            b"SELECT synkrone.lock_log(%(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text, false)",
            {"at": stored_time(at), "known": known, "known_epoch": known_epoch},
        )

    def wait_for_standby(self) -> None:
        """Until one has everything that was stored before."""
        self.execute(b"SELECT synkrone.lock_log(NULL, 0, NULL, true)")

    def recover(self) -> bool:
        """After an error: be usable again. Whether it is uncertain what became of what was sent."""
        line = self._line
        if line is None:
            return False
        uncertain = is_uncertain(line)
        if uncertain or line.closed:
            self.close()
        elif line.info.transaction_status is not TransactionStatus.IDLE:
            try:
                line.execute(b"ROLLBACK")
            except psycopg.Error:
                self.close()
        return uncertain

    def close(self) -> None:
        """At once, and without a word to the server about what it may be at."""
        line, self._line = self._line, None
        # Another connection may lead to another database.
        self._generations = self.last = None
        if line is not None:
            line.close()


@value
class Snapshot:
    """The log at one moment. ``floor`` is the offset up to which everything has left it, though not every inbox.

    ``has_groups``: somebody may have stays, in topics or in rooms of several parts. ``is_same``: the database is the
    one of the last epoch. None where that was not asked.
    """

    db: Database
    head: int
    floor: int
    has_groups: bool
    generations: Generations
    is_same: bool | None = None

    @property
    def as_of(self) -> Position:
        return self.generations.position(self.head)


@value
class Written:
    """What the writer has done: what everybody who waits for it is answered, in their order, and what was appended.

    An answer may be a SynkroneError. ``is_news``: other servers are to be given a hint, as they are where something was
    appended.
    """

    answers: Sequence[object]
    entries: Sequence[Entry] = ()
    generations: Generations | None = None
    is_news: bool = False


class Work(Protocol):
    """What the writer does for all who ask for the same at once.

    ``once``: who asked for it is told what became of it, though it takes a while to find that out.
    """

    @property
    def once(self) -> bool: ...

    def run(self, db: Database) -> Written:
        """Raises psycopg.Error. Run again after it broke off, what was done by then is not done twice."""
