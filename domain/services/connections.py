"""Connecting: verify, admit, join, read the log, reply, replay, go live; and the end of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from domain.commands import InboxCommand, Mark, MarkAllRead, RefreshToken, read_command
from domain.errors import (
    AtCapacity,
    ConnectionGone,
    CursorRefused,
    DisconnectedByOperator,
    IdentityMismatch,
    InvalidArgument,
    InvalidToken,
    ShuttingDown,
    SlowConsumer,
    Superseded,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
    Unavailable,
)
from domain.model import (
    AckId,
    Answer,
    ConnectionId,
    ConnectionInfo,
    ConnectReply,
    ConnectRequest,
    DisconnectReason,
    Entry,
    Failed,
    Identity,
    Page,
    Position,
    Refreshed,
    Subscriber,
    UserId,
)
from domain.policy import ConnectionPolicy, Deadlines
from domain.ports import Clock, Inboxes, Subscribers, Telemetry, TokenVerifier, Transport
from domain.services.counts import CountsService
from domain.services.inboxes import InboxService
from domain.services.recovery import RecoveryService


@dataclass(slots=True)
class _Session:
    """A connection from its first word to its end; without an identity its token is still being verified."""

    request: ConnectRequest
    since: datetime
    identity: Identity | None = None
    device: str | None = None
    subscriber: Subscriber | None = None
    pid: str | None = None
    deadlines: Deadlines | None = None
    warned: bool = False
    closing: bool = False
    unread: Page | None = None
    drain_at: float | None = None
    received: Position | None = None


class ConnectionService:
    """The ConnectionEvents and the ConnectionDirectory of the domain.

    ``tick`` has to be called about once a second.
    """

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        subscribers: Subscribers,
        inboxes: Inboxes,
        transport: Transport,
        recovery: RecoveryService,
        requests: InboxService,
        counts: CountsService,
        policy: ConnectionPolicy,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._verifier = verifier
        self._subscribers = subscribers
        self._inboxes = inboxes
        self._transport = transport
        self._recovery = recovery
        self._requests = requests
        self._counts = counts
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._sessions: dict[ConnectionId, _Session] = {}
        self._by_user: dict[UserId, dict[ConnectionId, _Session]] = {}
        self._by_pid: dict[str, ConnectionId] = {}
        self._admitted = 0
        self._draining = False
        transport.bind(self)

    @property
    def open_connections(self) -> int:
        """Connections that have not ended, those still connecting among them."""
        return len(self._sessions)

    # connecting

    async def connect(self, connection: ConnectionId, request: ConnectRequest) -> ConnectReply:
        session = self._sessions[connection] = _Session(request, self._clock.now())
        with ExitStack() as undo:
            undo.callback(self._forget, connection, session)
            try:
                reply = await self._admit(connection, session, request)
            except InvalidToken as error:
                self._telemetry.refused(request, error.code, error.reason)
                raise
            except (InvalidArgument, Unavailable) as error:
                self._telemetry.refused(request, error.code, str(error))
                raise
            undo.pop_all()  # it stays
        return reply

    async def _admit(self, connection: ConnectionId, session: _Session, request: ConnectRequest) -> ConnectReply:
        if self._draining:
            raise ShuttingDown
        credentials = self._policy.credentials(request)
        identity = await self._verifier.verify(credentials.token)
        self._still_there(connection, session)
        if self._admitted >= self._policy.connections:
            raise AtCapacity
        self._admitted += 1
        session.identity, session.device = identity, credentials.device
        session.deadlines = self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic())
        rooms = self._policy.rooms(identity)
        # Members before the log is read: what is published in between is held, and so falls through nowhere.
        await self._transport.join(connection, rooms)
        subscriber = await self._subscribers.register(identity.user, identity.role, rooms)
        self._still_there(connection, session)
        start = await self._recovery.start(subscriber, credentials.resume_request)
        self._still_there(connection, session)
        counted = await self._inboxes.count(subscriber)
        self._still_there(connection, session)
        session.subscriber, session.unread = subscriber, start.page
        self._supersede(start.continues)
        session.pid = start.pid
        self._by_pid[start.pid] = connection
        self._by_user.setdefault(identity.user, {})[connection] = session
        self._close_surplus(identity.user)
        self._counts.watch(connection, subscriber, counted.counts, counted)
        self._telemetry.connected(connection, identity, request, credentials.device)
        return ConnectReply(
            identity=identity,
            subscriber=subscriber,
            pid=start.pid,
            recovered=start.recovered,
            reason=start.reason,
            counts=counted.counts,
            cursor=start.page.continues_at,
            server_time=self._clock.now(),
        )

    async def opened(self, connection: ConnectionId) -> None:
        session = self._sessions.get(connection)
        if session is None or session.subscriber is None or session.unread is None:
            return
        page, session.unread = session.unread, None
        try:
            await self._transport.replay(connection, self._current(page.entries))
            upto = page.upto
            if page.more:
                upto = await self._replay_after(connection, session.subscriber, upto)
            await self._go_live(connection, session.subscriber, upto)
        except ConnectionGone:
            return
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._close(connection, session, error)

    async def _go_live(self, connection: ConnectionId, subscriber: Subscriber, upto: Position) -> None:
        while not await self._transport.resume(connection, upto):
            upto = await self._replay_after(connection, subscriber, upto)

    async def _replay_after(
        self, connection: ConnectionId, subscriber: Subscriber, after: Position, upto: Position | None = None
    ) -> Position:
        """Send what the log holds after a position, up to another or its head; how far that was."""
        while True:
            page = await self._recovery.read(subscriber, after)
            entries = [e for e in page.entries if upto is None or e.position.offset <= upto.offset]
            await self._transport.replay(connection, self._current(entries))
            if not page.more or (upto is not None and page.upto.offset >= upto.offset):
                return upto if upto is not None else page.upto
            after = page.upto

    def _current(self, entries: Sequence[Entry]) -> list[Entry]:
        now = self._clock.now()
        return [entry for entry in entries if self._policy.is_current(entry, now)]

    # what clients ask for

    async def request(
        self, connection: ConnectionId, subscriber: Subscriber, ack: AckId | None, event: str, argument: object
    ) -> None:
        session = self._sessions.get(connection)
        try:
            command = read_command(event, argument, self._policy.token_bytes)
            if session is None or session.closing:
                await self._perform_for_nobody(subscriber, command)
            elif isinstance(command, RefreshToken):
                self._answer(connection, ack, await self._refresh(connection, session, command.token))
            else:
                await self._answer_in_order(connection, session, subscriber, ack, command)
        except ConnectionGone:
            return
        except SynkroneError as error:
            self._answer(connection, ack, Failed(error.problem))

    async def _perform_for_nobody(self, subscriber: Subscriber, command: InboxCommand | RefreshToken) -> None:
        """Whoever asked has left: only what changes something is worth doing."""
        if isinstance(command, Mark | MarkAllRead):
            await self._requests.perform(subscriber, command)

    async def _answer_in_order(
        self,
        connection: ConnectionId,
        session: _Session,
        subscriber: Subscriber,
        ack: AckId | None,
        command: InboxCommand,
    ) -> None:
        """Answer between two events: all up to the answer's ``as_of`` come before it, and all others after."""
        try:
            upto = await self._transport.pause(connection)
        except ConnectionGone:
            await self._perform_for_nobody(subscriber, command)
            return
        answer: Answer
        try:
            try:
                found = await self._requests.perform(subscriber, command)
            except (InvalidArgument, Unavailable) as error:
                answer = Failed(error.problem)
            else:
                answer = found
                if found.as_of.offset > upto.offset:
                    upto = await self._replay_after(connection, subscriber, upto, found.as_of)
            self._answer(connection, ack, answer)
            await self._go_live(connection, subscriber, upto)
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            self._close(connection, session, error)

    async def _refresh(self, connection: ConnectionId, session: _Session, token: str) -> Refreshed:
        identity = await self._verifier.verify(token)
        self._still_there(connection, session)
        before = session.identity
        if before is None or (identity.issuer, identity.user, identity.role) != (
            before.issuer,
            before.user,
            before.role,
        ):
            raise IdentityMismatch
        session.identity, session.warned = identity, False
        session.deadlines = self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic())
        return Refreshed(identity.expires_at)

    def _answer(self, connection: ConnectionId, ack: AckId | None, answer: Answer) -> None:
        if ack is not None:
            self._transport.answer(connection, ack, answer)

    # receipts

    def received(self, connection: ConnectionId, upto: Position) -> None:
        session = self._sessions.get(connection)
        if session is None or session.subscriber is None:
            return
        if session.received is None or upto.offset > session.received.offset:
            session.received = upto
            self._recovery.acknowledge(session.subscriber, upto)

    # operators

    def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        return [
            ConnectionInfo(
                session.device,
                session.identity.role if session.identity is not None else "",
                self._transport.technology(connection),
                session.request.remote_address,
                session.since,
            )
            for connection, session in self._by_user.get(user, {}).items()
            if not session.closing
        ]

    def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        error = DisconnectedByOperator(reconnect=reconnect)
        sessions = [(c, s) for c, s in self._by_user.get(user, {}).items() if not s.closing]
        for connection, session in sessions:
            self._close(connection, session, error)
        return len(sessions)

    # the end

    def disconnected(self, connection: ConnectionId, reason: DisconnectReason) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            self._forget(connection, session)
            if session.pid is not None and session.identity is not None:
                # Who left before has never been said to be connected.
                self._telemetry.disconnected(connection, session.identity, reason, session.received)

    def reconnect_delay(self) -> float:
        return self._policy.reconnect_delay()

    def tick(self) -> None:
        """Warn, and close what is due. All deadlines are on the monotonic clock."""
        now = self._clock.monotonic()
        for connection, session in list(self._sessions.items()):
            if session.closing or session.identity is None or session.deadlines is None:
                continue
            if session.drain_at is not None and now >= session.drain_at:
                self._close(connection, session, ShuttingDown())
            elif now >= session.deadlines.close_at:
                self._close(connection, session, TokenExpired("the token of this connection has expired"))
            elif now >= session.deadlines.warn_at and not session.warned:
                session.warned = True
                self._transport.announce_expiry(connection, session.identity.expires_at)

    def drain(self) -> None:
        """Admit nobody any more and let ``tick`` close the connections, spread out."""
        self._draining = True
        now = self._clock.monotonic()
        schedule = self._policy.drain_schedule(len(self._sessions))
        for session, delay in zip(self._sessions.values(), schedule, strict=True):
            session.drain_at = now + delay

    def _close_surplus(self, user: UserId) -> None:
        sessions = [(c, s) for c, s in self._by_user[user].items() if not s.closing]
        for connection, session in sessions[: self._policy.surplus(len(sessions))]:
            self._close(connection, session, TooManyConnections())

    def _supersede(self, pid: str | None) -> None:
        """The same client has come anew: its older connection, which nobody may have noticed to be dead, goes."""
        older = self._by_pid.get(pid) if pid is not None else None
        if older is not None:
            self._close(older, self._sessions[older], Superseded())

    def _close(self, connection: ConnectionId, session: _Session, error: SynkroneError) -> None:
        if session.closing or self._sessions.get(connection) is not session:
            return
        session.closing = True
        self._telemetry.closing(connection, session.identity, error.code, error.detail)
        self._transport.disconnect(connection, self._policy.refusal(error))

    def _still_there(self, connection: ConnectionId, session: _Session) -> None:
        if self._sessions.get(connection) is not session:
            raise ConnectionGone

    def _forget(self, connection: ConnectionId, session: _Session) -> None:
        if self._sessions.get(connection) is not session:
            return
        del self._sessions[connection]
        self._counts.unwatch(connection)
        if session.pid is not None and self._by_pid.get(session.pid) == connection:
            del self._by_pid[session.pid]
        if session.identity is not None:
            self._admitted -= 1
            siblings = self._by_user.get(session.identity.user, {})
            if siblings.pop(connection, None) is not None and not siblings:
                del self._by_user[session.identity.user]
