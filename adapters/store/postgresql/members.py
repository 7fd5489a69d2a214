"""Having users in a topic or out of it, in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.contract.controls import CHANGE_MEMBERS, read_control
from adapters.store.form import FORM
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.database import Database, Written, stored_time
from domain.errors import SynkroneError, TooManyTopics
from domain.model import SPANS_MOST, Entry, Json, Position, UserId
from domain.model.value import value

_CHANGE: Final = b"""
    SELECT first, epoch, payload, refused FROM synkrone.change_members(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean, %(topic)s::text, %(add)s::text[], %(remove)s::text[], %(most)s::integer,
        %(stays)s::integer, %(event)s::text, %(form)s::smallint)"""


@value
class Changing:
    """What is wanted. The rest is as that of an append."""

    topic: str
    add: Sequence[UserId]
    remove: Sequence[UserId]
    most: int
    at: datetime | None
    known: int
    known_epoch: str | None


@dataclass(eq=False, slots=True)
class _Begun:
    """What became of one, once that is known."""

    wanted: Changing
    name: UUID = field(default_factory=append_name)
    answer: Position | SynkroneError | None = None
    entry: Entry | None = None


class ChangingMembers:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True

    def __init__(self, those: Sequence[Changing], *, sync: bool) -> None:
        self._begun = [_Begun(one) for one in those]
        self._sync = sync

    def run(self, db: Database) -> Written:
        for one in self._begun:
            if one.answer is None:
                _change(db, one, sync=self._sync)
        entries = [one.entry for one in self._begun if one.entry is not None]
        generations = db.generations_with(entries[-1].position.epoch) if entries else None
        return Written([one.answer for one in self._begun], entries, generations)


def _change(db: Database, one: _Begun, *, sync: bool) -> None:
    wanted = one.wanted
    first, epoch, payload, refused = db.one(
        _CHANGE,
        {
            "name": one.name,
            "answered": db.answered,
            "at": stored_time(wanted.at),
            "known": wanted.known,
            "known_epoch": wanted.known_epoch,
            "sync": sync,
            "topic": wanted.topic,
            "add": list(wanted.add),
            "remove": list(wanted.remove),
            "most": wanted.most,
            "stays": SPANS_MOST,
            "event": CHANGE_MEMBERS,
            "form": FORM,
        },
    )
    position = Position(epoch, first)
    one.answer = TooManyTopics(UserId(refused)) if refused is not None else position
    if payload is not None:
        said = Json(payload.encode())
        one.entry = Entry(position, frozenset(), CHANGE_MEMBERS, said, control=read_control(CHANGE_MEMBERS, said))
        db.answered = [one.name]
