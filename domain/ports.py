"""What the domain needs of the world, and what it offers a transport and a publisher. Protocols only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.errors import InvalidPublication
from domain.model import (
    AckId,
    Action,
    Answer,
    Appended,
    Caller,
    Changed,
    Checkpoint,
    ConnectionId,
    ConnectionInfo,
    Counted,
    Counts,
    Draft,
    Entry,
    Hello,
    Identity,
    InboxQuery,
    Incoming,
    Listing,
    Page,
    PidVerdict,
    Position,
    Publication,
    Refusal,
    Room,
    Subscriber,
    UserId,
    Welcome,
)


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, in UTC. It may jump; deadlines never rest on it."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, from an arbitrary start."""


class Randomness(Protocol):
    def uniform(self, low: float, high: float) -> float:
        """A number between the two, evenly spread: for jitter."""

    def new_id(self) -> str:
        """A new notification id: unguessable, unique, of ``[A-Za-z0-9._:-]``."""


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Who the token speaks for, whatever the type of user.

        Raises InvalidToken for every token that is not good, TokenExpired for one that only is too old, and
        KeysUnavailable where the keys cannot be had; nothing else, whatever the token holds.
        """


class CallerVerifier(Protocol):
    async def authenticate(self, credential: str) -> Caller:
        """Which backend a bearer credential (RFC 6750, section 2.1) belongs to.

        Raises Unauthenticated for an unknown one and KeysUnavailable where the keys cannot be had.
        """


class NotificationSource(Protocol):
    """Where notifications come from when they are not posted to the server."""

    @property
    def name(self) -> str:
        """Names the checkpoint: the same source has the same name after a restart."""

    def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        """The items after the one with resume id ``after``, in order, in batches; all it has for None.

        Asking for the next batch acknowledges the one before: only then may the source forget it. Whoever stops
        asking closes the generator. It ends where nothing more can come; where it should be asked again later, it
        raises Unavailable.
        """


class Pids(Protocol):
    """The ``pid`` of a client's stay: an authentication code over the user, with no state behind it."""

    async def issue(self, user: UserId, *, refused: str | None) -> str:
        """A new one, which remembers the offset that was refused as it was issued. Raises StoreUnavailable."""

    async def examine(self, pid: object, user: UserId, offset: object) -> PidVerdict:
        """What a pid is worth that comes back with an offset; both are as sent. Raises StoreUnavailable."""


