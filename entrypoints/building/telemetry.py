"""What operators are told by: log, metrics, and traces where a collector is named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.store.served import ServedStore, SharedStore
from adapters.telemetry.fan_out import FanOut
from adapters.telemetry.logging import LoggingTelemetry
from adapters.telemetry.metrics import Metrics
from domain.ports import Telemetry
from entrypoints.building.errors import plain
from entrypoints.settings import OtelSettings, Settings, SettingsError
from entrypoints.version import installed_version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_MISSING = "needs OpenTelemetry: pip install 'synkrone-socket[otel]'"


def build_tracer_provider(settings: Settings) -> TracerProvider | None:
    """None where no traces are wanted: nothing of OpenTelemetry is imported then. Raises SettingsError."""
    otel = settings.otel
    if otel.endpoint is None or not otel.traces:
        return None
    try:
        from adapters.telemetry.otlp import tracer_provider  # noqa: PLC0415 (what it needs is an extra)
    except ImportError:
        raise SettingsError(f"otel.endpoint: {_MISSING}") from None
    return tracer_provider(
        _base(otel), _token(otel), sample=otel.sample, version=installed_version(), node=settings.node.address
    )


def build_telemetry(
    logs: LoggingTelemetry, metrics: Metrics, provider: TracerProvider | None, store: ServedStore
) -> Telemetry:
    """Servers that share the ``store`` tell each other over it to which traces its entries belong."""
    if provider is None:
        return FanOut(logs, metrics)
    from adapters.telemetry.tracing import TracingTelemetry  # noqa: PLC0415 (what it needs is an extra)

    tracing = TracingTelemetry(provider)
    if isinstance(store, SharedStore):
        tracing.tell(store.carry_traces(tracing.hear))
    return FanOut(logs, metrics, tracing)


def build_log_exporter(settings: Settings, fields: Mapping[str, object]) -> logging.Handler | None:
    """None where the log stays here. Raises SettingsError."""
    if settings.log.format != "otlp":
        return None
    try:
        from adapters.telemetry.otlp import OtlpHandler, logger_provider  # noqa: PLC0415 (what it needs is an extra)
    except ImportError:
        raise SettingsError(f"log.format: {_MISSING}") from None
    otel = settings.otel
    provider = logger_provider(_base(otel), _token(otel), version=installed_version(), node=settings.node.address)
    return OtlpHandler(provider, fields)


def _base(otel: OtelSettings) -> str:
    return (otel.endpoint or "").rstrip("/")


def _token(otel: OtelSettings) -> str | None:
    return plain(otel.token) if otel.token is not None else None
