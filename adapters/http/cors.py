"""Which headers let a page of another origin send a request and read its answer (the Fetch standard, section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from adapters.http.peer import AnyRequest

PREFLIGHT_SECONDS: Final = 7_200
"""How long a browser may remember what a preflight allowed; Chromium takes no more."""

MAX_NAMES: Final = 64
MAX_NAME_LENGTH: Final = 128

_ALLOWED_HEADERS: Final = ("Authorization", "Content-Type", "Last-Event-ID", "Cache-Control")
_EXPOSED_HEADERS: Final = "Retry-After, WWW-Authenticate"
_TOKEN: Final = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_NAME_LENGTH}}}")

Lines: TypeAlias = list[tuple[str, str]]


def answer_headers(request: AnyRequest, *, allowed: bool) -> Lines:
    """For every answer that a page may get; ``allowed`` is what ``PeerPolicy.allows_origin`` said.

    The origin itself and never ``*``, so that a page that sends credentials may read it too. ``Vary`` also where
    nothing else is said: a cache must not give a page the answer that a request without an Origin got.
    """
    return [("Vary", "Origin"), *_permission(request, allowed=allowed)]


def public_headers() -> Lines:
    """For what every page may load, from wherever it comes, and which is the same for all of them."""
    return [("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "cross-origin")]


def preflight_headers(request: AnyRequest, *, allowed: bool, methods: Iterable[str]) -> Lines:
    """For the answer to OPTIONS: a page may send whatever headers it asks for, as tracing and tunnels add their own.

    ``Access-Control-Allow-Private-Network`` is never said: browsers gave that question up, and where it is still asked,
    it keeps pages that rebind their name to an address inside a network from being taken for the server's own.
    """
    permission = _permission(request, allowed=allowed)
    if not permission:
        return answer_headers(request, allowed=allowed)
    return [
        ("Vary", "Origin, Access-Control-Request-Headers"),
        *permission,
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Allow-Headers", ", ".join((*_ALLOWED_HEADERS, *_asked_for(request)))),
        ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
    ]


def _permission(request: AnyRequest, *, allowed: bool) -> Lines:
    origin = request.headers.get("Origin", "")
    if not origin or not allowed:
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", _EXPOSED_HEADERS),
    ]


def _asked_for(request: AnyRequest) -> Iterator[str]:
    """Of the first MAX_NAMES in Access-Control-Request-Headers those that are not allowed anyway."""
    seen = {name.lower() for name in _ALLOWED_HEADERS}
    asked = ",".join(request.headers.get_list("Access-Control-Request-Headers"))
    for name in asked.split(",", MAX_NAMES)[:MAX_NAMES]:
        name = name.strip()
        if name.lower() not in seen and _TOKEN.fullmatch(name):
            seen.add(name.lower())
            yield name
