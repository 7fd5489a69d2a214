"""What waits in the outbox goes into the log: appends that take its rows out in the same commit, and parking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from adapters.store.decisions import Decision
from adapters.store.postgresql.appending import Append, Appending, Outcomes, append_query
from adapters.store.postgresql.database import Database, Written
from domain.errors import SynkroneError
from domain.model import Appended, AppendOutcome
from domain.model.value import value

_TAKEN_BY_ANOTHER: Final = "SK001"
_STILL_THERE = b"SELECT number FROM synkrone.outbox WHERE number = ANY(%(numbers)s::bigint[])"
_PARK = b"SELECT synkrone.park(%(numbers)s::bigint[], %(reasons)s::text[])"


@value
class Relay:
    """Rows of the outbox, by their numbers, and what is appended of them, in the same order."""

    numbers: Sequence[int]
    append: Append


class Relaying(Appending):
    """Work of the writer. A relay is answered with what became of each row that was still there, by its number."""

    query = append_query("synkrone.take_from_outbox(%(name)s::uuid, %(numbers)s::bigint[])")

    def __init__(self, relays: Sequence[Relay], *, sync: bool) -> None:
        super().__init__([relay.append for relay in relays], sync=sync)
        self._numbers = [relay.numbers for relay in relays]

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
        return {"numbers": self._taken(decision.outcomes)}

    def _answers(self, outcomes: Outcomes) -> Sequence[object]:
        return self._by_number(outcomes)

    def _taken(self, outcomes: Outcomes) -> list[int]:
        """A duplicate is in the log already; a conflict stays, to be parked."""
        return [
            number
            for appended in self._by_number(outcomes)
            for number, one in appended.items()
            if one.outcome is not AppendOutcome.CONFLICT
        ]

    def _by_number(self, outcomes: Outcomes) -> list[dict[int, Appended]]:
        by_number: list[dict[int, Appended]] = []
        for numbers, appended in zip(self._numbers, outcomes, strict=True):
            if isinstance(appended, SynkroneError):
                # Of a checkpoint, and a relay has none.
                raise appended
            by_number.append(dict(zip(numbers, appended, strict=True)))
        return by_number

    def _leave_out_what_is_gone(self, db: Database) -> None:
        wanted = [number for numbers in self._numbers for number in numbers]
        there = {number for (number,) in db.execute(_STILL_THERE, {"numbers": wanted})}
        self._batches = [
            replace(batch, drafts=[one for number, one in zip(numbers, batch.drafts, strict=True) if number in there])
            for numbers, batch in zip(self._numbers, self._batches, strict=True)
        ]
        self._numbers = [[number for number in numbers if number in there] for numbers in self._numbers]


class Parking:
    """Work of the writer: each is answered with the numbers of the rows that were set aside, as they were there."""

    once = False

    def __init__(self, each: Sequence[Mapping[int, str]]) -> None:
        self._reasons: dict[int, str] = {}
        for reasons in each:
            self._reasons |= reasons
        self._each = each

    def run(self, db: Database) -> Written:
        rows = db.execute(_PARK, {"numbers": list(self._reasons), "reasons": list(self._reasons.values())})
        parked = {number for (number,) in rows}
        return Written([[number for number in reasons if number in parked] for reasons in self._each])
