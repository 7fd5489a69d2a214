"""How what is counted is given to who asks: as OpenMetrics where that is wanted, else as Prometheus's text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

OPEN_METRICS = "application/openmetrics-text"


class Exposition:
    """Of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def expose(self, accept: str) -> tuple[str, bytes]:
        """The media type and the body, for a request with this Accept field."""
        if OPEN_METRICS in accept:
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return openmetrics.CONTENT_TYPE_LATEST, body
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
