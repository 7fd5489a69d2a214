"""What the log says to servers alone: the events of its controls, and their first arguments."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from adapters.contract.json_text import to_json
from domain.model import (
    BlockUser,
    ChangeMembers,
    Control,
    DisconnectUser,
    EraseUser,
    Json,
    RevokeTokens,
    UnblockUser,
    UserId,
)

DISCONNECT_USER = "user.disconnect"
REVOKE_TOKENS = "user.revoke"
BLOCK_USER = "user.block"
UNBLOCK_USER = "user.unblock"
CHANGE_MEMBERS = "topic.members"
ERASE_USER = "user.erase"


def control_event(control: Control) -> tuple[str, Json]:
    """``{user, reconnect}``, ``{user, issued_before}``, ``{user, until, reason}``; ``{topic, joined, left}``, with
    lists of users; and of the others ``{user}``. Times are in UTC, to the microsecond."""
    match control:
        case DisconnectUser(user, reconnect):
            return DISCONNECT_USER, to_json({"user": user, "reconnect": reconnect})
        case RevokeTokens(user, issued_before):
            return REVOKE_TOKENS, to_json({"user": user, "issued_before": _written(issued_before)})
        case BlockUser(user, until, reason):
            ends = _written(until) if until is not None else None
            return BLOCK_USER, to_json({"user": user, "until": ends, "reason": reason})
        case UnblockUser(user):
            return UNBLOCK_USER, to_json({"user": user})
        case ChangeMembers(topic, joined, left):
            return CHANGE_MEMBERS, to_json({"topic": topic, "joined": joined, "left": left})
        case EraseUser(user):
            return ERASE_USER, to_json({"user": user})


def read_control(event: str, payload: Json) -> Control | None:
    """None where it is no control that this program knows: a later one may have written it."""
    if event == CHANGE_MEMBERS:
        said: dict[str, Any] = json.loads(payload)
        return ChangeMembers(said["topic"], tuple(map(UserId, said["joined"])), tuple(map(UserId, said["left"])))
    if event not in (DISCONNECT_USER, REVOKE_TOKENS, BLOCK_USER, UNBLOCK_USER, ERASE_USER):
        return None
    members: dict[str, Any] = json.loads(payload)
    user = UserId(members["user"])
    match event:
        case "user.revoke":
            return RevokeTokens(user, _read(members["issued_before"]))
        case "user.block":
            ends = members["until"]
            return BlockUser(user, _read(ends) if ends is not None else None, members["reason"])
        case "user.unblock":
            return UnblockUser(user)
        case "user.erase":
            return EraseUser(user)
        case _:
            return DisconnectUser(user, members["reconnect"])


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text)
