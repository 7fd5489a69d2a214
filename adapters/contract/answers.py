"""What a client's request is answered with."""

from __future__ import annotations

import msgspec

from adapters.contract.events import item_json
from adapters.contract.json_text import timestamp
from adapters.contract.problems import problem_object
from domain.model import Answer, Changed, Counted, Counts, Failed, Listing, Refreshed


def counts_object(counts: Counts) -> dict[str, int]:
    """``{unread, unseen, total}``"""
    return {"unread": counts.unread, "unseen": counts.unseen, "total": counts.total}


def answer_object(answer: Answer) -> dict[str, object]:
    """What a client's request is answered with: ``{ok: true, ...}``, or ``{ok: false, error: problem}``."""
    match answer:
        case Failed(problem):
            return {"ok": False, "error": problem_object(problem)}
        case Refreshed(expires_at):
            return {"ok": True, "expires_at": timestamp(expires_at)}
        case Listing(items, next_page, counts, as_of):
            members: dict[str, object] = {
                "items": [msgspec.Raw(item_json(item)) for item in items],
                "next": str(next_page) if next_page is not None else None,
            }
        case Changed(changed, counts, as_of):
            members = {"changed": changed}
        case Counted(counts, as_of):
            members = {}
    return {"ok": True, **members, "counts": counts_object(counts), "as_of": str(as_of)}
