"""What is kept of deliveries: who was connected when, what they were sent, and what is known to have arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum

from domain.model.connection import ConnectionId
from domain.model.identity import UserId
from domain.model.log import Position
from domain.model.notification import AudienceKind, Room
from domain.model.schedule import ScheduledNotification
from domain.model.topic import Span
from domain.model.value import value

SERVER_STOPPED = "server_stopped"
"""Why a connection ended whose server did so without a word."""


@value
class ConnectionRecord:
    """A connection, as it is remembered. Offsets are places in the log.

    It was sent what its rooms have beyond ``after`` and up to ``sent``, but for ``skipped``, which expired before their
    turn; what lies beyond ``replayed``, if it came so far, at the time at which it was stored. By the cursor that it
    brought its client ``had`` everything up to there, of the connection that had the pid ``continues``; without a pid,
    of its last one. ``number`` is its own among those of a run of its server.
    What of an open one is not known to others is None, as are the last three of one whose server stopped.
    """

    id: ConnectionId
    number: int
    user: UserId
    role: str
    device: str | None
    transport: str
    pid: str
    since: datetime
    after: int
    had: int | None = None
    continues: str | None = None
    replayed: int | None = None
    skipped: tuple[int, ...] = ()
    until: datetime | None = None
    ended: str | None = None
    sent: int | None = None
    received: int | None = None


@value
class Receipt:
    """Up to which offsets connections of a user had received the log at a time, as far as that was news."""

    at: datetime
    upto: Mapping[ConnectionId, int]


@value
class AwaitedReceipt:
    """One of a connection, of an offset or beyond it, that can have come at ``since`` or later."""

    connection: ConnectionId
    offset: int
    since: datetime


@value
class Notes:
    """What a server has to add to the ledger.

    ``delivered`` is how far it has taken the log to its live connections, and ``unsent`` are offsets on the way that
    had expired by then. ``connections`` are new, or other than they were noted.
    """

    at: datetime
    delivered: int
    connections: Sequence[ConnectionRecord]
    receipts: Sequence[tuple[UserId, Receipt]]
    unsent: Sequence[int]


@value
class DeliveriesQuery:
    """The notification with an ``id``, whomever it is for, or those that are for the user, newest first, but for
    what was taken back or replaced.

    Either way only what was stored at ``since`` or later and lies ``before`` an offset, where these are given.
    """

    id: str | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = 20


@value
class Addressed:
    """A notification as it stands for a user. ``rooms`` are those of it that name a role or everyone, or this user.
    ``has_left``: it is in the log no more, and is not replayed. One that was ``recalled``, taken back by its publisher,
    expired as it was. ``replaced_at`` is when a later one with its collapse key took its place for that user. Before
    ``snoozed_until`` it is in no list of theirs."""

    id: str
    position: Position
    stored_at: datetime
    audience: AudienceKind
    rooms: frozenset[Room]
    expires_at: datetime | None
    has_left: bool
    read_at: datetime | None
    read_by: str | None
    deleted: bool
    recalled: bool = False
    replaced_at: datetime | None = None
    archived_at: datetime | None = None
    snoozed_until: datetime | None = None


@value
class AddressedPage:
    """Notifications, and what is known of a user: the start in each room but their own, the mark in each role, and
    their stays in topics.

    ``next`` is the ``before`` of the following page. ``complete_since``: the ledger has everything from then on; None
    where there is none.
    """

    notifications: Sequence[Addressed]
    next: int | None
    starts: Mapping[Room, int]
    marks: Mapping[str, int]
    complete_since: datetime | None
    spans: Sequence[Span] = ()


@value
class ConnectionHistory:
    """Connections of a user, and the offsets of notifications that had expired before those were sent them live, by
    connection."""

    connections: Sequence[ConnectionRecord]
    unsent: Mapping[ConnectionId, frozenset[int]]


class Outcome(Enum):
    """What became of a notification for a user."""

    RECEIVED = "received"
    SENT = "sent"
    WAITING = "waiting"
    EXPIRED = "expired"
    TRIMMED = "trimmed"
    DELETED = "deleted"
    NOT_ADDRESSED = "not_addressed"


@value
class Attempt:
    """What one connection has to do with a notification: when it was sent it, and when it is known to have received
    it."""

    connection: ConnectionRecord
    sent_at: datetime | None
    received_at: datetime | None


@value
class DeliveryReport:
    """Why somebody got a notification, or did not; ``sentence`` says it in words."""

    notification: Addressed
    outcome: Outcome
    sentence: str
    attempts: Sequence[Attempt]


@value
class ScheduledReport:
    """Why somebody has not got a notification that is in no log: it waits for its time, or was cancelled before it
    came; ``sentence`` says it in words."""

    notification: ScheduledNotification
    sentence: str


@value
class DeliveriesPage:
    """``scheduled`` is the one with the id that was asked for, where it has not been sent."""

    reports: Sequence[DeliveryReport]
    next: int | None
    scheduled: ScheduledReport | None = None
