"""What a peer can do wrong below Socket.IO."""

from __future__ import annotations

from domain.errors import SynkroneError


class ProtocolError(SynkroneError):
    """The peer broke the protocol."""

    code = "protocol_error"
    close_code = 1002
    """What a WebSocket is closed with (RFC 6455, section 7.4.1)."""


class NotUtf8(ProtocolError):
    """Text was not UTF-8."""

    close_code = 1007


class MessageTooLarge(ProtocolError):
    """A message was larger than is taken."""

    close_code = 1009


class Flooding(ProtocolError):
    """The peer sends more than it has reason to."""

    close_code = 1008
