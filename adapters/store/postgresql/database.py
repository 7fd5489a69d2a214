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

from adapters.store.postgresql.connecting import Address, Line, is_uncertain
from adapters.store.times import microseconds, moment
from domain.model import Entry, Position
from domain.model.value import value
from domain.rules.epochs import Generation, Generations

Row = tuple[Any, ...]
Parameters = Mapping[str, object]

_BEGIN = b"""
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SELECT synkrone.head(), floor, (SELECT min(number) FROM synkrone.epochs), (SELECT max(number) FROM synkrone.epochs)
    FROM synkrone.log"""


class Database:
    """For one thread at a time. Everything raises psycopg.Error, after which ``recover`` is to be called."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line: Line | None = None
        self._generations: Generations | None = None
        self.answered: list[UUID] = []
        """The appends whose outcome is known: their names need not be kept any longer."""

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
        return self.line.execute(query, parameters, binary=True)

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
            yield

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Everything that is read in it is of one moment."""
        cursor = self.line.execute(_BEGIN)
        cursor.nextset()
        head, floor, oldest, newest = cursor.fetchone() or (0, 0, None, None)
        yield Snapshot(self, head, floor, self.generations(oldest, newest))
        self.line.execute(b"COMMIT")

    def generations(self, oldest: int | None, newest: int | None) -> Generations:
        """Those with these numbers and between. They are read only where they are not the ones that were read last."""
        known = self._generations
        if known is None or (known.known[0].number, known.known[-1].number) != (oldest, newest):
            known = self._generations = self.read_generations()
        return known

    def generations_upto(self, newest: int) -> Generations:
        """Those that are known, and at least up to that number."""
        if self._generations is None or self._generations.known[-1].number < newest:
            self._generations = self.read_generations()
        return self._generations

    def read_generations(self) -> Generations:
        rows = self.execute(b"SELECT number, epoch, first, opened_at FROM synkrone.epochs ORDER BY number").fetchall()
        return Generations([Generation(number, epoch, first, moment(at)) for number, epoch, first, at in rows])

    def begin_epoch(self, now: datetime, known: int) -> None:
        """Where the database is another one than that of the last epoch. ``known`` is an offset that was there."""
        self.execute(
            b"SELECT synkrone.lock_log(%(at)s::bigint, %(known)s::bigint)", {"at": microseconds(now), "known": known}
        )

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
        if line is not None:
            line.close()


@value
class Snapshot:
    """The log at one moment. ``floor`` is the offset up to which everything has left it, though not every inbox."""

    db: Database
    head: int
    floor: int
    generations: Generations

    @property
    def as_of(self) -> Position:
        return self.generations.position(self.head)


@value
class Written:
    """What the writer has done: what everybody who waits for it is answered, in their order, and what was appended."""

    answers: Sequence[object]
    entries: Sequence[Entry] = ()
    generations: Generations | None = None


class Work(Protocol):
    """What the writer does for all who ask for the same at once.

    ``once``: who asked for it is told what became of it, though it takes a while to find that out.
    """

    @property
    def once(self) -> bool: ...

    def run(self, db: Database) -> Written:
        """Raises psycopg.Error. Run again after it broke off, what was done by then is not done twice."""
