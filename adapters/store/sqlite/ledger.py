"""The ledger of deliveries in a SQLite file: connections, receipts, and what had expired before it was sent.

A run is a time for which a server had the file open. What a run left open ends as the next one begins.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from adapters.store.addressing import topics_only
from adapters.store.ledger_rows import (
    ALL,
    Receiving,
    Remembering,
    addressed_of,
    history_of,
    moment_or_none,
    notes_after,
    users_in,
    values_of,
)
from adapters.store.sqlite import topics
from adapters.store.sqlite.erased import erased_lately
from adapters.store.sqlite.items import stored_upto
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.log import log_floor, snapshot_of
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import Insert, LogTransaction
from adapters.store.times import MICROSECOND, microseconds, moment, second
from domain.model import (
    SERVER_STOPPED,
    Addressed,
    AddressedPage,
    ConnectionHistory,
    ConnectionId,
    DeliveriesQuery,
    Notes,
    Room,
    UserId,
)
from domain.model.value import value
from domain.ports.ledger import CONNECTIONS_MOST, RECEIPT_WITHIN
from domain.rules.epochs import Generations

_ROOMS_AT_ONCE = 100
"""SQLite takes 500 SELECTs in one, and a user may have had any number of roles."""
_AT_ONCE = 1000
_SINCE = "ledger_since"

_CONNECTIONS = Insert(
    "ledger_connections",
    "(?1, {}, (SELECT id FROM rooms WHERE name = {}), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
    most=64,
    on_conflict="""
        ON CONFLICT DO UPDATE SET transport = excluded.transport, replayed = excluded.replayed,
            skipped = excluded.skipped, until = excluded.until, ended = excluded.ended, sent = excluded.sent,
            received = excluded.received""",
)
# Measured for 1,000 of them: 3.3 µs each as one object, and 7.2 as rows of values.
_RECEIPTS = """
    INSERT INTO ledger_receipts (user, at, upto)
    SELECT rooms.id, ?, value FROM json_each(?) JOIN rooms ON rooms.name = key WHERE true
    ON CONFLICT (user, at) DO UPDATE SET upto = json_patch(upto, excluded.upto)"""
_UNSENT = Insert("ledger_unsent", "(NULL, ?1, {}, {})", most=256)


def begin_run(db: sqlite3.Connection, now: datetime, *, is_kept: bool) -> int | None:
    """End what earlier ones left open, at the last time that is known of them, when something was stored it may be, and
    begin a run; without one nothing is recorded."""
    db.execute(
        """
        UPDATE ledger_connections SET ended = ?, until = max(since, run.seen_at, coalesce(
                (SELECT stored_at FROM entries ORDER BY offset DESC LIMIT 1), 0)),
            sent = CASE WHEN replayed IS NULL THEN coalesce(sent, after)
                ELSE max(replayed, run.delivered, coalesce(sent, after)) END
        FROM ledger_runs AS run WHERE run.number = ledger_connections.run AND until IS NULL""",
        (SERVER_STOPPED,),
    )
    db.execute("UPDATE ledger_runs SET ended = 1 WHERE NOT ended")
    if not is_kept:
        db.execute("DELETE FROM meta WHERE name = ?", (_SINCE,))
        return None
    at = microseconds(now)
    db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", (_SINCE, at))
    return db.execute("INSERT INTO ledger_runs (began_at, seen_at, delivered) VALUES (?, ?, 0)", (at, at)).lastrowid


@value
class Recording:
    run: int
    notes: Notes


def record(transaction: LogTransaction, wanted: Sequence[Recording]) -> Sequence[None]:
    """An operation of the writer."""
    for one in wanted:
        gone = erased_lately(transaction, users_in(one.notes))
        _record(transaction.db, one.run, notes_after(one.notes, gone) if gone else one.notes)
    return [None] * len(wanted)


def _record(db: sqlite3.Connection, run: int, notes: Notes) -> None:
    _know(db, {Room.of_user(one.user) for one in notes.connections})
    connections: list[object] = []
    for one in notes.connections:
        values = values_of(one) | {"user_id": Room.of_user(one.user), "skipped": as_json(one.skipped)}
        connections += values.values()
    _CONNECTIONS.insert(db, connections, run)
    receipts: dict[int, dict[Room, dict[ConnectionId, int]]] = {}
    for user, receipt in notes.receipts:
        receipts.setdefault(second(receipt.at), {}).setdefault(Room.of_user(user), {}).update(receipt.upto)
    for received_at, of_users in receipts.items():
        rows = as_json({room: as_json(upto) for room, upto in of_users.items()})
        # Nearly always all of them are known.
        if db.execute(_RECEIPTS, (received_at, rows)).rowcount < len(of_users):
            _know(db, of_users)
            db.execute(_RECEIPTS, (received_at, rows))
    at = microseconds(notes.at)
    _UNSENT.insert(db, [part for offset in notes.unsent for part in (offset, at)], run)
    db.execute("UPDATE ledger_runs SET seen_at = ?, delivered = ? WHERE number = ?", (at, notes.delivered, run))


def _know(db: sqlite3.Connection, rooms: Collection[Room]) -> None:
    if rooms:
        db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (as_json(list(rooms)),))


def trim(transaction: LogTransaction, retention: timedelta) -> bool:
    """Remove some of what is too old; True where there may be more of it."""
    db, before = transaction.db, microseconds(transaction.now - retention)
    removed = [
        db.execute(
            f"""
            DELETE FROM {table} WHERE number IN (SELECT number FROM {table} ORDER BY number LIMIT ?)
                AND at <= ?""",  # noqa: S608
            (_AT_ONCE, before),
        ).rowcount
        for table in ("ledger_receipts", "ledger_unsent")
        if _is_old(db, table, before)
    ]
    removed.append(
        db.execute(
            """
            DELETE FROM ledger_connections WHERE (run, number) IN (
                SELECT run, number FROM ledger_connections WHERE until <= ? ORDER BY until LIMIT ?)""",
            (before, _AT_ONCE),
        ).rowcount
    )
    db.execute(
        """
        DELETE FROM ledger_runs WHERE ended AND seen_at <= ?
            AND NOT EXISTS (SELECT 1 FROM ledger_connections WHERE run = ledger_runs.number)""",
        (before,),
    )
    return any(number == _AT_ONCE for number in removed)


def _is_old(db: sqlite3.Connection, table: str, before: int) -> bool:
    """Whether the first row is. Where none is, nothing is looked at but that."""
    row = db.execute(f"SELECT at FROM {table} ORDER BY number LIMIT 1").fetchone()  # noqa: S608
    return row is not None and row[0] <= before


@value
class Asking:
    """A request for notifications as they stand for a user. Nothing is complete from before ``kept_since``."""

    generations: Generations
    user: UserId
    query: DeliveriesQuery
    kept_since: datetime


def addressed(db: sqlite3.Connection, asking: Asking) -> AddressedPage:
    """Of one snapshot."""
    own = Room.of_user(asking.user)
    row = db.execute("SELECT id FROM rooms WHERE name = ?", (own,)).fetchone()
    user = int(row[0]) if row is not None else 0
    starts = {
        Room(room): int(start)
        for room, start in db.execute(
            "SELECT name, start FROM starts JOIN rooms ON rooms.id = starts.room WHERE user = ?", (user,)
        )
    }
    marks = dict(db.execute("SELECT role, offset FROM marks WHERE user = ?", (user,)).fetchall())
    query = asking.query
    floor = stored_upto(db, microseconds(query.since) - 1, snapshot_of(db)) if query.since is not None else 0
    before = query.before if query.before is not None else ALL
    following = None
    if query.id is not None:
        offsets = [offset for offset in _with_id(db, query.id) if floor < offset < before]
    else:
        offsets = _for_user(db, {own: 0, **starts}, asking.user, floor, before, query.limit)
        following = offsets[query.limit - 1] if len(offsets) > query.limit else None
        offsets = offsets[: query.limit]
    since = db.execute("SELECT value FROM meta WHERE name = ?", (_SINCE,)).fetchone()
    return AddressedPage(
        _notifications(db, asking, user, offsets),
        following,
        starts,
        marks,
        max(moment(since[0]), asking.kept_since) if since is not None else None,
        topics_only(topics.stays_of(db, asking.user, starts, topics.groups_in(db))),
    )


def _with_id(db: sqlite3.Connection, id_: str) -> list[int]:
    rows = db.execute(
        "SELECT offset FROM locators JOIN contents USING (offset) WHERE locator = ? AND id = ?", (locator(id_), id_)
    )
    return [offset for (offset,) in rows]


def _for_user(
    db: sqlite3.Connection, starts: dict[Room, int], user: UserId, floor: int, before: int, limit: int
) -> list[int]:
    """One more than asked for, where there are so many; newest first."""
    room = """
        SELECT * FROM (SELECT offset FROM placed
        WHERE room = (SELECT id FROM rooms WHERE name = ?) AND offset > ? AND offset < ? AND item
        ORDER BY offset DESC LIMIT ?)"""
    rooms = list(starts.items())
    stays = topics.stays_in(topics.groups_in(db), "(SELECT id FROM rooms WHERE name = :own)", [topics.GIVEN])
    found = {
        offset
        for (offset,) in db.execute(
            f"""
            SELECT * FROM ({topics.items_in_groups(stays, "placed.offset")})
            WHERE offset < :before ORDER BY 1 DESC LIMIT :most""",  # noqa: S608
            {
                "own": Room.of_user(user),
                "starts": as_json(rooms),
                "aged": floor,
                "before": before,
                "most": limit + 1,
            },
        )
    }
    for first in range(0, len(rooms), _ROOMS_AT_ONCE):
        some = rooms[first : first + _ROOMS_AT_ONCE]
        arguments: list[object] = []
        for name, start in some:
            arguments += (name, max(start, floor), before, limit + 1)
        placed = " UNION ".join([room] * len(some))
        rows = db.execute(f"{placed} ORDER BY 1 DESC LIMIT ?", (*arguments, limit + 1))
        found |= {offset for (offset,) in rows}
    return sorted(found, reverse=True)[: limit + 1]


def _notifications(db: sqlite3.Connection, asking: Asking, user: int, offsets: Sequence[int]) -> list[Addressed]:
    (rows,) = db.execute(
        """
        SELECT json_group_array(json_array(contents.offset, contents.id, contents.stored_at, contents.expires_at,
            CAST(CASE WHEN substr(coalesce(contents.rooms, recalled), 1, 5) = CAST('user:' AS BLOB)
                THEN substr(coalesce(contents.rooms, recalled), 1, 600)
                ELSE coalesce(contents.rooms, recalled) END AS TEXT),
            EXISTS (SELECT 1 FROM placed WHERE room = :user AND placed.offset = contents.offset)
                OR EXISTS (SELECT 1 FROM collapsing AS mine WHERE mine.place = -:user
                    AND mine.offset = contents.offset AND mine.key = (
                        SELECT key FROM collapsing WHERE collapsing.offset = contents.offset LIMIT 1))
                OR instr(char(10) || CAST(recalled AS TEXT) || char(10), char(10) || :own || char(10)) IS TRUE
                    AND NOT EXISTS (SELECT 1 FROM erasures WHERE done_at IS NULL
                        AND 'user:' || erasures.user = :own AND erasures.offset > contents.offset),
            CASE WHEN state.offset IS NULL THEN (SELECT at FROM watermarks WHERE user = :user
                AND watermarks.offset > contents.offset ORDER BY watermarks.offset LIMIT 1) ELSE read_at END,
            CASE WHEN state.offset IS NULL THEN (SELECT read_by FROM watermarks WHERE user = :user
                AND watermarks.offset > contents.offset ORDER BY watermarks.offset LIMIT 1) ELSE read_by END,
            coalesce(deleted, 0), recalled IS NOT NULL,
            (SELECT later.stored_at FROM contents AS later WHERE later.offset = (
                SELECT min(first) FROM (
                    SELECT (SELECT after.offset FROM collapsing AS after
                        WHERE after.key = (
                                SELECT key FROM collapsing WHERE collapsing.offset = contents.offset LIMIT 1)
                            AND after.place = mine.place AND after.offset > max(contents.offset, mine.start)
                        ORDER BY after.offset LIMIT 1) AS first
                    FROM (SELECT -:user AS place, 0 AS start UNION ALL
                        SELECT room, start FROM starts WHERE starts.user = :user) AS mine))),
            state.archived_at, state.snoozed_until))
        FROM (SELECT value FROM json_each(:offsets)) JOIN contents ON contents.offset = value
        LEFT JOIN state ON state.user = :user AND state.offset = contents.offset""",
        {"user": user, "own": Room.of_user(asking.user), "offsets": as_json(list(offsets))},
    ).fetchone()
    return addressed_of(asking.user, json.loads(rows), asking.generations.position, log_floor(db))


_COLUMNS = """
    run, number, id, role, device, transport, pid, since, after, had, continues, replayed, json(skipped), until, ended,
    CASE WHEN until IS NULL AND replayed IS NOT NULL THEN coalesce(max(coalesce(sent, 0),
        (SELECT delivered FROM ledger_runs WHERE ledger_runs.number = run AND NOT ledger_runs.ended)), sent)
        ELSE sent END, received"""
_UNSENT_OF = "SELECT run, offset FROM ledger_unsent WHERE offset IN (SELECT value FROM json_each(?))"


def history(db: sqlite3.Connection, request: Remembering) -> ConnectionHistory:
    row = db.execute("SELECT id FROM rooms WHERE name = ?", (Room.of_user(request.user),)).fetchone()
    if row is None:
        return ConnectionHistory((), {})
    (user,) = row
    return history_of(
        request,
        _rows(db, "user = ? AND until IS NULL", (user,)),
        lambda at: _rows(db, f"user = ? AND until >= ? ORDER BY until LIMIT {CONNECTIONS_MOST}", (user, at)),
        db.execute(_UNSENT_OF, (as_json(request.offsets),)),
    )


def _rows(db: sqlite3.Connection, where: str, arguments: Sequence[object]) -> list[list[Any]]:
    (rows,) = db.execute(
        f"SELECT json_group_array(json_array({_COLUMNS})) FROM (SELECT * FROM ledger_connections WHERE {where})",  # noqa: S608
        arguments,
    ).fetchone()
    found: list[list[Any]] = json.loads(rows)
    return found


def received_at(db: sqlite3.Connection, request: Receiving) -> list[datetime | None]:
    wanted = [(one.connection, one.offset, second(one.since)) for one in request.awaited]
    (rows,) = db.execute(
        """
        WITH wanted AS MATERIALIZED (
            SELECT key, '$."' || json_extract(value, '$[0]') || '"' AS connection,
                json_extract(value, '$[1]') AS offset, json_extract(value, '$[2]') AS since
            FROM json_each(:wanted))
        SELECT json_group_array((
            SELECT at FROM ledger_receipts
            WHERE user = (SELECT id FROM rooms WHERE name = :own) AND at BETWEEN since AND since + :within
                AND json_extract(upto, connection) >= offset
            ORDER BY at LIMIT 1))
        FROM (SELECT * FROM wanted ORDER BY key)""",
        {
            "wanted": as_json(wanted),
            "own": Room.of_user(request.user),
            "within": RECEIPT_WITHIN // MICROSECOND,
        },
    ).fetchone()
    return [moment_or_none(at) for at in json.loads(rows)]
