"""Reading a token, strictly, before anything in it is believed (RFC 7515, section 7.1; RFC 7519, section 7.2)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

from domain.errors import InvalidToken

DEFAULT_TOKEN_BYTES = 16_384
"""How long a token may be where nothing else is said."""
MAX_NESTING = 16
"""Levels of objects and arrays in a header or in claims."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

REFUSED_HEADERS = frozenset({"crit", "b64"})
"""They change what is signed, or must not be ignored. Those that name or bring a key (``jku``, ``jwk``, ``x5u``,
``x5c``, ``x5t``) are ignored whatever they hold, as many issuers send them: keys come from the settings alone."""


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A token's parts, read and not verified."""

    text: str
    algorithm: str
    kid: str | None
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def parse(token: str, max_bytes: int = DEFAULT_TOKEN_BYTES) -> CompactToken:
    """Read a JWS in compact form whose payload is a JSON object. Raises InvalidToken, and nothing else."""
    if not isinstance(token, str) or not token.isascii():
        raise InvalidToken("the token is not ASCII")
    if len(token) > max_bytes:
        raise InvalidToken("the token is too long")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise InvalidToken("the token is not three parts of base64url")
    header = _object(match[1], "header")
    claims = _object(match[2], "payload")
    _decode(match[3], "signature")
    refused = sorted(REFUSED_HEADERS & header.keys())
    if refused:
        raise InvalidToken(f"the header has {refused[0]}")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise InvalidToken("the header's alg is not a string")
    if not isinstance(header.get("typ", "JWT"), str):
        raise InvalidToken("the header's typ is not a string")
    if not isinstance(kid, str | None) or ("kid" in header and kid is None):
        raise InvalidToken("the header's kid is not a string")
    return CompactToken(token, algorithm, kid, header, claims)


class _Refused(ValueError):
    """What is JSON for Python, and is not taken for JSON here."""


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part, name).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Refused as refused:
        raise InvalidToken(f"the {name} {refused}") from None
    except RecursionError:
        raise InvalidToken(f"the {name} is nested too deeply") from None
    except ValueError:
        raise InvalidToken(f"the {name} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise InvalidToken(f"the {name} is not a JSON object")
    if _nesting_exceeds(value, MAX_NESTING):
        raise InvalidToken(f"the {name} is nested too deeply")
    return value


def _decode(part: str, name: str) -> bytes:
    """The octets of a part in canonical base64url without padding (RFC 7515, appendix C)."""
    try:
        octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidToken(f"the {name} is not base64url") from None
    # Bits left over in the last character would let one token be written in several ways.
    if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() != part:
        raise InvalidToken(f"the {name} is not canonical base64url")
    return octets


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("has a duplicate member")
    return members


def _no_constant(_: str) -> Never:
    raise _Refused("holds a number that is none")


def _nesting_exceeds(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ())
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)
