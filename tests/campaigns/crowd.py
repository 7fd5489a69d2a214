"""Thousands of WebSocket clients in one process: bytes in, bytes out, and next to nothing between."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import TypeAlias

from tests.processes import token

HANDSHAKE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
NOTIFICATION = b'42["notification.new"'
READY = b'42["session.ready"'
CONNECTED = b"40"
AT_ONCE = 200

Claim: TypeAlias = dict[str, str]
"""What a client says of an earlier connection."""


def frame(packet: bytes | str, opcode: int = 1) -> bytes:
    data, mask = packet.encode() if isinstance(packet, str) else packet, os.urandom(4)
    if len(data) < 126:
        header = bytes((0x80 | opcode, 0x80 | len(data)))
    else:
        header = bytes((0x80 | opcode, 0xFE)) + len(data).to_bytes(2, "big")
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return header + mask + masked.to_bytes(len(data), "big")


class Client(asyncio.Protocol):
    """One client. ``received`` counts notifications; ``on_notification`` gets the bytes of each.

    With the ``claim`` of an earlier one it continues where that stopped, as the stock client does by itself.
    """

    def __init__(
        self,
        jwt: str | None,
        on_notification: Callable[[bytes], None] | None = None,
        *,
        answers_pings: bool = True,
        claim: Claim | None = None,
    ) -> None:
        self.is_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.recovered = False
        self.status = b""
        self._jwt = jwt
        self._claim = claim or {}
        self._connected = b""
        self._last = b""
        self._on_notification = on_notification
        self._answers_pings = answers_pings
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _connected.add(self)
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.status:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self.status, self._buffer = head.split(b" ", 2)[1], rest
            if self.status != b"101":
                self._transport.close()
                return
            if self._jwt is not None:
                self._transport.write(frame("40" + json.dumps({"token": self._jwt, **self._claim})))
        start, buffer = 0, self._buffer
        while len(buffer) - start >= 2:
            length, at = buffer[start + 1], start + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(buffer) < at + size:
                    break
                length, at = int.from_bytes(buffer[at : at + size], "big"), at + size
            if len(buffer) < at + length:
                break
            self._take(buffer[start] & 0x0F, buffer[at : at + length])
            start = at + length
        self._buffer = buffer[start:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self._transport.close()
        elif payload == b"2":
            if self._answers_pings:
                self._transport.write(frame("3"))
        elif payload.startswith(NOTIFICATION):
            self.received += 1
            self._last = payload
            if self._on_notification is not None:
                self._on_notification(payload)
        elif payload.startswith(READY) and not self.is_ready.done():
            self._last = payload
            self.recovered = b'"recovered":true' in payload
            self.is_ready.set_result(None)
        elif payload.startswith(CONNECTED):
            self._connected = payload

    def connection_lost(self, _error: Exception | None) -> None:
        _connected.discard(self)
        if not self.is_ready.done():
            self.is_ready.set_exception(ConnectionError())
            self.is_ready.exception()
        if not self.is_closed.done():
            self.is_closed.set_result(None)

    @property
    def claim(self) -> Claim:
        """Its ``pid`` and, as ``offset``, the cursor of the last event it got."""
        return {"pid": json.loads(self._connected[2:])["pid"], "offset": self._last.rsplit(b'"', 2)[1].decode()}

    def send(self, octets: bytes) -> None:
        self._transport.write(octets)

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def reset(self) -> None:
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


_connected: set[Client] = set()


async def abort_all() -> None:
    """End every client that there still is."""
    clients = list(_connected)
    for client in clients:
        client.abort()
    if clients:
        await asyncio.wait([client.is_closed for client in clients])


def tokens(number: int) -> list[str]:
    return [token(str(user), ttl=36_000) for user in range(number)]


async def connect(port: int, client: Client) -> Client:
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: client, "127.0.0.1", port)
    await client.is_ready
    return client


async def connect_all(
    port: int, jwts: list[str], on_notification: Callable[[bytes], None] | None = None
) -> list[Client]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(jwt: str) -> Client:
        async with gate:
            return await connect(port, Client(jwt, on_notification))

    return list(await asyncio.gather(*(one(jwt) for jwt in jwts)))


async def stay_connected(
    port: int,
    jwt: str,
    deadline: float,
    *,
    earlier: Client | None = None,
    on_notification: Callable[[bytes], None] | None = None,
) -> int:
    """Try as the stock JavaScript client does, until it is in; how many attempts it took.

    One that was connected ``earlier`` has to recover.
    """
    delay, attempts = 1.0, 0
    claim = earlier.claim if earlier is not None else None
    while True:
        attempts += 1
        try:
            client = await connect(port, Client(jwt, on_notification, claim=claim))
        except OSError:
            assert time.monotonic() < deadline, "not let in"
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(5.0, delay * 2)
        else:
            assert earlier is None or client.recovered, "it did not recover"
            return attempts
