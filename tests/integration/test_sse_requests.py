"""Requests for a stream at the wire: who is refused and how, other origins, and the manners of HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import urlsplit

import pytest

from adapters.transport.sse.transport import SseLimits
from domain.errors import (
    AtCapacity,
    InvalidArgument,
    InvalidToken,
    KeysUnavailable,
    ShuttingDown,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
)
from domain.requests import NoToken
from tests.contract.transport_harness import Gate, eventually
from tests.integration.sse_wire import BEARER, ORIGIN, refusal, wire
from tests.serving import serving, token

pytestmark = pytest.mark.gen_test


# not let in


async def test_a_refused_token_is_401_as_rfc_6750_says() -> None:
    async with wire() as server:
        server.events.script("ann", error=InvalidToken("the log's business"))
        client = await server.ask()
        assert await client.problem() == {
            "code": "invalid_token",
            "title": "The token is not valid.",
            "retryable": False,
            "status": 401,
        }
        assert client.headers["www-authenticate"] == 'Bearer realm="synkrone-socket", error="invalid_token"'


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi"])
async def test_without_a_bearer_token_there_is_a_challenge_without_an_error(authorization: str | None) -> None:
    async with wire() as server:
        server.events.script("nobody", error=InvalidToken("auth.token is missing"))
        client = await server.ask(authorization=authorization)
        assert client.status == 401
        assert client.headers["www-authenticate"] == 'Bearer realm="synkrone-socket"'
        assert isinstance(server.events.connect_requests[0].credentials, NoToken)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TokenExpired("no"), 401, "token_expired"),
        (InvalidArgument("auth.device", "is too long"), 400, "invalid_argument"),
    ],
    ids=["expired", "argument"],
)
async def test_a_refusal_has_the_code_it_has_everywhere(error: SynkroneError, status: int, code: str) -> None:
    async with wire() as server:
        server.events.script("ann", error=error)
        client = await server.ask()
        assert (client.status, (await client.problem())["code"]) == (status, code)
        assert "retry-after" not in client.headers


@pytest.mark.parametrize(("delay", "seconds"), [(0.2, "1"), (3.0, "3"), (3.1, "4")])
async def test_a_passing_fault_says_when_to_return(delay: float, seconds: str) -> None:
    async with wire() as server:
        server.events.delay = delay
        server.events.script("ann", error=KeysUnavailable())
        client = await server.ask()
        assert (client.status, client.headers["retry-after"]) == (503, seconds)
        assert (await client.problem())["code"] == "keys_unavailable"


@pytest.mark.parametrize("name", ["token", "access_token"])
async def test_a_token_in_the_url_is_refused_and_not_repeated(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with wire() as server:
        client = await server.ask(f"/v1/stream?{name}=my-secret-token", authorization=None)
        assert client.status == 400
        body = await client.body()
        assert json.loads(body)["detail"].startswith(f"{name}: belongs in the header Authorization")
        assert b"my-secret-token" not in body
        assert server.events.connect_requests == []
    assert "my-secret-token" not in caplog.text


async def test_while_a_fault_is_known_nobody_is_asked() -> None:
    async with wire() as server:
        server.transport.set_ready(ready=False)
        client = await server.ask()
        assert (client.status, client.headers["retry-after"]) == (503, "1")
        assert (await client.problem())["code"] == "unavailable"
        server.transport.set_ready(ready=True)
        client.ask(authorization=BEARER)
        assert await client.answer() == 200
        server.transport.stop_accepting()
        late = await server.ask()
        assert (late.status, (await late.problem())["code"]) == (503, "shutting_down")


async def test_no_more_streams_than_allowed() -> None:
    async with wire(limits=SseLimits(connections=1)) as server:
        first, connection = await server.live()
        second = await server.ask()
        assert (second.status, (await second.problem())["code"]) == (503, AtCapacity.code)
        await first.close()
        await eventually(lambda: server.events.count("disconnected", connection) == 1)
        second.ask(authorization=BEARER)
        assert await second.answer() == 200


async def test_no_more_are_verified_at_once_than_allowed() -> None:
    gate = Gate()
    async with wire(limits=SseLimits(connecting=1)) as server:
        server.events.script("ann", before_reply=gate)
        first = await server.client()
        first.ask(authorization=BEARER)
        await gate.reached()
        second = await server.ask(authorization="Bearer bob")
        assert (second.status, (await second.problem())["code"]) == (503, AtCapacity.code)
        gate.open()
        assert await first.answer() == 200
        second.ask(authorization="Bearer bob")
        assert await second.answer() == 200


@pytest.mark.parametrize("reconnect", [True, False])
async def test_one_closed_before_its_welcome_is_told_in_the_answer(*, reconnect: bool) -> None:
    gate = Gate()
    async with wire() as server:
        server.events.script("ann", before_reply=gate)
        client = await server.client()
        client.ask(authorization=BEARER)
        await gate.reached()
        server.events.disconnect(server.events.connections["ann"], refusal(TooManyConnections(), reconnect=reconnect))
        assert await client.answer() == (503 if reconnect else 403)
        assert (await client.problem())["code"] == "too_many_connections"
        assert client.headers.get("retry-after") == ("2" if reconnect else None)
        gate.open()


# other origins


@pytest.mark.parametrize(
    ("path", "method", "error", "status"),
    [
        ("/v1/stream", "GET", None, 200),
        ("/v1/stream", "GET", InvalidToken("no"), 401),
        ("/v1/stream", "GET", KeysUnavailable(), 503),
        ("/v1/stream?token=x", "GET", None, 400),
        ("/v1/stream", "DELETE", None, 405),
        ("/v1/stream", "OPTIONS", None, 204),
    ],
)
async def test_a_page_of_an_allowed_origin_may_read_every_answer(
    path: str, method: str, error: SynkroneError | None, status: int
) -> None:
    async with wire() as server:
        server.events.script("ann", error=error)
        client = await server.ask(path, method=method, origin=ORIGIN)
        assert client.status == status
        assert client.headers["access-control-allow-origin"] == ORIGIN
        assert client.headers["vary"].split(", ")[0] == "Origin"
        assert "Retry-After" in client.headers["access-control-expose-headers"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://app.test"])
async def test_a_page_of_any_other_is_forbidden_before_anybody_is_asked(method: str, origin: str) -> None:
    async with wire() as server:
        client = await server.ask(method=method, origin=origin)
        assert (client.status, (await client.problem())["code"]) == (403, "forbidden")
        assert not [name for name in client.headers if name.startswith("access-control")]
        assert server.events.connect_requests == []


async def test_a_preflight_allows_what_clients_send() -> None:
    async with wire() as server:
        client = await server.client()
        client.ask(method="OPTIONS", origin=ORIGIN, access_control_request_headers="authorization,last-event-id")
        assert await client.answer() == 204
        allowed = client.headers["access-control-allow-headers"].lower().split(", ")
        assert set(allowed) >= {"authorization", "last-event-id", "cache-control"}
        assert "GET" in client.headers["access-control-allow-methods"]
        assert "content-length" not in client.headers
        client.ask(authorization=BEARER, origin=ORIGIN)
        assert await client.answer() == 200


# HTTP


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused_and_the_connection_stays(method: str) -> None:
    async with wire() as server:
        client = await server.client()
        client.ask(method=method, authorization=BEARER, content_length="5")
        client.writer.write(b"hello")
        assert await client.answer() == 405
        assert client.headers["allow"] == "GET, HEAD, OPTIONS"
        assert (await client.problem())["code"] == "method_not_allowed"
        client.ask(authorization=BEARER)
        assert await client.answer() == 200


async def test_a_head_request_gets_a_head_and_no_stream() -> None:
    async with wire() as server:
        server.events.script("bad", error=InvalidToken("no"))
        client = await server.ask(method="HEAD", authorization="Bearer bad")
        assert client.status == 401
        client.ask(method="HEAD", authorization=BEARER)
        assert await client.answer() == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert "content-length" not in client.headers
        await eventually(lambda: not server.transport._connections)
        client.ask(authorization=BEARER)
        assert await client.answer() == 200
        assert (await client.event()).name == "session.ready"


async def test_a_connection_outlives_its_refusals() -> None:
    async with wire() as server:
        server.events.script("bad", error=InvalidToken("no"))
        client = await server.client()
        for _ in range(3):
            client.ask(authorization="Bearer bad")
            assert await client.answer() == 401
            await client.problem()
        client.ask(authorization=BEARER)
        assert await client.answer() == 200
        assert (await client.event()).name == "session.ready"


async def test_requests_sent_at_once_are_answered_up_to_the_stream_which_never_ends() -> None:
    async with wire() as server:
        server.events.script("bad", error=InvalidToken("no"))
        client = await server.client()
        client.ask(authorization="Bearer bad")
        client.ask(authorization=BEARER)
        client.ask(authorization="Bearer never")
        assert await client.answer() == 401
        await client.problem()
        assert await client.answer() == 200
        assert (await client.event()).name == "session.ready"
        await eventually(lambda: server.events.count("live", server.events.connections["ann"]) == 1)
        server.broadcast(1)
        assert (await client.event()).id == "e:1"
        assert "never" not in server.events.connections


async def test_http_1_0_gets_a_stream_without_chunks() -> None:
    async with wire() as server:
        client = await server.client()
        client.version = "HTTP/1.0"
        client.ask(authorization=BEARER, connection="keep-alive")
        assert await client.answer() == 200
        assert "transfer-encoding" not in client.headers
        assert client.headers["connection"] == "close"
        assert (await client.event()).name == "session.ready"
        server.events.disconnect(server.events.connections["ann"], refusal(ShuttingDown()))
        assert (await client.event()).name == "session.closing"
        assert await client.ended()


@pytest.mark.parametrize("half", [b"GET /v1/str", b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"])
async def test_half_a_request_asks_for_nothing_and_leaves_nothing(
    half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire() as server:
        client = await server.client()
        client.writer.write(half)
        await client.writer.drain()
        # Another one is served meanwhile: what there is of the first has been read.
        await server.live()
        await client.close()
        await server.live("bob")
        assert len(server.events.connect_requests) == 2
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("before", [b"", b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"], ids=["alone", "pipelined"])
async def test_a_client_that_left_before_its_stream_began_leaves_no_connection(before: bytes) -> None:
    async with serving(store="memory://") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        try:
            authorization = f"Authorization: Bearer {token('42')}\r\n".encode()
            writer.write(before + b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n" + authorization + b"\r\n")
            writer.write_eof()
            async with asyncio.timeout(5):
                await reader.read()
            await eventually(lambda: not server.listener.connections)
        finally:
            writer.close()
