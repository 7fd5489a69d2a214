"""What backends publish: read, and told apart from what was published before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec

from adapters.contract.json_text import InvalidJson, decode, parse_timestamp, repeats_members
from domain.errors import ERRORS_MAX, InvalidPublication
from domain.model import Audience, Draft, FieldError, Json, Publication, Room
from domain.policy import (
    AUDIENCE_MAX_GROUPS,
    AUDIENCE_MAX_USERS,
    AUDIENCE_RULE,
    GROUPS_RULE,
    IDENTIFIER_RULE,
    REPEATED,
    is_identifier,
    is_name,
    name_fault,
)

T = TypeVar("T")

_any = msgspec.json.Decoder()
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _WithData(msgspec.Struct):
    """The others are passed over."""

    data: msgspec.Raw


_raw_data = msgspec.json.Decoder(_WithData)
_NAMED_MAX = 262_144
"""Bytes of a publication in which it is looked for what is given more than once; of a larger one only that is said."""
_SHOWN_MAX = 128
_PATH_MAX = 512


def fingerprint(draft: Draft) -> bytes:
    """A digest of what a publisher asked for: two drafts with the same one have the same content.

    The order of members and white space do not count; neither do the time of publication nor an id given by us.
    """
    notification = draft.notification
    content: list[object] = [
        notification.id if draft.own_id else None,
        sorted(str(room) for room in draft.rooms),
        notification.type,
        notification.title,
        notification.body,
        msgspec.json.decode(notification.data) if notification.data is not None else None,
        notification.expires_at,
    ]
    if draft.deliver_at is not None:
        # Without one it is what it was before there was such a thing.
        content.append(draft.deliver_at)
    if notification.collapse_key is not None:
        content.append({"collapse_key": notification.collapse_key})
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()


class _Members(list[tuple[str, object]]):
    """The members of an object, all of them."""


def _repeated(body: bytes, path: str) -> tuple[list[FieldError], int]:
    """The members that a JSON text gives more than once, behind ``path``: the first ones, and how many there are."""
    errors: list[FieldError] = []
    total = 0
    unseen: list[tuple[str, object]] = [(path, json.loads(body, object_pairs_hook=_Members))]
    while unseen:
        place, value = unseen.pop()
        if isinstance(value, _Members):
            names: set[str] = set()
            twice: set[str] = set()
            for name, member in value:
                inside = f"{place}{name[:_SHOWN_MAX]}"[:_PATH_MAX]
                if name in names and name not in twice:
                    twice.add(name)
                    total += 1
                    if len(errors) < ERRORS_MAX:
                        errors.append(FieldError(inside, REPEATED))
                names.add(name)
                if isinstance(member, list):
                    unseen.append((f"{inside}." if isinstance(member, _Members) else inside, member))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, list):
                    inside = f"{place}[{index}]"[:_PATH_MAX]
                    unseen.append((f"{inside}." if isinstance(item, _Members) else inside, item))
    return errors, total


def parse_publication(body: bytes, path: str = "") -> Publication:
    """Read one publish body: ``{to, type, title?, body?, data?, id?, expires_at?, deliver_at?, collapse_key?}``.

    Raises InvalidJson, or InvalidPublication that names every bad field behind ``path``: what is not as it must be,
    what is not known, and what is given more than once, at any depth. Recipients are given ``data`` as it came, and of
    a member that is there twice one would read the first and another the last (RFC 8259, section 4).
    """
    values = _publication_object(body, path)
    errors: list[FieldError] = []
    total = 0
    if repeats_members(body, values):
        if len(body) > _NAMED_MAX:
            raise InvalidPublication([FieldError(path.rstrip(".") or "body", "gives a member more than once")])
        errors, total = _repeated(body, path)
    total -= len(errors)
    to = _read(values, "to", _audience, errors, path, required=True)
    kind = _read(values, "type", _name, errors, path, required=True)
    title = _read(values, "title", _text, errors, path)
    text = _read(values, "body", _text, errors, path)
    identifier = _read(values, "id", _identifier, errors, path)
    expires_at = _read(values, "expires_at", _time, errors, path)
    deliver_at = _read(values, "deliver_at", _time, errors, path)
    collapse_key = _read(values, "collapse_key", _identifier, errors, path)
    data = _read(values, "data", _object, errors, path)
    if values:
        total += max(0, len(values) - ERRORS_MAX)
        errors.extend(FieldError(f"{path}{name[:_SHOWN_MAX]}", "is not known") for name in islice(values, ERRORS_MAX))
    if errors or to is None or kind is None:
        raise InvalidPublication(errors, len(errors) + total)
    raw = Json(bytes(_raw_data.decode(body).data)) if data is not None else None
    return Publication(to, kind, title, text, raw, identifier, expires_at, deliver_at, collapse_key)


def _publication_object(body: bytes, path: str) -> dict[str, object]:
    try:
        values = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Where it is no JSON at all, this says what is wrong with it.
        values = decode(_raw_object, body)
        if values is not None:
            raise InvalidJson(
                "a string holds an unpaired surrogate, a number is out of range, or it is nested too deeply"
            ) from None
    if not isinstance(values, dict):
        raise InvalidPublication([FieldError(path.rstrip(".") or "body", "must be a JSON object")])
    return values


def _read(
    values: dict[str, object],
    name: str,
    convert: Callable[[object], T],
    errors: list[FieldError],
    path: str,
    *,
    required: bool = False,
) -> T | None:
    """A member, taken out and converted; None where it is missing, null, or wrong, which ``errors`` then say."""
    value = values.pop(name, None)
    if value is None:
        if required:
            errors.append(FieldError(f"{path}{name}", "is required"))
        return None
    try:
        return convert(value)
    except _Bad as bad:
        errors.append(FieldError(f"{path}{name}{bad.below}", bad.message))
        return None


class _Bad(Exception):
    def __init__(self, message: str, below: str = "") -> None:
        self.message = message
        self.below = below


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Bad("must be a string")
    return value


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise _Bad("must be an object")
    return value


def _time(value: object) -> datetime:
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise _Bad(str(error)) from None


def _audience(value: Any) -> Audience:
    if not isinstance(value, dict) or len(value) != 1:
        raise _Bad("must be exactly one of {user}, {users}, {role}, {topic}, {any_of}, {all_of}, {everyone: true}")
    ((kind, whom),) = value.items()
    if kind == "user":
        return Audience.user(_name(whom, ".user"))
    if kind == "users":
        if not isinstance(whom, list):
            raise _Bad("must be a list of user ids", ".users")
        if not 0 < len(whom) <= AUDIENCE_MAX_USERS:
            raise _Bad(AUDIENCE_RULE, ".users")
        return Audience.users(_name(user, f".users[{index}]") for index, user in enumerate(whom))
    if kind == "role":
        return Audience.role(_name(whom, ".role"))
    if kind == "topic":
        return Audience.topic(_name(whom, ".topic"))
    if kind == "any_of":
        return Audience.any_of(_groups(whom, ".any_of"))
    if kind == "all_of":
        return Audience.all_of(_groups(whom, ".all_of"))
    if kind == "everyone":
        if whom is not True:
            raise _Bad("must be true", ".everyone")
        return Audience.everyone()
    raise _Bad("is not known", f".{kind[:_SHOWN_MAX]}")


def _groups(value: object, below: str) -> list[Room]:
    if not isinstance(value, list):
        raise _Bad("must be a list of {role} and {topic}", below)
    if not 0 < len(value) <= AUDIENCE_MAX_GROUPS:
        raise _Bad(GROUPS_RULE, below)
    return [_group(group, f"{below}[{index}]") for index, group in enumerate(value)]


def _group(value: object, below: str) -> Room:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= _GROUP_ROOMS.keys():
        raise _Bad("must be exactly one of {role}, {topic}", below)
    ((kind, name),) = value.items()
    return _GROUP_ROOMS[kind](_name(name, f"{below}.{kind}"))


_GROUP_ROOMS = {"role": Room.of_role, "topic": Room.of_topic}


def _name(value: object, below: str = "") -> str:
    if not is_name(value):
        raise _Bad(name_fault(value), below)
    return value


def _identifier(value: object) -> str:
    if not is_identifier(_text(value)):
        raise _Bad(IDENTIFIER_RULE)
    return _text(value)
