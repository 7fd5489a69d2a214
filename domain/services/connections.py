"""Connecting: verify, admit, join, read the log, welcome, replay, go live; and the end of a connection."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from domain.errors import (
    AtCapacity,
    ConnectionGone,
    CursorRefused,
    InvalidArgument,
    InvalidToken,
    ShuttingDown,
    SlowConsumer,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
    Unavailable,
)
from domain.model import (
    ConnectionId,
    Entry,
    Hello,
    Identity,
    Page,
    Position,
    RecoveryReason,
    Room,
    UserId,
    Welcome,
)
from domain.policy import ConnectionPolicy, Deadlines
from domain.ports import Clock, Inbox, Telemetry, TokenVerifier, Transport


@dataclass(slots=True)
class _Session:
    """A connection from its first word to its end; without an identity its token is still being verified."""

    identity: Identity | None = None
    rooms: frozenset[Room] = frozenset()
    deadlines: Deadlines | None = None
    warned: bool = False
    closing: bool = False
    unread: Page | None = None
    drain_at: float | None = None
    received: Position | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    page: Page
    recovered: bool
    reason: RecoveryReason | None


class ConnectionService:
    """The ConnectionEvents of the domain. ``tick`` has to be called about once a second."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        inbox: Inbox,
        transport: Transport,
        policy: ConnectionPolicy,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._verifier = verifier
        self._inbox = inbox
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._sessions: dict[ConnectionId, _Session] = {}
        self._by_user: dict[UserId, dict[ConnectionId, _Session]] = {}
        self._admitted = 0
        self._draining = False
        transport.bind(self)

    @property
    def open_connections(self) -> int:
        """Connections that have not ended, those still connecting among them."""
        return len(self._sessions)

    async def connect(self, connection: ConnectionId, hello: Hello) -> Welcome:
        session = self._sessions[connection] = _Session()
        with ExitStack() as undo:
            undo.callback(self._forget, connection, session)
            try:
                welcome = await self._admit(connection, session, hello)
            except InvalidToken as error:
                self._telemetry.refused(hello, error.code, error.reason)
                raise
            except (InvalidArgument, Unavailable) as error:
                self._telemetry.refused(hello, error.code, str(error))
                raise
            undo.pop_all()  # it stays
        return welcome

    async def _admit(self, connection: ConnectionId, session: _Session, hello: Hello) -> Welcome:
        if self._draining:
            raise ShuttingDown
        credentials = self._policy.credentials(hello)
        identity = await self._verifier.verify(credentials.token)
        self._still_there(connection, session)
        if self._admitted >= self._policy.connections:
            raise AtCapacity
        self._admitted += 1
        session.identity = identity
        session.rooms = self._policy.rooms(identity)
        session.deadlines = self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic())
        # Members before the log is read: what is published in between is held, and so falls through nowhere.
        await self._transport.join(connection, session.rooms)
        start = await self._start(session.rooms, credentials.cursor)
        self._still_there(connection, session)
        session.unread = start.page
        self._by_user.setdefault(identity.user, {})[connection] = session
        self._close_surplus(identity.user)
        self._telemetry.connected(connection, identity, hello, credentials.device)
        return Welcome(
            identity=identity,
            recovered=start.recovered,
            reason=start.reason,
            cursor=start.page.continues_at,
            server_time=self._clock.now(),
        )

    async def _start(self, rooms: frozenset[Room], cursor: object | None) -> _Start:
        """Continue at a good cursor; at the head of the log without one, or with the reason where it is refused."""
        reason = None
        if cursor is not None:
            position = Position.parse(cursor)
            if position is None:
                reason = RecoveryReason.INVALID
            else:
                try:
                    return _Start(await self._read(rooms, position), recovered=True, reason=None)
                except CursorRefused as refused:
                    reason = refused.reason
        head = await self._inbox.head()
        return _Start(Page((), upto=head, more=False), recovered=False, reason=reason)

    async def opened(self, connection: ConnectionId) -> None:
        session = self._sessions.get(connection)
        if session is None or session.unread is None:
            return
        page, session.unread = session.unread, None
        try:
            await self._catch_up(connection, session.rooms, page)
        except ConnectionGone:
            return
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._close(connection, session, error)

    async def _catch_up(self, connection: ConnectionId, rooms: frozenset[Room], page: Page) -> None:
        while True:
            await self._transport.replay(connection, self._current(page))
            if not page.more and await self._transport.release(connection, page.upto):
                return
            page = await self._read(rooms, page.upto)

    async def _read(self, rooms: frozenset[Room], after: Position) -> Page:
        return await self._inbox.since(
            rooms, after, max_entries=self._policy.replay_entries, max_bytes=self._policy.replay_bytes
        )

    def _current(self, page: Page) -> list[Entry]:
        now = self._clock.now()
        return [entry for entry in page.entries if self._policy.is_current(entry, now)]

    def received(self, connection: ConnectionId, upto: Position) -> None:
        session = self._sessions.get(connection)
        if session is not None and (session.received is None or upto.offset > session.received.offset):
            session.received = upto

    def disconnected(self, connection: ConnectionId, reason: str) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            self._forget(connection, session)
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
        if session.identity is not None:
            self._admitted -= 1
            siblings = self._by_user.get(session.identity.user, {})
            if siblings.pop(connection, None) is not None and not siblings:
                del self._by_user[session.identity.user]
