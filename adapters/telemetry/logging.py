"""The Telemetry port on the standard library's loggers."""

from __future__ import annotations

import logging

from domain.model import ConnectionId, Hello, Identity, Position
from domain.ports import Clock

_log = logging.getLogger("synkrone")


class LoggingTelemetry:
    """One line an event; for what clients can provoke, one line a second and a count of those left out."""

    def __init__(self, clock: Clock, *, seconds_between: float = 1.0) -> None:
        self._clock = clock
        self._seconds_between = seconds_between
        self._last: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def connected(self, connection: ConnectionId, identity: Identity, hello: Hello, device: str | None) -> None:
        _log.info(
            "connected",
            extra={
                "connection": connection,
                "user": identity.user,
                "role": identity.role,
                "device": device,
                "transport": hello.transport,
                "address": hello.remote_address,
            },
        )

    def refused(self, hello: Hello, code: str, reason: str) -> None:
        self._limited(
            logging.WARNING, "refused", {"code": code, "reason": reason, "address": hello.remote_address}, key=code
        )

    def disconnected(
        self, connection: ConnectionId, identity: Identity | None, reason: str, received: Position | None
    ) -> None:
        user = identity.user if identity is not None else None
        upto = str(received) if received is not None else None
        extra = {"connection": connection, "user": user, "reason": reason, "received": upto}
        _log.info("disconnected", extra=extra)

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None:
        user = identity.user if identity is not None else None
        _log.info("closing", extra={"connection": connection, "user": user, "code": code, "detail": detail})

    def caller_refused(self, remote_address: str, code: str) -> None:
        self._limited(logging.WARNING, "caller refused", {"code": code, "address": remote_address}, key=code)

    def skipped(self, source: str, resume_id: str, reason: str) -> None:
        self._limited(
            logging.WARNING, "item skipped", {"source": source, "resume_id": resume_id, "reason": reason}, key=source
        )

    def _limited(self, level: int, message: str, fields: dict[str, object], *, key: str) -> None:
        key = f"{message}:{key}"
        now = self._clock.monotonic()
        if now - self._last.get(key, float("-inf")) < self._seconds_between:
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return
        self._last[key] = now
        suppressed = self._suppressed.pop(key, 0)
        _log.log(level, message, extra=fields | ({"suppressed_before": suppressed} if suppressed else {}))
