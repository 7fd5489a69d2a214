"""Appending notifications to a log in a PostgreSQL database: one call of a function of its own, and one commit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, TypeAlias
from uuid import UUID

import psycopg

from adapters.store.decisions import Batch, Decision, Known, decide
from adapters.store.drafts import PreparedDraft
from adapters.store.form import FORM
from adapters.store.postgresql.collapsing import told
from adapters.store.postgresql.database import Database, Written, stored_time
from adapters.store.postgresql.log import joined
from adapters.store.times import microseconds, moment
from domain.errors import SynkroneError
from domain.model import NOTIFICATION_NEW, Appended, Entry, Position
from domain.model.value import value
from domain.rules.collapsing import OWN_ROOMS_MOST
from domain.rules.epochs import Generations

Outcomes: TypeAlias = Sequence[Sequence[Appended] | SynkroneError]
"""Of each batch: what became of its drafts, or why nothing did."""

_NEXT, _NONE = "\x1e", "\x1f"
"""What keeps the texts of an array apart, and stands for one that is not there. Neither names nor JSON hold them."""


def _texts(parameter: str) -> str:
    return f"string_to_array(%({parameter})s::text, chr({ord(_NEXT)}), chr({ord(_NONE)}))"


# Thousands of values are one text, as an array would be made of them value by value, in Python.
_APPEND = f"""
    SELECT first, epoch, is_refused{{also}} FROM synkrone.append(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean,
        {_texts("ids")}, {_texts("keys")}, {_texts("digests")}, {_texts("types")}, %(form)s::smallint,
        {_texts("expiries")}::bigint[], {_texts("rooms")}, {_texts("payloads")},
        %(sources)s::text[], %(old_resume_ids)s::text[], %(resume_ids)s::text[]{{keyed}})"""  # noqa: S608
_KEYED = f""",
        {_texts("collapse_keys")}, {OWN_ROOMS_MOST}"""
_SCHEDULE = f"""
    synkrone.schedule(
        is_refused, %(name)s::uuid, {_texts("due_ids")}, {_texts("due_keys")}, {_texts("due_digests")},
        {_texts("due_types")}, %(form)s::smallint, {_texts("dues")}::bigint[], {_texts("due_expiries")}::bigint[],
        {_texts("due_rooms")}, {_texts("due_payloads")}, %(scheduled_most)s::bigint)"""
_TAKEN: Final = "SK002"
_FULL: Final = "SK003"
_WAITING = b"SELECT number FROM synkrone.waiting"
_KNOWN = f"""
    SELECT id, key, log_offset, digest
    FROM unnest({_texts("ids")}) AS given (name)
    CROSS JOIN LATERAL (SELECT * FROM synkrone.ids WHERE ids.id = given.name LIMIT 1) AS found
    UNION
    SELECT id, key, log_offset, digest
    FROM unnest({_texts("keys")}) AS given (name)
    CROSS JOIN LATERAL (SELECT * FROM synkrone.ids WHERE ids.key = given.name LIMIT 1) AS found""".encode()  # noqa: S608
# Of what was for somebody who was erased: as it was published, where it is published again.
_TOMBSTONES = b"""
    SELECT given.id, CASE WHEN by_key.name IS NOT NULL THEN given.key END,
        coalesce(by_id.log_offset, by_key.log_offset),
        CASE WHEN coalesce(by_id.digest, by_key.digest) = synkrone.seal(decode(given.digest, 'hex'))
            THEN decode(given.digest, 'hex') END
    FROM unnest(%(ids)s::text[], %(keys)s::text[], %(digests)s::text[]) AS given (id, key, digest)
    LEFT JOIN synkrone.tombstones AS by_id ON by_id.name = synkrone.seal(convert_to('id:' || given.id, 'UTF8'))
    LEFT JOIN synkrone.tombstones AS by_key ON by_key.name = synkrone.seal(convert_to('key:' || given.key, 'UTF8'))
    WHERE EXISTS (SELECT FROM synkrone.tombstones) AND coalesce(by_id.name, by_key.name) IS NOT NULL"""
_CHECKPOINTS = b"""
    SELECT source, (SELECT resume_id FROM synkrone.checkpoints WHERE checkpoints.source = given.source)
    FROM unnest(%(sources)s::text[]) AS given (source)"""


@value
class Append:
    """What one call wants to be appended, and when; None is when it is stored.

    ``known`` is an offset that the log is known to have, where ``known_epoch`` was its last epoch.
    """

    batch: Batch
    at: datetime | None
    known: int
    known_epoch: str | None


def append_name() -> UUID:
    """A name for an append. It begins with the time: the index of them grows at its end."""
    octets = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    octets[6] = octets[6] & 0x0F | 0x70
    octets[8] = octets[8] & 0x3F | 0x80
    return UUID(bytes=bytes(octets))


@cache
def append_query(also: str = "", *, schedules: bool = False, collapses: bool = False) -> bytes:
    """The statement that appends, and does what else is called in it."""
    calls = [call for call in ("earlier" if collapses else "", also, _SCHEDULE if schedules else "") if call]
    keyed = _KEYED if collapses else ""
    return _APPEND.format(also="".join(f", {call}" for call in calls), keyed=keyed).encode()


class Appending:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True
    also = ""
    """What else is called in the statement that appends."""

    def __init__(self, appends: Sequence[Append], *, scheduled_most: int, sync: bool) -> None:
        """No more than so many wait for their time."""
        self._batches = [append.batch for append in appends]
        self._scheduled_most = scheduled_most
        self._room: int | None = None
        self._sync = sync
        self._at = stored_time(appends[-1].at)
        self._head = appends[-1].known
        self._epoch = appends[-1].known_epoch
        self._known: list[Known] = []
        self._stored: Mapping[str, str | None] = {}
        # It keeps its name as long as it may have been stored under it.
        self._name = append_name()

    def run(self, db: Database) -> Written:
        while True:
            expected = self._expected_head(db)
            decision = self._decide(db.generations_with(None), expected.offset)
            if not self._changes_anything(decision):
                if self._sync:
                    # A standby may lack what is known, and what is answered rests on it: a commit waits for both.
                    db.wait_for_standby()
                return Written(self._answers(decision.outcomes))
            written = self._append(db, decision, expected)
            if written is not None:
                return written
            self._name = append_name()
            self._look_up(db)

    def _decide(self, generations: Generations, head: int) -> Decision:
        return decide(self._batches, self._known, generations, head, self._stored, self._room)

    def _expected_head(self, db: Database) -> Position:
        """What is known here of the log's head; others may have appended more."""
        generations = db.generations_with(None)
        if db.last is not None and db.last.epoch == generations.present and db.last.offset > self._head:
            return db.last
        return generations.position(self._head)

    def _append(self, db: Database, decision: Decision, expected: Position) -> Written | None:
        """None where some of their ids or keys are taken, a checkpoint has moved, or too many would wait."""
        try:
            return self._append_all(db, decision, expected)
        except psycopg.Error as error:
            if error.sqlstate not in (_TAKEN, _FULL):
                raise
            db.recover()
            if error.sqlstate == _FULL:
                (number,) = db.one(_WAITING)
                self._room = max(0, self._scheduled_most - number)
            return None

    def _append_all(self, db: Database, decision: Decision, expected: Position) -> Written | None:
        stored_at = moment(self._at) if self._at is not None else datetime.now(UTC)
        keys = [one.draft.notification.collapse_key for one in decision.new]
        collapses = any(key is not None for key in keys)
        first, epoch, is_refused, *others = db.one(
            append_query(self.also, schedules=bool(decision.waiting), collapses=collapses),
            {
                "name": self._name,
                "answered": db.answered,
                "at": self._at,
                "known": self._head,
                "known_epoch": self._epoch,
                "sync": self._sync,
                "scheduled_most": self._scheduled_most,
                "form": FORM,
                "sources": [one.source for one in decision.checkpoints],
                "old_resume_ids": [one.after for one in decision.checkpoints],
                "resume_ids": [one.resume_id for one in decision.checkpoints],
            }
            | _columns(decision.new)
            | (_schedule_columns(decision.waiting) if decision.waiting else {})
            | ({"collapse_keys": _optional(keys)} if collapses else {})
            | self._also(decision),
        )
        if is_refused:
            return None
        db.answered = [self._name]
        generations = db.generations_with(epoch)
        db.last = Position(epoch, first - 1 + len(decision.new))
        outcomes = decision.outcomes
        if expected != Position(epoch, first - 1):
            outcomes = self._decide(generations, first - 1).outcomes
        entries = [
            Entry(
                Position(epoch, offset),
                one.draft.rooms,
                NOTIFICATION_NEW,
                one.payload,
                one.draft.notification.expires_at,
                stored_at=stored_at,
            )
            for offset, one in enumerate(decision.new, first)
        ]
        if collapses:
            for offset, last, is_all in others[0]:
                number = offset - first
                entries[number] = told(entries[number], str(keys[number]), last, is_all=is_all)
        return Written(self._answers(outcomes), entries, generations)

    def _changes_anything(self, decision: Decision) -> bool:
        return bool(decision.new or decision.waiting or decision.checkpoints)

    def _also(self, decision: Decision) -> dict[str, object]:  # noqa: ARG002 (for what else the query does)
        return {}

    def _answers(self, outcomes: Outcomes) -> Sequence[object]:
        return outcomes

    def _look_up(self, db: Database) -> None:
        drafts = [one.draft for batch in self._batches for one in batch.drafts]
        with db.snapshot() as snapshot:
            rows = db.execute(
                _KNOWN,
                {
                    "ids": _NEXT.join(draft.notification.id for draft in drafts),
                    "keys": _NEXT.join(draft.idempotency_key for draft in drafts if draft.idempotency_key is not None),
                },
            )
            self._known = [Known(*row) for row in rows]
            tombstones = db.execute(
                _TOMBSTONES,
                {
                    "ids": [draft.notification.id for draft in drafts],
                    "keys": [draft.idempotency_key for draft in drafts],
                    "digests": [
                        one.digest.hex() if one.digest is not None else None
                        for batch in self._batches
                        for one in batch.drafts
                    ],
                },
            )
            self._known += [Known(*row) for row in tombstones]
            sources = [batch.checkpoint.source for batch in self._batches if batch.checkpoint is not None]
            self._stored = dict(db.execute(_CHECKPOINTS, {"sources": sources}).fetchall()) if sources else {}
            self._head, self._epoch = snapshot.head, snapshot.generations.present


def _columns(drafts: Sequence[PreparedDraft]) -> dict[str, object]:
    notifications = [one.draft.notification for one in drafts]
    expiries = (microseconds(one.expires_at) if one.expires_at is not None else None for one in notifications)
    return {
        "ids": _NEXT.join(one.id for one in notifications),
        "keys": _optional(one.draft.idempotency_key for one in drafts),
        "digests": _optional(one.digest.hex() if one.digest is not None else None for one in drafts),
        "types": _NEXT.join(one.type for one in notifications),
        "expiries": _optional(str(one) if one is not None else None for one in expiries),
        "rooms": _NEXT.join(joined(one.draft.rooms) for one in drafts),
        "payloads": _NEXT.encode().join(one.payload for one in drafts).decode(),
    }


def _schedule_columns(drafts: Sequence[PreparedDraft]) -> dict[str, object]:
    columns = {f"due_{name}": texts for name, texts in _columns(drafts).items()}
    dues = (one.draft.deliver_at for one in drafts)
    return columns | {"dues": _optional(str(microseconds(due)) if due is not None else None for due in dues)}


def _optional(texts: Iterable[str | None]) -> str:
    return _NEXT.join(_NONE if text is None else text for text in texts)
