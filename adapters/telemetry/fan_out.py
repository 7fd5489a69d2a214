"""Several that are told the same: the Telemetry port in front of them."""

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
from domain.ports import Sent, Telemetry
from domain.requests import ConnectRequest


class FanOut:
    """Each is told in turn."""

    def __init__(self, *each: Telemetry) -> None:
        self._each = each

    def connected(
        self,
        connection: ConnectionId,
        identity: Identity,
        request: ConnectRequest,
        device: str | None,
        *,
        recovered: bool,
        reason: RecoveryReason | None,
    ) -> None:
        for one in self._each:
            one.connected(connection, identity, request, device, recovered=recovered, reason=reason)

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None:
        for one in self._each:
            one.refused(connection, request, code, reason)

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None:
        for one in self._each:
            one.closing(connection, identity, code, detail)

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        for one in self._each:
            one.disconnected(connection, identity, reason, received)

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None:
        for one in self._each:
            one.published(by, drafts, appended, seconds, traceparent=traceparent)

    def publish_refused(self, by: str, code: str, reason: str) -> None:
        for one in self._each:
            one.publish_refused(by, code, reason)

    def skipped(self, source: str, resume_id: str, reason: str) -> None:
        for one in self._each:
            one.skipped(source, resume_id, reason)

    def parked(self, item: str, reason: str) -> None:
        for one in self._each:
            one.parked(item, reason)

    def came_due(self, late: Sequence[float]) -> None:
        for one in self._each:
            one.came_due(late)

    def waiting(self, number: int) -> None:
        for one in self._each:
            one.waiting(number)

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        for one in self._each:
            one.delivered(entries, sent)

    def replayed(self, transport: str, entries: int) -> None:
        for one in self._each:
            one.replayed(transport, entries)

    def received(self, connection: ConnectionId, upto: Position) -> None:
        for one in self._each:
            one.received(connection, upto)

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        for one in self._each:
            one.request_refused(remote_address, route, code, reason)

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        for one in self._each:
            one.caller_refused(remote_address, code, reason)

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        for one in self._each:
            one.origin_refused(remote_address=remote_address, origin=origin, own=own, setting=setting, advice=advice)

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None:
        for one in self._each:
            one.acted(by, action, user, detail=detail)
