"""Connections that end at their time: with their token, or with the server."""

from __future__ import annotations

from domain.errors import ShuttingDown, TokenExpired
from domain.model import Expiring
from domain.policy import ConnectionPolicy
from domain.ports import Clock
from domain.services.sessions import Session, Sessions


class ExpiryService:
    """``tick`` is to be called about once a second."""

    def __init__(self, *, sessions: Sessions, policy: ConnectionPolicy, clock: Clock) -> None:
        self._sessions = sessions
        self._policy = policy
        self._clock = clock

    def tick(self) -> None:
        """Warn, and close what is due. All deadlines are on the monotonic clock."""
        now = self._clock.monotonic()
        for session in list(self._sessions.all):
            if session.deadlines is not None and not session.closing:
                self._look_at(session, now)

    def _look_at(self, session: Session, now: float) -> None:
        if session.identity is None or session.deadlines is None:
            return
        if session.drain_at is not None and now >= session.drain_at:
            self._sessions.close(session, ShuttingDown())
        elif now >= session.deadlines.close_at:
            self._sessions.close(session, TokenExpired("the token of this connection has expired"))
        elif now >= session.deadlines.warn_at and session.has_reply and not session.warned:
            session.warned = True
            session.connection.send(Expiring(session.identity.expires_at))

    def drain(self) -> None:
        """Have everybody let in no more, and ``tick`` close the connections there are, spread out."""
        self._sessions.is_draining = True
        now = self._clock.monotonic()
        schedule = self._policy.drain_schedule(len(self._sessions.all))
        for session, delay in zip(self._sessions.all, schedule, strict=True):
            session.drain_at = now + delay
