"""Stores that have been there for days: filled inside their databases, where a row costs a microsecond or two.

Not durably, and with the indexes built at the end: they are made to be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from adapters.contract.events import notification_json
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.sqlite.schema import connect
from adapters.store.sqlite.store import SqliteStore
from adapters.store.times import microseconds
from adapters.system.clock import SystemClock
from domain.ports import Store
from tests.contract.inbox_harness import draft
from tests.postgresql import running_server_on_disk

SPAN = timedelta(days=6)
"""Shorter than deliveries are kept."""

_UUID_REST = 0x8000_0000_0000_0000
"""The second half of every id, without the number of the entry."""


@dataclass(frozen=True)
class Size:
    """``entries`` for ``users`` in turn, each of whom had ``connections`` one after the other, which received all that
    came in their time. All of them divide the entries."""

    entries: int
    users: int
    connections: int
    began: int

    @classmethod
    def of(cls, entries: int, users: int, connections: int) -> Size:
        return cls(entries, users, connections, microseconds(datetime.now(UTC) - SPAN))

    @property
    def each(self) -> int:
        """Microseconds from one entry to the next."""
        return int(SPAN.total_seconds() * 1_000_000) // self.entries

    def id_of(self, entry: int) -> str:
        """As the server makes them: a UUID of version 7."""
        at = (self.began + entry * self.each) // 1000
        return str(UUID(int=(at << 16 | 0x7000 | entry & 0xFFF) << 64 | _UUID_REST | entry))

    def user_of(self, entry: int) -> str:
        return f"u{entry % self.users}"

    @property
    def values(self) -> dict[str, int]:
        return {
            "entries": self.entries,
            "users": self.users,
            "of_user": self.entries // self.users,
            "all_connections": self.users * self.connections,
            "of_each": self.entries // self.connections,
            "began": self.began,
            "each": self.each,
        }


# n is the number of an entry, or of a connection, and at the time of the entry. To SQLite || binds the tightest.
_RECEIPT = """'{"c' || (n % :users) || '-' || ((n - 1) / :of_each) || '":' || n || '}'"""
_CONNECTION = """
    'c' || ((n - 1) % :users) || '-' || ((n - 1) / :users), 'r', 'phone', 'websocket', 'pid' || ((n - 1) % :users),
    :began + (n - 1) / :users * :of_each * :each, (n - 1) / :users * :of_each, (n - 1) / :users * :of_each,
    'pid' || ((n - 1) % :users), (n - 1) / :users * :of_each, {none},
    :began + ((n - 1) / :users + 1) * :of_each * :each, 'transport_close',
    ((n - 1) / :users + 1) * :of_each, ((n - 1) / :users + 1) * :of_each"""

_SQLITE_CONNECTION = _CONNECTION.format(none="'[]'")
_SQLITE = (
    """INSERT INTO temp.numbers
        WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :entries)
        SELECT n, :began + n * :each FROM counted""",
    "INSERT INTO rooms (id, name) SELECT n, 'user:u' || (n - 1) FROM temp.numbers WHERE n <= :users",
    "INSERT INTO entries (offset, stored_at, event) SELECT n, at, 'notification.new' FROM temp.numbers",
    """INSERT INTO contents (offset, stored_at, type, id, form, rooms, payload)
        SELECT n, at, 't', printf('%08x-%04x-7%03x-8000-%012x', at / 1000 >> 16, at / 1000 & 65535, n & 4095, n),
            1, CAST('user:u' || (n % :users) AS BLOB), :payload
        FROM temp.numbers""",
    "INSERT INTO locators (locator, offset) SELECT at / 1000 << 16 | 0x7000 | (n & 4095), n FROM temp.numbers",
    # In the order in which they lie there.
    """INSERT INTO placed (room, offset, item, expires_at)
        SELECT room.n, (turn.n - 1) * :users + CASE room.n WHEN 1 THEN :users ELSE room.n - 1 END, 1, NULL
        FROM temp.numbers AS room CROSS JOIN temp.numbers AS turn WHERE room.n <= :users AND turn.n <= :of_user""",
    f"""INSERT INTO ledger_receipts (user, at, upto)
        SELECT n % :users + 1, at / 1000000 * 1000000, {_RECEIPT} FROM temp.numbers""",  # noqa: S608
    f"""INSERT INTO ledger_connections
        SELECT 1, n, (n - 1) % :users + 1, {_SQLITE_CONNECTION}
        FROM temp.numbers WHERE n <= :all_connections""",  # noqa: S608
    "UPDATE meta SET value = :began WHERE name = 'ledger_since'",
)


@asynccontextmanager
async def large_file(folder: Path, size: Size) -> AsyncIterator[tuple[Store, int]]:
    """A store, and how many bytes it takes."""
    path = folder / "synkrone.db"
    await _make(SqliteStore(path, clock=SystemClock()))
    with closing(connect(path)) as db:
        _fill_file(db, size)
    store = SqliteStore(path, clock=SystemClock())
    await store.open()
    try:
        yield store, path.stat().st_size
    finally:
        await store.close()
        path.unlink()


def _fill_file(db: sqlite3.Connection, size: Size) -> None:
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -400000", "temp_store = FILE"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TEMP TABLE numbers (n INTEGER PRIMARY KEY, at INTEGER)")
    db.execute("BEGIN")
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'ledger_%'")
    indexes_then = [(name, sql) for name, sql in indexes if sql is not None]
    for name, _ in indexes_then:
        db.execute(f"DROP INDEX {name}")
    payload = notification_json(draft("n").notification)
    for statement in _SQLITE:
        db.execute(statement, {**size.values, "payload": payload})
    for _, sql in indexes_then:
        db.execute(sql)
    db.execute("COMMIT")


_POSTGRESQL_CONNECTION = _CONNECTION.format(none="'{}'")
_TABLES = ("entries", "contents", "ids", "placed", "ledger_receipts", "ledger_connections")
_ID = """(
    lpad(to_hex(at / 1000 >> 16), 8, '0') || '-' || lpad(to_hex(at / 1000 & 65535), 4, '0') || '-7'
    || lpad(to_hex(n & 4095), 3, '0') || '-8000-' || lpad(to_hex(n), 12, '0'))"""
_POSTGRESQL = (
    """CREATE TEMPORARY VIEW numbers AS
        SELECT n, :began + n * :each AS at FROM generate_series(1, :entries::bigint) AS given (n)""",
    "INSERT INTO synkrone.entries (log_offset, stored_at, event) SELECT n, at, 'notification.new' FROM numbers",
    f"""INSERT INTO synkrone.contents (log_offset, stored_at, id, type, form, rooms, payload)
        SELECT n, at, {_ID}, 't', 1, 'user:u' || (n % :users), :payload FROM numbers""",  # noqa: S608
    f"INSERT INTO synkrone.ids (id, log_offset) SELECT {_ID}, n FROM numbers",  # noqa: S608
    """INSERT INTO synkrone.placed (room, log_offset, item)
        SELECT 'user:u' || (n % :users), n, true FROM numbers""",
    f"""INSERT INTO synkrone.ledger_receipts
        SELECT 'u' || (n % :users), at / 1000000 * 1000000, ({_RECEIPT})::jsonb FROM numbers""",  # noqa: S608
    f"""INSERT INTO synkrone.ledger_connections
        SELECT 1, n, 'u' || ((n - 1) % :users), {_POSTGRESQL_CONNECTION}
        FROM numbers WHERE n <= :all_connections""",  # noqa: S608
    "UPDATE synkrone.ledger_since SET at = :began",
)


@asynccontextmanager
async def large_database(size: Size) -> AsyncIterator[tuple[Store, int]]:
    """A store in a database on the disk, and how many bytes it takes."""
    with _server() as (url, connection):
        await _make(PostgresqlStore(url, clock=SystemClock()))
        _fill_database(connection, size)
        taken = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert taken is not None
        store = PostgresqlStore(url, clock=SystemClock())
        await store.open()
        try:
            yield store, int(taken[0])
        finally:
            await store.close()


@contextmanager
def _server() -> Iterator[tuple[str, psycopg.Connection]]:
    settings = {"maintenance_work_mem": "512MB", "max_wal_size": "2GB", "max_parallel_maintenance_workers": "1"}
    with running_server_on_disk(18, **settings) as server:
        database = server.new_database()
        with closing(server.connect(database)) as connection:
            yield server.url(database), connection


def _fill_database(connection: psycopg.Connection, size: Size) -> None:
    payload = notification_json(draft("n").notification).decode()
    names = [f"synkrone.{table}" for table in _TABLES]
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), pg_get_constraintdef(pg_constraint.oid),"
        " conname, indrelid::regclass::text"
        " FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid"
        " WHERE indrelid = ANY (%s::text[]::regclass[])",
        (names,),
    ).fetchall()
    for name in names:
        _run(connection, f"ALTER TABLE {name} SET UNLOGGED")
    for index, _, constraint, constraint_name, table in indexes:
        is_of_constraint = constraint is not None
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {constraint_name}" if is_of_constraint else f"DROP INDEX {index}"
        _run(connection, drop)
    with psycopg.ClientCursor(connection) as cursor:
        for statement in _POSTGRESQL:
            named = statement
            for name in sorted((*size.values, "payload"), key=len, reverse=True):
                named = named.replace(f":{name}", f"%({name})s")
            cursor.execute(named.replace(" % ", " %% ").encode(), {**size.values, "payload": payload})
    for _, definition, constraint, constraint_name, table in indexes:
        add = f"ALTER TABLE {table} ADD CONSTRAINT {constraint_name} {constraint}"
        _run(connection, add if constraint is not None else definition)
    _run(connection, "ANALYZE")


def _run(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement.encode())


async def _make(store: SqliteStore | PostgresqlStore) -> None:
    """As one that is there, with nothing in it."""
    await store.open()
    await store.close()
