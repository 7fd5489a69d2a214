"""A collector of OpenTelemetry, by OTLP over HTTP: it reads what is exported to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import tornado.httpserver
import tornado.netutil
import tornado.web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class Exported:
    """A span. Ids are hexadecimal digits, ``parent`` is "" for none; ``resource`` is what says who exported it."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, str | int]
    resource: Mapping[str, str | int]
    nanoseconds: int


def _values(attributes: Iterable[KeyValue]) -> dict[str, str | int]:
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in attributes
    }


class Collector:
    """An HTTP server that reads what is exported to it."""

    def __init__(self) -> None:
        self.url = ""
        self.traces: list[ExportTraceServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.tokens: set[str | None] = set()
        self.raw = b""

    def spans(self) -> list[Exported]:
        return [
            Exported(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _values(span.attributes),
                _values(group.resource.attributes),
                span.end_time_unix_nano - span.start_time_unix_nano,
            )
            for request in self.traces
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str, trace: str | None = None) -> list[Exported]:
        """The spans of that name, of one trace or of all."""
        return [span for span in self.spans() if span.name == name and trace in (None, span.trace)]

    def lines(self) -> list[tuple[str, dict[str, str]]]:
        return [
            (record.body.string_value, {one.key: one.value.string_value for one in record.attributes})
            for request in self.logs
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()

    class Handler(tornado.web.RequestHandler):
        def post(self, kind: str) -> None:
            collector.tokens.add(self.request.headers.get("Authorization"))
            body = self.request.body
            if self.request.headers.get("Content-Encoding") == "gzip":
                raise tornado.web.HTTPError(415)
            collector.raw += body
            if kind == "traces":
                collector.traces.append(ExportTraceServiceRequest.FromString(body))
            else:
                collector.logs.append(ExportLogsServiceRequest.FromString(body))
            self.set_header("Content-Type", "application/x-protobuf")

    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/v1/(traces|logs)", Handler)]))
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    collector.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        server.stop()
        await server.close_all_connections()
