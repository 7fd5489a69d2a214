"""A PostgreSQL database that a store is brought into: until all of it is there nobody else may open it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Final

import psycopg
from psycopg import sql

from adapters.store.moving.digests import Digest, digest_in_sql
from adapters.store.moving.source import Amended, Extent, Row, Slice
from adapters.store.moving.tables import Table
from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.moved import MOVING
from adapters.store.postgresql.schema import is_passing, prepare, unusable
from adapters.store.seals import SEALED
from adapters.store.served import StoreUnusable
from domain.model.value import value

_ANSWER_SECONDS: Final = 300.0
"""The digest of a large table takes a while."""
_TRIMMED_AT_ONCE: Final = 1000

_ENTRIES: Final = ("log_offset", "stored_at", "event", "form", "rooms", "payload", "about", "expires_at")
_CONTENTS: Final = (
    *("log_offset", "stored_at", "expires_at", "id", "type", "form", "rooms", "payload", "recalled", "revised"),
)
_IDS: Final = ("id", "log_offset", "key", "digest")
_PLACED: Final = ("room", "log_offset", "item", "expires_at")

_DIGEST_OF_ENTRIES: Final = f"""
    SELECT {digest_in_sql(_ENTRIES)} FROM synkrone.entries
    WHERE log_offset > %(entries_after)s AND log_offset <= %(upto)s"""  # noqa: S608
_CONTENT_COLUMNS: Final = (*(f"contents.{name}" for name in _CONTENTS), "ids.key", "encode(ids.digest, 'hex')")
_DIGEST_OF_CONTENTS: Final = f"""
    SELECT {digest_in_sql(_CONTENT_COLUMNS)}
    FROM synkrone.contents LEFT JOIN synkrone.ids ON ids.id = contents.id AND ids.log_offset = contents.log_offset
    WHERE contents.log_offset > %(contents_after)s AND contents.log_offset <= %(upto)s"""  # noqa: S608
# Each by itself: joined, they could be looked for by reading the whole table.
_NUMBER_PLACED: Final = """
    SELECT count((
        SELECT log_offset FROM synkrone.placed
        WHERE placed.room = named.room AND placed.log_offset = stored.log_offset AND placed.item = stored.item
            AND placed.expires_at IS NOT DISTINCT FROM stored.expires_at))
    FROM (
        SELECT log_offset, rooms, true AS item, expires_at FROM synkrone.contents
        WHERE log_offset > %(contents_after)s AND log_offset <= %(upto)s
        UNION ALL
        SELECT log_offset, rooms, false, expires_at FROM synkrone.entries
        WHERE log_offset > %(entries_after)s AND log_offset <= %(upto)s) AS stored
    CROSS JOIN LATERAL string_to_table(stored.rooms, E'\\n') AS named (room)"""
_HIDE_SUPERSEDED: Final = """
    UPDATE synkrone.placed SET expires_at = 0
    FROM synkrone.collapsing
    WHERE collapsing.superseded AND placed.room = collapsing.room AND placed.log_offset = collapsing.log_offset"""
_DISPLACE: Final = """
    DELETE FROM synkrone.placed USING unnest(%(rooms)s::text[], %(offsets)s::bigint[]) AS lost (room, log_offset)
    WHERE placed.room = lost.room AND placed.log_offset = lost.log_offset"""

# Only now: until then one of these may be copied as contents of the log.
_IDS_OF_SCHEDULED: Final = """
    INSERT INTO synkrone.ids (id, log_offset, key, digest)
    SELECT id, -number, key, decode(digest, 'hex') FROM synkrone.scheduled WHERE id NOT LIKE E'\\x01%'"""
# Of a user who is erased twice the first has what lies before it.
_GO_ON_ERASING: Final = """
    WITH gone AS (
        DELETE FROM synkrone.placed USING synkrone.erasures
        WHERE placed.room = 'user:' || erasures.user_id AND placed.log_offset < erasures.log_offset
            AND NOT EXISTS (
                SELECT FROM synkrone.erasures AS earlier
                WHERE earlier.user_id = erasures.user_id AND placed.log_offset < earlier.log_offset
                    AND earlier.log_offset < erasures.log_offset)
        RETURNING erasures.id, placed.log_offset, placed.item)
    INSERT INTO synkrone.erasing (erasure, log_offset, item) SELECT id, log_offset, item FROM gone"""
_WAITS_AGAIN: Final = """
    UPDATE synkrone.erasures SET waits_again = true
    WHERE user_id IS NOT NULL AND EXISTS (
        SELECT FROM synkrone.scheduled
        WHERE string_to_array(rooms, E'\\n') @> ARRAY['user:' || user_id] AND number > waits_upto)"""


@value
class Database:
    """Where to move to, without a pooler in between. It is called ``place``, a URL for operators.

    With ``migrates`` an older schema becomes one of today's first; with ``sync`` a standby has everything before it
    counts as moved.
    """

    address: Address
    place: str
    migrates: bool = True
    sync: bool = False


@value
class Contained:
    """What is stored between two offsets."""

    entries: Digest
    contents: Digest
    placed: int


@value
class BegunMove:
    """Or an import. ``name`` is its own; an import has come to the line ``copied_upto``, and a move to that offset."""

    name: str
    copied_upto: int
    is_finished: bool


class Target:
    """One connection, on which a lock is held: one move at a time. One thread uses it.

    Everything raises psycopg.Error.
    """

    def __init__(self, database: Database) -> None:
        """Raises StoreUnusable."""
        prepare(database.address, migrates=database.migrates)
        self.place = database.place
        self._sync = database.sync
        self._line = database.address.connect(statement_timeout=False)
        try:
            self._line.answer_seconds = _ANSWER_SECONDS
            self._line.execute("SET synkrone.moving = 'on'")
            (locked,) = self._one("SELECT pg_try_advisory_lock(%s, %s)", MOVING)
            if not locked:
                raise StoreUnusable("another move or import into this database is under way")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._line.close()

    @property
    def move(self) -> BegunMove | None:
        """None where none was begun."""
        row = self._line.execute(
            "SELECT name::text, copied_upto, finished_at IS NOT NULL FROM synkrone.moving"
        ).fetchone()
        return BegunMove(*row) if row is not None else None

    @property
    def secret(self) -> bytes | None:
        (secret,) = self._one("SELECT secret FROM synkrone.log")
        return secret if secret is None else bytes(secret)

    @property
    def head(self) -> int:
        (head,) = self._one("SELECT synkrone.head()")
        return int(head)

    def begin(self, secret: bytes | None, upto: int, name: str | None = None) -> None:
        """A move has the secret now, and an import at its end. Without a ``name`` it gets one.

        Raises StoreUnusable where somebody has opened the database.
        """
        with self._line.transaction():
            # Whoever opens a database holds it too while they begin its first epoch.
            self._line.execute("SELECT FROM synkrone.log_lock FOR UPDATE")
            (is_used,) = self._one("SELECT EXISTS (SELECT FROM synkrone.epochs)")
            if is_used:
                raise StoreUnusable("a server has stored in this database: name one with nothing in it")
            self._line.execute(
                "INSERT INTO synkrone.moving (name, copied_upto) VALUES (coalesce(%s, gen_random_uuid()), %s)",
                (name, upto),
            )
            self._line.execute("UPDATE synkrone.log SET secret = %s", (secret,))

    def finish(self, secret: bytes | None = None) -> None:
        """From now on it can be opened. It is as durable as what a server stores when this returns."""
        with self._durably("UPDATE synkrone.moving SET finished_at = now()"):
            self._line.execute(_HIDE_SUPERSEDED)
            self._line.execute("UPDATE synkrone.log SET secret = coalesce(%s, secret)", (secret,))
            self._line.execute(_IDS_OF_SCHEDULED)
            self._line.execute(_GO_ON_ERASING)
            self._line.execute(_WAITS_AGAIN)

    def flush(self) -> None:
        """All that was copied is as durable as what a server stores when this returns."""
        with self._durably("UPDATE synkrone.moving SET copied_upto = copied_upto"):
            pass

    def empty(self, table: Table) -> None:
        self._line.execute(_query(f"DELETE FROM synkrone.{table.name}"))  # noqa: S608 (its name is ours)

    # the log

    def copy(self, part: Slice) -> Contained:
        """What is stored of it afterwards. Whole or not at all, with how far the move has come."""
        with self.advancing(part.upto):
            self.insert(part)
            return self.contained(part.after, part.after, part.upto)

    def insert(self, part: Slice) -> None:
        self._copy("entries", _ENTRIES, part.entries)
        self._copy("contents", _CONTENTS, _contents(part.contents))
        self._copy("ids", _IDS, _ids(part.contents))
        self._copy("placed", _PLACED, placed(part.contents, part.entries))
        self._replace(part.amended)

    @contextmanager
    def advancing(self, upto: int) -> Iterator[None]:
        """What is done in it is stored whole or not at all, with how far it has come then."""
        with self._in_bulk():
            yield
            self._line.execute("UPDATE synkrone.moving SET copied_upto = %s", (upto,))

    def copy_anew(self, part: Slice) -> None:
        """In the place of what was copied of it. Whole or not at all."""
        with self._in_bulk():
            for table in ("contents", "entries"):
                self._take_out(table, "log_offset > %s AND log_offset <= %s", (part.after, part.upto))
            self.insert(part)

    def amend(self, amended: Amended) -> None:
        """This is what has become of rows that were copied. Whole or not at all."""
        with self._in_bulk():
            self._replace(amended)

    def _replace(self, amended: Amended) -> None:
        for table, rows in (("contents", amended.contents), ("entries", amended.entries)):
            self._take_out(table, "log_offset = ANY (%s::bigint[])", ([offset for offset, *_ in rows],))
        self._copy("contents", _CONTENTS, _contents(amended.contents))
        self._copy("ids", _IDS, _ids(amended.contents))
        self._copy("entries", _ENTRIES, amended.entries)
        self._copy("placed", _PLACED, placed(amended.contents, amended.entries))

    def _take_out(self, table: str, which: str, parameters: Sequence[object]) -> None:
        id_ = "id" if table == "contents" else "NULL"
        gone = self._line.execute(
            _query(f"DELETE FROM synkrone.{table} WHERE {which} RETURNING log_offset, rooms, {id_}"),  # noqa: S608
            parameters,
        ).fetchall()
        self._displace((room, offset) for offset, rooms, _ in gone if rooms for room in rooms.split("\n"))
        ids = [id_ for *_, id_ in gone if id_ is not None]
        if ids:
            self._line.execute("DELETE FROM synkrone.ids WHERE id = ANY (%s::text[])", (ids,))

    def contained(self, entries_after: int, contents_after: int, upto: int) -> Contained:
        limits = {"entries_after": entries_after, "contents_after": contents_after, "upto": upto}
        entries = Digest(*map(int, self._one(_DIGEST_OF_ENTRIES, limits)))
        contents = Digest(*map(int, self._one(_DIGEST_OF_CONTENTS, limits)))
        (number,) = self._one(_NUMBER_PLACED, limits)
        return Contained(entries, contents, number)

    def trim(self, extent: Extent) -> None:
        """Remove what the source does not have any more, and raise the floor."""
        while self._trim_entries(extent.first_entry) or self._trim_contents(extent.first_content):
            pass
        self.raise_floor(extent.floor, extent.floor_stored_at)
        self._line.execute(
            "UPDATE synkrone.moving SET copied_upto = %(upto)s WHERE copied_upto < %(upto)s", {"upto": extent.first - 1}
        )

    def raise_floor(self, floor: int, stored_at: int) -> None:
        self._line.execute(
            "UPDATE synkrone.log SET floor = %(floor)s, floor_stored_at = %(at)s WHERE floor <> %(floor)s",
            {"floor": floor, "at": stored_at},
        )

    def keep_rooms(self, offset: int, rooms: str) -> None:
        """Of contents that are being removed the source has taken some out of their rooms."""
        with self._line.transaction():
            row = self._line.execute("SELECT rooms FROM synkrone.contents WHERE log_offset = %s", (offset,)).fetchone()
            if row is not None and row[0] not in {None, rooms}:
                self._displace((room, offset) for room in {*row[0].split("\n")} - {*rooms.split("\n")})
                self._line.execute("UPDATE synkrone.contents SET rooms = %s WHERE log_offset = %s", (rooms, offset))

    def _trim_entries(self, first: int) -> bool:
        """Whether there may be more."""
        with self._in_bulk():
            rows = self._line.execute(
                "SELECT log_offset, rooms FROM synkrone.entries WHERE log_offset < %s ORDER BY log_offset LIMIT %s",
                (first, _TRIMMED_AT_ONCE),
            ).fetchall()
            self._displace((room, offset) for offset, rooms in rows if rooms is not None for room in rooms.split("\n"))
            offsets = [offset for offset, _ in rows]
            self._line.execute("DELETE FROM synkrone.entries WHERE log_offset = ANY (%s::bigint[])", (offsets,))
            return bool(rows)

    def _trim_contents(self, first: int) -> bool:
        """Whether there may be more."""
        with self._in_bulk():
            rows = self._line.execute(
                """
                SELECT log_offset, rooms, id FROM synkrone.contents
                WHERE log_offset < %s ORDER BY log_offset LIMIT %s""",
                (first, _TRIMMED_AT_ONCE),
            ).fetchall()
            self._displace(
                (room, offset) for offset, rooms, _ in rows if rooms is not None for room in rooms.split("\n")
            )
            self._line.execute("DELETE FROM synkrone.ids WHERE id = ANY (%s::text[])", ([row[2] for row in rows],))
            offsets = [row[0] for row in rows]
            self._line.execute("DELETE FROM synkrone.contents WHERE log_offset = ANY (%s::bigint[])", (offsets,))
            return bool(rows)

    def _displace(self, lost: Iterable[tuple[str, int]]) -> None:
        pairs = list(lost)
        if pairs:
            self._line.execute(
                _DISPLACE, {"rooms": [room for room, _ in pairs], "offsets": [offset for _, offset in pairs]}
            )

    # what changes

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        names = ", ".join(column.name for column in table.target)
        key = ", ".join(column.name for column in table.target_key)
        others = [column.name for column in table.target[len(table.key) :]]
        given = ", ".join(f"%s::{column.type}[]" for column in table.target)
        updates = ", ".join(f"{name} = excluded.{name}" for name in others)
        with self._in_bulk():
            stored = self._line.execute(
                _query(
                    f"INSERT INTO synkrone.{table.name} ({names}) SELECT * FROM unnest({given}) "  # noqa: S608
                    f"ON CONFLICT ({key}) DO UPDATE SET {updates}"
                ),
                _columns(rows),
            )
            _check_number(table, stored.rowcount, len(rows))

    def remove(self, table: Table, keys: Sequence[Row]) -> None:
        given = ", ".join(f"%s::{column.type}[]" for column in table.target_key)
        names = ", ".join(column.name for column in table.target_key)
        same = " AND ".join(f"stored.{column.name} = gone.{column.name}" for column in table.target_key)
        with self._in_bulk():
            removed = self._line.execute(
                _query(
                    f"DELETE FROM synkrone.{table.name} AS stored USING unnest({given}) AS gone ({names}) "  # noqa: S608
                    f"WHERE {same}"
                ),
                _columns(keys),
            )
            _check_number(table, removed.rowcount, len(keys))

    def digest_of(self, table: Table) -> Digest:
        columns = digest_in_sql(
            [f"encode({column.name}, 'hex')" if column.type == "bytea" else column.name for column in table.target]
        )
        return Digest(*map(int, self._one(f"SELECT {columns} FROM synkrone.{table.name}")))  # noqa: S608

    def _copy(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        with self._line.cursor().copy(_query(f"COPY synkrone.{table} ({', '.join(columns)}) FROM STDIN")) as copy:
            for row in rows:
                copy.write_row(row)

    def _one(self, statement: str, parameters: Sequence[object] | Mapping[str, object] | None = None) -> Row:
        row = self._line.execute(_query(statement), parameters).fetchone()
        if row is None:
            raise StoreUnusable("the database holds no store")
        return row

    @contextmanager
    def _in_bulk(self) -> Iterator[None]:
        """A transaction that is not waited for: after a crash of the database the move goes on where it then is."""
        with self._line.transaction():
            self._line.execute("SET LOCAL synchronous_commit = off")
            yield

    @contextmanager
    def _durably(self, statement: str) -> Iterator[None]:
        with self._line.transaction():
            self._line.execute("SELECT synkrone.set_durability(%s)", (self._sync,))
            self._line.execute(_query(statement))
            yield


def placed(contents: Sequence[Row], entries: Sequence[Row]) -> Iterator[Row]:
    """The rows that say what lies in which room."""
    items = ((row[0], row[6], True, row[2]) for row in contents)
    # Of a notification the rooms are with its contents.
    changes = ((row[0], row[4], False, row[7]) for row in entries)
    for offset, rooms, is_item, expires_at in chain(items, changes):
        if rooms:
            yield from ((room, offset, is_item, expires_at) for room in rooms.split("\n"))


def _contents(rows: Iterable[Row]) -> Iterator[Row]:
    return (row[: len(_CONTENTS)] for row in rows)


def _ids(rows: Iterable[Row]) -> Iterator[Row]:
    """What is erased is known by seals alone."""
    return ((row[3], row[0], *row[len(_CONTENTS) :]) for row in rows if not row[3].startswith(SEALED))


def failed(error: psycopg.Error) -> StoreUnusable:
    """What the database says, and what can be done."""
    # Of class 57 are those of a server that is stopped, or starts.
    if is_passing(error) or (error.sqlstate or "").startswith("57"):
        return StoreUnusable(f"{one_line(error)}: run it again, and it goes on from there")
    return unusable(error)


def _query(statement: str) -> sql.SQL:
    """It is made of names and numbers of this program."""
    return sql.SQL(statement)


def _columns(rows: Sequence[Row]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _check_number(table: Table, done: int, asked: int) -> None:
    if done != asked:
        raise StoreUnusable(f"of {asked} rows of {table.name} the database took {done}")
