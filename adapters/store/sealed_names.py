"""What was published for users who were erased, as it is recognised where somebody publishes it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from adapters.store.decisions import Known
from adapters.store.drafts import PreparedDraft
from adapters.store.seals import SEALED, Seals


def is_sealed(known: Known) -> bool:
    return known.id.startswith(SEALED) or (known.key is not None and known.key.startswith(SEALED))


def unsealed(known: Known, seals: Seals, drafts: Iterable[PreparedDraft]) -> Known:
    """As it was before it was sealed, as far as that is what one of the drafts says; of an id that cannot be known any
    more that is the draft's."""
    if not is_sealed(known):
        return known
    for one in drafts:
        id_, key = one.draft.notification.id, one.draft.idempotency_key
        has_id = known.id == id_ or seals.is_of_id(known.id, id_)
        has_key = known.key is not None and key is not None and seals.is_of_key(known.key, key)
        if not has_id and not has_key:
            continue
        is_same = one.digest is not None and known.digest == seals.digest(one.digest)
        return replace(
            known,
            id=id_ if known.id.startswith(SEALED) else known.id,
            key=key if has_key else None,
            digest=one.digest if is_same else known.digest,
        )
    return known
