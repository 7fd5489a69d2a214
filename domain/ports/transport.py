"""How connections are reached."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Protocol, TypeVar

from domain.model import ConnectionId, Disconnect, Outgoing
from domain.ports.connection_events import ConnectionEvents


class Outlet(Hashable, Protocol):
    """A transport's own object for one connection, the same from ``connect`` to ``disconnected``."""

    @property
    def id(self) -> ConnectionId:
        """Unique among the connections of all transports."""

    @property
    def technology(self) -> str:
        """What carries it at the moment, for operators."""


class Frame(Protocol):
    """What a transport sends of an event: the same for every connection."""

    @property
    def size(self) -> int:
        """In bytes."""


O_contra = TypeVar("O_contra", bound=Outlet, contravariant=True)
F = TypeVar("F", bound=Frame)


class Transport(Hashable, Protocol[O_contra, F]):
    """Connections of clients, by whatever technology: it encodes, writes and closes, and decides nothing.

    What is sent to one connection arrives in the order in which it was sent. For one that has ended ``send`` and
    ``disconnect`` do nothing.
    """

    @property
    def name(self) -> str:
        """For operators, the same for all its connections."""

    def bind(self, events: ConnectionEvents) -> None:
        """Say who decides. Called once, before the first client."""

    def encode(self, event: Outgoing) -> F: ...

    def send(self, outlets: Collection[O_contra], frame: F) -> None:
        """Send it to each. Never waits for a client: one for which too much waits is cut, as its transport sees fit,
        but not from within this call."""

    async def has_room(self, outlet: O_contra) -> None:
        """Return when one more page of a replay can be sent.

        Raises SlowConsumer where the client has stopped taking anything, and ConnectionGone.
        """

    def disconnect(self, outlet: O_contra, why: Disconnect) -> None:
        """Begin to close: tell the client why, after all that was sent before, and close within a second."""
