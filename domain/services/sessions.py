"""Who is connected, and how connections are found."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from domain.delivery.hub import Connection
from domain.errors import ConnectionGone, DisconnectedByOperator, SynkroneError, TooManyConnections
from domain.model import (
    AckId,
    ConnectionInfo,
    Identity,
    Position,
    Subscriber,
    UserId,
)
from domain.policy import ConnectionPolicy, Deadlines
from domain.ports import Outlet, Telemetry
from domain.requests import Asked, ConnectRequest
from domain.services.recovery import Start


class Request(NamedTuple):
    """What a client asks for; without an ``ack`` it wants no answer."""

    ack: AckId | None
    asked: Asked


@dataclass(slots=True, eq=False)
class Session:
    """A connection from its first word to the end of the last thing it has asked for.

    It has an ``identity`` once its token is verified, and a ``pid`` once it is let in. Its ``start`` is kept until its
    reply has been sent. ``is_live``: its replay is over, or has failed.
    ``closing``: it has been told to end. ``requests`` are carried out in their order, and the first is under way while
    it ``is_working`` and ``is_live``.
    """

    connection: Connection[Any, Any]
    asked: ConnectRequest
    since: datetime
    identity: Identity | None = None
    device: str | None = None
    subscriber: Subscriber | None = None
    pid: str | None = None
    start: Start | None = None
    deadlines: Deadlines | None = None
    has_reply: bool = False
    is_live: bool = False
    warned: bool = False
    closing: bool = False
    drain_at: float | None = None
    received: Position | None = None
    requests: deque[Request] = field(default_factory=deque)
    is_working: bool = True


class Sessions:
    """The ConnectionDirectory of the domain. While ``is_draining`` nobody is let in."""

    def __init__(self, policy: ConnectionPolicy, telemetry: Telemetry) -> None:
        self._policy = policy
        self._telemetry = telemetry
        self._by_outlet: dict[Outlet, Session] = {}
        self._by_user: dict[UserId, dict[Session, None]] = {}
        self._by_pid: dict[str, Session] = {}
        self._verified = 0
        self._leaving: dict[Outlet, Session] = {}
        self._leaving_of: Counter[UserId] = Counter()
        self.is_draining = False

    @property
    def open_connections(self) -> int:
        """Those that have not ended, those still connecting among them, and those with something still to be done."""
        return len(self._by_outlet) + len(self._leaving)

    @property
    def all(self) -> Collection[Session]:
        return self._by_outlet.values()

    @property
    def is_full(self) -> bool:
        """Whether there are as many whose token is good as there may be."""
        return self._verified + len(self._leaving) >= self._policy.connections

    def find(self, outlet: Outlet) -> Session | None:
        """One that has not ended."""
        return self._by_outlet.get(outlet)

    def find_working(self, outlet: Outlet) -> Session | None:
        """One that has not ended, or has left something to be done."""
        return self._by_outlet.get(outlet) or self._leaving.get(outlet)

    def ensure_open(self, session: Session) -> None:
        """Raises ConnectionGone."""
        if not self._has(session):
            raise ConnectionGone

    # from the first word to the last

    def begin(self, connection: Connection[Any, Any], asked: ConnectRequest, now: datetime) -> Session:
        session = self._by_outlet[connection.outlet] = Session(connection, asked, now)
        return session

    def verified(self, session: Session, identity: Identity) -> None:
        session.identity = identity
        self._verified += 1

    def let_in(self, session: Session, identity: Identity, pid: str) -> None:
        session.pid = pid
        self._by_pid[pid] = session
        self._by_user.setdefault(identity.user, {})[session] = None
        sessions = self._open_of(identity.user)
        for surplus in sessions[: self._policy.surplus(len(sessions))]:
            self.close(surplus, TooManyConnections())

    def of_pid(self, pid: str) -> Session | None:
        """The one that came last."""
        return self._by_pid.get(pid)

    def close(self, session: Session, error: SynkroneError) -> None:
        """Tell it why it ends, if it has not been told."""
        if session.closing or not self._has(session):
            return
        session.closing = True
        self._telemetry.closing(session.connection.outlet.id, session.identity, error.code, error.detail)
        session.connection.close(self._policy.refusal(error))

    def end(self, session: Session) -> None:
        """It has ended, or was never let in."""
        if not self._has(session):
            return
        del self._by_outlet[session.connection.outlet]
        session.connection.leave()
        if session.pid is not None and self._by_pid.get(session.pid) is session:
            del self._by_pid[session.pid]
        if session.identity is not None:
            self._verified -= 1
            siblings = self._by_user.get(session.identity.user, {})
            siblings.pop(session, None)
            if not siblings:
                self._by_user.pop(session.identity.user, None)
            self._leave(session, session.identity.user)

    def _has(self, session: Session) -> bool:
        return self._by_outlet.get(session.connection.outlet) is session

    # what is still to be done for who has ended

    def _leave(self, session: Session, user: UserId) -> None:
        """Of requests beyond the bounds only the one that is under way is finished."""
        if not session.requests:
            return
        if self._leaving_of[user] < self._policy.connections_per_user and len(self._leaving) < self._policy.connections:
            self._leaving[session.connection.outlet] = session
            self._leaving_of[user] += 1
            return
        under_way = session.requests[0] if session.is_live else None
        session.requests.clear()
        if under_way is not None:
            session.requests.append(under_way)

    def done(self, session: Session) -> None:
        """All that it had asked for is, or cannot be."""
        session.requests.clear()
        if self._leaving.pop(session.connection.outlet, None) is not None and session.identity is not None:
            user = session.identity.user
            self._leaving_of[user] -= 1
            if not self._leaving_of[user]:
                del self._leaving_of[user]

    # operators

    def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        return [
            ConnectionInfo(
                session.device,
                session.identity.role if session.identity is not None else "",
                session.connection.outlet.technology,
                session.asked.remote_address,
                session.since,
            )
            for session in self._open_of(user)
        ]

    def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        error = DisconnectedByOperator(reconnect=reconnect)
        sessions = self._open_of(user)
        for session in sessions:
            self.close(session, error)
        return len(sessions)

    def _open_of(self, user: UserId) -> list[Session]:
        """The oldest first."""
        return [session for session in self._by_user.get(user, ()) if not session.closing]
