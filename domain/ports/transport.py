"""How connections are reached."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.model import AckId, Answer, ConnectionId, Counts, Disconnect, Entry, Position, Room
from domain.ports.connection_events import ConnectionEvents


class Transport(Protocol):
    """Connections of clients, by whatever technology.

    A connection is paused from ``join`` on: live entries of its rooms wait, in bounded memory, until ``resume``.
    For a connection that has ended ``join`` and ``replay`` raise ConnectionGone; the others do nothing.
    """

    def bind(self, events: ConnectionEvents) -> None:
        """Say who decides. Called once, before the first client."""

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        """Make it a member, paused. It leaves by ending."""

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        """Send entries past the pause, and return when the socket took them.

        Raises SlowConsumer when the client stopped taking anything.
        """

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        """Send what waited beyond ``after`` and go live; nothing at or below it is sent from now on.

        False where more came than may wait: it was dropped, the pause has begun anew, and the log must be read on.
        True for a connection that has ended: there is nothing to be read for it.
        """

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        """Send to every member of any of the rooms, once each. Never waits for a client."""

    async def pause(self, connection: ConnectionId) -> Position:
        """Have live entries wait again. Everything up to the position that is returned was sent, where it was for this
        connection, and nothing after it. Raises ConnectionGone."""

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        """Answer a request of the client, in order with the events."""

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        """Tell the client that its token is about to expire."""

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        """Tell the client what is in its user's inbox now."""

    def technology(self, connection: ConnectionId) -> str:
        """What the connection is carried by at the moment, for operators; empty for one that has ended."""

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        """Begin to close: tell the client why, after all that was sent before, and close within a second."""
