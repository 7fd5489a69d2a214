"""What a peer can do wrong below Socket.IO."""

from __future__ import annotations

from domain.errors import SynkroneError


class ProtocolError(SynkroneError):
    code = "protocol_error"
    title = "The peer broke the protocol."
    close_code = 1002
    """What a WebSocket is closed with (RFC 6455, section 7.4.1)."""


class NotUtf8(ProtocolError):
    title = "Text was not UTF-8."

    close_code = 1007


class MessageTooLarge(ProtocolError):
    title = "A message was larger than is taken."

    close_code = 1009


class Flooding(ProtocolError):
    title = "The peer sends more than it has reason to."

    close_code = 1008
