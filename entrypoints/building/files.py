"""What is served as it lies there."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.api.description.routes import description_routes
from adapters.client.routes import client_routes
from adapters.http.exchange import Route
from entrypoints.settings import Settings
from entrypoints.version import known_version


def build_file_routes(settings: Settings) -> Mapping[str, Route]:
    """What is served as it lies there: what pages load, and the description of the API."""
    of_client = client_routes(known_version())
    if not settings.api.docs:
        return of_client
    return {**of_client, **description_routes(known_version(), file_paths=list(of_client))}
