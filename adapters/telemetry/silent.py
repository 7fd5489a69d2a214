"""The Telemetry port for whoever wants to hear of little: nothing is done with what is not overridden."""

from __future__ import annotations

from collections.abc import Sequence

from domain.model import (
    Appended,
    ConnectionId,
    DisconnectReason,
    Draft,
    Identity,
    Position,
    RecoveryReason,
    TailEntry,
    UserId,
)
from domain.ports import Sent
from domain.requests import ConnectRequest


class SilentTelemetry:
    """Hears everything, and does nothing."""

    def connected(
        self,
        connection: ConnectionId,
        identity: Identity,
        request: ConnectRequest,
        device: str | None,
        *,
        recovered: bool,
        reason: RecoveryReason | None,
    ) -> None: ...

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None: ...

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None: ...

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None: ...

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None: ...

    def publish_refused(self, by: str, code: str, reason: str) -> None: ...

    def skipped(self, source: str, resume_id: str, reason: str) -> None: ...

    def parked(self, item: str, reason: str) -> None: ...

    def came_due(self, late: Sequence[float]) -> None: ...

    def waiting(self, number: int) -> None: ...

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None: ...

    def replayed(self, transport: str, entries: int) -> None: ...

    def received(self, connection: ConnectionId, upto: Position) -> None: ...

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None: ...

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None: ...

    def origin_refused(
        self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str
    ) -> None: ...

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None: ...
