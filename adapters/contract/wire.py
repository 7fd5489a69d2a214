"""The JSON of the public contract: what publishers send and what recipients get, shared by all adapters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec

from domain import model
from domain.errors import ERRORS_MAX, InvalidPublication, SynkroneError
from domain.model import (
    Ambiguous,
    Answer,
    Audience,
    Changed,
    Counted,
    Counts,
    Draft,
    Failed,
    FieldError,
    Item,
    Json,
    Listing,
    Notification,
    Problem,
    Publication,
    Refreshed,
)
from domain.policy import (
    AUDIENCE_MAX_USERS,
    AUDIENCE_RULE,
    IDENTIFIER_RULE,
    REPEATED,
    is_identifier,
    is_name,
    name_fault,
)

NOTIFICATION_NEW = model.NOTIFICATION_NEW
NOTIFICATION_UPDATED = model.NOTIFICATION_UPDATED
NOTIFICATION_DELETED = model.NOTIFICATION_DELETED

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_any = msgspec.json.Decoder()
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_raw_array = msgspec.json.Decoder(list[msgspec.Raw])
# Every escape of a JSON text; the group holds those of a colon.
_ESCAPE = re.compile(rb"\\(?:(u003[aA])|.)")
_SEARCHED_MAX = 4096
_NAMED_MAX = 262_144
"""Bytes of a publication in which it is looked for what is given more than once; of a larger one only that is said."""
_SHOWN_MAX = 128
_PATH_MAX = 512
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class InvalidJson(SynkroneError):
    code = "invalid_json"
    title = "The body is not JSON."


def to_json(value: object) -> Json:
    return Json(_encoder.encode(value))


def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def problem_object(problem: Problem) -> dict[str, object]:
    """``{code, title, detail?, retryable}``"""
    members: dict[str, object] = {"code": problem.code, "title": problem.title, "retryable": problem.retryable}
    if problem.detail is not None:
        members["detail"] = problem.detail
    return members


def notification_json(notification: Notification) -> Json:
    """The object recipients get. The publisher's ``data`` goes in as it came."""
    return to_json(
        {
            "id": notification.id,
            "type": notification.type,
            "title": notification.title,
            "body": notification.body,
            "data": msgspec.Raw(notification.data) if notification.data is not None else None,
            "created_at": timestamp(notification.created_at),
            "expires_at": timestamp(notification.expires_at) if notification.expires_at is not None else None,
            "audience": notification.audience.value,
            "read_at": None,
            "seen_at": None,
            "archived_at": None,
        }
    )


