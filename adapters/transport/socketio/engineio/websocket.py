"""The server's side of WebSocket (RFC 6455), without I/O and without extensions."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from adapters.transport.socketio.engineio.errors import Flooding, MessageTooLarge, NotUtf8, ProtocolError

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE_FRAME: Final = 0x8
PING_FRAME: Final = 0x9
PONG_FRAME: Final = 0xA

MAX_FRAGMENTS = 1024
"""Of one message: empty ones would otherwise come without an end."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN = 0x80
_OPCODE = 0x0F
_RESERVED_BITS = 0x70
_MASKED = 0x80
_MAX_CONTROL_BYTES = 125
_KEY_BYTES = 16


class Received(NamedTuple):
    """A whole message, or a control frame. Text has been decoded."""

    opcode: int
    data: str | bytes


def accept_key(headers: Mapping[str, str]) -> str | None:
    """The value of ``Sec-WebSocket-Accept`` (section 4.2.2) for a good opening handshake; None for any other."""
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key or headers.get("Sec-WebSocket-Version", "").strip() != "13":
        return None
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def frame_header(opcode: int, length: int) -> bytes:
    """The header of an unfragmented, unmasked frame (section 5.2)."""
    if length < 126:
        return bytes((_FIN | opcode, length))
    if length < 65_536:
        return bytes((_FIN | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((_FIN | opcode, 127)) + length.to_bytes(8, "big")


def close_frame(code: int) -> bytes:
    return frame_header(CLOSE_FRAME, 2) + code.to_bytes(2, "big")


def pong_frame(data: bytes) -> bytes:
    return frame_header(PONG_FRAME, len(data)) + data


class FrameReader:
    """Takes a client's bytes as they come and gives its messages.

    It holds at most one unfinished message of ``max_bytes``, and a control frame that came into it.
    """

    __slots__ = ("_buffer", "_fragments", "_max_bytes", "_message", "_opcode")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer: bytes = b""
        self._message: bytearray | None = None
        self._opcode = 0
        self._fragments = 0

    def drop(self) -> None:
        """Forget what is unfinished. Nothing is to be fed any more."""
        self._buffer, self._message = b"", None

    def feed(self, octets: bytes) -> Iterator[Received]:
        """The messages that are complete with these bytes, to be taken before the next are fed.

        Raises ProtocolError, after which the connection is of no further use.
        """
        buffer = self._buffer + octets if self._buffer else octets
        start = 0
        while (parsed := self._frame(buffer, start)) is not None:
            first, payload, start = parsed
            self._buffer = b""
            received = self._take(first, payload)
            if received is not None:
                yield received
        self._buffer = buffer[start:]

    def _frame(self, buffer: bytes, start: int) -> tuple[int, bytes, int] | None:
        """The first byte of the frame at ``start``, its payload and where it ends; None where it is not complete."""
        available = len(buffer) - start
        if available < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        if first & _RESERVED_BITS:
            raise ProtocolError("reserved bits, with no extension agreed on")
        if not second & _MASKED:
            raise ProtocolError("a client's frame without a mask")
        length, header = second & 0x7F, 2
        if first & CLOSE_FRAME and (length > _MAX_CONTROL_BYTES or not first & _FIN):
            raise ProtocolError("a control frame that is long or in fragments")
        if length > _MAX_CONTROL_BYTES:
            header = 4 if length == 126 else 10
            if available < header:
                return None
            length = int.from_bytes(buffer[start + 2 : start + header], "big")
        if length + (len(self._message or b"") if not first & _OPCODE else 0) > self._max_bytes:
            raise MessageTooLarge
        data_start = start + header + 4
        end = data_start + length
        if len(buffer) < end:
            return None
        return first, _unmask(buffer[data_start:end], buffer[data_start - 4 : data_start]), end

    def _take(self, first: int, payload: bytes) -> Received | None:
        opcode = first & _OPCODE
        if opcode == CLOSE_FRAME:
            _check_close(payload)
            return Received(opcode, payload)
        if opcode in (PING_FRAME, PONG_FRAME):
            return Received(opcode, payload)
        if opcode in (TEXT, BINARY):
            if self._message is not None:
                raise ProtocolError("a new message inside another")
            if first & _FIN:
                return _received(opcode, payload)
            self._message, self._opcode, self._fragments = bytearray(), opcode, 0
        elif opcode != CONTINUATION:
            raise ProtocolError("unknown opcode")
        return self._take_fragment(payload, is_last=bool(first & _FIN))

    def _take_fragment(self, payload: bytes, *, is_last: bool) -> Received | None:
        if self._message is None:
            raise ProtocolError("a continuation of nothing")
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            raise Flooding("too many fragments")
        self._message += payload
        if not is_last:
            return None
        message, self._message = bytes(self._message), None
        return _received(self._opcode, message)


def _received(opcode: int, payload: bytes) -> Received:
    if opcode == BINARY:
        return Received(opcode, payload)
    try:
        return Received(opcode, payload.decode())
    except UnicodeDecodeError:
        raise NotUtf8 from None


def _unmask(payload: bytes, mask: bytes) -> bytes:
    length = len(payload)
    if not length:
        return payload
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def _check_close(payload: bytes) -> None:
    """Section 5.5.1: empty, or a code that may be sent and a reason in UTF-8."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
        raise ProtocolError("malformed close frame")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise NotUtf8 from None


_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))
