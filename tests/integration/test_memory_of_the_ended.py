"""What a client sent is freed with its connection, however that ends: no cycle holds it until a collection.

Collections are rare on purpose, and find little; a client that fails over and over must not fill the memory meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.certificates import Certificate, make_certificate
from tests.raw_client import BINARY, CLOSE, PING, RawClient, frame
from tests.serving import API_KEY, eventually, open_sockets, serving, token

MARK = b"octets-of-a-client "
MUCH = MARK * 3000
TEXT = MUCH.decode()
LIMITS = {"connect_timeout": "1s", "ping_interval": "1s", "ping_timeout": "1s", "events_burst": 10}
TIMES = 3
USER = "42"
KEY = f"Authorization: Bearer {API_KEY}"
JSON = "Content-Type: application/json"

Way = Callable[[RawClient, Callable[[str], None]], None]
"""What a client does, up to the end of its connection. The second argument has an operator disconnect its user: "stay
away" or "come back"."""


def sending(octets: bytes, *, connected: bool = True, reset: bool = False) -> Way:
    """A WebSocket on which this is sent, and then the end awaited, or made."""

    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        with client.connected(token(USER)) if connected else client.websocket() as line:
            line.send(octets)
            if reset:
                line.reset()
            else:
                line.finish()
                line.read_to_end()

    return way


def staying(octets: bytes, *, connected: bool = True) -> Way:
    """A WebSocket on which this is sent, and nothing more; the server has to end it."""

    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        with client.connected(token(USER)) if connected else client.websocket() as line:
            line.send(octets)
            line.read_to_end()

    return way


def sent_away(how: str) -> Way:
    def way(client: RawClient, operator: Callable[[str], None]) -> None:
        with client.connected(token(USER)) as line:
            line.send(frame(event("x")) + frame(event("y"))[:30_000])
            operator(how)
            line.read_to_end()

    return way


def upgrading(*packets: bytes) -> Way:
    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        path = client.connected_polling(token(USER))
        with client.websocket(path.partition("&sid=")[2]) as line:
            line.send(b"".join(frame(packet) for packet in packets))
            line.finish()
            line.read_to_end()
        client.request("POST", path, b"1")

    return way


def posting(body: bytes, *, connected: bool = True, then: bytes = b"1") -> Way:
    """A session that polls, to which this is posted, and then, with another request, its end."""

    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        path = client.connected_polling(token(USER)) if connected else client.polling()
        client.request("POST", path, body)
        client.request("POST", path, then)

    return way


