"""The appending function as a bare client calls it: one call and one commit after the other, all of it made ready."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from uuid import UUID

from adapters.store.drafts import PreparedDraft, prepare
from adapters.store.form import FORM
from adapters.store.postgresql.appending import _columns, append_name, append_query
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.database import Database
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from domain.model import Audience, Draft, Json, Publication
from domain.policy import ConnectionPolicy
from tests.benchmarks.servers import NOTIFICATION

DATA = Json(b'{"mission":4711,"sent":1000000000000000}')

_policy, _clock, _randomness = ConnectionPolicy(), SystemClock(), SystemRandomness()


def draft(user: str) -> Draft:
    publication = Publication(
        Audience.users([user]),
        NOTIFICATION["type"],
        NOTIFICATION["title"],
        body=NOTIFICATION["body"],
        data=DATA,
    )
    return _policy.draft(publication, _randomness.new_id(), _clock.now(), None)


async def ready_batches(batches: int, batch: int, users: int) -> Sequence[Sequence[PreparedDraft]]:
    """To users in turn."""
    return [await prepare([draft(str(number % users)) for number in range(batch)]) for _ in range(batches)]


class Appender:
    """One connection. It connects as it is made."""

    def __init__(self, url: str, batches: Sequence[Sequence[PreparedDraft]]) -> None:
        self._database = Database(Address(url))
        self._columns = [_columns(batch) for batch in batches]
        self._query = append_query()
        self._database.one(b"SELECT 1")

    def run(self) -> None:
        """Append everything, and disconnect; blocks."""
        answered: list[UUID] = []
        known = 0
        with closing(self._database):
            for columns in self._columns:
                name = append_name()
                known, _, is_refused = self._database.one(
                    self._query,
                    {
                        "name": name,
                        "answered": answered,
                        "at": None,
                        "known": known,
                        "known_epoch": None,
                        "sync": False,
                        "form": FORM,
                        "sources": [],
                        "old_resume_ids": [],
                        "resume_ids": [],
                        **columns,
                    },
                )
                if is_refused:
                    raise RuntimeError("an id was there already")
                answered = [name]
