"""What a collector gets of a server, by OTLP over HTTP: traces and the log, and no content in either."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import tornado.ioloop

from adapters.telemetry import otlp
from adapters.telemetry.logs import configure_logging
from entrypoints.building.telemetry import build_log_exporter
from entrypoints.settings import SettingsError, validate_settings
from tests.collector import collecting
from tests.documents import block
from tests.serving import API_KEY, SECRET, publish, serving

pytestmark = pytest.mark.gen_test

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN = "collector-token-of-the-tests"


async def test_a_publish_is_in_the_trace_of_who_publishes_and_its_content_in_none() -> None:
    async with collecting() as collector:
        otel = {"endpoint": collector.url, "token": TOKEN}
        async with serving(otel=otel) as server, aiohttp.ClientSession() as session:
            body = {"to": {"user": "42"}, "type": "t", "title": "a secret title"}
            status, _ = await publish(session, server.url, body, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
            assert status == 201
        # The server has ended: what waited was exported.
        assert {span.name: span.trace for span in collector.spans()} == {"publish": TRACE, "commit": TRACE}
        assert b"a secret title" not in collector.raw
        assert collector.tokens == {f"Bearer {TOKEN}"}


async def test_without_an_endpoint_nothing_is_exported() -> None:
    async with serving() as server:
        assert server.container.tracer_provider() is None


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    program = f"""
import sys
from entrypoints.container import build_container
from entrypoints.settings import validate_settings
build_container(validate_settings({{"auth": {{"secret": "{SECRET}"}}, "store": "postgresql://x@127.0.0.1:1/x"}}))
print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"


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


@contextlib.asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """The URL of a collector whose answers have no end, though every octet of them comes in time."""
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not ended.is_set():
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        answered.put_nowait(None)

    answered: asyncio.Queue[None] = asyncio.Queue()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    ended.set()
    async with asyncio.timeout(10):
        for _ in ("traces", "log"):
            await answered.get()


async def test_nobody_waits_for_a_collector_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "EXPORT_SECONDS", 0.5)
    async with dripping() as url:
        traces = otlp.tracer_provider(url, None, sample=1, version="1")
        traces.get_tracer("tests").start_span("publish").end()
        lines = otlp.OtlpHandler(otlp.logger_provider(url, None, version="1"), {})
        lines.emit(logging.makeLogRecord({"msg": "connected"}))
        began = time.monotonic()
        for end in (traces.shutdown, lines.close):
            await asyncio.to_thread(end)
        assert time.monotonic() - began < 10


def test_a_log_for_a_collector_needs_one() -> None:
    with pytest.raises(SettingsError, match=r"^otel\.endpoint: is needed for log\.format otlp$"):
        validate_settings({"auth": {"secret": SECRET}, "log": {"format": "otlp"}})


def test_the_settings_of_the_page_are_good() -> None:
    written = block("docs/how-to/trace.md", "toml", "[otel]")
    settings = validate_settings(tomllib.loads(written) | {"auth": {"secret": SECRET}})
    assert settings.otel.endpoint == "http://127.0.0.1:4318"
