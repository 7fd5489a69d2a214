"""JSON texts: written, read strictly, and what repeats a member noticed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from domain.errors import InvalidPublication, SynkroneError
from domain.model import Ambiguous, FieldError, Json

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
_any = msgspec.json.Decoder()
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_raw_array = msgspec.json.Decoder(list[msgspec.Raw])
# Every escape of a JSON text; the group holds those of a colon.
_ESCAPE = re.compile(rb"\\(?:(u003[aA])|.)")
_SEARCHED_MAX = 4096
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class InvalidJson(SynkroneError):
    code = "invalid_json"
    title = "The body is not JSON."


def to_json(value: object) -> Json:
    return Json(_encoder.encode(value))


@lru_cache(maxsize=64)
def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond. All of a batch have the same."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_timestamp(value: object) -> datetime:
    """A time as RFC 3339 writes it, in UTC. Raises ValueError, with what is wrong in words."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with a zone, for example 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time of the calendar") from None


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


def parse_object(body: bytes) -> Mapping[str, msgspec.Raw]:
    """The members of a JSON object, each still undecoded. Raises InvalidJson and InvalidPublication."""
    members = decode(_raw_object, body)
    if members is None:
        raise InvalidPublication([FieldError("", "must be a JSON object")])
    return members


def parse_array(body: bytes) -> Sequence[bytes]:
    """The items of a JSON array, each still undecoded. Raises InvalidJson and InvalidPublication."""
    items = decode(_raw_array, body)
    if items is None:
        raise InvalidPublication([FieldError("body", "must be a JSON array")])
    return [bytes(item) for item in items]


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
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