class Inbox(Protocol):
    """The log, and the inboxes that follow from it. It is the truth: its order is the order of delivery.

    Every event is an entry: a new notification, and what users do to theirs. An entry is visible only when all before
    it are. Everything here raises StoreUnavailable where the store cannot do it at the moment; then nothing was stored.
    """

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        """Store the drafts and the source's checkpoint in one commit, and say what became of each, in order.

        A draft with the id or the idempotency key of an earlier one is a duplicate where the content is the same,
        else a conflict; neither is stored. With ``all_or_nothing`` a conflict keeps the whole batch out, and the
        outcomes say which it was. Positions are given out in the order of commits. Raises PublicationTooLarge for a
        batch that can never fit, and then nothing was stored.
        """

    def follow(self, after: Position) -> AsyncIterator[Sequence[Entry]]:
        """Every entry after a position, once, in order, whoever appended it; waits for more, for ever.

        What a follower was not given yet is never trimmed. Raises CursorRefused where the position is not one of this
        log, or entries after it were trimmed while nobody followed.
        """

    async def since(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        """The entries a subscriber can reach after a position, each once, in order, of one snapshot of the log.

        A page holds at least one entry where there is one, whatever its size. Raises CursorRefused as
        ``ensure_readable``.
        """

    async def ensure_readable(self, subscriber: Subscriber, after: Position) -> None:
        """Raises CursorRefused where the log cannot be read from there on: INVALID where the position is past the end
        of its epoch, UNKNOWN_EPOCH, or TRIMMED where an entry after it, which the subscriber could reach, is gone."""

    async def floor(self, subscriber: Subscriber) -> Position:
        """The earliest position from which everything is left that the subscriber can reach."""

    async def head(self) -> Position:
        """The position of the last entry; of an empty log, the one before the first."""

    async def checkpoint(self, source: str) -> str | None:
        """The resume id stored with the last batch of a source."""

    async def enter(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        """The user as a subscriber of the rooms. Where a shared room is new to them they start at its head, and in a
        new role their mark is their highest; that is stored before this returns. Their own room they have from its
        beginning."""

    async def received(self, subscriber: Subscriber) -> Position:
        """The user's mark in this role: the highest position that some connection of theirs is known to have received,
        or where it was when they came in it first; of a new user the beginning of the log."""

    async def advance(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        """Store marks of users in roles. A mark only grows."""

    async def count(self, subscriber: Subscriber) -> Counted:
        """What is in the inbox. What has expired, or is older or more than is kept, is not."""

    async def given_up(self) -> int:
        """The offset up to which nothing is left in any inbox for lack of space; 0 where there is space for all."""

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        """A page of the inbox."""

    async def change(self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime) -> Changed:
        """Do it to those of the notifications that are in the inbox and not so already, and log which, in one commit.

        READ sets ``seen_at`` too. A time that is set already stays. At most 500 ids, each once.
        """

    async def read_all(self, subscriber: Subscriber, up_to: Position | None, at: datetime) -> Changed:
        """READ for everything before this in the log, in one entry; with ``up_to`` for all in the inbox at or before
        it, by their ids. Where nothing changes nothing is logged. Raises CursorRefused for a bad ``up_to``."""

    async def secret(self) -> bytes:
        """32 random bytes that belong to this store: the same as long as it exists."""

    async def ensure_writable(self) -> None:
        """Raises StoreUnavailable where a write failed and none has succeeded since."""


class Transport(Protocol):
    """Connections of clients, by whatever technology.

    A connection is held from ``join`` on: live entries of its rooms wait, in bounded memory, until ``release``.
    For a connection that has ended ``join`` and ``replay`` raise ConnectionGone; the others do nothing.
    """

    def bind(self, events: ConnectionEvents) -> None:
        """Say who decides. Called once, before the first client."""

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        """Make it a member, held. It leaves by ending."""

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        """Send entries past the hold, and return when the socket took them.

        Raises SlowConsumer when the client stopped taking anything.
        """

    async def release(self, connection: ConnectionId, after: Position) -> bool:
        """Send what was held beyond ``after`` and go live; nothing at or below it is sent from now on.

        False where more came than may be held: it was dropped, holding has begun anew, and the log must be read on.
        True for a connection that has ended: there is nothing to be read for it.
        """

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        """Send to every member of any of the rooms, once each. Never waits for a client."""

    async def hold(self, connection: ConnectionId) -> Position:
        """Have live entries wait again. Everything up to the position that is returned was sent, where it was for this
        connection, and nothing after it. Raises ConnectionGone."""

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        """Answer a request of the client, in order with the events."""

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        """Tell the client that its token is about to expire."""

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        """Tell the client what is in its user's inbox now."""

    def technology(self, connection: ConnectionId) -> str:
        """What the connection is carried by at the moment, for operators; empty for one that has ended."""

    def disconnect(self, connection: ConnectionId, why: Refusal) -> None:
        """Begin to close: tell the client why, after all that was sent before, and close within a second."""


class ConnectionEvents(Protocol):
    """What a transport calls.

    For one connection: ``connect``, then ``opened`` and ``received``; once ``opened`` has returned ``request``, one at
    a time; ``disconnected`` at any time. What the client had asked for by then is still requested, in its order.
    """

    async def connect(self, connection: ConnectionId, hello: Hello) -> Welcome:
        """May this client connect? Short and bounded. Whatever it raises, the connection is nobody's.

        Raises InvalidToken or InvalidArgument: refuse with the problem. Raises Unavailable: close without a
        word, after a delay of ``reconnect_delay()``. Raises ConnectionGone: it ended meanwhile.
        """

    async def opened(self, connection: ConnectionId) -> None:
        """The welcome is on its way: replay and go live. To be run beside the receiving of messages. Never raises."""

    async def request(
        self, connection: ConnectionId, subscriber: Subscriber, ack: AckId | None, event: str, argument: object
    ) -> None:
        """The client asks for something, or sends what nobody knows. ``argument`` is any JSON value. To be run beside
        the receiving of messages. What it is answered goes to ``Transport.answer``, if it has an ``ack``. Never raises.

        ``subscriber`` is the welcome's: who marks something as read and leaves has it read, though the connection has
        ended, or is being closed, and nobody is answered.
        """

    def received(self, connection: ConnectionId, upto: Position) -> None:
        """There is evidence that the client has every entry that was sent to it up to this one. Never raises."""

    def disconnected(self, connection: ConnectionId, reason: str) -> None:
        """It has ended; may come at any await of the two above. Never raises.

        ``reason`` is for operators: the code of the refusal where there was one.
        """

    def reconnect_delay(self) -> float:
        """Seconds, at random, to leave between a passing fault and the close that makes a client return."""


class Publisher(Protocol):
    """What the domain offers to whoever takes notifications from backends."""

    async def publish(
        self,
        publications: Sequence[Publication | InvalidPublication],
        *,
        idempotency_key: str | None = None,
        by_index: bool = False,
    ) -> Sequence[Appended]:
        """Store all or none. Returned means stored as durably as the store promises.

        What could not be read stands in its place as what is wrong with it, so that all that is wrong is said at once.
        Raises InvalidPublication, PublicationTooLarge or PublicationConflict, naming the bad ones by their index where
        there are several or ``by_index`` asks for it; StoreUnavailable or ShuttingDown, and then nothing was stored.
        """


class InboxAccess(Protocol):
    """What the domain offers to users who ask without a connection."""

    async def request(self, token: str, event: str, argument: object) -> Answer:
        """What ``event`` is answered to the user whose token it is.

        Raises InvalidToken, UnknownEvent, InvalidArgument, or Unavailable.
        """


class ConnectionDirectory(Protocol):
    """What the domain offers to operators."""

    def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        """The user's live connections, the oldest first."""

    def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        """Close them, and say how many there were. It does not revoke any token."""


class Telemetry(Protocol):
    """What operators want to know. Nothing here ever holds a token or a payload."""

    def connected(self, connection: ConnectionId, identity: Identity, hello: Hello, device: str | None) -> None: ...

    def refused(self, hello: Hello, code: str, reason: str) -> None:
        """A connection was. ``reason`` is for operators, and says more than the client learns."""

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        """A user's request without a connection was; ``route`` is ``GET /v1/inbox`` or another one."""

    def disconnected(
        self, connection: ConnectionId, identity: Identity | None, reason: str, received: Position | None
    ) -> None:
        """``received`` is up to where the client is known to have got the log."""

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None: ...

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        """A backend's request was."""

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        """A page of ``origin`` may not talk to the server, which it finds at ``own``; ``setting`` would let it in."""

    def skipped(self, source: str, resume_id: str, reason: str) -> None: ...
