"""What backends do to notifications that they have published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from adapters.contract.json_text import decode, parse_timestamp, repeats_members, to_json
from domain.errors import ERRORS_MAX, InvalidPublication
from domain.model import Amended, AmendedSchedule, FieldError, Json, Notification
from domain.model.value import value
from domain.policy import REPEATED, is_name, name_fault
from domain.ports import Revise

_NULL: Final = b"null"
_SHOWN_MAX: Final = 128
_PASSED: Final = datetime.min.replace(tzinfo=UTC)
_any = msgspec.json.Decoder()
_in_order = msgspec.json.Encoder(order="deterministic")
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def amended_object(amended: Amended | AmendedSchedule) -> dict[str, object]:
    """``{id, cursor}``; of what was not sent yet the log says nothing, and the cursor is null."""
    return {"id": amended.id, "cursor": str(amended.position) if isinstance(amended, Amended) else None}


@value
class Patch:
    """What a notification becomes, and when it is sent, where that is said."""

    revise: Revise
    deliver_at: datetime | None


def read_patch(body: bytes) -> Patch:
    """What a JSON Merge Patch (RFC 7396) makes of a notification: ``{type?, title?, body?, data?, expires_at?,
    deliver_at?}``.

    Of ``data`` what the patch does not name stays as it came. Without a ``deliver_at`` a notification is sent now, so
    null is a time that has passed. Raises InvalidJson, or InvalidPublication that names every bad field; ``revise``
    raises InvalidPublication where ``data`` is nested more deeply than can be merged.
    """
    members = decode(_raw_object, body)
    if members is None:
        raise InvalidPublication([FieldError("body", "must be a JSON object")])
    errors: list[FieldError] = []
    try:
        values = _any.decode(body)
        if repeats_members(body, values):
            raise InvalidPublication([FieldError("body", REPEATED)])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidPublication([FieldError("body", "holds a number out of range, or is nested too deeply")]) from None
    changes: dict[str, Any] = {}
    for name in members:
        read = _MEMBERS.get(name)
        try:
            if read is None:
                raise _Bad("is not known")
            changes[name] = read(values[name])
        except _Bad as bad:
            errors.append(FieldError(name[:_SHOWN_MAX], str(bad)))
    if errors:
        raise InvalidPublication(errors[:ERRORS_MAX], len(errors))
    patch = bytes(members["data"]) if changes.pop("data", False) else None
    deliver_at = (changes.pop("deliver_at") or _PASSED) if "deliver_at" in changes else None

    def revise(notification: Notification) -> Notification:
        revised = replace(notification, **changes)
        return revised if patch is None else replace(revised, data=_merged_data(notification.data, patch))

    return Patch(revise, deliver_at)


class _Bad(Exception):
    pass


def _type(value: object) -> str:
    if not is_name(value):
        raise _Bad(name_fault(value))
    return value


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _Bad("must be a string or null")
    return value


def _time(value: object) -> datetime | None:
    try:
        return parse_timestamp(value) if value is not None else None
    except ValueError as error:
        raise _Bad(str(error)) from None


def _data(value: object) -> bool:
    """Whether there is one."""
    if value is not None and not isinstance(value, dict):
        raise _Bad("must be an object or null")
    return True


_MEMBERS: Final[dict[str, Callable[[object], object]]] = {
    "type": _type,
    "title": _text,
    "body": _text,
    "data": _data,
    "expires_at": _time,
    "deliver_at": _time,
}


def _merged_data(data: Json | None, patch: bytes) -> Json | None:
    if patch == _NULL:
        return None
    try:
        merged = _merged(data, patch)
        return data if data is not None and _is_same(data, merged) else Json(merged)
    except RecursionError:
        # The decoder's own limit may be another, and the thread of a store that asks has a stack of its own.
        raise InvalidPublication([FieldError("data", "is nested too deeply")]) from None


def _is_same(one: bytes, other: bytes) -> bool:
    """Whatever the order of members and the white space are."""
    try:
        # Compared as values, true would be the same as 1.
        return _in_order.encode(_any.decode(one)) == _in_order.encode(_any.decode(other))
    except msgspec.DecodeError:
        # A number out of range, which came from a database: there it is one.
        return one == other


def _merged(target: bytes | None, patch: bytes) -> bytes:
    """As RFC 7396, section 2, has it. What the patch does not name stays octet by octet."""
    if not _is_object(patch):
        return patch
    members = dict(_raw_object.decode(target)) if target is not None and _is_object(target) else {}
    for name, member in _raw_object.decode(patch).items():
        octets = bytes(member)
        if octets == _NULL:
            members.pop(name, None)
        else:
            before = members.get(name)
            members[name] = msgspec.Raw(_merged(bytes(before) if before is not None else None, octets))
    return to_json(members)


def _is_object(text: bytes) -> bool:
    return text.startswith(b"{")
