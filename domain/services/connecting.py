"""Connecting: verify, admit, join, read the log, reply, replay, go live; and the end of a connection."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import ExitStack
from functools import partial
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
    UserBlocked,
)
from domain.model import AckId, ConnectReply, DisconnectReason, Page, Position, Present, Subscriber
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Outlet, Presence, Telemetry, TokenVerifier, Transport
from domain.requests import Asked, ConnectRequest
from domain.services.admission import Admission
from domain.services.catching_up import CatchingUp
from domain.services.connections import Connection, Connections, Request
from domain.services.counts import CountsService
from domain.services.deliveries import DeliveryLedger
from domain.services.recovery import RecoveryService
from domain.services.requests import RequestService


class ConnectionService:
    """The ConnectionEvents of the domain."""

    def __init__(
        self,
        *,
        hub: Hub,
        connections: Connections,
        presence: Presence,
        verifier: TokenVerifier,
        admission: Admission,
        recovery: RecoveryService,
        catching_up: CatchingUp,
        requests: RequestService,
        counts: CountsService,
        ledger: DeliveryLedger,
        policy: ConnectionPolicy,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._hub = hub
        self._connections = connections
        self._presence = presence
        self._verifier = verifier
        self._admission = admission
        self._recovery = recovery
        self._catching_up = catching_up
        self._requests = requests
        self._counts = counts
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry

    async def connect(self, by: Transport[Any, Any], outlet: Outlet, request: ConnectRequest) -> ConnectReply:
        connection = self._connections.begin(self._hub.subscribe(by, outlet), request.remote_address, self._clock.now())
        with ExitStack() as undo:
            undo.callback(self._connections.end, connection)
            try:
                reply = await self._let_in(connection, request)
            except InvalidToken as error:
                self._telemetry.refused(outlet.id, request, error.code, error.reason)
                raise
            except (InvalidArgument, Unavailable, UserBlocked) as error:
                self._telemetry.refused(outlet.id, request, error.code, str(error))
                raise
            undo.pop_all()  # it stays
        return reply

    async def _let_in(self, connection: Connection, request: ConnectRequest) -> ConnectReply:
        if self._connections.is_draining:
            raise ShuttingDown
        credentials = self._policy.credentials(request)
        identity = await self._verifier.verify(credentials.token)
        self._connections.ensure_open(connection)
        self._admission.check(identity)
        if self._connections.is_full:
            raise AtCapacity
        self._connections.verified(connection, identity)
        connection.device = credentials.device
        connection.lasts(self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic()))
        rooms = self._policy.rooms(identity)
        connection.subscription.join(rooms)
        start = await self._recovery.start(identity, rooms, credentials.resume_request)
        await self._admission.check_as_of(identity, start.counted.as_of)
        self._connections.ensure_open(connection)
        await self._presence.admit(
            connection.subscription.outlet,
            Present(identity.user, start.pid, start.continues, connection.info),
            partial(self._connections.close, connection),
        )
        self._connections.ensure_open(connection)
        # From here on nothing waits: what comes against the user from now on finds the connection.
        self._admission.check(identity)
        connection.subscriber, connection.start = start.subscriber, start
        connection.subscription.begin(start.subscriber.starts, start.spans, start.counted.as_of.offset)
        connection.subscription.revisions.resume(start.owed)
        connection.subscription.revisions.begin(start.after.offset)
        connection.began_after, connection.had = start.after.offset, start.had
        connection.continues = start.continues
        self._supersede(start.continues)
        self._connections.let_in(connection, identity, start.pid, start.counted.as_of)
        self._ledger.began(connection)
        self._telemetry.connected(
            connection.subscription.outlet.id,
            identity,
            request,
            credentials.device,
            recovered=start.recovered,
            reason=start.reason,
        )
        return ConnectReply(
            identity=identity,
            pid=start.pid,
            recovered=start.recovered,
            reason=start.reason,
            counts=start.counted.counts,
            cursor=start.owed.behind(start.page.continues_at),
            server_time=self._clock.now(),
        )

    def _supersede(self, pid: str | None) -> None:
        """The same client has come anew: its older connection, which nobody may have noticed to be dead, goes."""
        older = self._connections.of_pid(pid) if pid is not None else None
        if older is not None:
            self._connections.close(older, Superseded())

    async def opened(self, outlet: Outlet) -> None:
        connection = self._connections.find_working(outlet)
        if connection is None or connection.subscriber is None:
            return
        start, connection.start = connection.start, None
        if connection.subscription.is_open and start is not None:
            self._counts.watch(connection.subscription, start.subscriber, start.counted)
            connection.has_reply = True
            with ExitStack() as undo:
                # After a defect what was asked meanwhile is dropped: it would keep its place for ever.
                undo.callback(self._connections.done, connection)
                await self._catch_up(connection, start.subscriber, start.page)
                undo.pop_all()
            self._ledger.went_live(connection)
        connection.is_live = True
        await self._requests.carry_out(connection, connection.subscriber)

    async def _catch_up(self, connection: Connection, subscriber: Subscriber, page: Page) -> None:
        try:
            await self._catching_up.replay(connection.subscription, subscriber, page)
        except ConnectionGone:
            return
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._connections.close(connection, error)

    def requested(self, outlet: Outlet, ack: AckId | None, asked: Asked) -> Coroutine[Any, Any, None] | None:
        connection = self._connections.find(outlet)
        if connection is None or connection.subscriber is None or connection.closing:
            return None
        if len(connection.requests) >= self._policy.requests_waiting:
            self._connections.close(connection, RateLimited())
            return None
        connection.requests.append(Request(ack, asked))
        if connection.is_working:
            return None
        connection.is_working = True
        return self._requests.carry_out(connection, connection.subscriber)

    def received(self, outlet: Outlet, upto: Position) -> None:
        connection = self._connections.find(outlet)
        if connection is None or connection.subscriber is None:
            return
        if connection.received is None or upto.offset > connection.received.offset:
            connection.received = upto
            self._telemetry.received(outlet.id, upto)
            self._recovery.acknowledge(connection.subscriber, upto)
            self._ledger.received(connection, upto.offset)

    def disconnected(self, outlet: Outlet, reason: DisconnectReason) -> None:
        connection = self._connections.find(outlet)
        if connection is None:
            return
        self._counts.unwatch(connection.subscription)
        self._connections.end(connection)
        self._ledger.ended(connection, reason)
        if connection.pid is not None and connection.identity is not None:
            # Who left before has never been said to be connected.
            self._telemetry.disconnected(outlet.id, connection.identity, reason, connection.received)

    def reconnect_delay(self) -> float:
        return self._policy.reconnect_delay()
