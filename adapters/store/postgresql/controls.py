"""Appending what is for servers alone to a log in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from adapters.contract.controls import control_event
from adapters.store.form import FORM
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.database import Database, Written, stored_time
from domain.model import Entry, Position, UserControl
from domain.model.value import value

_APPEND = """
    SELECT first, epoch FROM synkrone.{function}(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean,
        %(events)s::text[], %(form)s::smallint, %(payloads)s::text[]{also})"""

C_co = TypeVar("C_co", bound=UserControl, covariant=True)


@value
class Order(Generic[C_co]):
    """What is wanted, and when. The rest is as that of an append."""

    control: C_co
    at: datetime | None
    known: int
    known_epoch: str | None


def order_query(function: str, also: str = "") -> bytes:
    """The statement that appends by this function, which takes also more."""
    return _APPEND.format(function=function, also=f", {also}" if also else "").encode()


class Ordering(Generic[C_co]):
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True
    query = order_query("append_controls")

    def __init__(self, orders: Sequence[Order[C_co]], *, sync: bool) -> None:
        self._controls = [order.control for order in orders]
        self._last = orders[-1]
        self._sync = sync
        self._name = append_name()

    def run(self, db: Database) -> Written:
        told = [control_event(control) for control in self._controls]
        first, epoch = db.one(
            self.query,
            {
                "name": self._name,
                "answered": db.answered,
                "at": stored_time(self._last.at),
                "known": self._last.known,
                "known_epoch": self._last.known_epoch,
                "sync": self._sync,
                "events": [event for event, _ in told],
                "form": FORM,
                "payloads": [payload.decode() for _, payload in told],
                **self._also(),
            },
        )
        db.answered = [self._name]
        entries = [
            Entry(Position(epoch, offset), frozenset(), event, payload, control=control)
            for offset, (control, (event, payload)) in enumerate(zip(self._controls, told, strict=True), first)
        ]
        return Written([entry.position for entry in entries], entries, db.generations_with(epoch))

    def _also(self) -> Mapping[str, object]:
        """What else the query takes."""
        return {}
