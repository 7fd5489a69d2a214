"""Origins, as RFC 6454 compares them: where a page comes from, and which of them a setting names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

import idna

MAX_LENGTH: Final = 512
"""Characters of an origin; names of hosts end at 253."""

_HOST_LENGTH: Final = 253
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?P<port>:.*)?", re.DOTALL)
_PORT: Final = re.compile(r":([0-9]{1,5})")
_NAME: Final = re.compile(r"[a-z0-9._~-]+")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_PORT: Final = 65_535
_WEB: Final = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
"""Native clients write the scheme of the WebSocket they open."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_WITHOUT_HOST: Final = ("file",)
_EVERY_SUBDOMAIN: Final = "*."


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, host and port, each written in one way only, so that equal origins are equal (RFC 6454, section 5).

    ``ws`` and ``wss`` are ``http`` and ``https``. The host is in lower case and in ASCII (IDNA), an IPv6 address in
    brackets; of ``http`` and ``https`` without the dot that may end a name. ``port`` is None for the scheme's own. The
    host is empty in ``file://``; the opaque origin, which browsers write ``null``, has the scheme ``null`` and nothing
    else.
    """

    scheme: str
    host: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read ``scheme://host[:port]`` or ``null``. Raises ValueError, which says what is wrong."""
        if text.lower() == "null":
            return NULL
        if len(text) > MAX_LENGTH:
            raise ValueError(f"must have at most {MAX_LENGTH} characters")
        scheme, separator, authority = text.partition("://")
        scheme = scheme.lower()
        if not separator or not _SCHEME.fullmatch(scheme):
            raise ValueError("must begin with a scheme, as in https://app.example")
        scheme = _WEB.get(scheme, scheme)
        if "@" in authority:
            raise ValueError("must be an origin such as https://app.example, with no user or password")
        if any(character in authority for character in "/?#\\"):
            raise ValueError("must be an origin such as https://app.example, with no path")
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            raise ValueError("must have a host, as in https://app.example: this is none")
        return cls(scheme, _host(scheme, parts["host"]), _port(scheme, parts["port"]))

    def __str__(self) -> str:
        if self.scheme == NULL.scheme:
            return self.scheme
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{self.host}{port}"


NULL: Final = Origin("null")


@dataclass(frozen=True, slots=True)
class Subdomains:
    """The origins of all subdomains of a host, at any depth, but not of the host itself; scheme and port are one."""

    of: Origin

    def __contains__(self, origin: Origin) -> bool:
        above = self.of
        return (origin.scheme, origin.port) == (above.scheme, above.port) and origin.host.endswith(f".{above.host}")


AllowedOrigin: TypeAlias = Origin | Subdomains


def parse_allowed_origin(text: str) -> AllowedOrigin:
    """Read an origin, or ``scheme://*.host[:port]``. Raises ValueError for what no page can ever come from."""
    if text == "*":
        raise ValueError("'*' would let every page in: name them, as in https://app.example or https://*.example.com")
    scheme, separator, authority = text.partition("://")
    is_wildcard = authority.startswith(_EVERY_SUBDOMAIN)
    if is_wildcard:
        authority = authority.removeprefix(_EVERY_SUBDOMAIN)
    if "*" in scheme or "*" in authority:
        raise ValueError("'*' stands only for subdomains, as in https://*.example.com")
    origin = Origin.parse(scheme + separator + authority)
    if not is_wildcard:
        return origin
    if not origin.host or origin.host.startswith("[") or _is_number(origin.host.rpartition(".")[2]):
        raise ValueError("'*.' stands before the name of a host, as in https://*.example.com")
    return Subdomains(origin)


class OriginSet:
    """The origins that settings name."""

    def __init__(self, allowed: Iterable[AllowedOrigin] = ()) -> None:
        allowed = tuple(allowed)
        self._exact = frozenset(origin for origin in allowed if isinstance(origin, Origin))
        self._subdomains = tuple(origin for origin in allowed if isinstance(origin, Subdomains))

    def __contains__(self, origin: Origin) -> bool:
        return origin in self._exact or any(origin in subdomains for subdomains in self._subdomains)


def origin_sent(text: str) -> Origin | None:
    """The origin in a request's ``Origin``; None where it is none."""
    return _sent(text) if len(text) <= MAX_LENGTH and text.isascii() else None


def origin_at(scheme: str, host: str) -> Origin | None:
    """The origin of what is reached by that scheme with that ``Host``; None where the latter names no host."""
    # RFC 3986, section 3.2.3: a port may be empty.
    return origin_sent(f"{scheme}://{host.removesuffix(':')}")


@lru_cache(maxsize=1024)
def _sent(text: str) -> Origin | None:
    try:
        return Origin.parse(text)
    except ValueError:
        return None


def _host(scheme: str, text: str) -> str:
    is_web = scheme in _DEFAULT_PORTS
    if scheme in _WITHOUT_HOST and text:
        raise ValueError(f"must be {scheme}://, with no host: browsers send none")
    if text.startswith("["):
        return _ipv6(text[1:-1])
    host = _ascii(text).lower()
    if is_web:
        host = host.removesuffix(".") or host
    if not host:
        if is_web:
            raise ValueError("must have a host, as in https://app.example")
        return host
    if not _NAME.fullmatch(host) or len(host) > _HOST_LENGTH:
        raise ValueError("must have a host, as in https://app.example: this is none")
    if is_web and "" in host.split("."):
        raise ValueError("must have a host without empty parts between its dots")
    if is_web and _is_number(host.rpartition(".")[2]):
        return _ipv4(host)
    return host


def _ascii(host: str) -> str:
    """As browsers write a name that is not ASCII (IDNA 2008 as UTS 46 prepares it, not transitional)."""
    if host.isascii() or len(host) > _HOST_LENGTH:
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("must have a host that can be written in punycode") from None


def _is_number(label: str) -> bool:
    return _NUMBER.fullmatch(label) is not None


def _ipv4(host: str) -> str:
    """Browsers take a name that ends in a number for an address, and write it with four (WHATWG URL, section 3.5)."""
    try:
        return str(IPv4Address(host))
    except ValueError:
        raise ValueError("must have an IPv4 address of four decimal numbers, as browsers write it") from None


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError("must have an IPv6 address between its brackets") from None
    if address.scope_id is not None:
        raise ValueError("must have an IPv6 address without a zone: browsers send none")
    return f"[{address.compressed}]"


def _port(scheme: str, text: str | None) -> int | None:
    if text is None:
        return None
    digits = _PORT.fullmatch(text)
    if digits is None or not 0 < int(digits[1]) <= _MAX_PORT:
        raise ValueError(f"must have a port from 1 to {_MAX_PORT}, or none")
    port = int(digits[1])
    return None if _DEFAULT_PORTS.get(scheme) == port else port
