"""Appending to a log in a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapters.store.decisions import Batch, Known, decide
from adapters.store.drafts import PreparedDraft
from adapters.store.sqlite.erased import tombstones
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.restrictions import restrict
from adapters.store.sqlite.schedule import number_waiting, schedule
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction, NewNotification
from adapters.store.sqlite.users import checkpoint
from domain.errors import SynkroneError
from domain.model import Appended, Draft, Position, RestrictUser, UserControl


def append(
    scheduled_most: int, transaction: LogTransaction, batches: Sequence[Batch]
) -> Sequence[Sequence[Appended] | SynkroneError]:
    """An operation of the writer. No more than so many wait for their time."""
    locators = {id(one): _locators(one.draft) for batch in batches for one in batch.drafts}
    known = _known(
        transaction,
        [number for some in locators.values() for number in some],
        [one for batch in batches for one in batch.drafts],
    )
    stored = {
        batch.checkpoint.source: checkpoint(transaction.db, batch.checkpoint.source)
        for batch in batches
        if batch.checkpoint is not None
    }
    room = None
    if any(one.draft.waits for batch in batches for one in batch.drafts):
        room = max(0, scheduled_most - number_waiting(transaction.db))
    decision = decide(batches, known, transaction.generations, transaction.head, stored, room)
    if decision.new:
        transaction.log_notifications([NewNotification(one, locators[id(one)]) for one in decision.new])
    if decision.waiting:
        schedule(transaction, [NewNotification(one, locators[id(one)]) for one in decision.waiting])
    transaction.db.executemany(
        "REPLACE INTO checkpoints (source, resume_id) VALUES (?, ?)",
        [(one.source, one.resume_id) for one in decision.checkpoints],
    )
    return decision.outcomes


def append_control(transaction: LogTransaction, control: UserControl) -> Position:
    """An operation of the writer."""
    transaction.log_control(control)
    if isinstance(control, RestrictUser):
        restrict(transaction, control)
    return transaction.as_of


def _known(transaction: LogTransaction, locators: Sequence[int], drafts: Sequence[PreparedDraft]) -> list[Known]:
    (rows,) = transaction.db.execute(
        """
        SELECT json_group_array(json_array(
            coalesce(contents.id, scheduled.id), coalesce(contents.key, scheduled.key), locators.offset,
            hex(coalesce(contents.digest, scheduled.digest)),
            contents.digest IS NULL AND scheduled.digest IS NULL))
        FROM (SELECT value FROM json_each(?)) CROSS JOIN locators ON locator = value
        LEFT JOIN contents ON contents.offset = locators.offset
        LEFT JOIN scheduled ON scheduled.number = -locators.offset
        WHERE coalesce(contents.offset, scheduled.number) IS NOT NULL""",
        (as_json(locators),),
    ).fetchone()
    found = [
        Known(id_, key, offset, None if without else bytes.fromhex(digest))
        for id_, key, offset, digest, without in json.loads(rows)
    ]
    return found + tombstones(transaction.db, drafts)


def _locators(draft: Draft) -> tuple[int, ...]:
    of_id = locator(draft.notification.id)
    if draft.idempotency_key is None:
        return (of_id,)
    of_key = locator(draft.idempotency_key)
    return (of_id, of_key) if of_key != of_id else (of_id,)
