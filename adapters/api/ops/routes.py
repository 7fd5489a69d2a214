"""The routes of the operator's page: its files, which hold nothing of anybody, and what they ask."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from adapters.api.ops.console import PATH, Console
from adapters.api.ops.handlers import (
    ActionHandler,
    LoginHandler,
    LogoutHandler,
    LookHandler,
    NodesHandler,
    StateHandler,
)
from adapters.api.routes import Route
from adapters.http.files import FileRoute

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX: Final = "index.html"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_FIELDS: Final = [
    ("Content-Security-Policy", _POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
]
_NOT_KEPT: Final = "no-store"


def ops_files() -> Mapping[str, FileRoute]:
    """By their paths: the page at ``/ops``, and below it what it loads."""
    routes: dict[str, FileRoute] = {}
    for file in files(__package__).joinpath("page").iterdir():
        _, _, kind = file.name.rpartition(".")
        route = FileRoute(file.read_bytes(), _MEDIA_TYPES[f".{kind}"], _NOT_KEPT, _FIELDS)
        for path in (PATH, f"{PATH}/") if file.name == _INDEX else (f"{PATH}/{file.name}",):
            routes[path] = route
    return routes


def ops_routes(console: Console) -> list[Route]:
    given = {"console": console}
    return [
        (rf"{PATH}/login", LoginHandler, given),
        (rf"{PATH}/logout", LogoutHandler, given),
        (rf"{PATH}/api/state", StateHandler, given),
        (rf"{PATH}/api/nodes", NodesHandler, given),
        (rf"{PATH}/api/users/([^/]+)/look/([a-z]+)", LookHandler, given),
        (rf"{PATH}/api/users/([^/]+)/do/([a-z]+)", ActionHandler, given),
    ]
