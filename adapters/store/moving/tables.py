"""The tables of a store whose rows change: what of them differs from what was copied before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from adapters.store.moving.source import Row, Source
from domain.model.value import value

ROWS_AT_ONCE: Final = 5000

STATE: Final = "state"

_USER = "substr((SELECT name FROM rooms WHERE rooms.id = m.user), 6)"
"""The name of a user, whom SQLite knows as the room ``user:…``."""
_ROOM = "(SELECT name FROM rooms WHERE rooms.id = m.room)"
_ERASED = "(SELECT id FROM rooms WHERE name >= 'erased:' AND name < 'erased;')"
"""The rooms of users who are being erased. What hangs on them is nobody's any more, and stays behind."""


@value
class Column:
    """Of a table in PostgreSQL: its name, its type, and the expression for it of a row ``m`` in SQLite."""

    name: str
    type: str
    of: str


@value
class Table:
    """``source`` is what SQLite has, with a key and ``values`` of its own, one of which is never NULL. The first
    columns of ``target`` are its key in PostgreSQL."""

    name: str
    source: str
    key_types: Mapping[str, str]
    values: Sequence[str]
    target: Sequence[Column]

    @property
    def key(self) -> Sequence[str]:
        return tuple(self.key_types)

    @property
    def target_key(self) -> Sequence[Column]:
        return self.target[: len(self.key)]


def _of_users(table: str) -> str:
    return f"(SELECT * FROM {table} WHERE user NOT IN {_ERASED})"  # noqa: S608


