"""What users snooze, in a SQLite file, and how it comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from adapters.store.change_events import snooze_events
from adapters.store.coming_due import DUE_BYTES
from adapters.store.form import notification
from adapters.store.sqlite.changes import log_events, named, store, user_of
from adapters.store.sqlite.collapsing import Keyed, key_of, later
from adapters.store.sqlite.erased import is_erased
from adapters.store.sqlite.items import View, summarize
from adapters.store.sqlite.log import snapshot_of
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction, NewChange
from adapters.store.times import microseconds, moment
from domain.model import EVERYONE, NOTIFICATION_NEW, Changed, Counts, Room
from domain.model.value import value
from domain.rules.item_state import counts_after


@value
class Snooze:
    view: View
    ids: Sequence[str]
    until: datetime
    at: datetime


@value
class Snoozed:
    """``user`` is the number of their room."""

    user: int
    offset: int
    until: datetime


def snooze(transaction: LogTransaction, wanted: Snooze) -> Changed:
    """An operation of the writer."""
    if is_erased(transaction, wanted.view.subscriber):
        return Changed(0, Counts(0, 0, 0), transaction.as_of)
    (summary,) = summarize(transaction.db, [wanted.view], snapshot_of(transaction.db))
    items = named(transaction, wanted.view, wanted.ids, summary.floor)
    if wanted.until <= wanted.at:
        return _wake(transaction, wanted, [item.offset for item in items if item.times.snoozed_until is not None])
    changed = [(item, item.times.snoozed(wanted.until)) for item in items if item.times.snoozed_until != wanted.until]
    if not changed:
        return Changed(0, summary.counts, transaction.as_of)
    log_events(transaction, wanted.view, snooze_events([item.id for item, _ in changed], wanted.until))
    store(transaction, user_of(transaction, wanted.view), changed)
    counts = counts_after(summary.counts, ((item.times, times) for item, times in changed))
    return Changed(len(changed), counts, transaction.as_of)


def _wake(transaction: LogTransaction, wanted: Snooze, offsets: Sequence[int]) -> Changed:
    if offsets:
        user = user_of(transaction, wanted.view)
        bring_back(transaction, [Snoozed(user, offset, wanted.until) for offset in offsets])
    (summary,) = summarize(transaction.db, [wanted.view], snapshot_of(transaction.db))
    return Changed(len(offsets), summary.counts, transaction.as_of)


_DUE = f"""
    SELECT user, offset, snoozed_until FROM (
        SELECT *, row_number() OVER first_first AS place,
            sum(coalesce((SELECT length(payload) FROM contents WHERE contents.offset = due.offset), 0))
                OVER first_first AS size
        FROM (
            SELECT user, offset, snoozed_until FROM state WHERE snoozed_until <= ?
            ORDER BY snoozed_until, user, offset LIMIT ?) AS due
        WINDOW first_first AS (ORDER BY snoozed_until, user, offset ROWS UNBOUNDED PRECEDING))
    WHERE place = 1 OR size <= {DUE_BYTES} ORDER BY place"""  # noqa: S608


def due_snoozes(db: sqlite3.Connection, now: datetime, most: int) -> list[Snoozed]:
    """Those that are due by now, the first first, as many as are well brought back at once."""
    rows = db.execute(_DUE, (microseconds(now), most))
    return [Snoozed(user, offset, moment(until)) for user, offset, until in rows]


def first_snooze(db: sqlite3.Connection) -> datetime | None:
    row = db.execute(
        "SELECT snoozed_until FROM state WHERE snoozed_until IS NOT NULL ORDER BY snoozed_until LIMIT 1"
    ).fetchone()
    return moment(row[0]) if row is not None else None


def number_of_snoozed(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM state WHERE snoozed_until IS NOT NULL").fetchone()[0])


def bring_back(transaction: LogTransaction, snoozed: Sequence[Snoozed]) -> None:
    """Those that are there still are new once more. Raises UnknownForm."""
    pairs = as_json([(one.user, one.offset) for one in snoozed])
    there = [
        (user, offset, raised, told)
        for user, offset, raised, told in _told(transaction, pairs)
        if told.expires_at is None or told.expires_at > transaction.now
    ]
    db = transaction.db
    db.execute(f"UPDATE state SET snoozed_until = NULL WHERE (user, offset) IN ({_PAIRS})", (pairs,))  # noqa: S608
    _erase(transaction, [raised for _, _, raised, _ in there if raised is not None])
    if not there:
        return
    first = transaction.head + 1
    transaction.log_changes([told for *_, told in there])
    raised_at = [(user, offset, first + number) for number, (user, offset, *_) in enumerate(there)]
    db.execute(
        """
        UPDATE state SET read_at = NULL, seen_at = NULL, archived_at = NULL, read_by = NULL,
            raised = json_extract(given.value, '$[2]')
        FROM json_each(?) AS given
        WHERE user = json_extract(given.value, '$[0]') AND offset = json_extract(given.value, '$[1]')""",
        (as_json(raised_at),),
    )


_REACHED = """
    SELECT 1 FROM collapsing AS its
    WHERE its.offset = state.offset AND EXISTS (
        SELECT 1 FROM starts WHERE starts.user = state.user AND starts.room = its.place AND start < its.offset)"""
_REPLACED = f"""
    EXISTS (
        SELECT 1 FROM collapsing AS later
        WHERE later.key = (SELECT key FROM collapsing WHERE collapsing.offset = state.offset LIMIT 1)
            AND later.offset > state.offset
            AND (later.place = -state.user
                OR later.offset > (SELECT start FROM starts
                    WHERE starts.user = state.user AND starts.room = later.place
                        AND starts.room = (SELECT id FROM rooms WHERE name = :everyone))))
    OR EXISTS ({_REACHED}) AND NOT EXISTS ({_REACHED} AND NOT EXISTS (
        SELECT 1 FROM collapsing AS later
        WHERE later.key = its.key AND later.place = its.place AND later.offset > its.offset))"""  # noqa: S608
"""Of one that somebody has snoozed: a later one has its place for them in any role, or in each of those in which they
have it."""
_PAIRS = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"


def _told(transaction: LogTransaction, pairs: str) -> list[tuple[int, int, int | None, NewChange]]:
    """Whose it is, at which offset, where it was new once more before, and what is told of it; of what has content, and
    of which no later one with its key has taken the place, in whatever role its user is."""
    rows = transaction.db.execute(
        f"""
        SELECT state.user, state.offset, raised, rooms.name, contents.expires_at, contents.payload
        FROM json_each(:pairs) AS given
        CROSS JOIN state ON state.user = json_extract(given.value, '$[0]')
            AND state.offset = json_extract(given.value, '$[1]')
        CROSS JOIN rooms ON rooms.id = state.user
        CROSS JOIN contents ON contents.offset = state.offset
        WHERE contents.payload IS NOT NULL AND snoozed_until IS NOT NULL AND NOT ({_REPLACED})
        ORDER BY given.key""",  # noqa: S608
        {"pairs": pairs, "everyone": EVERYONE},
    ).fetchall()
    told: list[tuple[int, int, int | None, NewChange]] = []
    for user, offset, raised, name, expires_at, payload in rows:
        rooms, key = frozenset((Room(name),)), key_of(transaction.db, offset)
        after = later(transaction.db, Keyed(offset, key, rooms))[0] if key is not None else None
        ends = moment(expires_at) if expires_at is not None else None
        change = NewChange(NOTIFICATION_NEW, notification(offset, payload), rooms, offset, ends, key, after)
        told.append((user, offset, raised, change))
    return told


def _erase(transaction: LogTransaction, offsets: Sequence[int]) -> None:
    """The entries by which it was new once more before."""
    if not offsets:
        return
    transaction.db.execute(
        """
        DELETE FROM placed WHERE (room, offset) IN (
            SELECT rooms.id, entries.offset FROM entries JOIN rooms ON rooms.name = CAST(entries.rooms AS TEXT)
            WHERE entries.offset IN (SELECT value FROM json_each(?)))""",
        (as_json(offsets),),
    )
    transaction.db.execute(
        """
        UPDATE entries SET rooms = NULL, payload = NULL, expires_at = NULL
        WHERE offset IN (SELECT value FROM json_each(?))""",
        (as_json(offsets),),
    )
