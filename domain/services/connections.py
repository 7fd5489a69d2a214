"""Connecting: verify, admit, join, read the log, reply, replay, go live; and the end of a connection."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

from domain.delivery.hub import Hub
from domain.errors import (
    AtCapacity,
    ConnectionGone,
    CursorRefused,
    InvalidArgument,
    InvalidToken,
    RateLimited,
    ShuttingDown,
    SlowConsumer,
    Superseded,
    Unavailable,
)
from domain.model import AckId, ConnectReply, DisconnectReason, Page, Position, Subscriber
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Outlet, Telemetry, TokenVerifier, Transport
from domain.requests import Asked, ConnectRequest
from domain.services.catching_up import CatchingUp
from domain.services.counts import CountsService
from domain.services.recovery import RecoveryService
from domain.services.requests import RequestService
from domain.services.sessions import Request, Session, Sessions


class ConnectionService:
    """The ConnectionEvents of the domain."""

    def __init__(
        self,
        *,
        hub: Hub,
        sessions: Sessions,
        verifier: TokenVerifier,
        recovery: RecoveryService,
        catching_up: CatchingUp,
        requests: RequestService,
        counts: CountsService,
        policy: ConnectionPolicy,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._hub = hub
        self._sessions = sessions
        self._verifier = verifier
        self._recovery = recovery
        self._catching_up = catching_up
        self._requests = requests
        self._counts = counts
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry

    async def connect(self, by: Transport[Any, Any], outlet: Outlet, request: ConnectRequest) -> ConnectReply:
        session = self._sessions.begin(self._hub.connect(by, outlet), request, self._clock.now())
        with ExitStack() as undo:
            undo.callback(self._sessions.end, session)
            try:
                reply = await self._let_in(session, request)
            except InvalidToken as error:
                self._telemetry.refused(request, error.code, error.reason)
                raise
            except (InvalidArgument, Unavailable) as error:
                self._telemetry.refused(request, error.code, str(error))
                raise
            undo.pop_all()  # it stays
        return reply

    async def _let_in(self, session: Session, request: ConnectRequest) -> ConnectReply:
        if self._sessions.is_draining:
            raise ShuttingDown
        credentials = self._policy.credentials(request)
        identity = await self._verifier.verify(credentials.token)
        self._sessions.ensure_open(session)
        if self._sessions.is_full:
            raise AtCapacity
        self._sessions.verified(session, identity)
        session.device = credentials.device
        session.deadlines = self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic())
        rooms = self._policy.rooms(identity)
        session.connection.join(rooms)
        start = await self._recovery.start(identity, rooms, credentials.resume_request)
        self._sessions.ensure_open(session)
        session.subscriber, session.start = start.subscriber, start
        self._supersede(start.continues)
        self._sessions.let_in(session, identity, start.pid)
        self._telemetry.connected(session.connection.outlet.id, identity, request, credentials.device)
        return ConnectReply(
            identity=identity,
            pid=start.pid,
            recovered=start.recovered,
            reason=start.reason,
            counts=start.counted.counts,
            cursor=start.page.continues_at,
            server_time=self._clock.now(),
        )

    def _supersede(self, pid: str | None) -> None:
        """The same client has come anew: its older connection, which nobody may have noticed to be dead, goes."""
        older = self._sessions.of_pid(pid) if pid is not None else None
        if older is not None:
            self._sessions.close(older, Superseded())

    async def opened(self, outlet: Outlet) -> None:
        session = self._sessions.find_working(outlet)
        if session is None or session.subscriber is None:
            return
        start, session.start = session.start, None
        if session.connection.is_open and start is not None:
            self._counts.watch(session.connection, start.subscriber, start.counted)
            session.has_reply = True
            with ExitStack() as undo:
                # After a defect it is done with, and does not wait for ever for what it has asked for.
                undo.callback(self._sessions.done, session)
                await self._catch_up(session, start.subscriber, start.page)
                undo.pop_all()
        session.is_live = True
        await self._requests.carry_out(session, session.subscriber)

    async def _catch_up(self, session: Session, subscriber: Subscriber, page: Page) -> None:
        try:
            await self._catching_up.replay(session.connection, subscriber, page)
        except ConnectionGone:
            return
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._sessions.close(session, error)

    def requested(self, outlet: Outlet, ack: AckId | None, asked: Asked) -> Coroutine[Any, Any, None] | None:
        session = self._sessions.find(outlet)
        if session is None or session.subscriber is None or session.closing:
            return None
        if len(session.requests) >= self._policy.requests_waiting:
            self._sessions.close(session, RateLimited())
            return None
        session.requests.append(Request(ack, asked))
        if session.is_working:
            return None
        session.is_working = True
        return self._requests.carry_out(session, session.subscriber)

    def received(self, outlet: Outlet, upto: Position) -> None:
        session = self._sessions.find(outlet)
        if session is None or session.subscriber is None:
            return
        if session.received is None or upto.offset > session.received.offset:
            session.received = upto
            self._recovery.acknowledge(session.subscriber, upto)

    def disconnected(self, outlet: Outlet, reason: DisconnectReason) -> None:
        session = self._sessions.find(outlet)
        if session is None:
            return
        self._counts.unwatch(session.connection)
        self._sessions.end(session)
        if session.pid is not None and session.identity is not None:
            # Who left before has never been said to be connected.
            self._telemetry.disconnected(outlet.id, session.identity, reason, session.received)

    def reconnect_delay(self) -> float:
        return self._policy.reconnect_delay()
