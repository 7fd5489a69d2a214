"""The Socket.IO packets a client may send, and no others (Socket.IO protocol v5)."""

from __future__ import annotations

import json
import re
from typing import Any

from socketio import packet

from adapters.contract.json_text import mark_ambiguous, repeats_members, to_json
from adapters.contract.problems import problem_object
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from domain.errors import SynkroneError
from domain.model import AckId, Entry

_FROM_CLIENTS = (packet.CONNECT, packet.DISCONNECT, packet.EVENT, packet.ACK)
# A type, a namespace, an id of ASCII digits, then data or the end: the library takes every digit of Unicode, and counts
# attachments where there can be none.
_HEAD = re.compile(r"[0-6](/[^,]*(,|$))?([0-9]*)(?![\d-])")
_RESERVED_EVENTS = frozenset(("connect", "connect_error", "disconnect", "disconnecting"))


class AlreadyConnected(SynkroneError):
    code = "already_connected"
    title = "The session has a connection already."


class UnknownNamespace(SynkroneError):
    code = "unknown_namespace"
    title = "The server has no such namespace."


class PacketRefused(ProtocolError):
    title = "The packet is malformed, or one that no client may send."


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class _CompactJson:
    """What the library takes for its module ``json``: it would make an encoder anew for every packet."""

    _decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
    _encode = json.JSONEncoder(separators=(",", ":")).encode

    @classmethod
    def loads(cls, text: str) -> object:
        """Any JSON value; an object that says something twice is Ambiguous."""
        value = cls._decode(text)
        body = text.encode("utf-8", "surrogatepass")
        return mark_ambiguous(body, value) if repeats_members(body, value) else value

    @classmethod
    def dumps(cls, value: object, **_options: object) -> str:
        return cls._encode(value)


class StrictPacket(packet.Packet):
    """Decodes what clients may send and refuses the rest: binary, forged reserved events, broken JSON."""

    json = _CompactJson

    def __init__(self, packet_type: int = packet.EVENT, data: Any = None, **kwargs: Any) -> None:
        if packet_type == packet.CONNECT_ERROR and isinstance(data, str):
            # The library's own refusal is a bare string, of which the stock client makes an error without a message.
            known = kwargs.get("namespace") in (None, "/")
            problem = (AlreadyConnected() if known else UnknownNamespace()).problem
            data = {"message": problem.title, "data": problem_object(problem)}
        super().__init__(packet_type, data, **kwargs)

    def decode(self, encoded_packet: object) -> int:
        """Raises PacketRefused."""
        if not isinstance(encoded_packet, str):
            raise PacketRefused("not text")
        if not _HEAD.match(encoded_packet):
            raise PacketRefused("malformed")
        try:
            attachments = super().decode(encoded_packet)
        except (ValueError, RecursionError) as error:
            raise PacketRefused("malformed") from error
        if attachments or self.packet_type not in _FROM_CLIENTS:
            raise PacketRefused("not a packet for clients to send")
        if self.packet_type != packet.CONNECT and self.namespace not in (None, "/"):
            raise PacketRefused("not connected to this namespace")
        if self.packet_type == packet.EVENT:
            self._check_event()
        elif self.packet_type == packet.ACK:
            raise PacketRefused("acknowledges what nobody asked to have acknowledged")
        elif self.packet_type == packet.CONNECT and self.id is not None:
            raise PacketRefused("malformed connect")
        return 0

    def _check_event(self) -> None:
        if not isinstance(self.data, list) or not self.data or not isinstance(self.data[0], str):
            raise PacketRefused("malformed event")
        if self.data[0] in _RESERVED_EVENTS:
            raise PacketRefused("reserved event")


def event_packet(event: str, *arguments: object) -> EncodedPacket:
    """One event of the namespace ``/``."""
    return EncodedPacket(b"42" + to_json([event, *arguments]))


def ack_packet(ack: AckId, answer: object) -> EncodedPacket:
    """The answer to an event of the namespace ``/``."""
    return EncodedPacket(b"43%d" % ack + to_json([answer]))


def entry_packet(entry: Entry) -> EncodedPacket:
    """An entry of the log, marked with its position; the stored payload goes in as it is."""
    return EncodedPacket(
        b'42["%s",%s,"%s"]' % (entry.event.encode(), entry.payload, str(entry.position).encode()), entry.position
    )
