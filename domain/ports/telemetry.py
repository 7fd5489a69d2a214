"""What operators want to know."""

from __future__ import annotations

from typing import Protocol

from domain.model import ConnectionId, DisconnectReason, Identity, Position
from domain.requests import ConnectRequest


class Telemetry(Protocol):
    """What operators want to know. Nothing here ever holds a token or a payload."""

    def connected(
        self, connection: ConnectionId, identity: Identity, request: ConnectRequest, device: str | None
    ) -> None: ...

    def refused(self, request: ConnectRequest, code: str, reason: str) -> None:
        """A connection was. ``reason`` is for operators, and says more than the client learns."""

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        """A user's request without a connection was; ``route`` is ``GET /v1/inbox`` or another one."""

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        """One that was ``connected`` has ended. ``received`` is up to where its client is known to have got the log."""

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None: ...

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        """A backend's request was."""

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        """A page of ``origin`` may not talk to the server, which it finds at ``own``; ``setting`` would let it in."""

    def skipped(self, source: str, resume_id: str, reason: str) -> None: ...

    def parked(self, item: str, reason: str) -> None:
        """An item of the outbox was set aside."""
