"""What proxies say about whoever they forward a request for: X-Forwarded-For and -Proto, or Forwarded (RFC 7239)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, Protocol, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}

MAX_HOPS: Final = 32
"""Proxies on the way of a request; what stands before that many is made up."""

MAX_FORWARDED_LENGTH: Final = 4096
"""Characters of one line of Forwarded."""

_ADDRESS_LENGTH: Final = 80
"""Characters of an address at most: 45, a zone and what is around them."""

_NODE: Final = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<ipv4>[0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"  # RFC 7239, section 6
)
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Unquoted, many proxies write brackets and colons, which are no characters of a token.
_PAIR: Final = re.compile(rf'(?P<name>{_NAME})=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s",;\\=]*))')
_SPACE: Final = re.compile(r"[ \t]*")
_ESCAPED: Final = re.compile(r"\\(.)")


class Headers(Protocol):
    """The lines of a request's head, by names in any case."""

    def get(self, name: str, default: str, /) -> str:
        """Several lines of one name are one, joined by commas."""

    def get_list(self, name: str, /) -> list[str]:
        """A line of that name each."""


class Hops(NamedTuple):
    """What each proxy said, the one nearest to the server last.

    ``addresses`` are of whom each was asked by, ``schemes`` of how; as they were written, empty where one said nothing.
    They need not be equally many: some proxies append what they see, some put it in the place of what was there.
    """

    addresses: Sequence[str]
    schemes: Sequence[str]


NOTHING: Final = Hops((), ())


def read_hops(headers: Headers) -> Hops:
    """``Forwarded`` counts only where there is neither X-Forwarded-For nor X-Forwarded-Proto; they are never mixed."""
    addresses, schemes = headers.get_list("X-Forwarded-For"), headers.get_list("X-Forwarded-Proto")
    if addresses or schemes:
        return Hops(_elements(addresses), _elements(schemes))
    forwarded = headers.get_list("Forwarded")
    return _forwarded(forwarded) if forwarded else NOTHING


def parse_address(text: str) -> Address | None:
    """An IP address, without the zone that it may have; one of IPv4 that is written as IPv6 is IPv4. None for none."""
    return _parse_address(text) if len(text) <= _ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or (IPv6Address(int(address)) if address.scope_id is not None else address)
    return address


def parse_node(text: str) -> Address | None:
    """The address in ``1.2.3.4``, ``1.2.3.4:5678``, ``2001:db8::1``, ``[2001:db8::1]`` or ``[2001:db8::1]:5678``.

    None for what names no address: ``unknown``, ``_hidden`` and everything else.
    """
    return _parse_node(text) if len(text) <= _ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_node(text: str) -> Address | None:
    text = text.strip().removeprefix('"').removesuffix('"').strip()
    node = _NODE.fullmatch(text)
    if node is None:
        return parse_address(text)
    return parse_address(node["ipv4"] or node["ipv6"])


def _elements(lines: list[str]) -> list[str]:
    """The last MAX_HOPS; empty ones are none (RFC 9110, section 5.6.1)."""
    elements = ",".join(lines).rsplit(",", MAX_HOPS)[-MAX_HOPS:]
    return [stripped for element in elements if (stripped := element.strip())]


def _forwarded(lines: list[str]) -> Hops:
    """Nobody looks past a line that is too long, or not as RFC 7239 says: only what stands behind it counts."""
    elements: list[dict[str, str]] = []
    for line in lines:
        parsed = _forwarded_elements(line) if len(line) <= MAX_FORWARDED_LENGTH else None
        elements = elements + parsed if parsed is not None else []
    elements = elements[-MAX_HOPS:]
    return Hops([element.get("for", "") for element in elements], [element.get("proto", "") for element in elements])


def _forwarded_elements(line: str) -> list[dict[str, str]] | None:
    """The pairs of each element by their names in lower case; None for a line that is none of RFC 7239, section 4."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while True:
        at = _after_space(line, at)
        pair = _PAIR.match(line, at)
        if pair is not None:
            name, plain = pair["name"].lower(), pair["plain"]
            if name in elements[-1]:
                return None
            elements[-1][name] = plain if plain is not None else _ESCAPED.sub(r"\1", pair["quoted"])
            at = _after_space(line, pair.end())
        if at == len(line):
            return [element for element in elements if element]
        if line[at] == ",":
            elements.append({})
        elif line[at] != ";":
            return None
        at += 1


def _after_space(line: str, at: int) -> int:
    space = _SPACE.match(line, at)
    return space.end() if space is not None else at