def half_posted(*, reset: bool) -> Way:
    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        path = client.connected_polling(token(USER))
        with client.line(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n".encode()) as line:
            line.send(MUCH[:50_000])
            if reset:
                line.reset()
            else:
                line.finish()
                line.read_to_end()
        client.request("POST", path, b"1")

    return way


def polled_away(how: str) -> Way:
    def way(client: RawClient, operator: Callable[[str], None]) -> None:
        path = client.connected_polling(token(USER))
        client.request("POST", path, event("x"))
        operator(how)
        while b" 200 " in client.request("GET", path).partition(b"\r\n")[0]:
            pass

    return way


def event(name: str, argument: object = TEXT) -> bytes:
    return b"42" + json.dumps([name, argument]).encode()


def connecting(auth: object) -> bytes:
    return b"40" + json.dumps(auth).encode()


BAD_PACKETS: dict[str, bytes] = {
    "no type of Engine.IO": b"9" + MUCH,
    "not for clients": b"2" + MUCH,
    "no type of Socket.IO": b"4x" + MUCH,
    "broken JSON": b'42["' + MUCH,
    "deep JSON": b"42" + b"[" * 30_000 + b'"' + MARK * 100,
    "no event": b'42["' + MUCH + b'"',
    "a reserved event": event("connect"),
    "another namespace": b"42/admin," + event("x")[2:],
    "attachments": b"451-" + event("x")[2:],
    "an acknowledgement": b"431" + event("x")[2:],
    "a second CONNECT": connecting({"token": TEXT}),
}
HARMLESS: dict[str, bytes] = {
    "an unknown event": event("x"),
    "a wrong argument": event("notification.read", {"ids": TEXT}),
    "a bad refresh": event("auth.refresh", {"token": TEXT}),
    "a bad cursor": event("notification.read_all", {"up_to": TEXT}),
}
BAD_AUTHS: dict[str, object] = {
    "a bad token": {"token": TEXT},
    "a list": [TEXT],
    "a bad cursor with a bad token": {"token": "x", "cursor": TEXT},
    "a bad device": {"token": token(USER), "device": TEXT},
    "a token of many parts": {"token": TEXT.replace(" ", ".")},
}
ENDS: dict[str, bytes] = {
    "FIN": b"",
    "a close frame": frame((1001).to_bytes(2, "big") + MARK, CLOSE),
    "CLOSE of Engine.IO": frame(b"1"),
    "DISCONNECT": frame(b"41"),
}

WEBSOCKET: dict[str, Way] = {
    **{f"{name}": sending(frame(packet)) for name, packet in BAD_PACKETS.items()},
    **{f"{name}, before CONNECT": sending(frame(packet), connected=False) for name, packet in BAD_PACKETS.items()},
    **{
        f"{name}, then {end}": sending(frame(packet) + octets)
        for name, packet in HARMLESS.items()
        for end, octets in ENDS.items()
    },
    **{f"{name}, then a reset": sending(frame(packet), reset=True) for name, packet in HARMLESS.items()},
    **{f"CONNECT with {name}": sending(frame(connecting(auth)), connected=False) for name, auth in BAD_AUTHS.items()},
    "CONNECT, then FIN": sending(frame(connecting({"token": token(USER), "x": TEXT})), connected=False),
    "CONNECT, then a reset": sending(frame(connecting({"token": token(USER), "x": TEXT})), connected=False, reset=True),
    "CONNECT and an event, then FIN": sending(
        frame(connecting({"token": token(USER), "x": TEXT})) + frame(event("x")), connected=False
    ),
    "not UTF-8": sending(frame(b"4" + MUCH + b"\xff")),
    "binary": sending(frame(MUCH, BINARY)),
    "far too large": sending(b"\x81\xff" + (1 << 30).to_bytes(8, "big") + bytes(4) + MUCH),
    "too large in the second fragment": sending(frame(MUCH, 0x01) + frame(MUCH, 0x80)),
    "half a frame, then FIN": sending(frame(MUCH)[:50_000]),
    "half a frame, then a reset": sending(frame(MUCH)[:50_000], reset=True),
    "half a frame, then silence": staying(frame(MUCH)[:50_000], connected=False),
    "half a frame, then no pong": staying(frame(MUCH)[:50_000]),
    "half a message, then FIN": sending(frame(MUCH, 0x01)),
    "half a message, then a reset": sending(frame(MUCH, 0x01), reset=True),
    "a message inside another": sending(frame(MUCH, 0x01) + frame(MUCH)),
    "a ping inside half a message": sending(frame(MUCH, 0x01) + frame(MARK, PING)),
    "a control frame that is long": sending(frame(MUCH, PING)),
    "a malformed close frame": sending(frame(b"\x00" + MARK, CLOSE)),
    "too many pings": sending(frame(MARK * 5, PING) * 250),
    "a flood": sending(frame(event("x")) * 20),
    "a flood before CONNECT": sending(frame(event("x")) * 20, connected=False),
    "a flood behind CONNECT": sending(
        frame(connecting({"token": token(USER)})) + frame(event("x")) * 20, connected=False
    ),
    "an operator who wants it back": sent_away("come back"),
    "an operator who does not": sent_away("stay away"),
    "an upgrade without a probe": upgrading(MUCH),
    "an upgrade with a bad probe": upgrading(b"2probe" + MUCH),
    "an upgrade that fails behind its probe": upgrading(b"2probe", b"5" + MUCH),
    "an upgrade and then a bad packet": upgrading(b"2probe", b"5", b"9" + MUCH),
    "an upgrade and then an event": upgrading(b"2probe", b"5", event("x")),
}
POLLING: dict[str, Way] = {
    **{f"{name}": posting(packet) for name, packet in BAD_PACKETS.items()},
    **{f"{name}, before CONNECT": posting(packet, connected=False) for name, packet in BAD_PACKETS.items()},
    **{f"{name}, then {end}": posting(packet, then=end.encode()) for name, packet in HARMLESS.items() for end in "1"},
    **{f"{name} and CLOSE": posting(packet + b"\x1e1") for name, packet in HARMLESS.items()},
    **{f"{name} and DISCONNECT": posting(packet + b"\x1e41") for name, packet in HARMLESS.items()},
    **{f"CONNECT with {name}": posting(connecting(auth), connected=False) for name, auth in BAD_AUTHS.items()},
    "not UTF-8": posting(MUCH + b"\xff"),
    "broken base64": posting(b"b" + MUCH),
    "binary": posting(b"bAAAA\x1e4" + MUCH),
    "too large": posting(MUCH * 4),
    "half a body, then FIN": half_posted(reset=False),
    "half a body, then a reset": half_posted(reset=True),
    "an operator who wants it back": polled_away("come back"),
    "an operator who does not": polled_away("stay away"),
}


def asking(method: str, path: str, body: bytes = b"", *headers: str) -> Way:
    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        client.request(method, path, body, *headers)

    return way


def breaking_off(octets: bytes, *, reset: bool = False) -> Way:
    """A line on which this is sent and nothing more."""

    def way(client: RawClient, _operator: Callable[[str], None]) -> None:
        with client.line(octets) as line:
            if reset:
                line.reset()
            else:
                line.finish()
                line.read_to_end()

    return way


def streaming(end: str) -> Way:
    def way(client: RawClient, operator: Callable[[str], None]) -> None:
        query = f"/v1/stream?device={MARK.decode().strip()}"
        head = f"GET {query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token(USER)}\r\nX-Marked: {SHORT}\r\n\r\n"
        with client.line(head.encode()) as line:
            line.read_to(b"session.ready")
            line.send(MUCH)
            if end == "reset":
                line.reset()
            elif end == "FIN":
                line.finish()
            else:
                operator(end)
                line.read_to_end()

    return way


SHORT = MARK.decode() * 100
BEARER = f"Authorization: Bearer {SHORT.replace(' ', '')}"
HTTP: dict[str, Way] = {
    "a stream with a bad token": asking("GET", "/v1/stream", b"", BEARER),
    "a stream with its token in the query": asking("GET", f"/v1/stream?token={MARK.decode().strip()}", b"", KEY),
    "a stream with a bad cursor": asking("GET", "/v1/stream", b"", BEARER, f"Last-Event-ID: {SHORT}"),
    "a stream with a body": asking("GET", "/v1/stream", MUCH, BEARER),
    **{f"a stream, then {end}": streaming(end) for end in ("FIN", "reset", "come back", "stay away")},
    "no session of this name": asking("GET", f"/socket.io/?EIO=4&transport=polling&sid={MARK.decode().strip()}"),
    "a body for no session": asking("POST", "/socket.io/?EIO=4&transport=polling&sid=x", MUCH),
    "no transport of this name": asking("GET", f"/socket.io/?EIO=4&transport={MARK.decode().strip()}"),
    "a refused origin": asking("GET", "/socket.io/?EIO=4&transport=polling", b"", f"Origin: https://{SHORT}"),
    "no key": asking("POST", "/v1/notifications", MUCH, JSON),
    "a wrong key": asking("POST", "/v1/notifications", MUCH, JSON, BEARER),
    "broken JSON for a route": asking("POST", "/v1/notifications", b'{"' + MUCH, KEY, JSON),
    "an unknown member": asking("POST", "/v1/notifications", json.dumps({"x": TEXT}).encode(), KEY, JSON),
    "not UTF-8 for a route": asking("POST", "/v1/notifications", b'{"x":"' + MUCH + b"\xff", KEY, JSON),
    "a batch with a bad line": asking(
        "POST", "/v1/notifications/batch", MUCH + b"\n", KEY, "Content-Type: application/x-ndjson"
    ),
    "another media type": asking("POST", "/v1/notifications", MUCH, KEY, "Content-Type: text/plain"),
    "a body too large for a route": asking("POST", "/v1/inbox/read", MUCH * 4, JSON, BEARER),
    "a bad token for an inbox": asking("POST", "/v1/inbox/read", MUCH, JSON, BEARER),
    "bad ids for an inbox": asking(
        "POST", "/v1/inbox/read", json.dumps({"ids": TEXT}).encode(), JSON, f"Authorization: Bearer {token(USER)}"
    ),
    "no route": asking("POST", f"/{MARK.decode().strip()}", MUCH),
    "no request": breaking_off(MUCH),
    "half a head": breaking_off(b"GET / HTTP/1.1\r\nX: " + MARK * 100),
    "half a head, then a reset": breaking_off(b"GET / HTTP/1.1\r\nX: " + MARK * 100, reset=True),
    "a head too long": breaking_off(b"GET / HTTP/1.1\r\nX: " + MUCH + b"\r\n\r\n"),
    "half a body for a route": breaking_off(
        f"POST /v1/notifications HTTP/1.1\r\nHost: x\r\n{KEY}\r\n{JSON}\r\nContent-Length: 60000\r\n\r\n".encode()
        + MUCH[:50_000]
    ),
    "half a body for a route, then a reset": breaking_off(
        f"POST /v1/notifications HTTP/1.1\r\nHost: x\r\n{KEY}\r\n{JSON}\r\nContent-Length: 60000\r\n\r\n".encode()
        + MUCH[:50_000],
        reset=True,
    ),
    "a bad chunk": breaking_off(
        f"POST /v1/notifications HTTP/1.1\r\nHost: x\r\n{KEY}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"1000\r\n"
        + MUCH
    ),
}


def ways(table: dict[str, Way]) -> list[Any]:
    return [pytest.param(way, id=name) for name, way in table.items()]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection, but for the one that the test asks for; and that goes through what the test has made only."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def held_by_cycles() -> list[str]:
    """What a collection would have to free before the client's octets are, found by doing one.

    Without the octets: a failed test's report, kept in a cycle, would fail all that follow.
    """
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = {
        getattr(getattr(holder, "f_code", type(holder)), "co_qualname", type(holder).__qualname__)
        for holder in gc.garbage
        for octets in gc.get_referents(holder)
        if isinstance(octets, (str, bytes, bytearray)) and _is_of_the_client(octets)
    }
    gc.garbage.clear()
    return sorted(found)


def _is_of_the_client(octets: str | bytes | bytearray) -> bool:
    return MARK.decode() in octets if isinstance(octets, str) else MARK in octets


async def assert_nothing_stays(way: Way, tls: Certificate | None = None) -> None:
    settings = {"limits": LIMITS} | ({"tls": {"cert": str(tls.cert), "key": str(tls.key)}} if tls is not None else {})
    async with serving(**settings) as server:
        loop, directory = asyncio.get_running_loop(), server.container.connections()

        def operator(how: str) -> None:
            loop.call_soon_threadsafe(lambda: directory.disconnect(USER, reconnect=how == "come back"))

        def is_over() -> bool:
            return not (directory.open_connections or open_sockets(server))

        client = RawClient(server.url)
        for _ in range(TIMES):
            await asyncio.to_thread(way, client, operator)
        await eventually(is_over, within=5)
        assert held_by_cycles() == []


pytestmark = [pytest.mark.check, pytest.mark.usefixtures("uncollected"), pytest.mark.gen_test(timeout=30)]


@pytest.mark.parametrize("way", ways(WEBSOCKET))
async def test_over_websocket(way: Way) -> None:
    await assert_nothing_stays(way)


@pytest.mark.parametrize("name", ["half a frame, then FIN", "half a frame, then a reset", "a flood", "far too large"])
async def test_over_tls(name: str, certificate: Certificate) -> None:
    await assert_nothing_stays(WEBSOCKET[name], certificate)


@pytest.mark.parametrize("way", ways(POLLING))
async def test_over_long_polling(way: Way) -> None:
    await assert_nothing_stays(way)


@pytest.mark.parametrize("way", ways(HTTP))
async def test_over_http(way: Way) -> None:
    await assert_nothing_stays(way)


MESSAGES = 200
MESSAGE_BYTES = 65_536


async def test_the_memory_stays_however_many_messages_are_refused() -> None:
    """What was seen at first: each message of no type stayed."""
    message = b"9" + b"x" * (MESSAGE_BYTES - 1)

    def fail(client: RawClient) -> None:
        with client.websocket() as line:
            line.send(frame(message))
            line.finish()
            line.read_to_end()

    async with serving() as server:
        client = RawClient(server.url)
        await asyncio.to_thread(fail, client)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(MESSAGES):
                await asyncio.to_thread(fail, client)
            await eventually(lambda: not open_sockets(server), within=5)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 20 * MESSAGE_BYTES
