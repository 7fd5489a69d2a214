"""A WebSocket client on a bare socket, for tests of readers that are slow."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from entrypoints.server import Server
from tests.engine_io import event

KERNEL_BUFFER_BYTES = 8192


class RawWebSocket:
    """A WebSocket client that reads only as fast as it is told, with next to nothing buffered below it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = bytearray()

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Server, *, sid: str | None = None) -> AsyncIterator[RawWebSocket]:
        """With a ``sid``, for the session of that name."""
        for listening in server._sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        address, port = server.url.removeprefix("http://").split(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (address, int(port)))
            key = base64.b64encode(os.urandom(16)).decode()
            session = f"&sid={sid}" if sid is not None else ""
            request = (
                f"GET /socket.io/?EIO=4&transport=websocket{session} HTTP/1.1\r\nHost: {address}:{port}\r\n"
                f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            await loop.sock_sendall(sock, request.encode())
            peer = cls(sock)
            while b"\r\n\r\n" not in peer._received:
                await peer.read(100)
            del peer._received[: peer._received.index(b"\r\n\r\n") + 4]
            yield peer

    async def connect(self, token: str, **auth: object) -> None:
        """Send CONNECT and wait for nothing."""
        await self.send("40" + json.dumps({"token": token, **auth}))

    async def send(self, packet: str) -> None:
        message = packet.encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(message))
        length = b"\xfe" + len(message).to_bytes(2, "big") if len(message) > 125 else bytes((0x80 | len(message),))
        frame = b"\x81" + length + mask + masked
        await asyncio.get_running_loop().sock_sendall(self._sock, frame)

    async def read(self, size: int) -> int:
        """Read at most this many bytes; how many it was, 0 at the end."""
        octets = await asyncio.get_running_loop().sock_recv(self._sock, size)
        self._received += octets
        return len(octets)

    def events(self) -> list[tuple[str, list[Any]]]:
        """The events in what was read."""
        texts, rest = [], bytes(self._received)
        while len(rest) >= 2:
            length, start = rest[1], 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(rest[2:start], "big")
            if len(rest) < start + length:
                break
            texts.append(rest[start : start + length].decode() if rest[0] == 0x81 else "")
            rest = rest[start + length :]
        return [event(text) for text in texts if text.startswith("42")]
