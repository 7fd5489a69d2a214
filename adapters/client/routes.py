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
    """By their paths. ``version`` is the server's own, the only one that is served by name; None where it has none."""
    served = {name: (body, _JAVASCRIPT) for name, body in client_modules().items()}
    served[TYPES] = files(__package__).joinpath(TYPES).read_bytes(), _TYPESCRIPT
    routes: dict[str, FileRoute] = {}
    for name, (body, media_type) in served.items():
        # Those that the module loads later have a digest in their names: another content has another name.
        kept = SHORTLY if name in (MODULE, TYPES) else FOR_EVER
        routes[f"{PATH}/{name}"] = FileRoute(body, media_type, kept, public_headers())
        if version is not None:
            routes[f"{PATH}/{version}/{name}"] = FileRoute(body, media_type, FOR_EVER, public_headers())
    return routes
