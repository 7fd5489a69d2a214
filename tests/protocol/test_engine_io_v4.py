"""The Engine.IO protocol, version 4, as its document has it: at the wire, against a server that echoes."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.transport.socketio.engineio.packet import EncodedPacket
from tests.protocol.echo import ALLOWED_ORIGIN, MAX_PAYLOAD, PING_INTERVAL, PING_TIMEOUT, Echo, echoing
from tests.protocol.scripted_peer import Cut, Gone, Wire
from tests.serving import eventually

POLLING = {"EIO": "4", "transport": "polling"}
WEBSOCKET = {"EIO": "4", "transport": "websocket"}
LONG = {"ping_interval": 20.0, "ping_timeout": 20.0}
PATIENCE = 15.0


class Client:
    """Requests and WebSockets as they are asked for, with nothing added."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def get(
        self, sid: str | None = None, headers: dict[str, str] | None = None, *, t: str | None = None
    ) -> tuple[int, str]:
        parameters = POLLING | ({"sid": sid} if sid else {}) | ({"t": t} if t else {})
        async with self.http.get(self.url, params=parameters, headers=headers) as answer:
            return answer.status, await answer.text()

    async def post(self, sid: str, body: str | bytes, **options: Any) -> tuple[int, str]:
        async with self.http.post(self.url, params=POLLING | {"sid": sid}, data=body, **options) as answer:
            return answer.status, await answer.text()

    async def open(self) -> str:
        """A new session that polls."""
        status, body = await self.get()
        assert (status, body[:1]) == (200, "0")
        return str(json.loads(body[1:])["sid"])

    async def websocket(self, sid: str | None = None) -> aiohttp.ClientWebSocketResponse:
        parameters = WEBSOCKET | ({"sid": sid} if sid else {})
        return await self.http.ws_connect(self.url, params=parameters, autoping=False, max_msg_size=0)

    async def opened_websocket(self) -> aiohttp.ClientWebSocketResponse:
        socket = await self.websocket()
        assert (await receive(socket)).startswith("0{")
        return socket


async def receive(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """The data of the next message; None once the server has closed."""
    message = await socket.receive(PATIENCE)
    return message.data if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY) else None


@asynccontextmanager
async def running(**limits: float) -> AsyncIterator[tuple[Echo, Client]]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with echoing(**limits) as echo, aiohttp.ClientSession(timeout=timeout) as http:
        yield echo, Client(http, echo.url)


# Handshake


@pytest.mark.gen_test
async def test_a_polling_handshake_names_the_session_its_upgrade_and_its_limits() -> None:
    async with running() as (_, client):
        status, body = await client.get()
        opened = json.loads(body[1:])
        assert (status, body[0]) == (200, "0")
        assert opened == {
            "sid": opened["sid"],
            "upgrades": ["websocket"],
            "pingInterval": PING_INTERVAL * 1000,
            "pingTimeout": PING_TIMEOUT * 1000,
            "maxPayload": MAX_PAYLOAD,
        }
        assert isinstance(opened["sid"], str)


@pytest.mark.gen_test
async def test_a_websocket_handshake_offers_no_upgrade() -> None:
    async with running() as (_, client):
        socket = await client.websocket()
        opened = json.loads((await receive(socket))[1:])
        assert opened["upgrades"] == []
        assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (300, 1000, MAX_PAYLOAD)
        await socket.close()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"transport": "polling"}, 5),
        ({"EIO": "abc", "transport": "polling"}, 5),
        ({"EIO": "3", "transport": "polling"}, 5),
        ({"EIO": "4"}, 0),
        ({"EIO": "4", "transport": "abc"}, 0),
        ({"EIO": "4", "transport": "websocket"}, 3),
        ({"EIO": "4", "transport": "polling", "sid": "unknown"}, 1),
        ({"EIO": "4", "transport": "polling", "j": "0"}, 3),
    ],
)
@pytest.mark.gen_test
async def test_a_request_with_a_wrong_query_gets_400(query: dict[str, str], code: int) -> None:
    async with running() as (echo, client):
        async with client.http.get(client.url, params=query) as answer:
            assert answer.status == 400
            assert (await answer.json())["code"] == code
        assert not echo.engine.sessions


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH"])
@pytest.mark.gen_test
async def test_a_handshake_by_another_method_gets_400(method: str) -> None:
    async with running() as (echo, client):
        async with client.http.request(method, client.url, params=POLLING) as answer:
            assert answer.status == 400
        assert not echo.engine.sessions


