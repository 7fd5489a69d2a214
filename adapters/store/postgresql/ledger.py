"""The ledger of deliveries in a PostgreSQL database: connections, receipts, and what had expired before it was sent.

Every server notes that it is still there, whether or not it has something to tell. What the run of one that does not
has left open is ended by the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

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
from adapters.store.postgresql.database import Database, Snapshot, Written, stored_time
from adapters.store.postgresql.erasing import erased
from adapters.store.postgresql.topics import ALL as BEYOND
from adapters.store.postgresql.topics import MINE, stays_of
from adapters.store.times import MICROSECOND, microseconds, moment, second
from domain.model import (
    SERVER_STOPPED,
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

_AT_ONCE = 1000
SILENT = timedelta(minutes=2)
"""After which a server is taken to have stopped: four times as long as it is ever silent."""

ENDED_AFTER = timedelta(seconds=2)
"""So long after it was last heard of a server that has stopped may have sent something."""

_KEEP = b"""
    INSERT INTO synkrone.ledger_since (at) VALUES (coalesce(%(now)s::bigint, synkrone.microseconds()))
    ON CONFLICT DO NOTHING"""
_SEEN = b"""
    INSERT INTO synkrone.ledger_runs (number, seen_at, delivered)
    VALUES (%(run)s::bigint, coalesce(%(now)s::bigint, synkrone.microseconds()), %(delivered)s::bigint)
    ON CONFLICT (number) DO UPDATE SET seen_at = excluded.seen_at, delivered = excluded.delivered"""
_CONNECTIONS = b"""
    INSERT INTO synkrone.ledger_connections AS noted (
        run, number, user_id, id, role, device, transport, pid, since, after, had, continues, replayed, skipped,
        until, ended, sent, received)
    SELECT %(run)s::bigint, number, user_id, id, role, device, transport, pid, since, after, had, continues,
        replayed, skipped, until, ended, sent, received
    FROM jsonb_to_recordset(%(connections)s::jsonb) AS given (
        number bigint, user_id text, id text, role text, device text, transport text, pid text, since bigint,
        after bigint, had bigint, continues text, replayed bigint, skipped bigint[], until bigint, ended text,
        sent bigint, received bigint)
    ORDER BY number
    ON CONFLICT (run, number) DO UPDATE SET transport = excluded.transport, replayed = excluded.replayed,
        skipped = excluded.skipped, until = excluded.until, ended = excluded.ended, sent = excluded.sent,
        received = excluded.received"""
# Servers may write the same row: in the order of the names none waits for one that waits for it.
_RECEIPTS = b"""
    INSERT INTO synkrone.ledger_receipts AS noted (user_id, at, upto)
    SELECT given.user_id, given.at, given.upto
    FROM unnest(%(users)s::text[], %(at)s::bigint[], %(upto)s::jsonb[]) AS given (user_id, at, upto)
    ORDER BY given.user_id COLLATE "C", given.at
    ON CONFLICT (user_id, at) DO UPDATE SET upto = noted.upto || excluded.upto"""
_UNSENT = b"""
    INSERT INTO synkrone.ledger_unsent (run, log_offset, at)
    SELECT %(run)s::bigint, log_offset, %(at)s::bigint FROM unnest(%(offsets)s::bigint[]) AS given (log_offset)"""


def begin_run(db: Database, now: datetime | None, *, is_kept: bool) -> int | None:
    """The number of a run; None where nothing is kept. Raises psycopg.Error."""
    if not is_kept:
        db.execute(b"DELETE FROM synkrone.ledger_since")
        return None
    db.execute(_KEEP, {"now": stored_time(now)})
    return secrets.randbits(62)


@value
class Recording:
    """``now`` is None where the database says it."""

    run: int
    notes: Notes
    now: datetime | None


class Recorder:
    """Work of the writer: said again it changes nothing."""

    once = False

    def __init__(self, wanted: Sequence[Recording]) -> None:
        self._wanted = wanted

    def run(self, db: Database) -> Written:
        with db.transaction():
            # It need not outlive a crash of the database that the notifications themselves outlive.
            db.execute(b"SELECT set_config('synchronous_commit', 'off', true)")
            for one in self._wanted:
                _record(db, one)
        return Written([None] * len(self._wanted))


def _record(db: Database, one: Recording) -> None:
    gone = erased(db, users_in(one.notes))
    notes = notes_after(one.notes, gone) if gone else one.notes
    if notes.connections:
        rows = [values_of(connection) for connection in notes.connections]
        db.execute(_CONNECTIONS, {"run": one.run, "connections": Jsonb(rows)})
    # In one second a user may have received more than once.
    receipts: dict[tuple[UserId, int], dict[ConnectionId, int]] = {}
    for user, receipt in notes.receipts:
        receipts.setdefault((user, second(receipt.at)), {}).update(receipt.upto)
    if receipts:
        db.execute(
            _RECEIPTS,
            {
                "users": [user for user, _ in receipts],
                "at": [at for _, at in receipts],
                "upto": [Jsonb(upto) for upto in receipts.values()],
            },
        )
    if notes.unsent:
        db.execute(_UNSENT, {"run": one.run, "at": microseconds(notes.at), "offsets": [*notes.unsent]})
    db.execute(_SEEN, {"now": stored_time(one.now), "delivered": notes.delivered, "run": one.run})


_END_RUNS = b"""
    UPDATE synkrone.ledger_connections AS noted
    SET until = greatest(since, run.seen_at + %(after)s::bigint), ended = %(ended)s::text,
        sent = CASE WHEN replayed IS NULL THEN coalesce(sent, after)
            ELSE greatest(replayed, run.delivered, coalesce(sent, after)) END
    FROM synkrone.ledger_runs AS run
    WHERE run.number = noted.run AND until IS NULL AND run.seen_at <= %(silent)s::bigint"""
_DROP = b"""
    WITH receipts AS (
        DELETE FROM synkrone.ledger_receipts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM synkrone.ledger_receipts WHERE at <= %(before)s::bigint ORDER BY at
            LIMIT %(most)s::integer))
        RETURNING 1),
    unsent AS (
        DELETE FROM synkrone.ledger_unsent WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM synkrone.ledger_unsent WHERE at <= %(before)s::bigint ORDER BY at
            LIMIT %(most)s::integer))
        RETURNING 1),
    connections AS (
        DELETE FROM synkrone.ledger_connections WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM synkrone.ledger_connections WHERE until <= %(before)s::bigint ORDER BY until
            LIMIT %(most)s::integer))
        RETURNING 1)
    SELECT greatest(
        (SELECT count(*) FROM receipts), (SELECT count(*) FROM unsent), (SELECT count(*) FROM connections))"""
_DROP_RUNS = b"""
    DELETE FROM synkrone.ledger_runs AS run WHERE seen_at <= least(%(before)s::bigint, %(silent)s::bigint)
        AND NOT EXISTS (SELECT FROM synkrone.ledger_connections WHERE ledger_connections.run = run.number)"""


def trim(db: Database, retention: timedelta, now: datetime) -> bool:
    """End what servers that are gone have left open, and remove some of what is too old; True where there may be more
    of it. To be called by one server at a time."""
    silent = microseconds(now - SILENT)
    before = microseconds(now - retention)
    after = ENDED_AFTER // MICROSECOND
    db.execute(_END_RUNS, {"ended": SERVER_STOPPED, "silent": silent, "after": after})
    (removed,) = db.one(_DROP, {"before": before, "most": _AT_ONCE})
    db.execute(_DROP_RUNS, {"before": before, "silent": silent})
    return bool(removed == _AT_ONCE)


@value
class Asking:
    """A request for notifications as they stand for a user. Nothing is complete from before ``kept_since``."""

    user: UserId
    query: DeliveriesQuery
    kept_since: datetime


_STARTS = b"SELECT room, start_offset FROM synkrone.starts WHERE user_id = %(user)s::text"
_USER_MARKS = b"SELECT role, log_offset FROM synkrone.marks WHERE user_id = %(user)s::text"
_WITH_ID = b"""
    SELECT log_offset FROM synkrone.ids
    WHERE id = %(id)s::text AND log_offset > %(floor)s::bigint AND log_offset < %(before)s::bigint"""
_FOR_USER = f"""
    SELECT DISTINCT placed.log_offset
    FROM {MINE.format(after="%(floor)s::bigint")}
    CROSS JOIN LATERAL (
        SELECT log_offset FROM synkrone.placed
        WHERE placed.room = mine.room AND log_offset > mine.after AND log_offset < %(before)s::bigint
            AND log_offset <= coalesce(mine.upto, {BEYOND}) AND item
        ORDER BY log_offset DESC LIMIT %(most)s::bigint) AS placed
    ORDER BY log_offset DESC LIMIT %(most)s::bigint""".encode()  # noqa: S608
_NOTIFICATIONS = b"""
    SELECT contents.log_offset, contents.id, contents.stored_at, contents.expires_at,
        CASE WHEN starts_with(coalesce(contents.rooms, recalled), 'user:')
            THEN left(coalesce(contents.rooms, recalled), 600) ELSE coalesce(contents.rooms, recalled) END,
        EXISTS (SELECT FROM synkrone.placed WHERE room = %(own)s::text AND placed.log_offset = contents.log_offset)
            OR EXISTS (
                SELECT FROM synkrone.collapsing AS mine
                WHERE mine.room = %(own)s::text AND mine.log_offset = contents.log_offset AND mine.key = (
                    SELECT key FROM synkrone.collapsing WHERE collapsing.log_offset = contents.log_offset LIMIT 1))
            OR coalesce(position(E'\\n' || %(own)s::text || E'\\n' IN E'\\n' || recalled || E'\\n') > 0, false)
                AND NOT EXISTS (
                    SELECT FROM synkrone.erasures WHERE done_at IS NULL AND user_id = %(user)s::text
                        AND erasures.log_offset > contents.log_offset),
        CASE WHEN state.user_id IS NULL THEN read_all.read_at ELSE state.read_at END,
        CASE WHEN state.user_id IS NULL THEN read_all.read_by ELSE state.read_by END,
        coalesce(state.deleted, false), recalled IS NOT NULL,
        (SELECT later.stored_at FROM synkrone.contents AS later WHERE later.log_offset = (
            SELECT min(found.log_offset)
            FROM (
                SELECT %(own)s::text AS room, 0 AS start UNION ALL
                SELECT room, start_offset FROM synkrone.starts WHERE starts.user_id = %(user)s::text) AS mine
            CROSS JOIN LATERAL (
                SELECT after.log_offset FROM synkrone.collapsing AS after
                WHERE after.key = (
                        SELECT key FROM synkrone.collapsing WHERE collapsing.log_offset = contents.log_offset LIMIT 1)
                    AND after.room = mine.room AND after.log_offset > greatest(contents.log_offset, mine.start)
                ORDER BY after.log_offset LIMIT 1) AS found)),
        state.archived_at, state.snoozed_until
    FROM unnest(%(offsets)s::bigint[]) AS given (log_offset)
    JOIN synkrone.contents ON contents.log_offset = given.log_offset
    LEFT JOIN synkrone.state ON state.user_id = %(user)s::text AND state.log_offset = given.log_offset
    LEFT JOIN LATERAL (
        SELECT read_at, read_by FROM synkrone.watermarks
        WHERE watermarks.user_id = %(user)s::text AND watermarks.log_offset > given.log_offset
        ORDER BY watermarks.log_offset LIMIT 1) AS read_all ON true"""


def addressed(snapshot: Snapshot, asking: Asking) -> AddressedPage:
    db, query, user = snapshot.db, asking.query, asking.user
    starts = {Room(room): int(start) for room, start in db.execute(_STARTS, {"user": user})}
    marks = {role: int(mark) for role, mark in db.execute(_USER_MARKS, {"user": user})}
    floor = _floor(db, query)
    before = query.before if query.before is not None else ALL
    following = None
    if query.id is not None:
        offsets = [offset for (offset,) in db.execute(_WITH_ID, {"id": query.id, "floor": floor, "before": before})]
    else:
        offsets = _for_user(db, user, starts, floor, before, query.limit)
        following = offsets[query.limit - 1] if len(offsets) > query.limit else None
        offsets = offsets[: query.limit]
    rows = db.execute(_NOTIFICATIONS, {"own": Room.of_user(user), "user": user, "offsets": offsets})
    since = db.execute(b"SELECT at FROM synkrone.ledger_since").fetchone()
    return AddressedPage(
        addressed_of(user, rows, snapshot.generations.position, snapshot.floor),
        following,
        starts,
        marks,
        max(moment(since[0]), asking.kept_since) if since is not None else None,
        topics_only(stays_of(snapshot, user, starts)),
    )


def _floor(db: Database, query: DeliveriesQuery) -> int:
    """The last offset that is too old."""
    if query.since is None:
        return 0
    (floor,) = db.one(b"SELECT synkrone.aged_upto(%(before)s::bigint)", {"before": microseconds(query.since) - 1})
    return int(floor)


def _for_user(db: Database, user: UserId, starts: Mapping[Room, int], floor: int, before: int, limit: int) -> list[int]:
    """One more than asked for, where there are so many; newest first."""
    rooms = {Room.of_user(user): 0, **starts}
    found = db.execute(
        _FOR_USER,
        {
            "user": user,
            "floor": floor,
            "rooms": list(rooms),
            "starts": list(rooms.values()),
            "afters": [max(start, floor) for start in rooms.values()],
            "before": before,
            "most": limit + 1,
        },
    )
    return [offset for (offset,) in found]


_COLUMNS = """
    SELECT noted.run, noted.number, id, role, device, transport, pid, since, after, had, continues, replayed,
        skipped, until, ended, CASE WHEN until IS NULL AND replayed IS NOT NULL
            THEN greatest(sent, (SELECT delivered FROM synkrone.ledger_runs WHERE ledger_runs.number = noted.run))
            ELSE sent END, received
    FROM synkrone.ledger_connections AS noted WHERE user_id = %(user)s::text"""
_OPEN = f"{_COLUMNS} AND until IS NULL".encode()
_ENDED = f"{_COLUMNS} AND until >= %(at)s::bigint ORDER BY until LIMIT {CONNECTIONS_MOST}".encode()
_UNSENT_OF = b"SELECT run, log_offset FROM synkrone.ledger_unsent WHERE log_offset = ANY (%(offsets)s::bigint[])"


def history(snapshot: Snapshot, request: Remembering) -> ConnectionHistory:
    db, user = snapshot.db, request.user
    return history_of(
        request,
        db.execute(_OPEN, {"user": user}),
        lambda at: db.execute(_ENDED, {"user": user, "at": at}).fetchall(),
        db.execute(_UNSENT_OF, {"offsets": [*request.offsets]}).fetchall(),
    )


_RECEIVED_AT = b"""
    SELECT (
        SELECT at FROM synkrone.ledger_receipts
        WHERE user_id = %(user)s::text AND at BETWEEN given.since AND given.since + %(within)s::bigint
            AND (upto ->> given.id)::bigint >= given.log_offset
        ORDER BY at LIMIT 1)
    FROM unnest(%(ids)s::text[], %(offsets)s::bigint[], %(since)s::bigint[]) WITH ORDINALITY
        AS given (id, log_offset, since, number)
    ORDER BY given.number"""


def received_at(snapshot: Snapshot, request: Receiving) -> list[datetime | None]:
    rows = snapshot.db.execute(
        _RECEIVED_AT,
        {
            "user": request.user,
            "within": RECEIPT_WITHIN // MICROSECOND,
            "ids": [one.connection for one in request.awaited],
            "offsets": [one.offset for one in request.awaited],
            "since": [second(one.since) for one in request.awaited],
        },
    )
    return [moment_or_none(at) for (at,) in rows]
