"""Trimming a log in a PostgreSQL database, in steps of a few milliseconds each, by one server at a time.

What is old leaves the log at once, by moving its floor, but not before every node that holds a lease has read it.
Entries are removed behind the floor; contents stay until they are too old for the inboxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from adapters.store.postgresql import ledger
from adapters.store.postgresql.database import Database, Written, stored_time
from adapters.store.times import microseconds, moment
from domain.model.value import value
from domain.rules.epochs import Generations

GENERATIONS_MAX = 10_000

_AT_ONCE = 1000
_NAMES_BYTES = 64 * 1024
_APPENDS_KEPT = timedelta(hours=1)
"""Whoever does not know by then what became of an append does not ask any more."""

_TURN = b"""
    SELECT floor, coalesce(%(now)s::bigint, synkrone.microseconds()),
        EXISTS (SELECT FROM synkrone.state WHERE deleted AND NOT settled),
        EXISTS (SELECT FROM synkrone.erasures WHERE done_at IS NULL)
    FROM synkrone.log FOR UPDATE SKIP LOCKED"""
_OLD = b"""
    SELECT log_offset, stored_at FROM (
        SELECT log_offset, stored_at FROM synkrone.entries
        WHERE log_offset > %(floor)s::bigint
            AND log_offset <= least(%(given)s::bigint, (SELECT min(log_offset) FROM synkrone.nodes))
        ORDER BY log_offset LIMIT %(most)s::integer) AS oldest
    WHERE stored_at <= %(before)s::bigint ORDER BY log_offset DESC LIMIT 1"""
_RAISE = b"UPDATE synkrone.log SET floor = %(floor)s::bigint, floor_stored_at = %(stored_at)s::bigint"
_BEHIND = b"""
    SELECT log_offset, rooms FROM (
        SELECT log_offset, rooms, row_number() OVER following AS number,
            sum(coalesce(octet_length(rooms), 0)) OVER following AS size
        FROM (
            SELECT log_offset, rooms FROM synkrone.entries WHERE log_offset <= %(floor)s::bigint
            ORDER BY log_offset LIMIT %(most)s::integer) AS oldest
        WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING)) AS sized
    WHERE number = 1 OR size <= %(names)s::bigint
    ORDER BY log_offset"""
_SWEEP = b"DELETE FROM synkrone.entries WHERE log_offset <= %(upto)s::bigint"
_TOO_OLD = b"""
    SELECT log_offset, coalesce(rooms, ''), id FROM (
        SELECT log_offset, stored_at, rooms, id, row_number() OVER following AS number,
            sum(coalesce(octet_length(rooms), 0)) OVER following AS size
        FROM (
            SELECT log_offset, stored_at, rooms, id FROM synkrone.contents WHERE log_offset <= %(floor)s::bigint
            ORDER BY log_offset LIMIT %(most)s::integer) AS oldest
        WINDOW following AS (ORDER BY log_offset)) AS sized
    WHERE stored_at <= %(before)s::bigint AND (number = 1 OR size <= %(names)s::bigint)
    ORDER BY log_offset"""
_DROP_STATE = b"""
    DELETE FROM synkrone.state WHERE ctid = ANY (ARRAY(
        SELECT old.ctid FROM unnest(%(offsets)s::bigint[]) AS given (log_offset)
        CROSS JOIN LATERAL (
            SELECT ctid FROM synkrone.state WHERE state.log_offset = given.log_offset FOR UPDATE SKIP LOCKED) AS old
        LIMIT %(most)s::integer))"""
_HAS_STATE = b"SELECT EXISTS (SELECT FROM synkrone.state WHERE log_offset = ANY (%(offsets)s::bigint[]))"
_LOSE = b"""
    INSERT INTO synkrone.trimmed (room, log_offset)
    SELECT room, max(log_offset) FROM unnest(%(rooms)s::text[], %(offsets)s::bigint[]) AS lost (room, log_offset)
    GROUP BY room ORDER BY room COLLATE "C"
    ON CONFLICT (room) DO UPDATE SET log_offset = greatest(trimmed.log_offset, excluded.log_offset)"""
_DISPLACE = b"""
    DELETE FROM synkrone.placed USING unnest(%(rooms)s::text[], %(offsets)s::bigint[]) AS lost (room, log_offset)
    WHERE placed.room = lost.room AND placed.log_offset = lost.log_offset"""
_KEEP_ROOMS = b"UPDATE synkrone.contents SET rooms = %(rooms)s::text WHERE log_offset = %(offset)s::bigint"
_DROP_IDS = b"DELETE FROM synkrone.ids WHERE id = ANY (%(ids)s::text[])"
_DROP_CONTENTS = b"DELETE FROM synkrone.contents WHERE log_offset = ANY (%(offsets)s::bigint[])"
_FORGET_KEYS = b"DELETE FROM synkrone.collapsing WHERE log_offset = ANY (%(offsets)s::bigint[])"
_ERASE_DELETED = b"SELECT more, erased FROM synkrone.erase_deleted(%(most)s::integer, %(names)s::bigint)"
_FORGET_EPOCHS = b"DELETE FROM synkrone.epochs WHERE number < %(number)s::integer"
_FORGET = b"""
    WITH gone AS (
        DELETE FROM synkrone.scheduled WHERE number IN (
            SELECT number FROM synkrone.scheduled WHERE ended <= %(not_in_log)s::bigint LIMIT %(most)s::integer)
        RETURNING id, number),
    unsealed AS (DELETE FROM synkrone.tombstones WHERE log_offset = ANY (ARRAY(SELECT -number FROM gone))),
    unnamed AS (DELETE FROM synkrone.ids WHERE id = ANY (ARRAY(SELECT id FROM gone))),
    appended AS (DELETE FROM synkrone.appends WHERE stored_at < %(answered)s::bigint)
    DELETE FROM synkrone.erasures WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM synkrone.erasures WHERE done_at IS NOT NULL AND begun_at <= %(not_in_inbox)s::bigint
        ORDER BY begun_at LIMIT %(most)s::integer))"""
"""What was cancelled by a time, appends that are not asked for any more, and erasures of which nothing can come back.
In one statement: it is done every second, and finds nothing most times."""


@value
class Step:
    """``given`` is the offset up to which every follower of this server has been given all.

    Without ``now`` the database says what time it is.
    """

    now: datetime | None
    given: int
    retention_log: timedelta
    retention_inbox: timedelta
    retention_deliveries: timedelta


@value
class Trimmed:
    """``erased`` are the offsets of what lost its content, as all whom it names have deleted it. ``is_erasing``:
    somebody is to be erased, as far as this server was the one to look."""

    more: bool
    floor: int
    erased: Sequence[int] = ()
    is_erasing: bool = False


class Trimming:
    """Work of the writer: one step for all who ask for one."""

    once = False

    def __init__(self, steps: Sequence[Step], *, sync: bool) -> None:
        self._steps = steps
        self._sync = sync

    def run(self, db: Database) -> Written:
        step = self._steps[-1]
        with db.transaction():
            # So that it is noticed where nothing can be stored, and where it can again.
            db.execute(b"SELECT synkrone.set_durability(%(sync)s::boolean)", {"sync": self._sync})
            row = db.execute(_TURN, {"now": stored_time(step.now)}).fetchone()
            if row is None:
                # Another server is at it.
                (floor,) = db.one(b"SELECT floor FROM synkrone.log")
                return Written([Trimmed(more=False, floor=floor)] * len(self._steps))
            floor, now = row[0], moment(row[1])
            has_deleted, is_erasing = row[2:]
            raised = _raise_floor(db, step, now, floor)
            more = raised is not None or _sweep(db, floor) or _drop(db, step, now, floor)
            more = more or ledger.trim(db, step.retention_deliveries, now)
            floor = floor if raised is None else raised
            erased: Sequence[int] | None = None
            if has_deleted:
                is_more_deleted, erased = db.one(_ERASE_DELETED, {"most": _AT_ONCE, "names": _NAMES_BYTES})
                more = more or is_more_deleted
            generations = _forget(db, step, now, floor)
        trimmed = Trimmed(more, floor, erased or (), is_erasing)
        return Written([trimmed] * len(self._steps), generations=generations)


def _raise_floor(db: Database, step: Step, now: datetime, floor: int) -> int | None:
    before = microseconds(now - step.retention_log)
    row = db.execute(_OLD, {"floor": floor, "given": step.given, "before": before, "most": _AT_ONCE}).fetchone()
    if row is None:
        return None
    raised, stored_at = row
    db.execute(_RAISE, {"floor": raised, "stored_at": stored_at})
    return int(raised)


def _sweep(db: Database, floor: int) -> bool:
    """Remove entries behind the floor. Contents stay where they were placed."""
    rows = db.execute(_BEHIND, {"floor": floor, "most": _AT_ONCE, "names": _NAMES_BYTES}).fetchall()
    if not rows:
        return False
    _remove_from_rooms(db, [(room, offset) for offset, names in rows if names for room in names.split("\n")])
    db.execute(_SWEEP, {"upto": rows[-1][0]})
    return True


def _drop(db: Database, step: Step, now: datetime, floor: int) -> bool:
    """Remove contents that are too old for the inboxes. Those that expired keep their place until then: without it,
    what they pushed out of an inbox would return."""
    before = microseconds(now - step.retention_inbox)
    rows = db.execute(_TOO_OLD, {"floor": floor, "before": before, "most": _AT_ONCE, "names": _NAMES_BYTES}).fetchall()
    if rows and not _remove_state(db, [offset for offset, *_ in rows]):
        _remove_contents(db, rows)
    return bool(rows)


def _remove_state(db: Database, offsets: Sequence[int]) -> bool:
    """Remove what users have done to items; True where there is more of it."""
    db.execute(_DROP_STATE, {"offsets": offsets, "most": _AT_ONCE})
    (more,) = db.one(_HAS_STATE, {"offsets": offsets})
    return bool(more)


def _remove_contents(db: Database, rows: Sequence[tuple[int, str, str]]) -> None:
    """As far as a step goes: of the rooms of the last of them some may be left."""
    budget = _AT_ONCE
    gone: list[int] = []
    lost: list[tuple[str, int]] = []
    ids: list[str] = []
    for offset, joined, id_ in rows:
        rooms = joined.split("\n") if joined else []
        lost.extend((room, offset) for room in rooms[:budget])
        if len(rooms) > budget:
            db.execute(_KEEP_ROOMS, {"rooms": "\n".join(rooms[budget:]), "offset": offset})
            break
        budget -= len(rooms)
        gone.append(offset)
        ids.append(id_)
        if not budget:
            break
    _remove_from_rooms(db, lost)
    db.execute(_DROP_IDS, {"ids": ids})
    db.execute(b"DELETE FROM synkrone.tombstones WHERE log_offset = ANY (%(offsets)s::bigint[])", {"offsets": gone})
    db.execute(_DROP_CONTENTS, {"offsets": gone})
    db.execute(_FORGET_KEYS, {"offsets": gone})


def _remove_from_rooms(db: Database, lost: Sequence[tuple[str, int]]) -> None:
    """Take entries out of rooms, which remember it."""
    if lost:
        parameters = {"rooms": [room for room, _ in lost], "offsets": [offset for _, offset in lost]}
        db.execute(_LOSE, parameters)
        db.execute(_DISPLACE, parameters)


def _forget(db: Database, step: Step, now: datetime, floor: int) -> Generations:
    generations = db.read_generations()
    number = generations.forgettable(floor, now - step.retention_log, GENERATIONS_MAX)
    if number:
        generations = Generations(generations.known[number:])
        db.execute(_FORGET_EPOCHS, {"number": generations.known[0].number})
    db.execute(
        _FORGET,
        {
            "not_in_log": microseconds(now - step.retention_log),
            "not_in_inbox": microseconds(now - step.retention_inbox),
            "answered": microseconds(now - _APPENDS_KEPT),
            "most": _AT_ONCE,
        },
    )
    return generations
