"""A PostgreSQL database as what is exported: read in one snapshot, while servers serve from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from adapters.store.moving.source import SLICE_BYTES, SLICE_OFFSETS, Extent, Row, Slice
from adapters.store.moving.tables import ROWS_AT_ONCE, Table
from adapters.store.moving.target import Database, failed
from adapters.store.postgresql.moved import refuse_unfinished
from adapters.store.postgresql.schema import check_current
from adapters.store.served import StoreUnusable

ANSWER_SECONDS: Final = 300.0
STALLED_SECONDS: Final = 900
"""So long nothing may be read, should the machine be gone that reads: the database cannot clean up while the snapshot
lasts."""

_EXTENT: Final = """
    SELECT synkrone.head(), floor, floor_stored_at,
        (SELECT log_offset FROM synkrone.entries ORDER BY log_offset LIMIT 1),
        (SELECT log_offset FROM synkrone.contents ORDER BY log_offset LIMIT 1)
    FROM synkrone.log"""
_UPTO: Final = """
    SELECT max(log_offset) FROM (
        SELECT log_offset, sum(bytes) OVER (ORDER BY log_offset) AS total,
            row_number() OVER (ORDER BY log_offset) AS number
        FROM (
            SELECT log_offset, coalesce(octet_length(payload), 0) + coalesce(octet_length(rooms), 0) AS bytes
            FROM synkrone.contents WHERE log_offset > %(after)s AND log_offset <= %(last)s
            UNION ALL
            SELECT log_offset, coalesce(octet_length(payload), 0) + coalesce(octet_length(rooms), 0)
            FROM synkrone.entries WHERE log_offset > %(after)s AND log_offset <= %(last)s) AS each) AS sized
    WHERE total <= %(bytes)s OR number = 1"""
_ENTRIES: Final = """
    SELECT log_offset, stored_at, event, form, rooms, payload, about, expires_at FROM synkrone.entries
    WHERE log_offset > %(after)s AND log_offset <= %(upto)s ORDER BY log_offset"""
_CONTENTS: Final = """
    SELECT contents.log_offset, stored_at, expires_at, contents.id, type, form, rooms, payload, recalled, revised, key,
        digest
    FROM synkrone.contents LEFT JOIN synkrone.ids ON ids.id = contents.id AND ids.log_offset = contents.log_offset
    WHERE contents.log_offset > %(after)s AND contents.log_offset <= %(upto)s ORDER BY contents.log_offset"""
_LEFT: Final = {
    **{
        name: f"WHERE NOT EXISTS (SELECT FROM synkrone.erasures WHERE erasures.user_id = {name}.user_id "
        f"AND {name}.log_offset < erasures.log_offset)"
        for name in ("marks", "watermarks", "state")
    },
    "collapsing": "WHERE NOT EXISTS (SELECT FROM synkrone.erasures WHERE 'user:' || erasures.user_id = collapsing.room "
    "AND collapsing.log_offset < erasures.log_offset)",
}
"""Without what is left of users who are being erased: it is nobody's any more."""


class DatabaseOrigin:
    kind: Final = "postgresql"

    def __init__(self, database: Database) -> None:
        """Raises StoreUnusable."""
        self.place = database.place
        with self.faults():
            self._line = database.address.connect(statement_timeout=False)
        self._line.answer_seconds = ANSWER_SECONDS

    def close(self) -> None:
        self._line.close()

    def check(self) -> None:
        check_current(self._line)
        refuse_unfinished(self._line)

    @property
    def secret(self) -> bytes | None:
        (secret,) = self._one("SELECT secret FROM synkrone.log")
        return bytes(secret) if secret is not None else None

    @property
    def waiting(self) -> int:
        (number,) = self._one("SELECT (SELECT count(*) FROM synkrone.outbox) + (SELECT count(*) FROM synkrone.parked)")
        return int(number)

    @property
    def extent(self) -> Extent:
        head, floor, floor_stored_at, first_entry, first_content = self._one(_EXTENT)
        return Extent(
            head=head,
            floor=floor,
            floor_stored_at=floor_stored_at,
            first_entry=head + 1 if first_entry is None else first_entry,
            first_content=head + 1 if first_content is None else first_content,
        )

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        if self._line.info.transaction_status is TransactionStatus.INTRANS:
            yield
            return
        with self._line.transaction():
            self._line.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._line.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{STALLED_SECONDS}s'")
            yield

    def slice_after(self, after: int, upto: int | None = None) -> tuple[Slice, Extent]:
        with self.snapshot():
            extent = self.extent
            last = min(after + SLICE_OFFSETS, extent.head if upto is None else upto)
            (found,) = self._one(_UPTO, {"after": after, "last": last, "bytes": SLICE_BYTES})
            limits = {"after": after, "upto": last if found is None else found}
            entries = self._line.execute(_ENTRIES, limits).fetchall()
            contents = self._line.execute(_CONTENTS, limits).fetchall()
            return Slice(after, limits["upto"], entries, contents), extent

    def rows_of(self, table: Table) -> Iterator[Row]:
        columns = ", ".join(column.name for column in table.target)
        keys = ", ".join(column.name for column in table.target_key)
        with self.snapshot(), self._line.cursor(name=f"all_{table.name}") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            left = _LEFT.get(table.name, "")
            cursor.execute(sql.SQL(f"SELECT {columns} FROM synkrone.{table.name} {left} ORDER BY {keys}"))  # noqa: S608
            yield from cursor

    def faults(self) -> AbstractContextManager[None]:
        return faults_of_database()

    def _one(self, statement: str, parameters: dict[str, Any] | None = None) -> Row:
        row = self._line.execute(sql.SQL(statement), parameters).fetchone()
        if row is None:
            raise StoreUnusable("the database holds no store")
        return row


@contextmanager
def faults_of_database() -> Iterator[None]:
    """Raises StoreUnusable."""
    try:
        yield
    except psycopg.Error as error:
        raise failed(error) from None
