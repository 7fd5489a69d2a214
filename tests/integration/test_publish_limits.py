"""How large, how slow and how malformed a request to the publish API may be, and what its sender is told."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.test_publish_api import TO_42, Backend, publishing, refused
from tests.serving import API_KEY

SINGLE, BATCH, NOTIFICATION = 8_192, 131_072, 1_024
LIMITS = {
    "publish_bytes": SINGLE,
    "batch_bytes": BATCH,
    "notification_bytes": NOTIFICATION,
    "message_bytes": 131_072,
    "request_timeout": "500ms",
}
PATHS = {"": SINGLE, "/batch": BATCH}


@asynccontextmanager
async def limited(**more: object) -> AsyncIterator[Backend]:
    async with publishing(limits=LIMITS | more) as backend:
        yield backend


class Connection:
    """One TCP connection to the server, on which everything is written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, headers (in lower case) and body of the next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        try:
            return await self._reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def raw(backend: Backend, text: str = "") -> AsyncIterator[Connection]:
    """A connection that begins with this text, whose lines end with \\n."""
    parts = urlsplit(backend.server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(text.replace("\n", "\r\n").encode())
        async with asyncio.timeout(10):
            yield Connection(reader, writer)
    finally:
        writer.close()
        # The server may have reset it already.
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def head(path: str = "", *lines: str, key: str = API_KEY) -> str:
    fields = ["Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json", *lines]
    return "\n".join([f"POST /v1/notifications{path} HTTP/1.1", *fields, "", ""])


def chunked(size: int, chunk: int) -> Iterator[bytes]:
    for _ in range(size // chunk):
        yield b"x" * chunk


def send_with_the_standard_library(
    url: str, path: str, size: int, *, in_chunks: bool, key: str = API_KEY
) -> tuple[int, Any]:
    """A client that reads no answer before it has sent everything."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        body = chunked(size, 1_024) if in_chunks else b"x" * size
        connection.request("POST", f"/v1/notifications{path}", body, headers, encode_chunked=in_chunks)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def of_size(size: int) -> bytes:
    """A good publication of so many bytes, most of them white space."""
    return json.dumps(TO_42).encode().ljust(size)


@pytest.mark.gen_test
async def test_a_body_of_just_the_size_allowed() -> None:
    async with limited() as backend:
        assert (await backend.send(of_size(SINGLE)))[0] == 201
        await backend.arrives()
        assert (await backend.batch(b"[%s]" % of_size(BATCH - 2)))[0] == 200
        await backend.arrives()
        for path, size in PATHS.items():
            problem = refused(await backend.send(of_size(size + 1), path), 413, "too_large")
            assert str(size) in problem["detail"]
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("in_chunks", [False, True], ids=["Content-Length", "chunked"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("factor", [1.25, 2])
async def test_who_sends_too_much_sees_413_whatever_client_it_is(path: str, factor: float, in_chunks: bool) -> None:  # noqa: FBT001
    async with limited() as backend:
        size = int(PATHS[path] * factor)
        status, problem = await asyncio.to_thread(
            send_with_the_standard_library, backend.server.url, path, size, in_chunks=in_chunks
        )
        assert (status, problem["code"]) == (413, "too_large")

        async def parts() -> AsyncIterator[bytes]:
            for part in chunked(size, 1_024):
                yield part

        async with backend.session.post(
            f"{backend.server.url}/v1/notifications{path}",
            data=parts() if in_chunks else b"x" * size,
            headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
        ) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (413, "too_large")
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_who_may_not_publish_sees_that_also_with_a_large_body() -> None:
    async with limited() as backend:
        for path, size in PATHS.items():
            for in_chunks in (False, True):
                status, problem = await asyncio.to_thread(
                    send_with_the_standard_library, backend.server.url, path, size, in_chunks=in_chunks, key="x" * 40
                )
                assert (status, problem["code"]) == (401, "unauthenticated")


@pytest.mark.gen_test
async def test_far_too_much_is_answered_before_it_is_read() -> None:
    async with limited() as backend:
        for length in (2 * SINGLE + 1, 10**12, 10**30):
            async with raw(backend, head("", f"Content-Length: {length}")) as connection:
                connection.write(b"x" * 100)
                status, headers, body = await connection.answer()
                assert (status, json.loads(body)["code"]) == (413, "too_large")
                assert headers["content-type"] == "application/problem+json"
                assert await connection.rest() == b""
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_an_endless_chunked_body_is_cut_with_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with limited() as backend:
        async with raw(backend, head("", "Transfer-Encoding: chunked")) as connection:
            for _ in range(5):
                connection.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            status, _, body = await connection.answer()
            assert (status, json.loads(body)["code"]) == (413, "too_large")
            assert await connection.rest() == b""
        async with raw(backend, head("", "Transfer-Encoding: chunked")) as connection:
            connection.write(b"ffffffff\r\n" + b"x" * 1000)
            assert (await connection.rest()).startswith(b"HTTP/1.1 413 ")
        await backend.nothing_happened()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([f"Content-Length: {SINGLE + 1}"], 413),
        (["Content-Length: 10", "Content-Type: text/plain"], 415),
        (["Content-Length: 10", "Authorization: Bearer x"], 401),
    ],
)
async def test_a_client_that_asks_first_is_spared_the_body(lines: list[str], status: int) -> None:
    async with limited() as backend:
        async with raw(backend, head("", "Expect: 100-continue", *lines)) as connection:
            assert (await connection.answer())[0] == status
            assert await connection.rest() == b""
        async with raw(backend, head("", "Expect: 100-continue", f"Content-Length: {SINGLE}")) as connection:
            assert (await connection.answer())[0] == 100
            connection.write(of_size(SINGLE))
            assert (await connection.answer())[0] == 201
        await backend.arrives()
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: abc"],
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 1_0"],
        ["Content-Length: "],
        ["Content-Length: 0x10"],
        ["Content-Length: 5, 6"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Content-Length: ٣"],
        ["X: a\x00b"],
    ],
    ids=",".join,
)
async def test_a_length_that_is_none_is_a_bad_request_and_no_fault_of_ours(
    lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with limited() as backend:
        async with raw(backend, head("", *lines)) as connection:
            connection.write(b'{"to": {"everyone": true}, "type": "smuggled"}\r\n')
            answer = await connection.rest()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1 ") == 1
        await backend.nothing_happened()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.gen_test
async def test_a_length_said_twice_is_none() -> None:
    """RFC 9112, section 6.3, leaves it open; two readers in a row must not take it in two ways."""
    async with limited() as backend:
        body = json.dumps(TO_42).encode()
        for lines in ([f"Content-Length: {len(body)}, {len(body)}"], 2 * [f"Content-Length: {len(body)}"]):
            async with raw(backend, head("", *lines)) as connection:
                connection.write(body)
                assert (await connection.answer())[0] == 400
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_a_notification_that_is_too_large_in_a_body_that_is_not() -> None:
    async with limited() as backend:
        room = NOTIFICATION - len(TO_42["type"])
        for texts in ({"title": "x" * room}, {"body": "é" * (room // 2) + "x" * (room % 2)}):
            assert (await backend.send({**TO_42, **texts}))[0] == 201
            await backend.arrives()
            (name, text), *_ = texts.items()
            problem = refused(await backend.send({**TO_42, name: text + "x"}), 413, "too_large")
            assert str(NOTIFICATION) in problem["detail"]
        refused(await backend.send({**TO_42, "data": {"x": "x" * room}}), 413, "too_large")
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "text",
    [
        "POST /v1/notific",
        "POST /v1/notifications HTTP/1.1\nHost: x\n",
        head("", "Content-Length: 100") + '{"to": {"user"',
        head("/batch", "Transfer-Encoding: chunked") + '10\n[{"to"',
        "GET /health/live HTTP/1.1\nHost: x\nContent-Length: 10\n\nx",
        "",
    ],
    ids=["line", "head", "body", "chunk", "no body wanted", "nothing"],
)
async def test_half_a_request_is_given_up_on_in_time(text: str) -> None:
    async with limited() as backend:
        started = time.monotonic()
        async with raw(backend, text) as connection:
            assert await connection.rest() == b""
        assert 0.4 < time.monotonic() - started < 10
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("text", "status"),
    [
        (head("", "Content-Length: 100", key="x" * 40) + "x", 401),
        (head("", f"Content-Length: {SINGLE + 1}") + "x", 413),
    ],
    ids=["refused", "too large"],
)
async def test_who_is_refused_is_told_at_once_and_the_rest_of_the_body_is_not_waited_for(
    text: str, status: int
) -> None:
    async with limited(request_timeout="2s") as backend:
        async with raw(backend, text) as connection:
            started = time.monotonic()
            assert (await connection.answer())[0] == status
            assert time.monotonic() - started < 1.8
            assert await connection.rest() == b""
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_a_head_that_is_too_large() -> None:
    async with limited() as backend, raw(backend, head("", f"X: {'x' * 30_000}")) as connection:
        assert (await connection.rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/nowhere"])
async def test_a_route_without_a_body_keeps_none(path: str) -> None:
    async with limited() as backend:
        for method, status in (("GET", 200), ("POST", 405)):
            async with backend.session.request(
                method, backend.server.url + path, data=b"x" * 65_536, headers={"Content-Type": "text/plain"}
            ) as answer:
                assert answer.status == (404 if path == "/nowhere" else status)
        async with raw(backend, f"GET {path} HTTP/1.1\nHost: x\nContent-Length: 65537\n\n") as connection:
            assert (await connection.rest()).startswith(b"HTTP/1.1 413 ")
