"""What is in requests, read: codings, batches, idempotency keys. Nothing here knows of a connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.contract.json_text import InvalidJson, parse_array
from adapters.contract.publications import parse_publication
from adapters.http.problems import ACCEPTED_CODING, UnsupportedCoding
from domain.errors import InvalidArgument, InvalidPublication, SynkroneError, summary
from domain.model import FieldError, Publication
from domain.policy import BATCH_MAX_ITEMS

NDJSON = "application/x-ndjson"

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e\x80-\xff]{1,255}")
_BYTES_BETWEEN_PAUSES = 65_536
_LEAST_WEIGHT = 256
"""An item takes at least as much time as one of so many bytes, a bad one above all."""
_SHOWN_MAX = 64


def check_coding(content_encoding: str | None) -> None:
    """``content_encoding`` is the field's value, that of several joined by commas; None where there is none.

    Raises UnsupportedCoding for any but identity (RFC 9110, section 8.4; RFC 7694).
    """
    codings = [coding.strip() for coding in (content_encoding or "").split(",")]
    if any(coding.lower() not in ("", ACCEPTED_CODING) for coding in codings):
        shown = ", ".join(codings)[:_SHOWN_MAX]
        raise UnsupportedCoding(f"the body must not be compressed or encoded: Content-Encoding {shown!r}")


def idempotency_key(value: str) -> str:
    """What an ``Idempotency-Key`` stands for. ``value`` holds its octets, each as the character of that number.

    They are compared as they are, whatever they encode. Raises InvalidArgument for more than 255 of them, or a control.
    """
    if not _IDEMPOTENCY_KEY.fullmatch(value):
        raise InvalidArgument("Idempotency-Key", "must be 1 to 255 octets, none of them a control")
    return value


@dataclass(frozen=True, slots=True)
class Batch:
    """The items of a batch, in order: publications, and what is wrong with those that could not be read.

    ``not_json`` says which was not even JSON, if any.
    """

    items: Sequence[Publication | InvalidPublication]
    not_json: str | None

    def refusal(self, error: InvalidPublication) -> SynkroneError:
        """What to answer where this is wrong with it: that it is no JSON comes first. Everything bad is named."""
        if self.not_json is None:
            return error
        return InvalidJson(self.not_json).about(error.errors, error.errors_total)


async def read_batch(body: bytes, media_type: str) -> Batch:
    """Read a JSON array, or lines of JSON. Others get their turns in between.

    Raises InvalidJson for an array that is none, and InvalidPublication for a wrong number of items.
    """
    if media_type == NDJSON:
        items: Sequence[bytes] = [line for line in body.split(b"\n") if line.strip()]
    else:
        items = parse_array(body)
    if not 0 < len(items) <= BATCH_MAX_ITEMS:
        raise InvalidPublication([FieldError("body", f"must hold 1 to {BATCH_MAX_ITEMS} notifications")])
    read: list[Publication | InvalidPublication] = []
    not_json: list[FieldError] = []
    unpaused = 0
    for index, item in enumerate(items):
        unpaused += max(len(item), _LEAST_WEIGHT)
        if unpaused > _BYTES_BETWEEN_PAUSES:
            unpaused = 0
            await asyncio.sleep(0)
        try:
            read.append(parse_publication(item, f"[{index}]."))
        except InvalidJson as error:
            not_json.append(FieldError(f"[{index}]", error.detail or error.title))
            read.append(InvalidPublication([FieldError(f"[{index}]", f"is not JSON: {error.detail}")]))
        except InvalidPublication as error:
            # A new one: this one's traceback leads here, and from here to this list.
            read.append(InvalidPublication(error.errors, error.errors_total))
    return Batch(read, summary(not_json) or None)
