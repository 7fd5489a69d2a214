"""What is to come into the log at a time of its own, in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.store.addressing import whole_audience
from adapters.store.coming_due import DUE_BYTES
from adapters.store.form import FORM, notification, unknown_form
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.collapsing import told
from adapters.store.postgresql.database import Database, Snapshot, Written, stored_time
from adapters.store.postgresql.log import rooms_of
from adapters.store.postgresql.snoozing import Place, Returning, bring_back_due, next_due
from adapters.store.revising import Revising
from adapters.store.times import microseconds, moment
from domain.errors import NotificationRecalled, SynkroneError, UnknownNotification
from domain.model import NOTIFICATION_NEW, Due, Entry, Position, ScheduledNotification
from domain.model.value import value
from domain.rules.collapsing import OWN_ROOMS_MOST

_DELIVER = b"""
    SELECT due.*, CASE WHEN new_payload LIKE '%%"collapse_key":"%%' THEN
        synkrone.collapse_due(new_payload, new_rooms, new_offset, %(most_rooms)s::integer) END
    FROM synkrone.deliver_due(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(now)s::bigint, %(most)s::integer, %(bytes)s::bigint) AS due"""
_SCHEDULED = b"""
    SELECT number, due, expires_at, form, synkrone.waits_for(rooms, number), payload, ended FROM synkrone.scheduled
    WHERE number = -(SELECT log_offset FROM synkrone.ids WHERE id = %(id)s::text)"""
_CANCEL = b"SELECT synkrone.cancel_scheduled(%(id)s::text, %(at)s::bigint, %(sync)s::boolean)"
_REVISE = b"""
    SELECT synkrone.revise_scheduled(
        %(number)s::bigint, %(before)s::text, %(type)s::text, %(form)s::smallint, %(payload)s::text,
        %(expires_at)s::bigint, %(due)s::bigint, %(sync)s::boolean)"""


@value
class Deliver:
    """What is due by now, as many as that. The rest is as that of an append."""

    now: datetime
    most: int
    at: datetime | None
    known: int
    known_epoch: str | None


@dataclass(eq=False, slots=True)
class _Begun:
    deliver: Deliver
    returning: Returning
    name: UUID = field(default_factory=append_name)
    late: Sequence[float] | None = None
    answer: Due | None = None
    entries: Sequence[Entry] = ()


class Delivering:
    """Work of the writer. What it has begun, and does not know the end of, is not done again."""

    once = True

    def __init__(self, those: Sequence[Deliver], *, sync: bool) -> None:
        self._begun = [_Begun(one, Returning(Place(one.at, one.known, one.known_epoch))) for one in those]
        self._sync = sync

    def run(self, db: Database) -> Written:
        for one in self._begun:
            if one.late is None:
                self._deliver(db, one)
            if one.answer is None:
                wanted, late = one.deliver, one.late or ()
                bring_back_due(db, one.returning, wanted.now, wanted.most - len(late), sync=self._sync)
                one.answer = Due([*late, *one.returning.late], next_due(db))
        entries = [entry for one in self._begun for entry in (*one.entries, *one.returning.entries)]
        generations = db.generations_with(entries[-1].position.epoch) if entries else None
        return Written([one.answer for one in self._begun], entries, generations, is_news=True)

    def _deliver(self, db: Database, one: _Begun) -> None:
        wanted = one.deliver
        rows = db.execute(
            _DELIVER,
            {
                "name": one.name,
                "answered": db.answered,
                "at": stored_time(wanted.at),
                "known": wanted.known,
                "known_epoch": wanted.known_epoch,
                "sync": self._sync,
                "now": microseconds(wanted.now),
                "most": wanted.most,
                "bytes": DUE_BYTES,
                "most_rooms": OWN_ROOMS_MOST,
            },
        ).fetchall()
        one.entries = [_entry(*row) for row in rows]
        one.late = [(stored_at - due) / 1_000_000 for _, _, stored_at, due, *_ in rows]
        db.answered = [one.name]


def _entry(
    offset: int,
    epoch: str,
    stored_at: int,
    _due: int,
    ends: int | None,
    rooms: str,
    payload: str,
    collapsed: Sequence[Any] | None,
) -> Entry:
    entry = Entry(
        Position(epoch, offset),
        rooms_of(rooms),
        NOTIFICATION_NEW,
        notification(offset, payload.encode()),
        moment(ends) if ends is not None else None,
        stored_at=moment(stored_at),
    )
    if collapsed is None:
        return entry
    key, last, is_all = collapsed
    return told(entry, key, last, is_all=is_all)


@value
class Cancel:
    id: str
    at: datetime | None


class Cancelling:
    """Work of the writer: each is answered with nothing, or why it is not done."""

    once = True

    def __init__(self, those: Sequence[Cancel], *, sync: bool) -> None:
        self._those = those
        self._sync = sync
        self._tried: set[str] = set()
        self._answers: dict[int, SynkroneError | None] = {}

    def run(self, db: Database) -> Written:
        for number, one in enumerate(self._those):
            if number in self._answers:
                continue
            was_tried = one.id in self._tried
            self._tried.add(one.id)
            (said,) = db.one(_CANCEL, {"id": one.id, "at": stored_time(one.at), "sync": self._sync})
            done: Mapping[str, SynkroneError | None] = {
                "done": None,
                # Its connection may have broken before it said so.
                "ended": None if was_tried else NotificationRecalled(),
                "unknown": UnknownNotification(),
            }
            self._answers[number] = done[said]
            self._tried.discard(one.id)
        return Written([self._answers[number] for number in range(len(self._those))])


class RevisingScheduled:
    """Work of the writer: each is answered with nothing, or why it is not done. Done again it comes to the same."""

    once = True

    def __init__(self, those: Sequence[Revising], *, sync: bool) -> None:
        self._those = those
        self._sync = sync

    def run(self, db: Database) -> Written:
        return Written([self._answer(db, one) for one in self._those])

    def _answer(self, db: Database, wanted: Revising) -> SynkroneError | None:
        try:
            while not self._is_done(db, wanted):
                pass
        except SynkroneError as error:
            return error
        return None

    def _is_done(self, db: Database, wanted: Revising) -> bool:
        """False where somebody else was at the same. Raises SynkroneError."""
        row = db.execute(_SCHEDULED, {"id": wanted.id}).fetchone()
        if row is None or row[4] is None:
            raise UnknownNotification
        number, _, expires_at, _, _, payload, _ = row
        if payload is None:
            raise NotificationRecalled
        before = notification(-number, payload.encode())
        revision = wanted.unsent(before, moment(expires_at) if expires_at is not None else None)
        if revision is None:
            return True
        (is_done,) = db.one(
            _REVISE,
            {
                "number": number,
                "before": payload,
                "type": revision.notification.type,
                "form": FORM,
                "payload": revision.payload.decode(),
                "expires_at": stored_time(revision.notification.expires_at),
                "due": stored_time(revision.due),
                "sync": self._sync,
            },
        )
        return bool(is_done)


def scheduled(snapshot: Snapshot, id_: str) -> ScheduledNotification | None:
    """For an operation of the readers. Raises StoreUnavailable."""
    row = snapshot.db.execute(_SCHEDULED, {"id": id_}).fetchone()
    if row is None or row[4] is None:
        return None
    number, due, _, form, rooms, payload, _ = row
    if form != FORM:
        raise unknown_form(-number)
    told = notification(-number, payload.encode()) if payload is not None else None
    return ScheduledNotification(id_, moment(due), whole_audience(rooms), told)
