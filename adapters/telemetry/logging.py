"""The Telemetry port on the standard library's loggers."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.telemetry.logs import AUDIT_LOGGER
from domain.model import (
    Appended,
    AppendOutcome,
    ConnectionId,
    DisconnectReason,
    Draft,
    Identity,
    Position,
    RecoveryReason,
    TailEntry,
    UserId,
)
from domain.ports import Clock, Sent
from domain.requests import ConnectRequest

_log = logging.getLogger("synkrone")
_audit = logging.getLogger(AUDIT_LOGGER)


REASONS_MAX = 32


@dataclass(slots=True, eq=False)
class _Repeated:
    """When a line was logged last, and how often it was left out since."""

    at: float = float("-inf")
    left_out: int = 0


@dataclass(slots=True, eq=False)
class _Reasons:
    """The reasons of one code, the one that was logged last at the end; and those that there was no room for."""

    known: OrderedDict[str, _Repeated] = field(default_factory=OrderedDict)
    others: _Repeated = field(default_factory=_Repeated)

    def place(self, reason: str, now: float, seconds_between: float) -> _Repeated:
        if reason in self.known:
            return self.known[reason]
        if len(self.known) >= REASONS_MAX:
            oldest = next(iter(self.known))
            if now - self.known[oldest].at < seconds_between:
                return self.others
            # So that none is left out uncounted.
            self.others.left_out += self.known.pop(oldest).left_out
        self.known[reason] = repeated = _Repeated()
        return repeated


def _of_one(draft: Draft, appended: Appended) -> dict[str, object]:
    """As ``_of_many``, of the one that nearly all publishes are of, in less than half of the time."""
    return {
        "id": appended.id,
        "cursor": None if appended.waits else str(appended.position),
        "count": 1,
        "audience": draft.notification.audience.value,
        "rooms": len(draft.rooms),
        "outcome": appended.outcome.value,
        "duplicates": int(appended.outcome is AppendOutcome.DUPLICATE),
    }


def _of_many(drafts: Sequence[Draft], appended: Sequence[Appended]) -> dict[str, object]:
    kinds, outcomes = {one.notification.audience for one in drafts}, [one.outcome for one in appended]
    return {
        "id": None,
        "cursor": str(appended[-1].position) if not appended[-1].waits else None,
        "count": len(appended),
        "audience": "+".join(sorted(kind.value for kind in kinds)),
        "rooms": sum(len(one.rooms) for one in drafts),
        "outcome": outcomes[0].value if len(set(outcomes)) == 1 else "mixed",
        "duplicates": outcomes.count(AppendOutcome.DUPLICATE),
    }


class LoggingTelemetry:
    """One line an event; for what clients can provoke, one line a second and a count of those left out.

    That goes for each reason by itself, of ``REASONS_MAX`` of each code: a flood of one does not hide another. What
    has other reasons shares one line a second.
    """

    def __init__(self, clock: Clock, *, seconds_between: float = 1.0) -> None:
        self._clock = clock
        self._seconds_between = seconds_between
        self._repeated: dict[tuple[str, str], _Reasons] = {}

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
        _log.info(
            "connected",
            extra={
                "connection": connection,
                "user": identity.user,
                "role": identity.role,
                "device": device,
                "transport": request.transport,
                "address": request.remote_address,
                "recovered": recovered,
                "reason": reason.value if reason is not None else None,
            },
        )

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None:
        self._refused(
            "refused",
            {
                "connection": connection,
                "code": code,
                "reason": reason,
                "address": request.remote_address,
                "transport": request.transport,
            },
        )

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None:
        user = identity.user if identity is not None else None
        _log.info("closing", extra={"connection": connection, "user": user, "code": code, "detail": detail})

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        upto = str(received) if received is not None else None
        extra = {"connection": connection, "user": identity.user, "reason": reason, "received": upto}
        _log.info("disconnected", extra=extra)

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
        if not _log.isEnabledFor(logging.INFO):
            return
        # As info() does, without looking for the line of code that called it, which takes as long as all the rest.
        record = logging.LogRecord(_log.name, logging.INFO, "", 0, "published", None, None)
        fields = _of_one(drafts[0], appended[0]) if len(appended) == 1 else _of_many(drafts, appended)
        record.__dict__.update(caller=by, **fields, seconds=round(seconds, 6))
        _log.handle(record)

    def publish_refused(self, by: str, code: str, reason: str) -> None:
        self._limited("publish refused", {"caller": by, "code": code, "reason": reason}, code, reason)

    def skipped(self, source: str, resume_id: str, reason: str) -> None:
        self._limited("item skipped", {"source": source, "resume_id": resume_id, "reason": reason}, source)

    def parked(self, item: str, reason: str) -> None:
        self._limited("parked", {"item": item, "reason": reason, "advice": "synkrone-socket outbox"}, "outbox", item)

    # the schedule: as often as somebody wants it

    def came_due(self, late: Sequence[float]) -> None:
        _log.debug("came due", extra={"count": len(late), "late_seconds": round(max(late), 3)})

    def waiting(self, number: int) -> None:
        pass

    # delivery: a line for each would be more than anybody reads

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        pass

    def replayed(self, transport: str, entries: int) -> None:
        pass

    def received(self, connection: ConnectionId, upto: Position) -> None:
        pass

    # requests without a connection, and pages

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        self._refused("refused", {"code": code, "reason": reason, "address": remote_address, "route": route})

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        self._refused("caller refused", {"code": code, "reason": reason, "address": remote_address})

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        fields = {"origin": origin, "own_origin": own, "address": remote_address, "setting": setting, "advice": advice}
        self._limited("origin refused", fields, setting or "")

    # operators

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None:
        _audit.info(action, extra={"caller": by, "user": user, "detail": detail})

    def _refused(self, message: str, fields: dict[str, str]) -> None:
        self._limited(message, fields, fields["code"], fields["reason"])

    def _limited(self, message: str, fields: Mapping[str, str | None], code: str, reason: str = "") -> None:
        """``code`` is one of few; ``reason`` may be anything."""
        now = self._clock.monotonic()
        reasons = self._repeated.setdefault((message, code), _Reasons())
        repeated = reasons.place(reason, now, self._seconds_between)
        if now - repeated.at < self._seconds_between:
            repeated.left_out += 1
            return
        left_out, repeated.left_out = repeated.left_out, 0
        repeated.at = now
        if repeated is not reasons.others:
            reasons.known.move_to_end(reason)
        _log.warning(message, extra={**fields} | ({"suppressed_before": left_out} if left_out else {}))
