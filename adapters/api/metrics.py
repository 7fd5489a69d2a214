"""``GET /metrics``, on the internal listener: what this server counts, for Prometheus and others that read its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from adapters.api.handlers import ApiHandler

Expose: TypeAlias = Callable[[str], tuple[str, bytes]]
"""The media type and the body, by the Accept field of a request."""


class MetricsHandler(ApiHandler):
    def initialize(self, *, expose: Expose) -> None:
        self._expose = expose

    def get(self) -> None:
        media_type, body = self._expose(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", media_type)
        self.set_header("Vary", "Accept")
        self.finish(body)
