"""How what users have snoozed comes back, in a PostgreSQL database.

They are locked meanwhile, as they are for whatever they change themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.store.coming_due import DUE_BYTES
from adapters.store.form import notification
from adapters.store.postgresql import items
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.changes import NOTHING, lock_users, look, named
from adapters.store.postgresql.collapsing import as_followed
from adapters.store.postgresql.database import Database, Snapshot, Written, stored_time
from adapters.store.postgresql.items import View
from adapters.store.postgresql.log import rooms_of
from adapters.store.postgresql.nodes import Held, has_lease
from adapters.store.times import microseconds, moment
from domain.errors import StoreUnavailable
from domain.model import NOTIFICATION_NEW, Changed, Entry, Position, UserId
from domain.model.value import value

_DUE = f"""
    SELECT user_id, log_offset FROM (
        SELECT due.*, row_number() OVER first_first AS place, sum(coalesce((
                SELECT octet_length(payload) FROM synkrone.contents WHERE contents.log_offset = due.log_offset), 0))
                OVER first_first AS size
        FROM (
            SELECT user_id, log_offset, snoozed_until FROM synkrone.state WHERE snoozed_until <= %(now)s::bigint
            ORDER BY snoozed_until LIMIT %(most)s::integer) AS due
        WINDOW first_first AS (ORDER BY snoozed_until, user_id, log_offset ROWS UNBOUNDED PRECEDING)) AS sized
    WHERE place = 1 OR size <= {DUE_BYTES} ORDER BY place""".encode()  # noqa: S608
_STILL_DUE = b"""
    SELECT given.user_id, given.log_offset, state.snoozed_until
    FROM unnest(%(users)s::text[], %(offsets)s::bigint[]) WITH ORDINALITY AS given (user_id, log_offset, number)
    JOIN synkrone.state ON state.user_id = given.user_id AND state.log_offset = given.log_offset
    WHERE state.snoozed_until <= %(now)s::bigint ORDER BY given.number"""
_BRING_BACK = b"""
    SELECT * FROM synkrone.bring_back(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(users)s::text[], %(offsets)s::bigint[])"""
_FIRST = b"""
    SELECT least(
        (SELECT due FROM synkrone.scheduled WHERE ended IS NULL ORDER BY due LIMIT 1),
        (SELECT snoozed_until FROM synkrone.state WHERE snoozed_until IS NOT NULL ORDER BY snoozed_until LIMIT 1))"""
_WAITING = b"""
    SELECT (SELECT number FROM synkrone.waiting)
        + (SELECT count(*) FROM synkrone.state WHERE snoozed_until IS NOT NULL)"""


@value
class Place:
    """When something is stored, and what is known of the log, as for an append."""

    at: datetime | None
    known: int
    known_epoch: str | None


@dataclass(eq=False, slots=True)
class Returning:
    """What comes back in one commit, and its name; ``late`` and ``entries`` once that is known."""

    place: Place
    name: UUID = field(default_factory=append_name)
    late: Sequence[float] = ()
    entries: Sequence[Entry] = ()


def bring_back_due(db: Database, returning: Returning, now: datetime, most: int, *, sync: bool) -> None:
    due = db.execute(_DUE, {"now": microseconds(now), "most": most}).fetchall()
    if not due:
        return
    db.begin()
    lock_users(db, [UserId(user) for user, _ in due])
    # Somebody may have been at it meanwhile.
    still = db.execute(
        _STILL_DUE,
        {
            "users": [user for user, _ in due],
            "offsets": [offset for _, offset in due],
            "now": microseconds(now),
        },
    ).fetchall()
    if still:
        _bring_back(db, returning, [(user, offset) for user, offset, _ in still], sync=sync)
    db.execute(b"COMMIT")
    stored_at = returning.entries[-1].stored_at if returning.entries else None
    at = stored_at if stored_at is not None else now
    returning.late = [(at - moment(until)).total_seconds() for _, _, until in still]


def _bring_back(db: Database, returning: Returning, those: Sequence[tuple[str, int]], *, sync: bool) -> None:
    place = returning.place
    rows = db.execute(
        _BRING_BACK,
        {
            "name": returning.name,
            "answered": db.answered,
            "at": stored_time(place.at),
            "known": place.known,
            "known_epoch": place.known_epoch,
            "sync": sync,
            "users": [user for user, _ in those],
            "offsets": [offset for _, offset in those],
        },
    ).fetchall()
    entries = [
        Entry(
            Position(epoch, offset),
            rooms_of(room),
            NOTIFICATION_NEW,
            notification(offset, payload.encode()),
            moment(ends) if ends is not None else None,
            stored_at=moment(stored_at),
            about=about,
        )
        for offset, epoch, stored_at, ends, room, payload, about in rows
    ]
    returning.entries = as_followed(db, entries)
    db.answered = [returning.name]


@value
class Wake:
    """What is to come back now."""

    view: View
    ids: Sequence[str]
    place: Place


class Waking:
    """Work of the writer: each is answered with what has changed."""

    once = True

    def __init__(self, those: Sequence[Wake], *, sync: bool, held: Callable[[], Held | None] = lambda: None) -> None:
        """``held`` is as that of what else users change."""
        self._held = held
        self._those = those
        self._sync = sync
        self._returning = [Returning(wake.place) for wake in those]
        self._changed: dict[int, int] = {}
        self._erased: set[int] = set()
        self._done: set[int] = set()

    def run(self, db: Database) -> Written:
        for number, wake in enumerate(self._those):
            if number not in self._done:
                self._wake(db, number, wake)
        with db.snapshot() as snapshot:
            aged = items.aged_upto(db, self._those[-1].view.window)
            summaries = items.summarize(db, [wake.view for wake in self._those], aged)
        answers = [
            Changed(self._changed[number], NOTHING if number in self._erased else summary.counts, snapshot.as_of)
            if number in self._changed
            else StoreUnavailable("the lease is lost")
            for number, summary in enumerate(summaries)
        ]
        return Written(answers, [entry for one in self._returning for entry in one.entries], snapshot.generations)

    def _wake(self, db: Database, number: int, wake: Wake) -> None:
        user = wake.view.subscriber.user
        db.begin()
        lock_users(db, [user])
        held = self._held()
        if held is not None and not has_lease(db, held):
            db.execute(b"COMMIT")
            self._done.add(number)
            return
        found = look(db, [wake.view])
        ids = wake.ids
        if user in found.erased:
            self._erased.add(number)
            ids = ()
        offsets = {row[1]: row[0] for row in named(db, wake.view, ids, found.aged) if row[3] is not None}
        those = [(user, offsets[id_]) for id_ in wake.ids if id_ in offsets]
        # Where its connection has broken, and it was done, nothing is snoozed any more.
        self._changed.setdefault(number, len(those))
        if those:
            _bring_back(db, self._returning[number], those, sync=self._sync)
        db.execute(b"COMMIT")
        self._done.add(number)


def first_due(snapshot: Snapshot, _: None) -> datetime | None:
    """For an operation of the readers: when the first of those that wait, or are snoozed, is due."""
    return next_due(snapshot.db)


def next_due(db: Database) -> datetime | None:
    (first,) = db.one(_FIRST)
    return moment(first) if first is not None else None


def waiting(snapshot: Snapshot, _: None) -> int:
    """For an operation of the readers."""
    return int(snapshot.db.one(_WAITING)[0])
