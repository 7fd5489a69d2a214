"""Appending to a log in a SQLite file: what is new, what was there before, and what contradicts it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from adapters.store.drafts import PreparedDraft
from adapters.store.sqlite.log import LogTransaction, NewEntry, as_json
from domain.errors import SynkroneError
from domain.model import NOTIFICATION_NEW, Appended, AppendOutcome, Checkpoint, Position
from domain.model.value import value


@value
class Batch:
    """What one call wants to be appended."""

    drafts: Sequence[PreparedDraft]
    checkpoint: Checkpoint | None
    all_or_nothing: bool


@value
class _Known:
    """A notification that was published before. The digest is in hexadecimal."""

    id: str
    offset: int
    digest: str | None


class _Publications:
    """What is known by id and by idempotency key, in the log and among what is on its way into it."""

    def __init__(self, transaction: LogTransaction, drafts: Iterable[PreparedDraft]) -> None:
        drafts = list(drafts)
        ids = [one.draft.notification.id for one in drafts]
        keys = [one.draft.idempotency_key for one in drafts if one.draft.idempotency_key is not None]
        self.by_id = _lookup(transaction, "id", ids)
        self.by_key = _lookup(transaction, "key", keys) if keys else {}

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


def _lookup(transaction: LogTransaction, column: str, values: Sequence[str]) -> dict[str, _Known]:
    (rows,) = transaction.db.execute(
        f"""
        SELECT json_group_array(json_array(value, id, offset, hex(digest), digest IS NULL))
        FROM (SELECT value FROM json_each(?)) JOIN entries ON {column} = value""",  # noqa: S608
        (as_json(values),),
    ).fetchone()
    return {
        value: _Known(id_, offset, None if without else digest.lower())
        for value, id_, offset, digest, without in json.loads(rows)
    }


def append(transaction: LogTransaction, batches: Sequence[Batch]) -> Sequence[Sequence[Appended] | SynkroneError]:
    """An operation of the writer."""
    known = _Publications(transaction, (one for batch in batches for one in batch.drafts))
    head = transaction.head
    new: list[NewEntry] = []
    outcomes: list[Sequence[Appended]] = []
    for batch in batches:
        layer = _Layer(known)
        last = head + len(new)
        entries, appended = _decide(transaction, batch, layer, last)
        if batch.all_or_nothing and any(one.outcome is AppendOutcome.CONFLICT for one in appended):
            outcomes.append([_kept_out(one, transaction, last) for one in appended])
            continue
        new.extend(entries)
        known.add(layer)
        outcomes.append(appended)
        if batch.checkpoint is not None:
            transaction.db.execute(
                "REPLACE INTO checkpoints (source, resume_id) VALUES (?, ?)",
                (batch.checkpoint.source, batch.checkpoint.resume_id),
            )
    if new:
        transaction.log(new)
    return outcomes


def _decide(
    transaction: LogTransaction, batch: Batch, layer: _Layer, last: int
) -> tuple[list[NewEntry], list[Appended]]:
    new: list[NewEntry] = []
    outcomes: list[Appended] = []
    for prepared in batch.drafts:
        draft = prepared.draft
        notification = draft.notification
        digest = prepared.digest.hex() if prepared.digest is not None else None
        earlier = layer.find(notification.id, draft.idempotency_key)
        if earlier:
            other = [one for one in earlier if one.digest is None or one.digest != digest]
            first = (other or earlier)[0]
            outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
            outcomes.append(Appended(outcome, first.id, transaction.generations.position(first.offset)))
            continue
        offset = last + len(new) + 1
        new.append(
            NewEntry(
                NOTIFICATION_NEW,
                prepared.payload,
                draft.rooms,
                notification.expires_at,
                notification.type,
                notification.id,
                draft.idempotency_key,
                prepared.digest,
            )
        )
        position = Position(transaction.generations.present, offset)
        outcomes.append(Appended(AppendOutcome.STORED, notification.id, position))
        one = _Known(notification.id, offset, digest)
        layer.by_id[one.id] = one
        if draft.idempotency_key is not None:
            layer.by_key[draft.idempotency_key] = one
    return new, outcomes


def _kept_out(appended: Appended, transaction: LogTransaction, head: int) -> Appended:
    if appended.position.offset <= head:
        return appended
    conflict = appended.outcome is AppendOutcome.CONFLICT
    outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
    return replace(appended, outcome=outcome, position=Position(transaction.generations.present, head))
