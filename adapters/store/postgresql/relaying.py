"""What waits in the outbox goes into the log: appends that take its rows out in the same commit, and parking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from adapters.store.decisions import Decision
from adapters.store.postgresql.appending import Append, Appending, Outcomes
from adapters.store.postgresql.database import Database, Written
from domain.errors import SynkroneError
from domain.model import Appended, AppendOutcome
from domain.model.value import value

_TAKEN_BY_ANOTHER: Final = "SK001"
_STILL_THERE = b"SELECT number, published_at FROM synkrone.outbox WHERE number = ANY(%(numbers)s::bigint[])"
_PARK = b"SELECT synkrone.park(%(numbers)s::bigint[], %(published)s::bigint[], %(reasons)s::text[])"


@value
class OutboxRow:
    """Names a row; its number alone does not, as a database that took the place of another one may give it again."""

    number: int
    published_at: int


@value
class Relay:
    """Rows of the outbox, and what is appended of them, in the same order."""

    rows: Sequence[OutboxRow]
    append: Append


class Relaying(Appending):
    """Work of the writer. A relay is answered with what became of each row that was still there, or why nothing did."""

    also = "synkrone.take_from_outbox(%(name)s::uuid, %(numbers)s::bigint[], %(published)s::bigint[])"

    def __init__(self, relays: Sequence[Relay], *, scheduled_most: int, sync: bool) -> None:
        super().__init__([relay.append for relay in relays], scheduled_most=scheduled_most, sync=sync)
        self._rows = [relay.rows for relay in relays]

    def run(self, db: Database) -> Written:
        while True:
            try:
                return super().run(db)
            except psycopg.Error as error:
                if error.sqlstate != _TAKEN_BY_ANOTHER:
                    raise
                self._leave_out_what_is_gone(db)

    def _changes_anything(self, decision: Decision) -> bool:
        return bool(self._taken(decision.outcomes))

    def _also(self, decision: Decision) -> dict[str, object]:
        return _named(self._taken(decision.outcomes))

    def _answers(self, outcomes: Outcomes) -> Sequence[object]:
        return self._by_row(outcomes)

    def _taken(self, outcomes: Outcomes) -> list[OutboxRow]:
        """A duplicate is in the log already; a conflict stays, to be parked."""
        return [
            row
            for appended in self._by_row(outcomes)
            if not isinstance(appended, SynkroneError)
            for row, one in appended.items()
            if one.outcome is not AppendOutcome.CONFLICT
        ]

    def _by_row(self, outcomes: Outcomes) -> list[dict[OutboxRow, Appended] | SynkroneError]:
        """Where too many would wait, that is the answer to the whole relay."""
        return [
            appended if isinstance(appended, SynkroneError) else dict(zip(rows, appended, strict=True))
            for rows, appended in zip(self._rows, outcomes, strict=True)
        ]

    def _leave_out_what_is_gone(self, db: Database) -> None:
        found = db.execute(_STILL_THERE, {"numbers": [row.number for rows in self._rows for row in rows]})
        there = {OutboxRow(number, published_at) for number, published_at in found}
        self._batches = [
            replace(batch, drafts=[one for row, one in zip(rows, batch.drafts, strict=True) if row in there])
            for rows, batch in zip(self._rows, self._batches, strict=True)
        ]
        self._rows = [[row for row in rows if row in there] for rows in self._rows]


class Parking:
    """Work of the writer: each is answered with the rows that were set aside, as they were there."""

    once = False

    def __init__(self, each: Sequence[Mapping[OutboxRow, str]]) -> None:
        self._reasons: dict[OutboxRow, str] = {}
        for reasons in each:
            self._reasons |= reasons
        self._each = each

    def run(self, db: Database) -> Written:
        parameters = _named(self._reasons) | {"reasons": list(self._reasons.values())}
        parked = {number for (number,) in db.execute(_PARK, parameters)}
        return Written([[row for row in reasons if row.number in parked] for reasons in self._each])


def _named(rows: Collection[OutboxRow]) -> dict[str, object]:
    return {"numbers": [row.number for row in rows], "published": [row.published_at for row in rows]}
