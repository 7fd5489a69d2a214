"""Engine.IO packets and payloads (Engine.IO protocol v4, "Packet encoding")."""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from adapters.transport.socketio.engineio.errors import NotUtf8, ProtocolError
from adapters.transport.socketio.engineio.websocket import BINARY, TEXT, frame_header

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"

SEPARATOR: Final = "\x1e"

_TYPES = frozenset((OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP))


class Packet(NamedTuple):
    """A packet as it was received. Only a message has bytes for data, and only where its sender meant them."""

    type: str
    data: str | bytes


def decode_packet(encoded: str | bytes) -> Packet:
    """Read the message of one WebSocket frame: text is a packet, bytes are the data of a binary message.

    Raises ProtocolError.
    """
    if isinstance(encoded, bytes):
        return Packet(MESSAGE, encoded)
    kind = encoded[:1]
    if kind not in _TYPES:
        raise ProtocolError("unknown packet type")
    return Packet(kind, encoded[1:])


def decode_payload(body: bytes) -> list[Packet]:
    """Read the body of a request of long-polling: packets between record separators, binary ones in base64.

    Raises ProtocolError.
    """
    try:
        encoded = body.decode()
    except UnicodeDecodeError:
        raise NotUtf8 from None
    return [_decode_part(part) for part in encoded.split(SEPARATOR)]


def _decode_part(part: str) -> Packet:
    if part[:1] != "b":
        return decode_packet(part)
    try:
        return Packet(MESSAGE, base64.b64decode(part[1:], validate=True))
    except (binascii.Error, ValueError):
        raise ProtocolError("malformed base64") from None


class EncodedPacket:
    """A packet ready to be sent any number of times, over any transport.

    ``frame`` is the whole WebSocket frame: a server's are not masked, and so are the same for every client. ``mark``
    is the sender's own note; the session gives the last one back when its client is known to have the packet.
    """

    __slots__ = ("_payload_start", "frame", "mark", "size")

    def __init__(self, encoded: bytes, mark: object = None, *, opcode: int = TEXT) -> None:
        header = frame_header(opcode, len(encoded))
        self.frame = header + encoded
        self.mark = mark
        self.size = len(self.frame)
        """In bytes, as sent over WebSocket."""
        self._payload_start = len(header)

    @classmethod
    def message(cls, data: str | bytes, mark: object = None) -> EncodedPacket:
        """A message; ``bytes`` make it a binary one."""
        if isinstance(data, bytes):
            return cls(data, mark, opcode=BINARY)
        return cls(b"4" + data.encode(), mark)

    @property
    def text(self) -> bytes:
        """The packet as part of a payload of long-polling."""
        payload = self.frame[self._payload_start :]
        return b"b" + base64.b64encode(payload) if self.frame[0] & 0x0F == BINARY else payload


PING_PACKET: Final = EncodedPacket(PING.encode())
