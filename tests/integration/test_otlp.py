"""What a collector gets of a server, by OTLP over HTTP: traces and the log, and no content in either."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from adapters.telemetry.logs import configure_logging
from entrypoints.building.telemetry import build_log_exporter
from entrypoints.settings import SettingsError, validate_settings
from tests.documents import block
from tests.serving import API_KEY, SECRET, publish, serving

pytestmark = pytest.mark.gen_test

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN = "collector-token-of-the-tests"


class Collector:
    """An HTTP server that reads what is exported to it."""

    def __init__(self) -> None:
        self.url = ""
        self.traces: list[ExportTraceServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.tokens: set[str | None] = set()
        self.raw = b""

    def spans(self) -> dict[str, str]:
        """Traces, in hexadecimal digits, by the names of their spans."""
        return {
            span.name: span.trace_id.hex()
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

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


async def test_a_publish_is_in_the_trace_of_who_publishes_and_its_content_in_none() -> None:
    async with collecting() as collector:
        otel = {"endpoint": collector.url, "token": TOKEN}
        async with serving(otel=otel) as server, aiohttp.ClientSession() as session:
            body = {"to": {"user": "42"}, "type": "t", "title": "a secret title"}
            status, _ = await publish(session, server.url, body, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
            assert status == 201
        # The server has ended: what waited was exported.
        assert collector.spans() == {"publish": TRACE, "commit": TRACE}
        assert b"a secret title" not in collector.raw
        assert collector.tokens == {f"Bearer {TOKEN}"}


async def test_without_an_endpoint_nothing_is_exported() -> None:
    async with serving() as server:
        assert server.container.tracer_provider() is None


async def test_the_log_goes_to_the_collector_with_the_same_fields() -> None:
    async with collecting() as collector:
        settings = validate_settings(
            {
                "auth": {"secret": SECRET},
                "api": {"key": API_KEY},
                "log": {"format": "otlp"},
                "otel": {"endpoint": f"{collector.url}/"},
            }
        )
        exporter = build_log_exporter(settings, {"worker": 3})
        assert exporter is not None
        root = logging.getLogger()
        before, level = root.handlers[:], root.level
        try:
            configure_logging("info", "otlp", exporter=exporter)
            logging.getLogger("synkrone").info("connected", extra={"user": "42", "device": None})
            logging.getLogger("opentelemetry.exporter").warning("cannot export")
            await tornado.ioloop.IOLoop.current().run_in_executor(None, exporter.close)
        finally:
            root.handlers[:] = before
            root.setLevel(level)
            logging.getLogger("opentelemetry").handlers.clear()
            logging.getLogger("opentelemetry").propagate = True
        ((line, fields),) = collector.lines()
        assert line == "connected"
        assert fields["user"] == "42"
        assert "worker" in fields
        assert "device" not in fields


def test_a_log_for_a_collector_needs_one() -> None:
    with pytest.raises(SettingsError, match=r"^otel\.endpoint: is needed for log\.format otlp$"):
        validate_settings({"auth": {"secret": SECRET}, "log": {"format": "otlp"}})


def test_the_settings_of_the_page_are_good() -> None:
    written = block("docs/how-to/trace.md", "toml", "[otel]")
    settings = validate_settings(tomllib.loads(written) | {"auth": {"secret": SECRET}})
    assert settings.otel.endpoint == "http://127.0.0.1:4318"
