"""What a session tells the layer above."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Message(NamedTuple):
    """The client sent a message."""

    data: str | bytes


class Received(NamedTuple):
    """The client has every packet up to the one with this mark."""

    mark: object


class Closed(NamedTuple):
    """The session has ended; the last event."""

    reason: str


Event: TypeAlias = Message | Received | Closed
