"""Erasing users from a PostgreSQL database: hidden at once, and gone in steps, by one server at a time.

What is deleted lies in the pages of the tables until they are vacuumed, which comes last (see ``vacuuming``), and in
the write-ahead log, its archives and backups for as long as these are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.contract.controls import control_event
from adapters.store.form import FORM
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.changes import lock_users
from adapters.store.postgresql.database import Database, Snapshot, Written, stored_time
from adapters.store.times import microseconds, moment
from domain.model import Entry, EraseUser, Erasure, LeftIn, Position, Room, UserId
from domain.model.value import value

LEFT_IN: Final = (LeftIn.UNUSED_SPACE, LeftIn.WRITE_AHEAD_LOG)
"""To overwrite the space that VACUUM frees takes a lock on the tables that keeps everybody out, and more rights than a
server has."""

_AT_ONCE: Final = 500
_NAMES_BYTES: Final = 256 * 1024

_BEGIN = b"""
    SELECT erasure, begun_at, first, epoch FROM synkrone.erase_user(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(user)s::text, %(erasure)s::text, %(form)s::smallint, %(event)s::text, %(payload)s::text,
        %(begun_at)s::bigint)"""
_FOUND = b"""
    SELECT id, user_id, begun_at, done_at FROM synkrone.erasures WHERE id = ANY (%(ids)s::text[])"""
_TURN = b"SELECT FROM synkrone.log FOR UPDATE SKIP LOCKED"
_RUNNING = b"""
    SELECT id, user_id, log_offset,
        log_offset <= %(given)s::bigint AND NOT EXISTS (
            SELECT FROM synkrone.nodes WHERE nodes.log_offset < erasures.log_offset)
    FROM synkrone.erasures WHERE done_at IS NULL AND user_id IS NOT NULL ORDER BY log_offset LIMIT 1"""
_IS_UNVACUUMED = b"""
    SELECT EXISTS (SELECT FROM synkrone.erasures WHERE done_at IS NULL AND user_id IS NULL)"""
_SCHEDULED = b"""
    SELECT synkrone.erase_scheduled(%(id)s::text, %(own)s::text, %(most)s::integer, %(names)s::bigint)"""
_PLACED = b"SELECT synkrone.erase_placed(%(id)s::text, %(own)s::text, %(most)s::integer, %(names)s::bigint)"
_RECALLED = b"""
    SELECT synkrone.erase_recalled(%(own)s::text, %(offset)s::bigint, %(most)s::integer, %(names)s::bigint)"""
_MEMBER = b"""
    SELECT synkrone.erase_member(
        %(id)s::text, %(user)s::text, %(offset)s::bigint, %(most)s::integer, %(names)s::bigint)"""
_LAST: Sequence[bytes] = (
    b"""
    UPDATE synkrone.entries SET payload = NULL
    WHERE event LIKE 'user.%%' AND log_offset <= %(offset)s::bigint
        AND payload::json ->> 'user' = %(user)s::text""",
    # What somebody was at as it began; whoever came back since is beyond it.
    b"DELETE FROM synkrone.marks WHERE user_id = %(user)s::text AND log_offset < %(offset)s::bigint",
    b"DELETE FROM synkrone.state WHERE user_id = %(user)s::text AND log_offset < %(offset)s::bigint",
    b"DELETE FROM synkrone.watermarks WHERE user_id = %(user)s::text AND log_offset < %(offset)s::bigint",
    b"DELETE FROM synkrone.ledger_connections WHERE user_id = %(user)s::text AND after < %(offset)s::bigint",
    b"""
    DELETE FROM synkrone.ledger_receipts WHERE user_id = %(user)s::text AND NOT EXISTS (
        SELECT FROM jsonb_each_text(upto) AS each WHERE each.value::bigint >= %(offset)s::bigint)""",
    b"DELETE FROM synkrone.collapsing WHERE room = %(own)s::text AND log_offset < %(offset)s::bigint",
    b"""
    UPDATE synkrone.parked SET recipient = json_build_object('users', (recipient -> 'users')::jsonb - %(user)s::text)
    WHERE (recipient -> 'users')::jsonb ? %(user)s::text""",
    b"""
    DELETE FROM synkrone.parked
    WHERE recipient ->> 'user' = %(user)s::text OR (recipient -> 'users')::jsonb = '[]'::jsonb""",
    b"UPDATE synkrone.erasures SET user_id = NULL WHERE id = %(id)s::text",
)
"""What else names users by their ids has a statement here."""
_ERASED = b"""
    SELECT user_id, synkrone.erased_at(user_id) FROM unnest(%(users)s::text[]) AS given (user_id)
    WHERE EXISTS (SELECT FROM synkrone.erasures) AND synkrone.erased_at(user_id) IS NOT NULL"""


@value
class Beginning:
    """What is wanted; the rest is as that of an append."""

    user: UserId
    id: str
    begun_at: datetime
    at: datetime | None
    known: int
    known_epoch: str | None


@value
class Begun:
    """``at`` is its place in the log; None where it was running, and nothing of the user has come since."""

    erasure: Erasure
    at: Position | None


@dataclass(eq=False, slots=True)
class _Begun:
    wanted: Beginning
    name: UUID = field(default_factory=append_name)
    answer: Begun | None = None
    entry: Entry | None = None


class BeginningToErase:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True

    def __init__(self, those: Sequence[Beginning], *, sync: bool) -> None:
        self._begun = [_Begun(wanted) for wanted in those]
        self._sync = sync

    def run(self, db: Database) -> Written:
        for one in self._begun:
            if one.answer is None:
                self._begin(db, one)
        entries = [one.entry for one in self._begun if one.entry is not None]
        generations = db.generations_with(entries[-1].position.epoch) if entries else None
        return Written([one.answer for one in self._begun], entries, generations)

    def _begin(self, db: Database, one: _Begun) -> None:
        wanted = one.wanted
        control = EraseUser(wanted.user)
        event, payload = control_event(control)
        db.begin()
        # Whoever is at something of theirs has stored it by then, and whoever is to be finds that they are erased.
        lock_users(db, [wanted.user])
        id_, begun_at, first, epoch = db.one(
            _BEGIN,
            {
                "name": one.name,
                "answered": db.answered,
                "at": stored_time(wanted.at),
                "known": wanted.known,
                "known_epoch": wanted.known_epoch,
                "sync": self._sync,
                "user": wanted.user,
                "erasure": wanted.id,
                "form": FORM,
                "event": event,
                "payload": payload.decode(),
                "begun_at": microseconds(wanted.begun_at),
            },
        )
        db.execute(b"COMMIT")
        position = Position(epoch, first) if first is not None else None
        if position is not None:
            db.answered = [one.name]
            one.entry = Entry(position, frozenset(), event, payload, control=control)
        known_at = moment(begun_at if begun_at is not None else microseconds(wanted.begun_at))
        erasure = Erasure(id_ if id_ is not None else wanted.id, wanted.user, known_at, left_in=LEFT_IN)
        one.answer = Begun(erasure, position)


def found(snapshot: Snapshot, ids: Sequence[str]) -> list[Erasure | None]:
    """An operation of the readers."""
    rows = snapshot.db.execute(_FOUND, {"ids": list(ids)}).fetchall()
    known = {
        id_: Erasure(
            id_,
            UserId(user) if user is not None else None,
            moment(begun_at),
            moment(done_at) if done_at is not None else None,
            LEFT_IN,
        )
        for id_, user, begun_at, done_at in rows
    }
    return [known.get(id_) for id_ in ids]


@value
class Stepped:
    """Whether there is more to do at once, and whether there are no rows any more of somebody, but the tables are not
    vacuumed."""

    more: bool
    is_unvacuumed: bool


class Erasing:
    """Work of the writer: a step, for all who ask for one. Each says up to which offset every follower of this server
    has been given all."""

    once = False

    def __init__(self, given: Sequence[int], *, sync: bool) -> None:
        self._given = given
        self._sync = sync

    def run(self, db: Database) -> Written:
        with db.transaction():
            db.execute(b"SELECT synkrone.set_durability(%(sync)s::boolean)", {"sync": self._sync})
            more = _step(db, min(self._given))
            (is_unvacuumed,) = db.one(_IS_UNVACUUMED)
        return Written([Stepped(more, is_unvacuumed)] * len(self._given))


def _step(db: Database, given: int) -> bool:
    row = db.execute(_RUNNING, {"given": given}).fetchone()
    if row is None or db.execute(_TURN).fetchone() is None:
        return False
    id_, user, offset, are_told = row
    parameters = {"id": id_, "user": user, "own": Room.of_user(user), "offset": offset}
    parameters |= {"most": _AT_ONCE, "names": _NAMES_BYTES}
    for step in (_SCHEDULED, _PLACED, _RECALLED):
        (some,) = db.one(step, parameters)
        if some:
            return True
    if not are_told:
        return False
    (some,) = db.one(_MEMBER, parameters)
    if some:
        return True
    for statement in _LAST:
        db.execute(statement, parameters)
    return True


def erased_at(snapshot: Snapshot, users: Sequence[UserId]) -> list[int]:
    """An operation of the readers."""
    known = erased(snapshot.db, users)
    return [known.get(user, 0) for user in users]


def erased(db: Database, users: Collection[UserId]) -> dict[UserId, int]:
    """At which offset those of them were who ever were, as far as it is remembered."""
    rows = db.execute(_ERASED, {"users": sorted(users)}).fetchall() if users else []
    return {UserId(user): int(offset) for user, offset in rows}
