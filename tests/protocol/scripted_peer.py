"""A client of bytes: it sends and reads exactly what it is told, and cuts its connections where it is told."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import termios
from enum import Enum, IntEnum, auto
from typing import ClassVar, Self
from weakref import WeakSet

PATIENCE = 15.0
READ_BYTES = 65_536
SEPARATOR = "\x1e"


class Cut(Enum):
    """How a connection ends: in good order, or with a reset."""

    FIN = "fin"
    RESET = "reset"


class Gone(Exception):
    """The server closed the connection."""


class Wire:
    """One TCP connection."""

    every: ClassVar[WeakSet[Wire]] = WeakSet()

    def __init__(self, sock: socket.socket) -> None:
        self.every.add(self)
        self._sock = sock
        self.received = b""

    @classmethod
    async def open(cls, port: int, *, receive_bytes: int | None = None) -> Self:
        """``receive_bytes`` is about what the kernel takes in before it is read."""
        sock = socket.socket()
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        wire = cls(sock)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return wire

    async def send(self, octets: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, octets)

    async def read_until(self, length: int) -> None:
        """Read until so many bytes have come in all. Raises Gone."""
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < length:
                octets = await asyncio.get_running_loop().sock_recv(self._sock, length - len(self.received))
                if not octets:
                    raise Gone
                self.received += octets

    async def read_to(self, mark: bytes) -> int:
        """Read byte by byte up to and with the mark; how many bytes there are with it."""
        while mark not in self.received:
            await self.read_until(len(self.received) + 1)
        return self.received.index(mark) + len(mark)

    @property
    def unread(self) -> int:
        """Bytes that have arrived in the kernel."""
        (length,) = struct.unpack("i", fcntl.ioctl(self._sock, termios.FIONREAD, bytes(4)))
        return int(length)

    async def arrived(self) -> None:
        """Wait until the kernel has something to read, and leave it there."""
        loop, has_arrived = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._sock, has_arrived.set)
        try:
            async with asyncio.timeout(PATIENCE):
                await has_arrived.wait()
        finally:
            loop.remove_reader(self._sock)

    def say_no_more(self) -> None:
        """End it in good order with whatever is unread left where it is, where ``cut`` would reset it."""
        self._sock.shutdown(socket.SHUT_WR)

    def cut(self, how: Cut) -> None:
        if how is Cut.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class Place(IntEnum):
    """Where in an exchange a connection is cut; the request may have no body."""

    BEFORE = auto()
    HALF_HEAD = auto()
    HEAD = auto()
    HALF_BODY = auto()
    ALMOST_SENT = auto()
    SENT = auto()
    HALF_ANSWER_HEAD = auto()
    ANSWER_HEAD = auto()
    HALF_ANSWER_BODY = auto()
    WHOLE = auto()

    @property
    def is_sent(self) -> bool:
        return self >= Place.SENT

    def sent_of(self, head: int, body: int) -> int:
        """How many bytes of a request are sent up to here."""
        whole = head + body
        return {
            Place.BEFORE: 0,
            Place.HALF_HEAD: head // 2,
            Place.HEAD: head,
            Place.HALF_BODY: head + body // 2,
            Place.ALMOST_SENT: whole - 1,
        }.get(self, whole)


PLACES_OF_POST: list[Place] = list(Place)
PLACES_OF_GET: list[Place] = [place for place in Place if place not in (Place.HEAD, Place.HALF_BODY)]


class PollingScript:
    """The requests of a polling client. ``entries`` are the offsets it has read completely; ``headers`` are lines."""

    def __init__(self, port: int, headers: str = "") -> None:
        self.port = port
        self.headers = headers
        self.sid = ""
        self.entries: list[int] = []
        self.others: list[str] = []
        self._polls = 0

    async def get(self, path: str, place: Place = Place.WHOLE, how: Cut = Cut.FIN, share: float = 0.5) -> str | None:
        """The body of the answer; None where it was cut before that was there. ``share`` is the half that is read."""
        return await self._exchange(self.head_of(path), b"", place, how, share)

    def head_of(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n{self.headers}\r\n".encode()

    async def post(self, packet: str, place: Place = Place.WHOLE, how: Cut = Cut.FIN) -> str | None:
        body = packet.encode()
        head = f"POST {self._path('')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._exchange(head.encode(), body, place, how)

    async def open(self, place: Place = Place.WHOLE, how: Cut = Cut.FIN) -> bool:
        body = await self.get("/socket.io/?EIO=4&transport=polling", place, how)
        if body is None:
            return False
        self.sid = json.loads(body[1:])["sid"]
        return True

    async def poll(
        self, place: Place = Place.WHOLE, how: Cut = Cut.FIN, *, again: bool = False, share: float = 0.5
    ) -> bool:
        """One poll, or the last one ``again``; whether its answer was read completely."""
        body = await self.get(self.poll_path(again=again), place, how, share)
        if body is None:
            return False
        for packet in body.split(SEPARATOR):
            self.take(packet)
        return True

    def poll_path(self, *, again: bool = False) -> str:
        if not again:
            self._polls += 1
        return self._path(f"&t={self._polls}")

    def take(self, packet: str) -> None:
        if packet.startswith('42["notification.new"'):
            self.entries.append(json.loads(packet[2:])[1]["n"])
        else:
            self.others.append(packet)

    def _path(self, more: str) -> str:
        return f"/socket.io/?EIO=4&transport=polling&sid={self.sid}{more}"

    async def _exchange(self, head: bytes, body: bytes, place: Place, how: Cut, share: float = 0.5) -> str | None:
        wire = await Wire.open(self.port)
        try:
            await wire.send((head + body)[: place.sent_of(len(head), len(body))])
            if place <= Place.SENT:
                return None
            if place is Place.HALF_ANSWER_HEAD:
                await wire.read_to(b"\r\n")
                return None
            head_end = await wire.read_to(b"\r\n\r\n")
            answered = wire.received[:head_end].decode().lower()
            length = int(answered.partition("content-length: ")[2].partition("\r\n")[0])
            if place is Place.HALF_ANSWER_BODY:
                await wire.read_until(head_end + int(length * share))
            if place is not Place.WHOLE:
                return None
            await wire.read_until(head_end + length)
            if " 200 " not in answered.partition("\r\n")[0]:
                raise Gone(answered.partition("\r\n")[0])
            return wire.received[head_end:].decode()
        finally:
            wire.cut(how)


class WebSocketScript:
    """A WebSocket, sent and read byte by byte."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._taken = 0

    @staticmethod
    def handshake(sid: str | None = None) -> bytes:
        query = "/socket.io/?EIO=4&transport=websocket" + (f"&sid={sid}" if sid else "")
        return (
            f"GET {query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    @staticmethod
    def frame(packet: str) -> bytes:
        data, mask = packet.encode(), os.urandom(4)
        length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        return b"\x81" + length + mask + bytes(octet ^ mask[index % 4] for index, octet in enumerate(data))

    async def switched(self) -> None:
        self._taken = await self.wire.read_to(b"\r\n\r\n")

    async def next(self) -> str:
        """The next packet, read to its last byte and no further. Raises Gone."""
        await self.wire.read_until(self._taken + 2)
        length, start = self.wire.received[self._taken + 1], self._taken + 2
        if self.wire.received[self._taken] & 0x0F == 8:
            raise Gone
        if length >= 126:
            extended = 2 if length == 126 else 8
            await self.wire.read_until(start + extended)
            length, start = int.from_bytes(self.wire.received[start : start + extended], "big"), start + extended
        await self.wire.read_until(start + length)
        self._taken = start + length
        return self.wire.received[start : self._taken].decode()

    async def half_of_next(self) -> None:
        await self.wire.read_until(self._taken + 2)
        await self.wire.read_until(self._taken + 2 + self.wire.received[self._taken + 1] // 2)
