"""What operators say against users: the bodies of requests, and what they are answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from adapters.contract.json_text import parse_argument, parse_timestamp, timestamp
from domain.errors import InvalidArgument
from domain.model import Ambiguous, Blocked, Revoked
from domain.policy import REASON_MAX_LENGTH, REPEATED, is_name, name_fault


def read_revocation(body: bytes) -> datetime | None:
    """``{issued_before?}``, or nothing. Raises InvalidJson and InvalidArgument."""
    return _time(_members(body, ("issued_before",)), "issued_before")


def read_block(body: bytes) -> tuple[datetime | None, str | None]:
    """``{until?, reason?}``, or nothing. Raises InvalidJson and InvalidArgument."""
    members = _members(body, ("until", "reason"))
    reason = members.get("reason")
    if reason is not None and not is_name(reason, REASON_MAX_LENGTH):
        raise InvalidArgument("reason", name_fault(reason, REASON_MAX_LENGTH))
    return _time(members, "until"), reason


def revoked_object(revoked: Revoked) -> dict[str, object]:
    """``{issued_before, disconnected}``"""
    return {"issued_before": timestamp(revoked.issued_before), "disconnected": revoked.disconnected}


def blocked_object(blocked: Blocked) -> dict[str, object]:
    """``{blocked, until, reason, disconnected}``; who is blocked with ``until`` null is so for good."""
    block = blocked.block
    return {
        "blocked": block is not None,
        "until": timestamp(block.until) if block is not None and block.until is not None else None,
        "reason": block.reason if block is not None else None,
        "disconnected": blocked.disconnected,
    }


def _members(body: bytes, names: Collection[str]) -> Mapping[str, object]:
    argument = parse_argument(body) if body else {}
    if not isinstance(argument, dict):
        raise InvalidArgument("body", "must be an object")
    if isinstance(argument, Ambiguous):
        raise InvalidArgument("body", f"a member {REPEATED}")
    for name in argument:
        if name not in names:
            raise InvalidArgument("body", f"may hold {' and '.join(names)} alone")
    return argument


def _time(members: Mapping[str, object], name: str) -> datetime | None:
    value = members.get(name)
    if value is None:
        return None
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise InvalidArgument(name, str(error)) from None