TABLES: Final = (
    Table(
        "epochs",
        "generations",
        {"number": "INTEGER"},
        ("epoch", "first", "opened_at"),
        (
            Column("number", "integer", "m.number"),
            Column("epoch", "text", "m.epoch"),
            Column("first", "bigint", "m.first"),
            Column("opened_at", "bigint", "m.opened_at"),
            # Of no database: whoever opens this one begins a new epoch.
            Column("incarnation", "text", "'moved'"),
        ),
    ),
    Table(
        "checkpoints",
        "checkpoints",
        {"source": "TEXT"},
        ("resume_id",),
        (Column("source", "text", "m.source"), Column("resume_id", "text", "m.resume_id")),
    ),
    Table(
        "trimmed",
        f"(SELECT id AS room, trimmed FROM rooms WHERE trimmed > 0 AND id NOT IN {_ERASED})",  # noqa: S608
        {"room": "INTEGER"},
        ("trimmed",),
        (Column("room", "text", _ROOM), Column("log_offset", "bigint", "m.trimmed")),
    ),
    Table(
        "starts",
        _of_users("starts"),
        {"user": "INTEGER", "room": "INTEGER"},
        ("start",),
        (
            Column("user_id", "text", _USER),
            Column("room", "text", _ROOM),
            Column("start_offset", "bigint", "m.start"),
        ),
    ),
    Table(
        "marks",
        _of_users("marks"),
        {"user": "INTEGER", "role": "TEXT"},
        ("offset",),
        (
            Column("user_id", "text", _USER),
            Column("role", "text", "m.role"),
            Column("log_offset", "bigint", "m.offset"),
        ),
    ),
    Table(
        "watermarks",
        _of_users("watermarks"),
        {"user": "INTEGER", "offset": "INTEGER"},
        ("at", "read_by"),
        (
            Column("user_id", "text", _USER),
            Column("log_offset", "bigint", "m.offset"),
            Column("read_at", "bigint", "m.at"),
            Column("read_by", "text", "m.read_by"),
        ),
    ),
    Table(
        STATE,
        _of_users("state"),
        {"user": "INTEGER", "offset": "INTEGER"},
        ("read_at", "seen_at", "archived_at", "deleted", "read_by", "deleted_at", "snoozed_until", "raised"),
        (
            Column("user_id", "text", _USER),
            Column("log_offset", "bigint", "m.offset"),
            Column("read_at", "bigint", "m.read_at"),
            Column("seen_at", "bigint", "m.seen_at"),
            Column("archived_at", "bigint", "m.archived_at"),
            Column("deleted", "boolean", "CASE WHEN m.deleted THEN 'true' ELSE 'false' END"),
            Column("read_by", "text", "m.read_by"),
            Column("deleted_at", "bigint", "m.deleted_at"),
            Column("snoozed_until", "bigint", "m.snoozed_until"),
            Column("raised", "bigint", "m.raised"),
        ),
    ),
    Table(
        "scheduled",
        "scheduled",
        {"number": "INTEGER"},
        ("due", "ended", "expires_at", "id", "key", "digest", "type", "form", "rooms", "payload"),
        (
            Column("number", "bigint", "m.number"),
            Column("due", "bigint", "m.due"),
            Column("ended", "bigint", "m.ended"),
            Column("expires_at", "bigint", "m.expires_at"),
            Column("id", "text", "m.id"),
            Column("key", "text", "m.key"),
            Column("digest", "text", "CASE WHEN m.digest IS NOT NULL THEN lower(hex(m.digest)) END"),
            Column("type", "text", "m.type"),
            Column("form", "smallint", "m.form"),
            Column("rooms", "text", "CAST(m.rooms AS TEXT)"),
            Column("payload", "text", "CAST(m.payload AS TEXT)"),
        ),
    ),
    Table(
        "memberships",
        "(SELECT *, upto IS NULL AS stays FROM memberships)",
        {"user": "INTEGER", "room": "INTEGER", "after": "INTEGER"},
        ("stays", "upto"),
        (
            Column("user_id", "text", _USER),
            Column("room", "text", _ROOM),
            Column("after_offset", "bigint", "m.after"),
            Column("upto_offset", "bigint", "m.upto"),
        ),
    ),
    Table(
        "restrictions",
        "restrictions",
        {"user": "TEXT"},
        ("offset", "issued_before", "blocked", "until", "reason"),
        (
            Column("user_id", "text", "m.user"),
            Column("log_offset", "bigint", "m.offset"),
            Column("issued_before", "bigint", "m.issued_before"),
            Column("blocked", "boolean", "CASE WHEN m.blocked THEN 'true' ELSE 'false' END"),
            Column("until", "bigint", "m.until"),
            Column("reason", "text", "m.reason"),
        ),
    ),
    Table(
        "collapsing",
        f"(SELECT * FROM collapsing WHERE abs(place) NOT IN {_ERASED})",  # noqa: S608
        {"key": "TEXT", "place": "INTEGER", "offset": "INTEGER"},
        ("superseded",),
        (
            Column("key", "text", "m.key"),
            Column("room", "text", "(SELECT name FROM rooms WHERE rooms.id = abs(m.place))"),
            Column("log_offset", "bigint", "m.offset"),
            Column("superseded", "boolean", "CASE WHEN m.superseded THEN 'true' ELSE 'false' END"),
        ),
    ),
    Table(
        "erasures",
        "(SELECT *, iif(step = 0, at, 0) AS waits_upto FROM erasures)",
        {"id": "TEXT"},
        ("who", "user", "offset", "begun_at", "done_at", "waits_upto"),
        (
            Column("id", "text", "m.id"),
            Column("who", "bytea", "m.who"),
            Column("user_id", "text", "m.user"),
            Column("log_offset", "bigint", "m.offset"),
            Column("begun_at", "bigint", "m.begun_at"),
            Column("done_at", "bigint", "m.done_at"),
            Column("waits_upto", "bigint", "m.waits_upto"),
        ),
    ),
    Table(
        "tombstones",
        "tombstones",
        {"name": "BLOB"},
        ("offset", "digest"),
        (
            Column("name", "bytea", "m.name"),
            Column("log_offset", "bigint", "m.offset"),
            Column("digest", "bytea", "m.digest"),
        ),
    ),
)


def rows_of(source: Source, table: Table) -> Iterator[Row]:
    """All of a table, in the order of its key there."""
    columns = ", ".join(column.of for column in table.target)
    keys = ", ".join(f"m.{name}" for name in table.key)
    truths = [number for number, column in enumerate(table.target) if column.type == "boolean"]
    for row in source.db.execute(f"SELECT {columns} FROM {table.source} AS m ORDER BY {keys}"):  # noqa: S608
        if not truths:
            yield row
            continue
        values = list(row)
        for number in truths:
            values[number] = row[number] == "true"
        yield tuple(values)


