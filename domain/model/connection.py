"""Clients that connect, what they ask and are told, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import NewType, TypeAlias

from domain.model.identity import Identity, UserId
from domain.model.inbox import Changed, Counted, Counts, Listing
from domain.model.log import Entry, Position
from domain.model.value import value

ConnectionId = NewType("ConnectionId", str)

AckId = NewType("AckId", int)
"""What a client's request is answered under, among those of one connection."""


@value
class Problem:
    """Why something was refused, as clients see it (the members of RFC 9457 that make sense on a socket)."""

    code: str
    title: str
    retryable: bool
    detail: str | None = None


@value
class Disconnect:
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
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    BLOCKED = "blocked"
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


@value
class ResumeRequest:
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


@value
class Refreshed:
    """The connection's token is another one now, which expires then."""

    expires_at: datetime


@value
class Failed:
    problem: Problem


Answer: TypeAlias = Counted | Listing | Changed | Refreshed | Failed
"""What a client's request is answered with."""


@value
class Reply:
    """The answer to the request of a client that waits for one under ``ack``."""

    ack: AckId
    answer: Answer


@value
class CountsChanged:
    """There is this in the user's inbox now."""

    counts: Counts


@value
class Expiring:
    """The connection's token is about to expire."""

    expires_at: datetime


Outgoing: TypeAlias = Entry | CountsChanged | Expiring | Reply
"""What a connection is sent once it is open."""


@value
class ConnectReply:
    """What an accepted client is told first. ``cursor`` is where the events after it continue.

    ``pid`` names the client's stay over all its connections: one that recovers brings it back.
    """

    identity: Identity
    pid: str
    recovered: bool
    reason: RecoveryReason | None
    counts: Counts
    cursor: Position
    server_time: datetime


@value
class ConnectionInfo:
    """A live connection, as operators see it. ``roles`` are all that its token gives, the first one first."""

    device: str | None
    roles: tuple[str, ...]
    transport: str
    remote_address: str
    since: datetime

    @property
    def role(self) -> str:
        return self.roles[0]


@value
class Present:
    """A connection as other servers are to know it.

    ``continues`` is the pid of the one whose place it takes, which its client had before.
    """

    user: UserId
    pid: str
    continues: str | None
    info: ConnectionInfo
