"""Appending what is for servers alone to a log in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

from adapters.contract.controls import control_event
from adapters.store.form import FORM
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.database import Database, Written, stored_time
from domain.model import Control, Entry, Json, Position
from domain.model.value import value

_APPEND = b"""
    SELECT first, epoch FROM synkrone.append_controls(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean,
        %(events)s::text[], %(form)s::smallint, %(payloads)s::text[])"""


C_co = TypeVar("C_co", bound=Control, covariant=True)


@value
class Order(Generic[C_co]):
    """What is wanted, and when. The rest is as that of an append."""

    control: C_co
    at: datetime | None
    known: int
    known_epoch: str | None


class Ordering:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True

    def __init__(self, orders: Sequence[Order[Control]], *, sync: bool) -> None:
        self._orders = orders
        self._sync = sync
        self._name = append_name()

    def run(self, db: Database) -> Written:
        told = [control_event(order.control) for order in self._orders]
        last = self._orders[-1]
        first, epoch = db.one(
            _APPEND,
            {
                "name": self._name,
                "answered": db.answered,
                "at": stored_time(last.at),
                "known": last.known,
                "known_epoch": last.known_epoch,
                "sync": self._sync,
                "events": [event for event, _ in told],
                "form": FORM,
                "payloads": [payload.decode() for _, payload in told],
            },
        )
        db.answered = [self._name]
        return ordered(self._orders, told, first, epoch, db)


def ordered(
    orders: Sequence[Order[Control]], told: Sequence[tuple[str, Json]], first: int, epoch: str, db: Database
) -> Written:
    """What was appended from the offset ``first`` on, as ``told``."""
    entries = [
        Entry(Position(epoch, offset), frozenset(), event, payload, control=order.control)
        for offset, (order, (event, payload)) in enumerate(zip(orders, told, strict=True), first)
    ]
    return Written([entry.position for entry in entries], entries, db.generations_with(epoch))