class Copied:
    """What was copied of a table, remembered beside the file for as long as the ``source`` is open.

    So that what has changed is found out by SQLite alone: a million rows take less than a second.
    """

    def __init__(self, source: Source, table: Table) -> None:
        self._db = source.db
        self._table = table
        self._named = ", ".join(f"{column.of} AS to_{column.name}" for column in table.target)
        # Of the types that they have in the file: otherwise SQLite looks for none of them by the key.
        keys = ", ".join(f"{name} {type_}" for name, type_ in table.key_types.items())
        values = ", ".join(table.values)
        self._db.execute(
            f"CREATE TABLE copied.{table.name} ({keys}, {values}, PRIMARY KEY ({', '.join(table.key)})) WITHOUT ROWID"
        )

    def changed(self) -> Iterator[list[Row]]:
        """Rows for PostgreSQL that are not there yet, or are others, many at once. They count as copied when the next
        ones are asked for."""
        table, width = self._table, len(self._table.key) + len(self._table.values)
        values = f"({', '.join(f'm.{name}' for name in table.values)})"
        copied = f"({', '.join(f'c.{name}' for name in table.values)})"
        same = " AND ".join(f"c.{name} = m.{name}" for name in table.key)
        mine = ", ".join(f"m.{name}" for name in (*table.key, *table.values))
        after: Row = ()
        while True:
            rows = self._db.execute(
                f"""
                SELECT {mine}, {self._named}
                FROM {table.source} AS m LEFT JOIN copied.{table.name} AS c ON {same}
                WHERE {values} IS NOT {copied} {self._behind(after)}
                ORDER BY {", ".join(f"m.{name}" for name in table.key)} LIMIT {ROWS_AT_ONCE}""",  # noqa: S608
                after,
            ).fetchall()
            if not rows:
                return
            yield [row[width:] for row in rows]
            after = rows[-1][: len(table.key)]
            marks = ", ".join("?" * width)
            self._db.execute("BEGIN")
            self._db.executemany(
                f"REPLACE INTO copied.{table.name} VALUES ({marks})",  # noqa: S608
                [row[:width] for row in rows],
            )
            self._db.execute("COMMIT")

    def gone(self) -> Iterator[list[Row]]:
        """The keys for PostgreSQL of rows that were copied and are no more, many at once. They count as removed when
        the next ones are asked for. To be called after ``changed``."""
        table = self._table
        # Everything that is there was copied: with as many rows none is gone.
        counts = self._db.execute(
            f"SELECT (SELECT count(*) FROM copied.{table.name}), (SELECT count(*) FROM {table.source})"  # noqa: S608
        ).fetchone()
        if counts[0] == counts[1]:
            return
        same = " AND ".join(f"c.{name} = m.{name}" for name in table.key)
        keys = ", ".join(f"m.{name}" for name in table.key)
        named = ", ".join(column.of for column in table.target_key)
        while True:
            rows = self._db.execute(
                f"""
                SELECT {keys}, {named} FROM copied.{table.name} AS m
                WHERE NOT EXISTS (SELECT 1 FROM {table.source} AS c WHERE {same})
                ORDER BY {keys} LIMIT {ROWS_AT_ONCE}"""  # noqa: S608
            ).fetchall()
            if not rows:
                return
            yield [row[len(table.key) :] for row in rows]
            where = " AND ".join(f"{name} = ?" for name in table.key)
            self._db.execute("BEGIN")
            self._db.executemany(
                f"DELETE FROM copied.{table.name} WHERE {where}",  # noqa: S608
                [row[: len(table.key)] for row in rows],
            )
            self._db.execute("COMMIT")

    def clear(self) -> None:
        """Nothing counts as copied any more."""
        self._db.execute(f"DELETE FROM copied.{self._table.name}")  # noqa: S608

    def rows(self) -> Iterator[Row]:
        """All that was copied, as PostgreSQL is to have it."""
        return iter(self._db.execute(f"SELECT {self._named} FROM copied.{self._table.name} AS m"))  # noqa: S608

    def _behind(self, after: Row) -> str:
        if not after:
            return ""
        keys = ", ".join(f"m.{name}" for name in self._table.key)
        return f"AND ({keys}) > ({', '.join('?' * len(after))})"
