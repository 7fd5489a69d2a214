"""Hostile clients in a process of their own, which send one shape of octets without an end: ``python -m
tests.campaigns.flood JSON`` with the members of Flood. Prints how many octets it sent, as JSON, when its time is over.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.campaigns.crowd import HANDSHAKE

BLOCK_BYTES = 32_768
BLOCKS_AT_ONCE = 64
PACE_SECONDS = 0.02
POLLING = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
BATCH = b"POST /v1/notifications/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SID = b"(sid)"
TOKEN = b"(token)"
CONNECT = b"(connect)"
SESSION = b"POST /socket.io/?EIO=4&transport=polling&sid=" + SID + b" HTTP/1.1\r\nHost: x\r\n"

OCTETS = b"1\r\nx\r\n"
SIXTEEN = b"10\r\n0123456789abcdef\r\n"
LINES = b"a:b\r\n" * 98

SHAPES: dict[str, tuple[bytes, bytes]] = {
    "chunks of an octet": (BATCH + CHUNKED, OCTETS),
    "chunks of an octet into a session": (SESSION + CHUNKED, OCTETS),
    "chunks of 16 octets": (BATCH + CHUNKED, SIXTEEN),
    "chunks of 16 octets into a session": (SESSION + CHUNKED, SIXTEEN),
    "small chunked bodies": (b"", BATCH + CHUNKED + OCTETS * 250 + b"0\r\n\r\n"),
    "a body": (BATCH + b"Content-Length: 100000000\r\n\r\n", b"x" * 1000),
    "requests": (b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"),
    "requests for nothing": (b"", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"),
    "handshakes": (b"", POLLING),
    "queries": (b"", b"GET /socket.io/?" + b"a=b&" * 99 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "heads": (b"", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n" + LINES + b"\r\n"),
    "an endless head": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:\r\n"),
    "empty lines": (b"", b"\r\n"),
    "octets behind a WebSocket": (HANDSHAKE, b"\x00"),
    "tiny frames": (HANDSHAKE, b"\x89\x80\x00\x00\x00\x00"),
    "tiny messages": (HANDSHAKE, b"\x81\x81\x00\x00\x00\x003"),
    "connects over a WebSocket": (HANDSHAKE + CONNECT, b"\x00"),
    "octets behind a stream": (
        b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN + b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Flood:
    """``connections`` that send at ``rate`` bytes a second together, 0 being as fast as they can, for ``seconds``."""

    port: int
    shape: str
    connections: int
    rate: int
    seconds: float
    token: str = ""
    ca: str | None = None


def connect_frame(token: str) -> bytes:
    """A CONNECT of Socket.IO in a frame of WebSocket, masked with zeros."""
    packet = f"40{json.dumps({'token': token})}".encode()
    return b"\x81\xfe" + len(packet).to_bytes(2, "big") + bytes(4) + packet


class _Sender(asyncio.Protocol):
    def __init__(self, flooder: Flooder) -> None:
        self._flooder = flooder
        self.transport: asyncio.Transport | None = None
        self.is_writable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_writable = True
        self.transport.write(self._flooder.prefix)
        self.pump()

    def resume_writing(self) -> None:
        self.is_writable = True
        self.pump()

    def pause_writing(self) -> None:
        self.is_writable = False

    def pump(self) -> None:
        for _ in range(BLOCKS_AT_ONCE):
            if not self.is_writable or self.transport is None or self.transport.is_closing():
                return
            if not self._flooder.may_send():
                return
            self.transport.write(self._flooder.block)
        # The loop is let go: that a connection over TLS is closed is told by nothing else.
        asyncio.get_running_loop().call_soon(self.pump)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport, self.is_writable = None, False
        self._flooder.lost(self)


class Flooder:
    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        prefix, block = SHAPES[flood.shape]
        size = BLOCK_BYTES if not flood.rate else max(1, int(flood.rate * PACE_SECONDS) // flood.connections)
        self.prefix = prefix.replace(TOKEN, flood.token.encode()).replace(CONNECT, connect_frame(flood.token))
        self.block = block * max(1, size // len(block))
        self.sent = 0
        self.connected = 0
        self._started = time.monotonic()
        self._is_over = False
        self._tls = ssl.create_default_context(cafile=flood.ca) if flood.ca is not None else None
        self._connecting: set[asyncio.Task[None]] = set()

    def may_send(self) -> bool:
        allowed = self._flood.rate * (time.monotonic() - self._started)
        if self._is_over or (self._flood.rate and self.sent > allowed):
            return False
        self.sent += len(self.block)
        return True

    def lost(self, sender: _Sender) -> None:
        if not self._is_over:
            task = asyncio.ensure_future(self._connect(sender))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, sender: _Sender) -> None:
        while not self._is_over:
            await asyncio.sleep(0.02)
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: sender, "127.0.0.1", self._flood.port, ssl=self._tls
                )
            except OSError:
                continue
            self.connected += 1
            return

    async def run(self) -> None:
        if SID in self.prefix:
            self.prefix = self.prefix.replace(SID, await self._session())
        self._started = time.monotonic()
        senders = [_Sender(self) for _ in range(self._flood.connections)]
        for sender in senders:
            self.lost(sender)
        while time.monotonic() < self._started + self._flood.seconds:
            await asyncio.sleep(PACE_SECONDS)
            if self._flood.rate:
                senders.append(senders.pop(0))
                for sender in senders:
                    sender.pump()
        self._is_over = True
        for task in self._connecting:
            task.cancel()
        for sender in senders:
            if sender.transport is not None:
                sender.transport.abort()
        await asyncio.sleep(0.05)

    async def _session(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._flood.port, ssl=self._tls)
        writer.write(POLLING)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        sid: str = json.loads((await reader.readexactly(length))[1:])["sid"]
        writer.close()
        return sid.encode()


def main() -> None:
    flooder = Flooder(Flood(**json.loads(sys.argv[1])))
    asyncio.run(flooder.run())
    print(json.dumps({"sent": flooder.sent, "connected": flooder.connected}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
