"""What is done to notifications after they were published, in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from adapters.contract.events import recalled_json
from adapters.store.form import FORM, notification
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.collapsing import as_followed
from adapters.store.postgresql.database import Database, Written, stored_time
from adapters.store.postgresql.log import rooms_of
from adapters.store.revising import Revising, Revision
from adapters.store.tail import NOBODY
from adapters.store.times import moment
from domain.errors import NotificationDeleted, NotificationRecalled, SynkroneError, UnknownNotification
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_REVISED, Amended, Entry, Json, Position
from domain.model.value import value
from domain.rules.collapsing import OWN_ROOMS_MOST

_RECALL = b"""
    SELECT about, rooms, first, epoch, payload FROM synkrone.recall_last(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(id)s::text, %(form)s::smallint, %(payload)s::text, %(most)s::integer)"""
_REVISE = b"""
    SELECT rooms, first, epoch, is_refused,
        CASE WHEN %(collapse_key)s::text IS NOT NULL THEN synkrone.hide_superseded(%(about)s::bigint) END
    FROM synkrone.revise_kept(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(id)s::text, %(before)s::bigint, %(type)s::text, %(form)s::smallint, %(payload)s::text,
        %(expires_at)s::bigint)"""
_PUBLISHED = b"""
    SELECT log_offset, payload, expires_at, revised, rooms IS NULL AS is_recalled,
        payload IS NULL OR synkrone.have_all_deleted(rooms, log_offset) AS is_deleted
    FROM synkrone.contents
    WHERE log_offset = (SELECT log_offset FROM synkrone.ids WHERE id = %(id)s::text)"""


@value
class Recall:
    """What is to be taken back."""

    id: str


Wish: TypeAlias = Recall | Revising


@value
class Amend:
    """What is to be done to a notification, and when. The rest is as that of an append."""

    wish: Wish
    at: datetime | None
    known: int
    known_epoch: str | None


@value
class _Attempt:
    """A revision of what lies at the offset ``about``, as it was revised ``before``."""

    about: int
    before: int | None
    revision: Revision


@dataclass(eq=False, slots=True)
class _Begun:
    """What became of one, once that is known. It keeps its name, and what it has tried, as long as that may have been
    stored."""

    amend: Amend
    name: UUID = field(default_factory=append_name)
    attempt: _Attempt | None = None
    answer: Amended | SynkroneError | None = None
    entry: Entry | None = None


class Amending:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True

    def __init__(self, those: Sequence[Amend], *, sync: bool) -> None:
        self._begun = [_Begun(amend) for amend in those]
        self._sync = sync

    def run(self, db: Database) -> Written:
        for one in self._begun:
            while one.answer is None:
                if isinstance(one.amend.wish, Recall):
                    _recall(db, one, one.amend.wish, sync=self._sync)
                else:
                    _revise(db, one, one.amend.wish, sync=self._sync)
        entries = [one.entry for one in self._begun if one.entry is not None]
        generations = db.generations_with(entries[-1].position.epoch) if entries else None
        return Written([one.answer for one in self._begun], entries, generations)


def _recall(db: Database, one: _Begun, wish: Recall, *, sync: bool) -> None:
    about, names, first, epoch, payload = db.one(
        _RECALL,
        _parameters(db, one, sync=sync)
        | {"id": wish.id, "payload": recalled_json(wish.id).decode(), "most": OWN_ROOMS_MOST},
    )
    if about is None:
        one.answer = UnknownNotification()
    elif first is None:
        one.answer = NotificationRecalled()
    else:
        entry = Entry(
            Position(epoch, first), rooms_of(names), NOTIFICATION_DELETED, Json(payload.encode()), about=about
        )
        _stored(db, one, wish.id, about, entry)


def _revise(db: Database, one: _Begun, wish: Revising, *, sync: bool) -> None:
    """It may have to be tried again: somebody else may be at the same."""
    if one.attempt is None:
        try:
            one.attempt = _attempt(db, one, wish)
        except SynkroneError as error:
            one.answer = error
    attempt = one.attempt
    if attempt is None:
        return
    after, payload = attempt.revision.notification, attempt.revision.payload
    names, first, epoch, is_refused, _ = db.one(
        _REVISE,
        _parameters(db, one, sync=sync)
        | {
            "id": wish.id,
            "before": attempt.before,
            "type": after.type,
            "payload": payload.decode(),
            "expires_at": stored_time(after.expires_at),
            "about": attempt.about,
            "collapse_key": after.collapse_key,
        },
    )
    if is_refused:
        one.attempt = None
        return
    rooms = rooms_of(names) if names is not None else NOBODY
    position, about = Position(epoch, first), attempt.about
    entry = Entry(position, rooms, NOTIFICATION_REVISED, payload, after.expires_at, None, None, about)
    (entry,) = as_followed(db, [entry])
    _stored(db, one, wish.id, about, entry)


def _attempt(db: Database, one: _Begun, wish: Revising) -> _Attempt | None:
    """None where nothing changes, which is the answer then. Raises SynkroneError."""
    with db.snapshot() as snapshot:
        row = db.execute(_PUBLISHED, {"id": wish.id}).fetchone()
        generations = snapshot.generations
    if row is None:
        raise UnknownNotification
    about, payload, expires_at, before, is_recalled, is_deleted = row
    if is_recalled:
        raise NotificationRecalled
    if is_deleted:
        raise NotificationDeleted
    ends = moment(expires_at) if expires_at is not None else None
    revision = wish.of(notification(about, payload.encode()), ends)
    if revision is None:
        one.answer = Amended(wish.id, about, generations.position(before if before is not None else about))
        return None
    return _Attempt(about, before, revision)


def _parameters(db: Database, one: _Begun, *, sync: bool) -> dict[str, object]:
    return {
        "name": one.name,
        "answered": db.answered,
        "at": stored_time(one.amend.at),
        "known": one.amend.known,
        "known_epoch": one.amend.known_epoch,
        "sync": sync,
        "form": FORM,
    }


def _stored(db: Database, one: _Begun, id_: str, about: int, entry: Entry) -> None:
    one.entry = entry
    one.answer = Amended(id_, about, entry.position)
    db.answered = [one.name]
