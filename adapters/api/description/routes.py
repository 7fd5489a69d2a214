"""``/openapi.json``, ``/asyncapi.json`` and ``/docs``: made once, when asked for, from what the server serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Final

from adapters.api.description.asyncapi import asyncapi
from adapters.api.description.openapi import openapi
from adapters.api.description.page import STYLE, page
from adapters.contract.json_text import to_json
from adapters.http.cors import public_headers
from adapters.http.exchange import Route
from adapters.http.files import SHORTLY, FileRoute, LateFileRoute

OPENAPI: Final = "/openapi.json"
ASYNCAPI: Final = "/asyncapi.json"
DOCS: Final = "/docs"

_POLICY: Final = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
]


def description_routes(version: str | None, *, file_paths: Sequence[str]) -> Mapping[str, Route]:
    """By their paths. ``file_paths`` are those of the files that are served beside these."""
    own = (OPENAPI, ASYNCAPI, DOCS, f"{DOCS}/{STYLE}")
    of_http = partial(openapi, version or "unknown", pages=[*file_paths, *own])
    of_events = partial(asyncapi, version or "unknown")
    style = files(__package__).joinpath(STYLE).read_bytes()
    return {
        OPENAPI: LateFileRoute(lambda: _document(of_http())),
        ASYNCAPI: LateFileRoute(lambda: _document(of_events())),
        DOCS: LateFileRoute(
            lambda: FileRoute(page(of_http(), of_events()), "text/html; charset=utf-8", SHORTLY, _POLICY)
        ),
        f"{DOCS}/{STYLE}": FileRoute(style, "text/css; charset=utf-8", SHORTLY),
    }


def _document(described: Mapping[str, Any]) -> FileRoute:
    return FileRoute(to_json(described), "application/json", SHORTLY, public_headers())
