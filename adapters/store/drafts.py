"""Drafts, made ready for a log: all of it that does not depend on what the log holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.contract.events import notification_json
from adapters.contract.publications import fingerprint
from adapters.store.tail import weight
from domain.model import Draft, Json
from domain.model.value import value

_PREPARED_AT_A_TIME = 512 * 1024


@value
class PreparedDraft:
    """A draft, its JSON and its digest. Without an id or key of the publisher's there is no digest."""

    draft: Draft
    payload: Json
    digest: bytes | None

    @property
    def weight(self) -> int:
        """About how much memory its entry takes, in bytes."""
        return weight(len(self.payload), len(self.draft.rooms))


async def prepare(batch: Sequence[Draft]) -> list[PreparedDraft]:
    """The loop gets its turns in a large batch."""
    prepared: list[PreparedDraft] = []
    since_turn = 0
    for draft in batch:
        if since_turn >= _PREPARED_AT_A_TIME:
            since_turn = 0
            await asyncio.sleep(0)
        retryable = draft.own_id or draft.idempotency_key is not None
        ready = PreparedDraft(draft, notification_json(draft.notification), fingerprint(draft) if retryable else None)
        prepared.append(ready)
        since_turn += ready.weight
    return prepared
