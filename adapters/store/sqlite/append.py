"""Appending to a log in a SQLite file: what is new, what was there before, and what contradicts it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from adapters.store.drafts import PreparedDraft
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction, NewNotification
from domain.errors import SynkroneError
from domain.model import Appended, AppendOutcome, Checkpoint, Draft, Position
from domain.model.value import value


@value
class Batch:
    """What one call wants to be appended."""

    drafts: Sequence[PreparedDraft]
    checkpoint: Checkpoint | None
    all_or_nothing: bool


@value
class _Known:
    """A notification that was published before."""

    id: str
    offset: int
    digest: bytes | None


class _Publications:
    """What is known by id and by idempotency key, in the log and among what is on its way into it."""

    def __init__(self, transaction: LogTransaction, locators: Sequence[int]) -> None:
        self.by_id: dict[str, _Known] = {}
        self.by_key: dict[str, _Known] = {}
        (rows,) = transaction.db.execute(
            """
            SELECT json_group_array(json_array(id, key, offset, hex(digest), digest IS NULL))
            FROM (SELECT value FROM json_each(?)) CROSS JOIN locators ON locator = value
            JOIN contents USING (offset)""",
            (as_json(locators),),
        ).fetchone()
        for id_, key, offset, digest, without in json.loads(rows):
            known = self.by_id[id_] = _Known(id_, offset, None if without else bytes.fromhex(digest))
            if key is not None:
                self.by_key[key] = known

    def add(self, others: _Layer) -> None:
        self.by_id |= others.by_id
        self.by_key |= others.by_key


class _Layer:
    """The same for one batch, which may yet be kept out."""

    def __init__(self, below: _Publications) -> None:
        self._below = below
        self.by_id: dict[str, _Known] = {}
        self.by_key: dict[str, _Known] = {}

    def find(self, id_: str, key: str | None) -> list[_Known]:
        found = [self.by_id.get(id_) or self._below.by_id.get(id_)]
        if key is not None:
            found.append(self.by_key.get(key) or self._below.by_key.get(key))
        return [one for one in found if one is not None]

    def add(self, known: _Known, key: str | None) -> None:
        self.by_id[known.id] = known
        if key is not None:
            self.by_key[key] = known


def append(transaction: LogTransaction, batches: Sequence[Batch]) -> Sequence[Sequence[Appended] | SynkroneError]:
    """An operation of the writer."""
    located = [[NewNotification(one, _locators(one.draft)) for one in batch.drafts] for batch in batches]
    known = _Publications(transaction, [number for some in located for one in some for number in one.locators])
    new: list[NewNotification] = []
    outcomes: list[Sequence[Appended]] = []
    for batch, drafts in zip(batches, located, strict=True):
        layer = _Layer(known)
        last = transaction.head + len(new)
        stored, appended = _decide(transaction, drafts, layer, last)
        if batch.all_or_nothing and any(one.outcome is AppendOutcome.CONFLICT for one in appended):
            outcomes.append([_kept_out(one, transaction, last) for one in appended])
            continue
        new.extend(stored)
        known.add(layer)
        outcomes.append(appended)
        if batch.checkpoint is not None:
            transaction.db.execute(
                "REPLACE INTO checkpoints (source, resume_id) VALUES (?, ?)",
                (batch.checkpoint.source, batch.checkpoint.resume_id),
            )
    if new:
        transaction.log_notifications(new)
    return outcomes


def _locators(draft: Draft) -> tuple[int, ...]:
    of_id = locator(draft.notification.id)
    if draft.idempotency_key is None:
        return (of_id,)
    of_key = locator(draft.idempotency_key)
    return (of_id, of_key) if of_key != of_id else (of_id,)


def _decide(
    transaction: LogTransaction, drafts: Sequence[NewNotification], layer: _Layer, last: int
) -> tuple[list[NewNotification], list[Appended]]:
    """Those that are to be stored after the offset ``last``, and what becomes of each."""
    epoch = transaction.generations.present
    new: list[NewNotification] = []
    outcomes: list[Appended] = []
    for one in drafts:
        draft = one.prepared.draft
        id_, key, digest = draft.notification.id, draft.idempotency_key, one.prepared.digest
        earlier = layer.find(id_, key)
        if earlier:
            other = [known for known in earlier if known.digest is None or known.digest != digest]
            first = (other or earlier)[0]
            outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
            outcomes.append(Appended(outcome, first.id, transaction.generations.position(first.offset)))
            continue
        new.append(one)
        offset = last + len(new)
        outcomes.append(Appended(AppendOutcome.STORED, id_, Position(epoch, offset)))
        layer.add(_Known(id_, offset, digest), key)
    return new, outcomes


def _kept_out(appended: Appended, transaction: LogTransaction, head: int) -> Appended:
    if appended.position.offset <= head:
        return appended
    conflict = appended.outcome is AppendOutcome.CONFLICT
    outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
    return replace(appended, outcome=outcome, position=Position(transaction.generations.present, head))
