"""The values the domain speaks in: frozen, slotted, free of behaviour that needs the world."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import NewType, TypeAlias

UserId = NewType("UserId", str)
ConnectionId = NewType("ConnectionId", str)

AckId = NewType("AckId", int)
"""What a client's request is answered under, among those of one connection."""

Json = NewType("Json", bytes)
"""One JSON text in UTF-8, known to be valid. The domain passes it on and never looks inside."""


class Room(str):
    """The name of a set of connections: ``user:{id}``, ``role:{role}`` or ``everyone``."""

    __slots__ = ()

    @classmethod
    def of_user(cls, user: str) -> Room:
        return cls(f"user:{user}")

    @classmethod
    def of_role(cls, role: str) -> Room:
        return cls(f"role:{role}")


EVERYONE = Room("everyone")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for, as one verifier answers it for every type of user.

    ``expires_at`` is the token's ``exp`` (RFC 7519, section 4.1.4), in UTC and without leeway.
    ``issuer`` is empty where the verifier was configured without one.
    """

    user: UserId
    role: str
    issuer: str
    expires_at: datetime


class AudienceKind(Enum):
    USER = "user"
    ROLE = "role"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a notification is for. Recipients are told its kind, never the names."""

    kind: AudienceKind
    rooms: frozenset[Room]

    @classmethod
    def users(cls, users: Iterable[str]) -> Audience:
        return cls(AudienceKind.USER, frozenset(Room.of_user(user) for user in users))

    @classmethod
    def role(cls, role: str) -> Audience:
        return cls(AudienceKind.ROLE, frozenset((Room.of_role(role),)))

    @classmethod
    def everyone(cls) -> Audience:
        return cls(AudienceKind.EVERYONE, frozenset((EVERYONE,)))


@dataclass(frozen=True, slots=True)
class Publication:
    """What a backend asks for: a notification that has no time and perhaps no id yet.

    ``data`` is the publisher's own JSON object. ``expires_at`` is in UTC.
    """

    to: Audience
    type: str
    title: str | None = None
    body: str | None = None
    data: Json | None = None
    id: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as every recipient gets it. Times are in UTC."""

    id: str
    type: str
    title: str | None
    body: str | None
    data: Json | None
    audience: AudienceKind
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification on its way into the log.

    ``idempotency_key`` names the request of a publisher that gave no id of its own; two drafts with the same
    key, or with the same id, are one and the same publication. ``own_id`` tells that the id is the publisher's.
    """

    notification: Notification
    rooms: frozenset[Room]
    own_id: bool
    idempotency_key: str | None = None


NOTIFICATION_NEW = "notification.new"
NOTIFICATION_UPDATED = "notification.updated"
NOTIFICATION_DELETED = "notification.deleted"

CURSOR_MAX_LENGTH = 256
_CURSOR = re.compile(r"(?P<epoch>[A-Za-z0-9._~-]+):(?P<offset>0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: one total order by ``offset``; ``epoch`` names the writer's generation.

    ``str()`` gives the cursor that clients store and send back.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, cursor: object) -> Position | None:
        """The position a cursor stands for, or None for anything that never was a cursor."""
        if not isinstance(cursor, str) or len(cursor) > CURSOR_MAX_LENGTH:
            return None
        match = _CURSOR.fullmatch(cursor)
        return cls(match["epoch"], int(match["offset"])) if match else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the log, the same bytes for every recipient.

    ``payload`` is the event's first argument; the cursor, ``str(position)``, is its last.
    From the instant ``expires_at`` the entry is neither delivered nor replayed.
    """

    position: Position
    rooms: frozenset[Room]
    event: str
    payload: Json
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A user in one role, and the rooms they can reach, each with their start in it.

    A start is an offset: what lies at or below it does not exist for them.
    """

    user: UserId
    role: str
    starts: Mapping[Room, int]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of some rooms, in order, and how far the log was read for them.

    With ``more`` the reading stopped at ``upto`` for its limits; without, ``upto`` was the head of the log.
    """

    entries: tuple[Entry, ...]
    upto: Position
    more: bool

    @property
    def continues_at(self) -> Position:
        """The cursor of a client that has everything before this page, and nothing of it.

        Just before the first entry, or with none as far as was read: a client cut right after it was told resumes
        there and misses nothing.
        """
        if not self.entries:
            return self.upto
        first = self.entries[0].position
        return Position(first.epoch, first.offset - 1)


class AppendOutcome(Enum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one draft. A duplicate carries the id and position of the first; so does a conflict.

    Withheld is what would have been stored, had another of an all-or-nothing batch not been a conflict.
    """

    outcome: AppendOutcome
    id: str
    position: Position


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a source has been taken over: the resume id of its last stored item."""

    source: str
    resume_id: str


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field of a request. ``path`` names it, for example ``to.users[3]``."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """One item a source brings: a publication, or what is wrong with it. ``resume_id`` comes after it."""

    resume_id: str
    publication: Publication | None
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something was refused, as clients see it (the members of RFC 9457 that make sense on a socket)."""

    code: str
    title: str
    retryable: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The end of a live connection. With ``reconnect`` a stock client comes back by itself."""

    problem: Problem
    reconnect: bool
    retry_after: timedelta

    @property
    def reason(self) -> DisconnectReason:
        return DisconnectReason(self.problem.code)


class DisconnectReason(StrEnum):
    """Why a connection ended, for operators: the same over every transport.

    Where the domain ended it, it is the code of the error it was ended for.
    """

    CLIENT_CLOSE = "client_close"
    TRANSPORT_CLOSE = "transport_close"
    """The client left without a word, or the line was cut."""
    PING_TIMEOUT = "ping_timeout"
    PROTOCOL_ERROR = "protocol_error"
    SLOW_CONSUMER = "slow_consumer"
    RATE_LIMITED = "rate_limited"
    ANSWER_UNCERTAIN = "answer_uncertain"
    """Whether the answer to a poll had arrived could not be told: its cursor can."""
    NEVER_CONNECTED = "never_connected"
    ALREADY_ENDED = "already_ended"
    """The client asked for a second connection in a session whose first had ended."""
    SERVER_CLOSED = "server_closed"
    DEFECT = "defect"

    INVALID_TOKEN = "invalid_token"  # noqa: S105
    INVALID_ARGUMENT = "invalid_argument"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOO_MANY_CONNECTIONS = "too_many_connections"
    SUPERSEDED = "superseded"
    DISCONNECTED_BY_OPERATOR = "disconnected_by_operator"
    CURSOR_REFUSED = "cursor_refused"
    UNAVAILABLE = "unavailable"
    KEYS_UNAVAILABLE = "keys_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    AT_CAPACITY = "at_capacity"
    SHUTTING_DOWN = "shutting_down"


class Ambiguous(dict[str, object]):
    """A JSON object as sent, in which the member ``repeated`` was given more than once; empty: some member in it.

    Two readers could take two different ones (RFC 8259, section 4): it is nothing to act on.
    """

    __slots__ = ("repeated",)

    def __init__(self, members: Mapping[str, object], repeated: str) -> None:
        super().__init__(members)
        self.repeated = repeated


@dataclass(frozen=True, slots=True)
class Hello:
    """What a transport knows when a client asks to connect. ``auth`` is whatever the client sent: any JSON value."""

    auth: object
    remote_address: str
    transport: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a connecting client says about an earlier connection, as sent: each may be anything, and None is nothing.

    ``pid`` and ``offset`` come from the stock client by itself, ``cursor`` from the application.
    """

    pid: object | None = None
    offset: object | None = None
    cursor: object | None = None


