"""Exporting to an OpenTelemetry collector, by OTLP over HTTP: from threads of its own, and with bounds.

What cannot be exported in time is dropped; nobody waits for a collector.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

EXPORT_SECONDS: Final = 5.0
"""How long one request to the collector may take; and, at the end, all that waits."""

_SEVERITIES: Final = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
# What every record has: the rest is what this line says.
_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def tracer_provider(
    endpoint: str, token: str | None, *, sample: float, version: str, node: str | None = None
) -> TracerProvider:
    """``endpoint`` is the collector's base URL; of traces that begin here the share ``sample`` (0 to 1) is recorded.
    ``node`` is where the other nodes of a cluster reach this one."""
    provider = _TracerProvider(
        resource=_resource(version, node), sampler=ParentBased(TraceIdRatioBased(sample)), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=_headers(token), timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class _TracerProvider(TracerProvider):
    def shutdown(self) -> None:
        _in_time(super().shutdown)


def logger_provider(endpoint: str, token: str | None, *, version: str, node: str | None = None) -> LoggerProvider:
    provider = LoggerProvider(resource=_resource(version, node), shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{endpoint}/v1/logs", headers=_headers(token), timeout=EXPORT_SECONDS)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider


def _resource(version: str, node: str | None) -> Resource:
    """Which process it is. What ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` say comes before that."""
    own: dict[str, str | int] = {
        "service.name": "synkrone-socket",
        "service.version": version,
        "service.instance.id": _instance_id(),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        **({"synkrone.node": node} if node is not None else {}),
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())


@cache
def _instance_id() -> str:
    """Of this process, at random."""
    return str(uuid.uuid4())


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token is not None else {}


class OtlpHandler(logging.Handler):
    """Sends log records with the fields that they have in every other format, and ``fields`` beside them."""

    def __init__(self, provider: LoggerProvider, fields: Mapping[str, object]) -> None:
        super().__init__()
        self._provider = provider
        self._fields = fields

    def emit(self, record: logging.LogRecord) -> None:
        said = {name: one for name, one in vars(record).items() if name not in _OF_EVERY_RECORD and one is not None}
        if record.exc_info is not None:
            said["exception"] = logging.Formatter().formatException(record.exc_info)
        attributes = {
            name: one if isinstance(one, bool | int | float | str) else str(one)
            for name, one in {**said, **self._fields}.items()
            if one is not None
        }
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1_000_000_000),
                observed_timestamp=time.time_ns(),
                severity_text=record.levelname,
                severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
                body=record.getMessage(),
                attributes=attributes,
            )
        )

    def close(self) -> None:
        """Export what waits."""
        _in_time(self._provider.shutdown)
        super().close()


def _in_time(shut_down: Callable[[], None]) -> None:
    """For EXPORT_SECONDS at most: what is exported then goes on only for as long as the process does."""
    # It would wait for half a minute. The time-out of a request is none for a collector that answers octet by octet.
    ending = threading.Thread(target=shut_down, daemon=True)
    ending.start()
    ending.join(EXPORT_SECONDS)