def object_of(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """What a decoder of the standard library is to make of an object: Ambiguous, where a member is repeated."""
    values = dict(members)
    if len(values) == len(members):
        return values
    return Ambiguous(values, _first_repeated(name for name, _ in members))


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            break
        seen.add(name)
    return name


_NO_STATE = b'"read_at":null,"seen_at":null,"archived_at":null}'


def item_json(item: Item) -> Json:
    """A notification as it lies in its user's inbox: the bytes of ``notification.new`` with the three times."""
    if item.read_at is None and item.seen_at is None and item.archived_at is None:
        return item.payload
    state = to_json(_times({"read_at": item.read_at, "seen_at": item.seen_at, "archived_at": item.archived_at}))
    return Json(item.payload.removesuffix(_NO_STATE) + state[1:])


def updated_json(ids: Sequence[str] | None, change: Mapping[str, datetime | None]) -> Json:
    """The first argument of ``notification.updated``: ``{ids, change}``, or ``{all: true, change}`` without ids.

    A time of ``change`` is set where there is none; null takes one away.
    """
    which: dict[str, object] = {"all": True} if ids is None else {"ids": ids}
    return to_json(which | {"change": _times(change)})


def deleted_json(ids: Sequence[str]) -> Json:
    """The first argument of ``notification.deleted``: ``{ids}``."""
    return to_json({"ids": ids})


def _times(times: Mapping[str, datetime | None]) -> dict[str, str | None]:
    return {name: timestamp(time) if time is not None else None for name, time in times.items()}


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


def fingerprint(draft: Draft) -> bytes:
    """A digest of what a publisher asked for: two drafts with the same one have the same content.

    The order of members and white space do not count; neither do the time of publication nor an id given by us.
    """
    notification = draft.notification
    content = [
        notification.id if draft.own_id else None,
        sorted(str(room) for room in draft.rooms),
        notification.type,
        notification.title,
        notification.body,
        msgspec.json.decode(notification.data) if notification.data is not None else None,
        notification.expires_at,
    ]
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()


def parse_object(body: bytes) -> Mapping[str, msgspec.Raw]:
    """The members of a JSON object, each still undecoded. Raises InvalidJson and InvalidPublication."""
    members = _decode(_raw_object, body)
    if members is None:
        raise InvalidPublication([FieldError("", "must be a JSON object")])
    return members


def parse_array(body: bytes) -> Sequence[bytes]:
    """The items of a JSON array, each still undecoded. Raises InvalidJson and InvalidPublication."""
    items = _decode(_raw_array, body)
    if items is None:
        raise InvalidPublication([FieldError("body", "must be a JSON array")])
    return [bytes(item) for item in items]


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """The value, or None where the JSON is good but of another shape."""
    try:
        # What the decoder skips it does not check for UTF-8, and it would reach every recipient.
        body.decode()
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            # Of what has another shape the decoder has read no more than its first octet.
            _raw.decode(body)
            return None
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 at byte {error.start}") from None
    except msgspec.DecodeError as error:
        raise InvalidJson(str(error)) from None
    except RecursionError:
        raise InvalidJson("nested too deeply") from None


def parse_argument(body: bytes) -> object:
    """Any JSON value that a client sends; an object that says something twice is Ambiguous. Raises InvalidJson."""
    try:
        value = _any.decode(body)
        return mark_ambiguous(body, value) if repeats_members(body, value) else value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidJson from None


def repeats_members(body: bytes, value: object) -> bool:
    """Whether an object of a JSON text has a member more than once; ``value`` is what it was decoded to.

    There is a colon to every member of the text, and beside those only in strings. Of a repeated member one is dropped,
    and its colons with it: then the text has more of them, escaped ones included, than what is left. Two passes at the
    speed of C; a function that is called for each object would take ten times as long.
    """
    colons = body.count(b":")
    if b"\\" in body:
        colons += sum(map(bool, _ESCAPE.findall(body)))
    try:
        kept = _encoder.encode(value).count(b":")
    except UnicodeEncodeError:
        # The decoder of the standard library takes half of a surrogate pair, and its encoder gives it back.
        kept = json.dumps(value, separators=(",", ":")).count(":")
    return colons != kept


def mark_ambiguous(body: bytes, value: object) -> object:
    """``value``, of a text that repeats members, with an Ambiguous for an object, or for each object of an array.

    Which member it is, is said where that is quickly found.
    """
    if len(body) <= _SEARCHED_MAX:
        value = json.loads(body, object_pairs_hook=object_of)
    if isinstance(value, list):
        return [_ambiguous(item) for item in value]
    return _ambiguous(value)


def _ambiguous(value: object) -> object:
    return Ambiguous(value, "") if type(value) is dict else value


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
    """Read one publish body: ``{to, type, title?, body?, data?, id?, expires_at?}``.

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
    data = _read(values, "data", _object, errors, path)
    if values:
        total += max(0, len(values) - ERRORS_MAX)
        errors.extend(FieldError(f"{path}{name[:_SHOWN_MAX]}", "is not known") for name in islice(values, ERRORS_MAX))
    if errors or to is None or kind is None:
        raise InvalidPublication(errors, len(errors) + total)
    raw = Json(bytes(_raw_object.decode(body)["data"])) if data is not None else None
    return Publication(to=to, type=kind, title=title, body=text, data=raw, id=identifier, expires_at=expires_at)


def _publication_object(body: bytes, path: str) -> dict[str, object]:
    try:
        values = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Where it is no JSON at all, this says what is wrong with it.
        values = _decode(_raw_object, body)
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
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise _Bad("must be an RFC 3339 time with a zone, for example 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Bad("is not a time of the calendar") from None


def _audience(value: Any) -> Audience:
    if not isinstance(value, dict) or len(value) != 1:
        raise _Bad("must be exactly one of {user}, {users}, {role}, {everyone: true}")
    ((kind, whom),) = value.items()
    if kind == "user":
        return Audience.users([_name(whom, ".user")])
    if kind == "users":
        if not isinstance(whom, list):
            raise _Bad("must be a list of user ids", ".users")
        if not 0 < len(whom) <= AUDIENCE_MAX_USERS:
            raise _Bad(AUDIENCE_RULE, ".users")
        return Audience.users(_name(user, f".users[{index}]") for index, user in enumerate(whom))
    if kind == "role":
        return Audience.role(_name(whom, ".role"))
    if kind == "everyone":
        if whom is not True:
            raise _Bad("must be true", ".everyone")
        return Audience.everyone()
    raise _Bad("is not known", f".{kind[:_SHOWN_MAX]}")


def _name(value: object, below: str = "") -> str:
    if not is_name(value):
        raise _Bad(name_fault(value), below)
    return value


def _identifier(value: object) -> str:
    if not is_identifier(_text(value)):
        raise _Bad(IDENTIFIER_RULE)
    return _text(value)
