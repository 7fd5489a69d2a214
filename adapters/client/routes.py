"""``/client/…``: the modules that pages load, and their types, for pages of every origin."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from adapters.http.cors import public_headers
from adapters.http.files import FOR_EVER, SHORTLY, FileRoute

PATH: Final = "/client"

_MEDIA_TYPES: Final = {
    "synkrone-inbox.js": "text/javascript; charset=utf-8",
    "synkrone-inbox.d.ts": "application/typescript; charset=utf-8",
}


def client_routes(version: str | None) -> Mapping[str, FileRoute]:
    """By their paths. ``version`` is the server's own, the only one that is served by name; None where it has none."""
    routes: dict[str, FileRoute] = {}
    for name, media_type in _MEDIA_TYPES.items():
        body = files(__package__).joinpath(name).read_bytes()
        routes[f"{PATH}/{name}"] = FileRoute(body, media_type, SHORTLY, public_headers())
        if version is not None:
            routes[f"{PATH}/{version}/{name}"] = FileRoute(body, media_type, FOR_EVER, public_headers())
    return routes
