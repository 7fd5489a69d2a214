"""What stands in for the world where a test has to move it by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from domain.errors import InvalidToken
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

START = datetime(2030, 1, 31, 12, 0, 0, tzinfo=UTC)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, wall: datetime = START, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def turn(self) -> None:
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._wall += by


class FixedRandomness:
    """The same share of every range, and ids in order: ``id-1``, ``id-2``."""

    def __init__(self, share: float = 0.5) -> None:
        self._share = share
        self._ids = count(1)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._share

    def new_id(self) -> str:
        return f"id-{next(self._ids)}"


class RecordingTelemetry:
    """What operators would have been told, in order: the method's name and what identifies the case."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.ends: dict[ConnectionId, Position | None] = {}
        """Up to where the client of one that has ended had got the log."""
        self.taken = 0
        self.sent: list[Sent] = []
        self.replayed_entries = 0
        self.receipts: list[tuple[ConnectionId, Position]] = []

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
        self.calls.append(("connected", connection, identity.user, device or ""))

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None:
        self.calls.append(("refused", code, reason))

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        self.ends[connection] = received
        self.calls.append(("disconnected", connection, identity.user, reason))

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None:
        self.calls.append(("closing", connection, identity.user if identity is not None else "", code))

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        self.calls.append(("request_refused", remote_address, route, code, reason))

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        self.calls.append(("caller_refused", remote_address, code, reason))

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        self.calls.append(("origin_refused", remote_address, origin, own, setting or "", advice))

    def skipped(self, source: str, resume_id: str, reason: str) -> None:
        self.calls.append(("skipped", source, resume_id, reason))

    def parked(self, item: str, reason: str) -> None:
        self.calls.append(("parked", item, reason))

    def received(self, connection: ConnectionId, upto: Position) -> None:
        self.receipts.append((connection, upto))

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None:
        self.calls.append(("published", by, *(one.outcome.value for one in appended)))

    def publish_refused(self, by: str, code: str, reason: str) -> None:
        self.calls.append(("publish_refused", by, code, reason))

    def came_due(self, late: Sequence[float]) -> None:
        self.calls.append(("came_due", str(len(late))))

    def waiting(self, number: int) -> None: ...

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        self.taken += len(entries)
        self.sent.extend(sent)

    def replayed(self, transport: str, entries: int) -> None:
        self.replayed_entries += entries

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None:
        self.calls.append(("acted", by, action, user or "", detail or ""))

    def named(self, name: str) -> list[tuple[str, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class StaticVerifier:
    """Knows the tokens it was given, and no others."""

    def __init__(self, identities: Mapping[str, Identity]) -> None:
        self.identities = dict(identities)

    async def verify(self, token: str) -> Identity:
        try:
            return self.identities[token]
        except KeyError:
            raise InvalidToken("unknown token") from None