class RecoveryReason(Enum):
    """Why a connection does not continue where the client's cursor stands."""

    INVALID = "invalid"
    UNKNOWN_EPOCH = "unknown_epoch"
    TRIMMED = "trimmed"
    IDENTITY_CHANGED = "identity_changed"


class PidVerdict(Enum):
    """What a ``pid`` that a client brings back is worth.

    UNANSWERED: it was issued when the offset that comes with it was refused, and so the client never heard of that.
    """

    GOOD = "good"
    UNANSWERED = "unanswered"
    OF_ANOTHER_USER = "of another user"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of what lies in an inbox and is not archived: exact, never capped."""

    unread: int
    unseen: int
    total: int

    def with_new(self, number: int) -> Counts:
        return Counts(self.unread + number, self.unseen + number, self.total + number)


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of one snapshot of the log, whose head was ``as_of``.

    Each of the next ``room`` notifications just adds to them; later ones may push others out. They change by themselves
    at ``stands_until``, when something in them expires or grows too old, and what comes next grows too old ``kept_for``
    after it came. Of a store that gives up its oldest notifications for lack of space ``oldest`` is an offset: none of
    those counted, nor of the next ones, lies before it. Where these are None nothing of that happens.
    """

    counts: Counts
    as_of: Position
    room: int
    stands_until: datetime | None
    kept_for: timedelta | None = None
    oldest: int | None = None


class Action(Enum):
    """What a user can do to notifications of theirs."""

    READ = "read"
    UNREAD = "unread"
    SEEN = "seen"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


class ItemState(Enum):
    """Which items of an inbox a list shows. CURRENT: what is not archived; UNREAD and READ are parts of it."""

    CURRENT = "current"
    UNREAD = "unread"
    READ = "read"
    ARCHIVED = "archived"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """``before`` is an offset: only older items are listed. A page ends early where its payloads would have more than
    ``max_bytes``, but not before its first item."""

    limit: int = 20
    max_bytes: int = 262_144
    before: int | None = None
    state: ItemState = ItemState.CURRENT
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A notification in a user's inbox. ``payload`` is as in ``notification.new``: its own three times are null."""

    offset: int
    payload: Json
    read_at: datetime | None
    seen_at: datetime | None
    archived_at: datetime | None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page, newest first, of one snapshot. ``next`` is the ``before`` of the following page."""

    items: tuple[Item, ...]
    next: int | None
    counts: Counts
    as_of: Position


@dataclass(frozen=True, slots=True)
class Changed:
    """``changed`` notifications are different now; the entries that say so lie at or before ``as_of``."""

    changed: int
    counts: Counts
    as_of: Position


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The connection's token is another one now, which expires then."""

    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    problem: Problem


Answer: TypeAlias = Counted | Listing | Changed | Refreshed | Failed
"""What a client's request is answered with."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What an accepted client is told first. ``cursor`` is where the events after it continue.

    ``pid`` names the client's stay over all its connections: one that recovers brings it back. ``subscriber`` is not
    told: it is whose inbox the client's requests are about.
    """

    identity: Identity
    subscriber: Subscriber
    pid: str
    recovered: bool
    reason: RecoveryReason | None
    counts: Counts
    cursor: Position
    server_time: datetime


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """A live connection, as operators see it."""

    device: str | None
    role: str
    transport: str
    remote_address: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """A backend that authenticated itself. ``name`` appears in logs; the credential never does."""

    name: str
    scopes: frozenset[str]
