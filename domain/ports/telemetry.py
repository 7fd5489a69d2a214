"""What operators want to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from domain.model import (
    Appended,
    ConnectionId,
    DisconnectReason,
    Draft,
    Entry,
    Identity,
    Position,
    RecoveryReason,
    TailEntry,
    UserId,
)
from domain.requests import ConnectRequest


class Sent(NamedTuple):
    """One entry went to so many connections of a transport, at least one."""

    transport: str
    entry: Entry
    connections: int


class Telemetry(Protocol):
    """What operators want to know. Nothing here ever holds a token; what holds a payload is not to be shown."""

    # connections

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
        """One was let in. ``recovered``: it continues where its cursor stands; ``reason``: why it does not, or why some
        of what its user has not received is gone."""

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None:
        """A connection was. ``reason`` is for operators, and says more than the client learns."""

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None: ...

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        """One that was ``connected`` has ended. ``received`` is up to where its client is known to have got the log."""

    # publishing

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None:
        """What a backend, a source or the outbox brought is stored, or was before: what became of each draft, in order.

        ``by`` is the backend's name, or that of the source; ``seconds`` passed from when it was taken to the commit.
        ``traceparent`` is that of who published (W3C Trace Context), as it was given.
        """

    def publish_refused(self, by: str, code: str, reason: str) -> None:
        """A request of a backend that may publish was, and nothing of it is stored."""

    def skipped(self, source: str, resume_id: str, reason: str) -> None: ...

    def parked(self, item: str, reason: str) -> None:
        """An item of the outbox was set aside."""

    # the schedule

    def came_due(self, late: Sequence[float]) -> None:
        """So many came into the log at a time of their own, each so many seconds after that."""

    def waiting(self, number: int) -> None:
        """So many wait for their time."""

    # delivery

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        """These entries of the log were taken to the rooms in one turn, and sent to those who were live there.

        The transports write at the end of that turn, or when their clients fetch it.
        """

    def replayed(self, transport: str, entries: int) -> None:
        """So many entries were sent to one connection that had missed them."""

    def received(self, connection: ConnectionId, upto: Position) -> None:
        """The client of a connection is known to have got the log up to a position, and was not before."""

    # requests without a connection, and pages

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        """A user's request without a connection was; ``route`` is ``GET /v1/inbox`` or another one."""

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        """A backend's request was."""

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        """A page of ``origin`` may not talk to the server, which it finds at ``own``; ``setting`` would let it in."""

    # operators

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None:
        """An operator, or whoever has their rights, did something that is to be accounted for.

        ``by`` is the name of the API key or the service, or a signal's; ``action`` is one of few words, like
        ``disconnected`` or ``reloaded``; ``detail`` holds no secret.
        """
