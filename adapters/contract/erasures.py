"""Erasing users, and giving them what is stored of them, as backends are told of it."""

from __future__ import annotations

import msgspec

from adapters.contract.answers import counts_object
from adapters.contract.events import item_json
from adapters.contract.json_text import timestamp, to_json
from domain.model import Erasure, Span, UserExport, UserPart, roles_in


def erasure_object(erasure: Erasure) -> dict[str, object]:
    """``{id, user, state, begun_at, done_at, left_in}``"""
    return {
        "id": erasure.id,
        "user": erasure.user,
        "state": erasure.state.value,
        "begun_at": timestamp(erasure.begun_at),
        "done_at": timestamp(erasure.done_at) if erasure.done_at is not None else None,
        "left_in": [place.value for place in erasure.left_in],
    }


def export_line(export: UserExport) -> bytes:
    """The first line: ``{user, roles: [{roles, received_up_to}], topics: [{topic, since, until}], counts, as_of}``."""
    sets = [{"roles": roles_in(roles), "received_up_to": offset} for roles, offset in sorted(export.marks.items())]
    return _line(
        {
            "user": export.subscriber.user,
            "roles": sets,
            "topics": [_stay(stay) for stay in export.stays],
            "counts": counts_object(export.counts),
            "as_of": str(export.as_of),
        }
    )


def _stay(stay: Span) -> dict[str, object]:
    """By offsets of the log; ``until`` is None while it lasts."""
    return {"topic": stay.room.partition(":")[2], "since": stay.after, "until": stay.upto}


def notification_lines(part: UserPart) -> bytes:
    """Each ``{notification}``, as an inbox lists it."""
    return b"".join(_line({"notification": msgspec.Raw(item_json(item))}) for item in part)


def _line(value: object) -> bytes:
    return to_json(value) + b"\n"
