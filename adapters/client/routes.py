"""``/client/…``: the modules that pages load, and their types, for pages of every origin."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from adapters.client.modules import MODULE, client_modules
from adapters.http.cors import public_headers
from adapters.http.files import FOR_EVER, SHORTLY, FileRoute

PATH: Final = "/client"
TYPES: Final = "synkrone-inbox.d.ts"

_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
_TYPESCRIPT: Final = "application/typescript; charset=utf-8"


def client_routes(version: str | None) -> Mapping[str, FileRoute]:
    """What pages name, by its paths. ``version`` is the server's own, the only one that is served by name; None where
    it has none.
    """
    routes: dict[str, FileRoute] = {}
    types = files(__package__).joinpath(TYPES).read_bytes()
    for name, body, media_type in (
        (MODULE, client_modules()[MODULE], _JAVASCRIPT),
        (TYPES, types, _TYPESCRIPT),
    ):
        routes[f"{PATH}/{name}"] = FileRoute(body, media_type, SHORTLY, public_headers())
        if version is not None:
            routes[f"{PATH}/{version}/{name}"] = FileRoute(body, media_type, FOR_EVER, public_headers())
    return routes


def later_routes(version: str | None) -> Mapping[str, FileRoute]:
    """What the module loads later, from beside itself, by its paths. Another content has another name."""
    folders = [PATH] if version is None else [PATH, f"{PATH}/{version}"]
    return {
        f"{folder}/{name}": FileRoute(body, _JAVASCRIPT, FOR_EVER, public_headers())
        for name, body in client_modules().items()
        if name != MODULE
        for folder in folders
    }