@pytest.mark.parametrize(
    "query",
    [
        {"transport": "websocket"},
        {"EIO": "abc", "transport": "websocket"},
        {"EIO": "4"},
        {"EIO": "4", "transport": "abc"},
        {"EIO": "4", "transport": "polling"},
        {"EIO": "4", "transport": "websocket", "sid": "unknown"},
    ],
)
@pytest.mark.gen_test
async def test_a_websocket_with_a_wrong_query_is_not_opened(query: dict[str, str]) -> None:
    async with running() as (echo, client):
        with pytest.raises(aiohttp.WSServerHandshakeError) as info:
            await client.http.ws_connect(client.url, params=query)
        assert info.value.status == 400
        assert not echo.engine.sessions
        assert echo.engine.open_sockets == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": base64.b64encode(b"x" * 15).decode()},
        {"Sec-WebSocket-Version": "8"},
        {"Connection": "keep-alive"},
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_websocket_handshake_is_answered_with_the_version(headers: dict[str, str]) -> None:
    async with running() as (_, client):
        good = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(b"x" * 16).decode(),
        }
        async with client.http.get(client.url, params=WEBSOCKET, headers=good | headers) as answer:
            assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455, section 1.3."""
HANDSHAKE = ["Host: x", "Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13"]
TARGET = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1"


async def head_of_answer(echo: Echo, *lines: str) -> tuple[int, str]:
    """What a request of these lines is answered with: the status, and the whole head."""
    wire = await Wire.open(echo.port)
    try:
        await wire.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        end = await wire.read_to(b"\r\n\r\n")
        head = wire.received[:end].decode()
        return int(head.split()[1]), head.lower()
    finally:
        wire.cut(Cut.FIN)


@pytest.mark.gen_test
async def test_the_opening_handshake_proves_itself_and_agrees_to_no_extension() -> None:
    async with running(**LONG) as (echo, _):
        offers = ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: a, b"]
        status, head = await head_of_answer(echo, TARGET, *HANDSHAKE, *offers)
        assert status == 101
        assert "\r\nupgrade: websocket\r\n" in head
        assert "\r\nconnection: upgrade\r\n" in head
        assert "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head
        assert "extensions" not in head
        assert "\r\nsec-websocket-protocol: a\r\n" in head


@pytest.mark.parametrize("missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Upgrade", "Connection", "Host"])
@pytest.mark.gen_test
async def test_an_opening_handshake_without_one_of_its_headers_opens_nothing(missing: str) -> None:
    async with running(**LONG) as (echo, _):
        lines = [line for line in HANDSHAKE if not line.startswith(f"{missing}:")]
        status, _ = await head_of_answer(echo, TARGET, *lines)
        assert status in (400, 426)
        assert not echo.engine.sessions


@pytest.mark.gen_test
async def test_an_opening_handshake_of_http_1_0_opens_nothing() -> None:
    """RFC 6455, section 4.2.1: HTTP/1.1 or higher."""
    async with running(**LONG) as (echo, _):
        status, _ = await head_of_answer(echo, TARGET.replace("1.1", "1.0"), *HANDSHAKE)
        assert status >= 400
        assert not echo.engine.sessions


@pytest.mark.parametrize(
    ("given", "instead", "expected"),
    [
        ("Upgrade: websocket", "Upgrade: h2c, WebSocket", 101),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade", 101),
        ("Connection: Upgrade", "Connection: no-upgrade", 426),
    ],
)
@pytest.mark.gen_test
async def test_the_headers_of_the_opening_handshake_are_lists_of_words(given: str, instead: str, expected: int) -> None:
    """RFC 6455, section 4.2.1, and RFC 9110, sections 7.6.1 and 7.8."""
    async with running(**LONG) as (echo, _):
        lines = [instead if line == given else line for line in HANDSHAKE]
        assert (await head_of_answer(echo, TARGET, *lines))[0] == expected


@pytest.mark.gen_test
async def test_upgrade_required_says_what_to() -> None:
    """RFC 9110, section 15.5.22."""
    async with running(**LONG) as (echo, _):
        lines = [line.replace("13", "8") if "Version" in line else line for line in HANDSHAKE]
        status, head = await head_of_answer(echo, TARGET, *lines)
        assert status == 426
        assert "\r\nupgrade: websocket\r\n" in head


@pytest.mark.gen_test
async def test_a_websocket_of_a_page_that_is_not_allowed_gets_403() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        for query in ("", f"&sid={sid}"):
            target = TARGET.replace("websocket ", f"websocket{query} ")
            assert (await head_of_answer(echo, target, *HANDSHAKE, "Origin: https://evil.example"))[0] == 403
        assert (await head_of_answer(echo, TARGET, *HANDSHAKE, f"Origin: {ALLOWED_ORIGIN}"))[0] == 101
        assert not echo.engine.sessions[sid].is_upgrading


@pytest.mark.gen_test
async def test_while_not_accepting_new_sessions_get_503_and_the_others_go_on() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        echo.accepting = False
        assert (await client.get())[0] == 503
        with pytest.raises(aiohttp.WSServerHandshakeError) as info:
            await client.websocket()
        assert info.value.status == 503
        await client.post(sid, "4still")
        assert await client.get(sid) == (200, "4still")


@pytest.mark.gen_test
async def test_a_page_of_an_allowed_origin_may_read_every_answer_and_others_none() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        for method, query, status in (
            ("OPTIONS", POLLING, 200),
            ("GET", POLLING, 200),
            ("POST", POLLING | {"sid": sid}, 200),
            ("GET", POLLING | {"sid": "unknown"}, 400),
        ):
            data = "4x" if method == "POST" else None
            headers = {"Origin": ALLOWED_ORIGIN}
            async with client.http.request(method, client.url, params=query, headers=headers, data=data) as answer:
                assert (method, answer.status) == (method, status)
                assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED_ORIGIN
                assert answer.headers["Access-Control-Allow-Credentials"] == "true"
                assert "Origin" in answer.headers["Vary"]
                if method == "OPTIONS":
                    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
                    assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"].split(", ")
        async with client.http.get(client.url, params=POLLING, headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


# Message, over long-polling


@pytest.mark.parametrize("payload", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4é😀", "4"])
@pytest.mark.gen_test
async def test_payloads_come_back_in_one_answer(payload: str) -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        assert await client.post(sid, payload.encode()) == (200, "ok")
        async with client.http.get(client.url, params=POLLING | {"sid": sid}) as answer:
            assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
            assert answer.headers["Cache-Control"] == "no-store"
            assert await answer.text() == payload


@pytest.mark.gen_test
async def test_a_poll_waits_for_something_to_be_said() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        waiting = asyncio.create_task(client.get(sid))
        await client.post(sid, "4late")
        assert await waiting == (200, "4late")


@pytest.mark.gen_test
async def test_a_chunked_body_is_a_body() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"4in ", b"chunks\x1e", b"4and more"):
            yield chunk

    async with running(**LONG) as (_, client):
        sid = await client.open()
        body: Any = chunks()
        assert await client.post(sid, body) == (200, "ok")
        assert await client.get(sid) == (200, "4in chunks\x1e4and more")


@pytest.mark.parametrize(
    "body",
    [b"abc", b"", b"4ok\x1e9", b"4ok\x1e", b"bAQIDBA", b"1x", b"0{}", b"2", b"2probe", b"5", b"b***", b"4\xff", b"3x"],
)
@pytest.mark.gen_test
async def test_an_invalid_payload_ends_the_session(body: bytes) -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        assert (await client.post(sid, body))[0] == 400
        assert (await client.get(sid))[0] == 400
        assert list(echo.closed) == [sid]


@pytest.mark.gen_test
async def test_a_payload_larger_than_announced_is_refused_and_the_largest_is_not() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        largest = "4" + "x" * (MAX_PAYLOAD - 1)
        assert (await client.post(sid, largest))[0] == 200
        assert await client.get(sid) == (200, largest)
        try:
            status, _ = await client.post(sid, largest + "x")
        except aiohttp.ClientError:
            status = 400
        assert status in (400, 413)


@pytest.mark.parametrize(("first_t", "second_t"), [(None, "b"), ("a", None), ("a", "b")])
@pytest.mark.gen_test
async def test_a_second_poll_ends_the_session_and_the_first_is_told(first_t: str | None, second_t: str | None) -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        first = asyncio.create_task(client.get(sid, t=first_t))
        await eventually_polled(echo, sid)
        assert (await client.get(sid, t=second_t))[0] == 400
        assert await first == (200, "1")
        assert (await client.get(sid))[0] == 400


@pytest.mark.parametrize("size", [MAX_PAYLOAD + 1, 20 * MAX_PAYLOAD])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.gen_test
async def test_a_page_can_read_that_its_payload_is_too_large(size: int, *, is_chunked: bool) -> None:
    """Also where it reads no answer before it has sent everything."""
    async with running(**LONG) as (echo, client):
        sid = await client.open()

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(0, size, 100_000):
                yield b"x" * 100_000

        body: Any = parts() if is_chunked else io.BytesIO(b"4" * size)
        async with aiohttp.ClientSession() as session:
            target = f"{echo.url}?EIO=4&transport=polling&sid={sid}"
            async with session.post(target, data=body, headers={"Origin": ALLOWED_ORIGIN}) as answer:
                assert answer.status == 413
                assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED_ORIGIN
                assert (await answer.json())["message"] == "Payload too large"
        assert await client.post(sid, "4small") == (200, "ok")


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.gen_test
async def test_a_payload_that_was_too_large_leaves_room_for_the_next(*, is_chunked: bool) -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        size = MAX_PAYLOAD + 1
        framing, begun = (
            ("Transfer-Encoding: chunked", f"{size:x}\r\n4") if is_chunked else (f"Content-Length: {size}", "4")
        )
        wire = await Wire.open(echo.port)
        target = f"POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1"
        await wire.send(f"{target}\r\nHost: x\r\n{framing}\r\n\r\n{begun}".encode())
        await wire.read_to(b"\r\n")
        assert wire.received.split()[1] in (b"400", b"413")
        wire.cut(Cut.FIN)
        assert await client.post(sid, "4small") == (200, "ok")
        assert await client.get(sid) == (200, "4small")


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain;charset=UTF-8", None])
@pytest.mark.gen_test
async def test_what_a_payload_holds_does_not_depend_on_what_it_is_called(content_type: str | None) -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        headers = {"Content-Type": content_type} if content_type else {}
        options = {"headers": headers, "skip_auto_headers": ["Content-Type"]}
        assert await client.post(sid, "4hello\x1ebAQIDBA==", **options) == (200, "ok")
        assert await client.get(sid) == (200, "4hello\x1ebAQIDBA==")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.gen_test
async def test_a_session_is_spoken_to_by_get_and_post_and_nothing_else(method: str) -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        async with client.http.request(method, client.url, params=POLLING | {"sid": sid}, data="4x") as answer:
            assert answer.status == 400
        await client.post(sid, "4still here")
        assert await client.get(sid) == (200, "4still here")


@pytest.mark.gen_test
async def test_a_post_to_an_unknown_session_gets_400() -> None:
    async with running(**LONG) as (echo, client):
        assert (await client.post("unknown", "4x"))[0] == 400
        assert not echo.engine.sessions


@pytest.mark.gen_test
async def test_a_second_post_ends_the_session() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        gate = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"4half"
            await gate.wait()
            yield b" and half"

        body: Any = slow()
        first = asyncio.create_task(client.post(sid, body))
        await eventually(lambda: echo.engine.sessions[sid]._posting, within=PATIENCE)
        assert (await client.post(sid, "4second"))[0] == 400
        gate.set()
        assert (await first)[0] == 400
        assert (await client.get(sid))[0] == 400


@pytest.mark.gen_test
async def test_a_cancelled_poll_keeps_the_session_and_what_comes_meanwhile() -> None:
    """The official suite has the session closed here: then what was published meanwhile would be lost."""
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        poll = asyncio.create_task(client.get(sid, t="1"))
        await eventually_polled(echo, sid)
        poll.cancel()
        await eventually(lambda: not echo.engine.sessions[sid].is_polled, within=PATIENCE)
        await client.post(sid, "4meanwhile")
        assert await client.get(sid, t="2") == (200, "4meanwhile")


@pytest.mark.gen_test
async def test_the_same_request_again_is_the_next_poll() -> None:
    """Many clients repeat what is to keep caches away."""
    async with running(**LONG) as (echo, client):
        echo.marks = True
        sid = await client.open()
        await client.post(sid, "4one")
        assert await client.get(sid, t="a") == (200, "4one")
        await client.post(sid, "4two")
        assert await client.get(sid, t="a") == (200, "4two\x1e2")
        assert echo.received == ["one"]
        waiting = asyncio.create_task(client.get(sid, t="c"))
        await eventually_polled(echo, sid)
        assert echo.received == ["one", "two"]
        await client.post(sid, "4three")
        assert await waiting == (200, "4three\x1e2")


@pytest.mark.parametrize("size", [1, 500_000])
@pytest.mark.gen_test
async def test_an_answer_is_given_once_over_connections_that_end_behind_it(size: int) -> None:
    async with running(**LONG) as (echo, client):
        echo.marks = True
        sid = await client.open()
        for number in range(3):
            message = str(number) * size
            await client.post(sid, f"4{message}")
            assert await client.get(sid, {"Connection": "close"}, t=str(number)) == (200, f"4{message}")
        assert [str(mark)[0] for mark in echo.received] == ["0", "1"]


@pytest.mark.gen_test
async def test_the_same_poll_sent_again_while_it_waits_takes_its_place() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        first = asyncio.create_task(client.get(sid, t="a"))
        await eventually_polled(echo, sid)
        second = asyncio.create_task(client.get(sid, t="a"))
        assert await first == (200, "6")
        await client.post(sid, "4x")
        assert await second == (200, "4x")


# Message, over WebSocket


@pytest.mark.gen_test
async def test_text_and_binary_come_back_over_a_websocket() -> None:
    async with running(**LONG) as (_, client):
        socket = await client.opened_websocket()
        await socket.send_str("4hello")
        assert await receive(socket) == "4hello"
        await socket.send_bytes(bytes((1, 2, 3, 4)))
        assert await receive(socket) == bytes((1, 2, 3, 4))
        await socket.close()


@pytest.mark.parametrize("packet", ["abc", "", "0{}", "2", "2probe", "3x", "1x", "5", "9", "bAQIDBA=="])
@pytest.mark.gen_test
async def test_an_invalid_packet_closes_the_websocket_and_the_session(packet: str) -> None:
    async with running(**LONG) as (echo, client):
        socket = await client.opened_websocket()
        await socket.send_str(packet)
        assert await receive(socket) is None
        assert socket.close_code == 1002
        assert not echo.engine.sessions


@pytest.mark.gen_test
async def test_a_message_larger_than_announced_closes_the_websocket() -> None:
    async with running(**LONG) as (_, client):
        socket = await client.opened_websocket()
        largest = "4" + "x" * (MAX_PAYLOAD - 1)
        await socket.send_str(largest)
        assert await receive(socket) == largest
        await socket.send_str(largest + "x")
        assert await receive(socket) is None
        assert socket.close_code == 1009


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x024x", 1002),
        (b"\xc1\x82\x00\x00\x00\x004x", 1002),
        (b"\x83\x82\x00\x00\x00\x004x", 1002),
        (b"\x80\x82\x00\x00\x00\x004x", 1002),
        (b"\x01\x82\x00\x00\x00\x004x\x81\x82\x00\x00\x00\x004x", 1002),
        (b"\x09\x80\x00\x00\x00\x00", 1002),
        (b"\x89\xfe\x00\x80\x00\x00\x00\x00", 1002),
        (b"\x88\x81\x00\x00\x00\x00x", 1002),
        (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),
        *(
            (b"\x88\x82\x00\x00\x00\x00" + code.to_bytes(2, "big"), 1002)
            for code in (0, 999, 1004, 1006, 1015, 2999, 5000)
        ),
        (b"\x8b\x80\x00\x00\x00\x00", 1002),
        (b"\xa1\x82\x00\x00\x00\x004x", 1002),
        (b"\x91\x82\x00\x00\x00\x004x", 1002),
        (b"\x08\x80\x00\x00\x00\x00", 1002),
        (b"\x88\x84\x00\x00\x00\x00\x03\xe8\xff\xff", 1007),
        (b"\x81\x82\x00\x00\x00\x004\xff", 1007),
        (b"\x01\x82\x00\x00\x00\x004\xc3\x80\x81\x00\x00\x00\x00x", 1007),
        (b"\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 1009),
    ],
)
@pytest.mark.gen_test
async def test_a_frame_against_rfc_6455_closes_with_the_code_for_it(frames: bytes, code: int) -> None:
    async with running(**LONG) as (echo, client):
        socket = await client.opened_websocket()
        transport: Any = socket._writer.transport
        transport.write(frames)
        assert await receive(socket) is None
        assert socket.close_code == code
        assert not echo.engine.sessions


@pytest.mark.gen_test
async def test_fragments_pings_and_the_closing_handshake() -> None:
    async with running(**LONG) as (echo, client):
        socket = await client.opened_websocket()
        transport: Any = socket._writer.transport
        zero = b"\x00\x00\x00\x00"
        transport.write(b"\x01\x83" + zero + b"4he" + b"\x89\x82" + zero + b"hi")
        pong = await socket.receive(PATIENCE)
        assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"hi")
        transport.write(b"\x00\x80" + zero + b"\x80\x83" + zero + b"llo")
        assert await receive(socket) == "4hello"
        await socket.close(code=3001)
        assert socket.close_code == 3001
        await eventually(lambda: not (echo.engine.sessions or echo.engine.open_sockets), within=PATIENCE)


@pytest.mark.gen_test
async def test_a_character_may_be_cut_by_fragments() -> None:
    async with running(**LONG) as (_, client):
        socket = await client.opened_websocket()
        transport: Any = socket._writer.transport
        zero = b"\x00\x00\x00\x00"
        transport.write(b"\x01\x82" + zero + b"4\xc3" + b"\x80\x81" + zero + b"\xa9")
        assert await receive(socket) == "4é"
        await socket.close()


@pytest.mark.gen_test
async def test_fragments_larger_than_announced_together_close_the_websocket() -> None:
    async with running(**LONG) as (_, client):
        socket = await client.opened_websocket()
        transport: Any = socket._writer.transport
        half = b"\x00\x00\x00\x00" + b"4" + b"x" * (MAX_PAYLOAD // 2)
        length = (len(half) - 4).to_bytes(8, "big")
        transport.write(b"\x01\xff" + length + half + b"\x80\xff" + length + half)
        assert await receive(socket) is None
        assert socket.close_code == 1009


@pytest.mark.gen_test
async def test_each_packet_is_a_frame_of_its_own_without_a_mask() -> None:
    async with running(**LONG) as (echo, _), raw_websocket(echo) as wire:
        start = len(wire.received)
        await wire.send(masked(b"4one") + masked(b"4two") + masked(bytes((1, 2)), first=0x82))
        expected = b"\x81\x044one\x81\x044two\x82\x02\x01\x02"
        await wire.read_until(start + len(expected))
        assert wire.received[start:] == expected


@pytest.mark.parametrize(("sent", "answered"), [(b"", 1000), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)])
@pytest.mark.gen_test
async def test_a_close_frame_is_answered_once_and_what_is_behind_it_ignored(sent: bytes, answered: int) -> None:
    async with running(**LONG) as (echo, _), raw_websocket(echo) as wire:
        start = len(wire.received)
        await wire.send(masked(sent, first=0x88) + masked(b"4late"))
        with pytest.raises((Gone, ConnectionResetError)):
            await wire.read_until(10_000)
        assert wire.received[start:] == b"\x88\x02" + answered.to_bytes(2, "big")
        assert not echo.engine.sessions


@pytest.mark.parametrize("is_answered", [True, False])
@pytest.mark.gen_test
async def test_the_server_closes_a_websocket_with_a_frame_and_waits_a_while_for_the_answer(
    *, is_answered: bool
) -> None:
    patience = 10.0 if is_answered else 0.9
    async with running(**LONG, close_timeout=patience) as (echo, _), raw_websocket(echo) as wire:
        start, (session,) = len(wire.received), echo.engine.sessions.values()
        echo.engine.send(session, EncodedPacket.message("last"))
        echo.engine.close(session, "test")
        began = time.monotonic()
        farewell = b"\x81\x054last\x88\x02\x03\xe8"
        await wire.read_until(start + len(farewell))
        assert wire.received[start:] == farewell
        assert echo.engine.open_sockets == 1
        if is_answered:
            await wire.send(masked(b"\x03\xe8", first=0x88))
        with pytest.raises(Gone):
            await wire.read_until(10_000)
        assert (time.monotonic() - began < 0.8 * patience) == is_answered
        await eventually(lambda: echo.engine.open_sockets == 0, within=PATIENCE)


@pytest.mark.gen_test
async def test_pongs_of_a_websocket_that_nobody_asked_for_are_let_be() -> None:
    async with running(**LONG) as (echo, _), raw_websocket(echo) as wire:
        start = len(wire.received)
        await wire.send(masked(b"hi", first=0x8A) * 10 + masked(b"3") * 10 + masked(b"6") * 10 + masked(b"4x"))
        await wire.read_until(start + 4)
        assert wire.received[start:] == b"\x81\x024x"


@pytest.mark.gen_test
async def test_pings_of_a_websocket_without_an_end_are_a_flood() -> None:
    async with running(**LONG) as (_, client):
        socket = await client.opened_websocket()
        transport: Any = socket._writer.transport
        transport.write(b"\x89\x80\x00\x00\x00\x00" * 500)
        while (message := await socket.receive(PATIENCE)).type is aiohttp.WSMsgType.PONG:
            pass
        assert message.type is not aiohttp.WSMsgType.TEXT
        assert socket.close_code == 1008


# Heartbeat


@pytest.mark.gen_test
async def test_a_polling_client_is_pinged_and_lives_by_its_pongs() -> None:
    async with running() as (_, client):
        sid = await client.open()
        for _ in range(3):
            started = time.monotonic()
            assert await client.get(sid) == (200, "2")
            assert time.monotonic() - started < PING_INTERVAL + PING_TIMEOUT
            assert await client.post(sid, "3") == (200, "ok")


@pytest.mark.gen_test
async def test_a_polling_client_without_a_pong_is_gone_when_its_time_is_up() -> None:
    async with running() as (echo, client):
        sid = await client.open()
        opened = time.monotonic()
        await eventually(lambda: bool(echo.closed), within=PATIENCE)
        assert time.monotonic() - opened >= PING_INTERVAL + PING_TIMEOUT - 0.1
        assert (await client.get(sid))[0] == 400
        assert echo.closed == {sid: "ping_timeout"}


@pytest.mark.gen_test
async def test_a_websocket_client_is_pinged_and_lives_by_its_pongs() -> None:
    async with running() as (_, client):
        socket = await client.opened_websocket()
        for _ in range(3):
            assert await receive(socket) == "2"
            await socket.send_str("3")
        await socket.close()


@pytest.mark.gen_test
async def test_a_websocket_client_without_a_pong_is_closed_when_its_time_is_up() -> None:
    async with running() as (echo, client):
        socket = await client.opened_websocket()
        opened = time.monotonic()
        assert await receive(socket) == "2"
        assert await receive(socket) is None
        assert PING_INTERVAL + PING_TIMEOUT - 0.1 <= time.monotonic() - opened < PATIENCE
        assert list(echo.closed.values()) == ["ping_timeout"]


@pytest.mark.gen_test
async def test_after_a_delivery_the_next_ping_comes_within_a_second_and_its_pong_is_the_receipt() -> None:
    async with running(**LONG) as (echo, client):
        echo.marks = True
        socket = await client.opened_websocket()
        started = time.monotonic()
        await socket.send_str("4first")
        assert await receive(socket) == "4first"
        assert await receive(socket) == "2"
        # Long before it was due anyway.
        assert time.monotonic() - started < LONG["ping_interval"] / 2
        assert echo.received == []
        await socket.send_str("3")
        await socket.send_str("4second")
        assert await receive(socket) == "4second"
        assert echo.received == ["first"]
        await socket.close()


# Close


@pytest.mark.gen_test
async def test_a_client_that_closes_has_its_poll_ended_with_a_noop() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        poll = asyncio.create_task(client.get(sid))
        await eventually_polled(echo, sid)
        assert await client.post(sid, "1") == (200, "ok")
        assert await poll == (200, "6")
        assert (await client.get(sid))[0] == 400
        assert echo.closed == {sid: "client_close"}


@pytest.mark.gen_test
async def test_a_client_that_closes_over_websocket_is_closed() -> None:
    async with running(**LONG) as (echo, client):
        socket = await client.opened_websocket()
        await socket.send_str("1")
        assert await receive(socket) is None
        assert list(echo.closed.values()) == ["client_close"]


@pytest.mark.gen_test
async def test_the_server_closes_with_a_packet_that_is_alone_in_its_answer() -> None:
    async with running(**LONG) as (echo, client):
        for has_more in (False, True):
            sid = await client.open()
            if has_more:
                await client.post(sid, "4last")
            echo.engine.close(echo.engine.sessions[sid], "test", for_good=True)
            if has_more:
                assert await client.get(sid, t="1") == (200, "4last")
            assert await client.get(sid, t="2") == (200, "1")
            assert (await client.get(sid, t="3"))[0] == 400
        sid = await client.open()
        poll = asyncio.create_task(client.get(sid))
        await eventually_polled(echo, sid)
        echo.engine.close(echo.engine.sessions[sid], "test", for_good=True)
        assert await poll == (200, "1")


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.gen_test
async def test_who_is_told_to_stay_away_has_time_to_leave_by_themselves(*, leaves: bool) -> None:
    patience = 10.0 if leaves else 0.9
    async with running(**LONG, close_timeout=patience) as (echo, client):
        sid = await client.open()
        socket = await client.opened_websocket()
        polling, websocket = echo.engine.sessions.values()
        for session in (polling, websocket):
            echo.engine.send(session, EncodedPacket.message("stay away"))
            echo.engine.close(session, "test", for_good=True)
        closed_at = time.monotonic()
        assert await client.get(sid, t="1") == (200, "4stay away")
        assert await receive(socket) == "4stay away"
        poll, reading = asyncio.create_task(client.get(sid, t="2")), asyncio.create_task(receive(socket))
        await asyncio.wait((poll, reading), timeout=0.3)
        assert not poll.done()
        assert not reading.done()
        if leaves:
            assert await client.post(sid, "1") == (200, "ok")
            await socket.send_str("1")
        assert await poll == (200, "1")
        assert await reading is None
        assert (time.monotonic() - closed_at < 0.8 * patience) == leaves
        assert list(echo.closed.values()) == 2 * ["client_close" if leaves else "test"]


@pytest.mark.gen_test
async def test_who_is_to_come_back_gets_all_that_was_sent_and_then_a_refusal() -> None:
    async with running(**LONG) as (echo, client):
        for has_more in (False, True):
            sid = await client.open()
            if has_more:
                await client.post(sid, "4last")
            echo.engine.close(echo.engine.sessions[sid], "test")
            if has_more:
                assert await client.get(sid, t="1") == (200, "4last")
            assert (await client.get(sid, t="2"))[0] == 400
            assert sid not in echo.engine.sessions
        for end in (echo.engine.close, echo.engine.abort):
            sid = await client.open()
            poll = asyncio.create_task(client.get(sid))
            await eventually_polled(echo, sid)
            end(echo.engine.sessions[sid], "test")
            assert await poll == (200, "6")
            assert (await client.get(sid))[0] == 400


@pytest.mark.gen_test
async def test_a_session_that_nobody_polls_any_more_is_closed_a_second_later() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        await client.post(sid, "4never fetched")
        echo.engine.close(echo.engine.sessions[sid], "test")
        started = time.monotonic()
        await eventually(lambda: sid not in echo.engine.sessions, within=PATIENCE)
        assert 0.8 < time.monotonic() - started < PATIENCE


# Upgrade


async def probed(client: Client, sid: str) -> aiohttp.ClientWebSocketResponse:
    socket = await client.websocket(sid)
    await socket.send_str("2probe")
    assert await receive(socket) == "3probe"
    return socket


@pytest.mark.gen_test
async def test_an_upgrade_ends_the_waiting_poll_and_moves_everything_over() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        poll = asyncio.create_task(client.get(sid))
        await eventually_polled(echo, sid)
        socket = await probed(client, sid)
        assert await poll == (200, "6")
        await client.post(sid, "4queued")
        await socket.send_str("5")
        assert await receive(socket) == "4queued"
        await socket.send_str("4hello")
        assert await receive(socket) == "4hello"
        await socket.close()


@pytest.mark.gen_test
async def test_a_poll_that_comes_after_the_probe_is_ended_too() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        socket = await probed(client, sid)
        assert await client.get(sid) == (200, "6")
        await socket.send_str("5")
        await socket.send_str("4hello")
        assert await receive(socket) == "4hello"
        await socket.close()


@pytest.mark.gen_test
async def test_a_client_whose_websocket_hangs_does_not_spin() -> None:
    async with running(**LONG, upgrade_timeout=2.0) as (echo, client):
        sid = await client.open()
        await probed(client, sid)
        session = echo.engine.sessions[sid]
        polls = 0
        while session.is_upgrading:
            poll = asyncio.create_task(client.get(sid))
            await asyncio.wait((poll,), timeout=0.5)
            if not poll.done():
                await eventually(lambda: not session.is_upgrading, within=PATIENCE)
            polls += poll.done()
        assert polls < 30
        await client.post(sid, "4falls back")
        assert await poll == (200, "4falls back") or await client.get(sid) == (200, "4falls back")


@pytest.mark.gen_test
async def test_after_the_upgrade_requests_with_the_sid_get_400_and_the_session_lives() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        socket = await client.websocket(sid)
        await socket.send_str("2probe")
        await socket.send_str("5")
        assert await receive(socket) == "3probe"
        await socket.send_str("4there")
        assert await receive(socket) == "4there"
        assert (await client.get(sid))[0] == 400
        assert (await client.post(sid, "4x"))[0] == 400
        with pytest.raises(aiohttp.WSServerHandshakeError) as info:
            await client.websocket(sid)
        assert info.value.status == 400
        await socket.send_str("4hello")
        assert await receive(socket) == "4hello"
        await socket.close()


@pytest.mark.gen_test
async def test_a_second_websocket_is_refused_while_the_first_upgrades() -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        socket = await probed(client, sid)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.websocket(sid)
        await socket.send_str("5")
        await socket.send_str("4hello")
        assert await receive(socket) == "4hello"
        await socket.close()


@pytest.mark.parametrize("steps", [[], ["5"], ["4x"], ["2"], ["3probe"], ["2probe", "2probe"], ["2probe", "4x"]])
@pytest.mark.gen_test
async def test_an_upgrade_that_goes_wrong_leaves_the_session_polling(steps: list[str]) -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        socket = await client.websocket(sid)
        for step in steps:
            await socket.send_str(step)
        if not steps:
            await socket.close()
        while await receive(socket) is not None:
            pass
        await eventually(lambda: not echo.engine.sessions[sid].is_upgrading, within=PATIENCE)
        await client.post(sid, "4polling still")
        assert await client.get(sid) == (200, "4polling still")
        again = await probed(client, sid)
        await again.send_str("5")
        await again.send_str("4hello")
        assert await receive(again) == "4hello"
        await again.close()


@pytest.mark.gen_test
async def test_an_upgrade_that_is_never_finished_is_given_up() -> None:
    async with running(**LONG, upgrade_timeout=0.3) as (echo, client):
        sid = await client.open()
        socket = await client.websocket(sid)
        assert await receive(socket) is None
        assert sid in echo.engine.sessions
        await client.post(sid, "4polling still")
        assert await client.get(sid) == (200, "4polling still")


@pytest.mark.gen_test
async def test_a_session_that_ends_in_the_middle_of_its_upgrade_takes_both_transports_with_it() -> None:
    async with running(**LONG) as (echo, client):
        sid = await client.open()
        socket = await probed(client, sid)
        await client.post(sid, "1")
        assert await receive(socket) is None
        await eventually(lambda: echo.engine.open_sockets == 0, within=PATIENCE)


@pytest.mark.parametrize("step", [b"2probe", b"5", b"4x", b""])
@pytest.mark.gen_test
async def test_an_upgrade_is_made_of_text(step: bytes) -> None:
    async with running(**LONG) as (_, client):
        sid = await client.open()
        socket = await client.websocket(sid)
        await socket.send_bytes(step)
        assert await receive(socket) is None
        await client.post(sid, "4polling still")
        assert await client.get(sid) == (200, "4polling still")


@pytest.mark.parametrize("is_probed", [False, True])
@pytest.mark.parametrize(
    "ending", ["by its client", "by what it sent", "by the server", "at once", "by a second poll", "by time"]
)
@pytest.mark.gen_test
async def test_a_session_that_ends_while_it_upgrades_takes_its_websocket_with_it(
    ending: str, *, is_probed: bool
) -> None:
    limits = LONG if ending != "by time" else {}
    async with running(**limits) as (echo, client):
        sid = await client.open()
        socket = await probed(client, sid) if is_probed else await client.websocket(sid)
        session = echo.engine.sessions[sid]
        if ending == "by its client":
            await client.post(sid, "1")
        elif ending == "by what it sent":
            await client.post(sid, "9")
        elif ending == "by the server":
            echo.engine.close(session, "test")
        elif ending == "at once":
            echo.engine.abort(session, "test")
        elif ending == "by a second poll":
            echo.engine.sessions[sid]._noop_at = float("inf")
            poll = asyncio.create_task(client.get(sid, t="a"))
            await eventually_polled(echo, sid)
            await client.get(sid, t="b")
            await poll
        assert await receive(socket) is None
        await eventually(lambda: not (echo.engine.sessions or echo.engine.open_sockets), within=PATIENCE)


def masked(payload: bytes, *, first: int = 0x81) -> bytes:
    """A frame of a client's, of at most 125 bytes."""
    mask = b"\x0a\x0b\x0c\x0d"
    octets = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + mask + octets


@asynccontextmanager
async def raw_websocket(echo: Echo) -> AsyncIterator[Wire]:
    """A WebSocket of bytes, of which the open packet has been read."""
    wire = await Wire.open(echo.port)
    try:
        await wire.send("\r\n".join((TARGET, *HANDSHAKE, "", "")).encode())
        end = await wire.read_to(b"\r\n\r\n")
        await wire.read_until(end + 4)
        length, header = wire.received[end + 1], 2
        if length == 126:
            length, header = int.from_bytes(wire.received[end + 2 : end + 4], "big"), 4
        await wire.read_until(end + header + length)
        yield wire
    finally:
        wire.cut(Cut.FIN)


async def eventually_polled(echo: Echo, sid: str) -> None:
    await eventually(lambda: echo.engine.sessions[sid].is_polled, within=PATIENCE)
