"""A WebSocket that has failed: its client is told why, nothing of what it goes on to send is read, and it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.transport.socketio.engineio.session import SessionLimits
from adapters.transport.socketio.engineio.websocket import FrameReader
from entrypoints.server import Server
from tests.protocol.scripted_peer import WebSocketScript, Wire
from tests.serving import eventually, open_sockets, serving

NO_MASK = bytes(4)
TOO_LARGE = b"\x81\xff" + (1 << 40).to_bytes(8, "big") + NO_MASK
WAYS_TO_FAIL: dict[str, tuple[bytes, int]] = {
    "a message too large": (TOO_LARGE, 1009),
    "text that is not UTF-8": (b"\x81\x82" + NO_MASK + b"4\xff", 1007),
    "reserved bits": (b"\xf1\x81" + NO_MASK + b"3", 1002),
    "no mask": (b"\x81\x013", 1002),
    "a continuation of nothing": (b"\x80\x81" + NO_MASK + b"3", 1002),
    "an unknown opcode": (b"\x83\x81" + NO_MASK + b"3", 1002),
    "a malformed close frame": (b"\x88\x81" + NO_MASK + b"3", 1002),
    "a packet of no type": (b"\x81\x81" + NO_MASK + b"9", 1002),
}
MUCH = 6_000_000
"""More than the kernel takes for a server that does not read."""
LINGER = SessionLimits().close_timeout


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[socket.socket]:
    wire = await Wire.open(urlsplit(server.url).port or 0)
    try:
        await wire.send(WebSocketScript.handshake())
        await WebSocketScript(wire).switched()
        await wire.read_to(b"}")
        yield wire._sock
    finally:
        wire._sock.close()


async def read_to_end(sock: socket.socket) -> bytes:
    """Raises ConnectionResetError."""
    received = b""
    while octets := await asyncio.get_running_loop().sock_recv(sock, 65_536):
        received += octets
    return received


@pytest.mark.parametrize("way", WAYS_TO_FAIL)
@pytest.mark.gen_test
async def test_the_close_frame_is_the_last_that_comes_however_much_is_sent_behind_the_failure(way: str) -> None:
    octets, code = WAYS_TO_FAIL[way]
    async with serving() as server:
        for _ in range(4):
            async with opened(server) as sock, asyncio.timeout(10):
                await asyncio.get_running_loop().sock_sendall(sock, octets + b"x" * MUCH)
                assert await read_to_end(sock) == b"\x88\x02" + code.to_bytes(2, "big")


@pytest.mark.gen_test
async def test_nothing_is_read_of_what_comes_behind_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, fed = FrameReader.feed, 0

    def counting_feed(self: FrameReader, octets: bytes) -> Any:
        nonlocal fed
        fed += len(octets)
        return feed(self, octets)

    monkeypatch.setattr(FrameReader, "feed", counting_feed)
    async with serving() as server, opened(server) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, TOO_LARGE + b"x" * MUCH)
        await read_to_end(sock)
        assert len(TOO_LARGE) <= fed < 100_000


@pytest.mark.gen_test
async def test_who_goes_on_sending_for_ever_is_cut_and_keeps_nobody_waiting() -> None:
    async with serving() as server, opened(server) as sock, asyncio.timeout(10):
        loop, started = asyncio.get_running_loop(), time.monotonic()
        longest = 0.0

        async def send() -> None:
            await loop.sock_sendall(sock, TOO_LARGE)
            while True:
                await loop.sock_sendall(sock, bytes(1_000_000))

        sending = loop.create_task(send())
        with suppress(OSError):
            while not sending.done():
                before = time.monotonic()
                await asyncio.sleep(0)
                longest = max(longest, time.monotonic() - before)
            await sending
        assert LINGER * 0.9 < time.monotonic() - started < LINGER + 3
        assert longest < LINGER / 2


@pytest.mark.gen_test
async def test_a_failed_websocket_that_sends_nothing_more_ends_when_its_client_closes() -> None:
    async with serving() as server, opened(server) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, TOO_LARGE)
        await read_to_end(sock)
        sock.close()
        await eventually(lambda: not open_sockets(server), within=LINGER / 2)
