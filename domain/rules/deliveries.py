"""What became of a notification for a user, as it follows from what is remembered: which connections were sent it, and
which received it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from domain.model import (
    EVERYONE,
    SERVER_STOPPED,
    Addressed,
    AddressedPage,
    Attempt,
    AwaitedReceipt,
    Block,
    ConnectionHistory,
    ConnectionId,
    ConnectionRecord,
    Outcome,
    Room,
    Span,
    UserId,
    roles_in,
)
from domain.model.value import value
from domain.rules.restrictions import is_blocked


@value
class Reach:
    """In which rooms a user reaches a notification: none, where it is not for them."""

    user: UserId
    rooms: frozenset[Room]

    def includes(self, connection: ConnectionRecord) -> bool:
        """Whether the connection is in one of them. In a topic all of a user's are."""
        return any(self._is_in(room, connection.role) for room in self.rooms)

    def _is_in(self, room: Room, roles: str) -> bool:
        """Whether who has some roles is in a room, or in all of its parts."""
        own = (Room.of_user(self.user), EVERYONE, *map(Room.of_role, roles_in(roles)))
        return all(part in own or part.is_topic for part in room.parts)

    def has_mark(self, offset: int, marks: Mapping[str, int]) -> bool:
        """Whether a mark in a role that reaches it lies at or beyond it."""
        return any(
            mark >= offset and any(self._is_in(room, roles) for room in self.rooms) for roles, mark in marks.items()
        )


def reach(
    user: UserId, notification: Addressed, starts: Mapping[Room, int], spans: Iterable[Span], known_roles: Iterable[str]
) -> Reach:
    """What lies at or below the start in a room does not exist for them there, nor what came to a topic while they were
    not in it, nor what is for those who have some roles together in which they never came together."""
    own, offset = Room.of_user(user), notification.position.offset
    topics = {span.room for span in spans if span.includes(offset)}

    def is_in(room: Room) -> bool:
        return room == own or room in topics or starts.get(room, offset) < offset

    def is_in_all(parts: Collection[Room]) -> bool:
        roles = [part for part in parts if not part.is_topic]
        together = len(roles) < 2 or any({*map(Room.of_role, roles_in(some))}.issuperset(roles) for some in known_roles)
        return together and all(map(is_in, parts))

    return Reach(
        user,
        frozenset(room for room in notification.rooms if (is_in_all(room.parts) if room.is_all else is_in(room))),
    )


def _reach_on(page: AddressedPage, user: UserId, notification: Addressed) -> Reach:
    return reach(user, notification, page.starts, page.spans, page.marks)


@value
class Stay:
    """A connection, and what its client had of it when it came back: the place of its cursor then, and when that was.

    A client that comes back has had all that it was sent up to its cursor, and nothing beyond.
    """

    connection: ConnectionRecord
    returned_with: int | None
    returned_at: datetime | None

    @property
    def sent(self) -> int | None:
        """Up to where it was surely sent everything. What a server has sent just before it stopped it has noted
        nowhere, and for a while nobody may have noticed that it did: but what the client had was sent."""
        connection, sent = self.connection, self.connection.sent
        may_be_more = connection.until is None or connection.ended == SERVER_STOPPED
        if may_be_more and self.returned_with is not None:
            return max(self.returned_with, sent if sent is not None else connection.after)
        return sent

    def was_sent(self, notification: Addressed, reach: Reach, unsent: frozenset[int]) -> bool:
        """``unsent`` are offsets that had expired before their turn on its server."""
        connection, offset = self.connection, notification.position.offset
        if self.sent is None or not connection.after < offset <= self.sent or not reach.includes(connection):
            return False
        if offset in connection.skipped:
            return False
        if notification.expires_at is not None and notification.expires_at <= connection.since:
            return False
        if notification.replaced_at is not None and notification.replaced_at <= connection.since:
            return False
        was_live = connection.replayed is not None and offset > connection.replayed
        return not (was_live and offset in unsent)

    def may_have_receipt(self, offset: int) -> bool:
        """Whether it is worth looking for: of one that has ended it is known whether it had received so much."""
        received = self.connection.received
        return self.connection.until is None or (received is not None and received >= offset)

    def received_at(self, offset: int, receipt_at: datetime | None) -> datetime | None:
        """The first time by which it is known to have received what it was sent; ``receipt_at`` is that of its
        receipt."""
        received = self.connection.received
        if receipt_at is not None:
            return receipt_at
        if received is not None and received >= offset and self.connection.until is not None:
            return self.connection.until
        if self.returned_with is not None and self.returned_with >= offset:
            return self.returned_at
        return None


def stays(connections: Sequence[ConnectionRecord]) -> list[Stay]:
    """In their order, each with the next one of the same client: which brought its pid, or, where its library knows of
    none, has the same device."""
    last_with: dict[str, ConnectionRecord] = {}
    last_on: dict[tuple[str | None, str], ConnectionRecord] = {}
    followers: dict[ConnectionId, ConnectionRecord] = {}
    for connection in connections:
        device, pid = (connection.device, connection.role), connection.continues
        before = last_with.get(pid) if pid is not None else last_on.get(device)
        if connection.had is not None and before is not None:
            followers.setdefault(before.id, connection)
        last_with[connection.pid] = last_on[device] = connection
    return [_stay(connection, followers.get(connection.id)) for connection in connections]


def _stay(connection: ConnectionRecord, follower: ConnectionRecord | None) -> Stay:
    if follower is None or follower.had is None or follower.had < connection.after:
        return Stay(connection, None, None)
    return Stay(connection, follower.had, follower.since)


@value
class Case:
    """All that is known about one notification and one user, at ``now``.

    ``attempts`` are those of connections that were sent it, or were there while it waited. ``is_unwitnessed``: its
    client had it by a connection that nobody has noted, as its server stopped within a second of its beginning.
    ``has_come``: the user has been here, at some time. ``is_marked``: a mark of the user lies at or beyond it, and
    ``is_complete``: everything since it was stored is remembered. ``block`` is what keeps the user out at that time.
    """

    user: UserId
    now: datetime
    notification: Addressed
    reach: Reach
    attempts: Sequence[Attempt]
    is_unwitnessed: bool
    has_come: bool
    is_marked: bool
    is_complete: bool
    block: Block | None

    @property
    def sent(self) -> Sequence[Attempt]:
        return [attempt for attempt in self.attempts if attempt.sent_at is not None]

    @property
    def received(self) -> Attempt | None:
        """The first that was."""
        received = [attempt for attempt in self.attempts if attempt.received_at is not None]
        return min(received, key=lambda attempt: attempt.received_at or self.now, default=None)

    @property
    def outcome(self) -> Outcome:
        """What a person did to it comes first, then what arrived, then why it cannot arrive any more."""
        notification = self.notification
        if not self.reach.rooms:
            return Outcome.NOT_ADDRESSED
        if notification.deleted:
            return Outcome.DELETED
        if self.received is not None or self.is_unwitnessed or (self.is_marked and not self.is_complete):
            return Outcome.RECEIVED
        if notification.recalled or notification.replaced_at is not None:
            return Outcome.DELETED
        if notification.expires_at is not None and notification.expires_at <= self.now:
            return Outcome.EXPIRED
        if notification.has_left:
            return Outcome.TRIMMED
        # It is not replayed to whoever comes without a cursor, as some device of theirs knew what lies beyond it.
        if self.is_marked and not self.sent:
            return Outcome.RECEIVED
        return Outcome.SENT if self.sent else Outcome.WAITING


def awaited(
    user: UserId, page: AddressedPage, followed: Sequence[Stay], history: ConnectionHistory
) -> list[AwaitedReceipt]:
    """The receipts that there may be of the notifications."""
    found: list[AwaitedReceipt] = []
    for notification in page.notifications:
        reached, offset = _reach_on(page, user, notification), notification.position.offset
        found += [
            AwaitedReceipt(stay.connection.id, offset, _sent_at(stay.connection, notification))
            for stay in followed
            if stay.may_have_receipt(offset)
            and stay.was_sent(notification, reached, history.unsent.get(stay.connection.id, _NONE))
        ]
    return found


Receipts: TypeAlias = Mapping[tuple[ConnectionId, int], datetime]
"""When a connection is known to have received what lies at an offset."""


def case(
    user: UserId,
    notification: Addressed,
    page: AddressedPage,
    followed: Sequence[Stay],
    history: ConnectionHistory,
    receipts: Receipts,
    block: Block | None,
    now: datetime,
) -> Case:
    """``followed`` are the stays of their connections since it was stored, which are in the ``history``; ``block`` is
    what is known of one of the user, though it may be over."""
    reached = _reach_on(page, user, notification)
    offset = notification.position.offset
    relevant: list[Attempt] = []
    for stay in followed:
        connection = stay.connection
        if connection.until is not None and connection.until < notification.stored_at:
            continue
        sent_at = received_at = None
        if stay.was_sent(notification, reached, history.unsent.get(connection.id, _NONE)):
            sent_at = _sent_at(connection, notification)
            received_at = stay.received_at(offset, receipts.get((connection.id, offset)))
        relevant.append(Attempt(connection, sent_at, received_at))
    return Case(
        user,
        now,
        notification,
        reached,
        _while_it_waited(relevant, notification, now),
        is_unwitnessed=any(_brings_what_nobody_noted(stay, followed, notification, reached) for stay in followed),
        has_come=bool(page.marks or followed),
        is_marked=reached.has_mark(offset, page.marks),
        is_complete=page.complete_since is not None and page.complete_since <= notification.stored_at,
        block=block if is_blocked(block, now) else None,
    )


_NONE: frozenset[int] = frozenset()


def _sent_at(connection: ConnectionRecord, notification: Addressed) -> datetime:
    """With what it missed as it came, else as it was stored."""
    return max(connection.since, notification.stored_at)


def _while_it_waited(attempts: Sequence[Attempt], notification: Addressed, now: datetime) -> list[Attempt]:
    """Those that were sent it, and those that were there before it had arrived or expired."""
    arrived = [attempt.received_at for attempt in attempts if attempt.received_at is not None]
    over = min([*arrived, notification.expires_at or now, notification.replaced_at or now, now])
    return [attempt for attempt in attempts if attempt.sent_at is not None or attempt.connection.since <= over]


def _brings_what_nobody_noted(stay: Stay, all_: Sequence[Stay], notification: Addressed, reached: Reach) -> bool:
    """Whether a client came back that had it, though none of its connections that are known was sent it: it came once
    more in between."""
    connection, offset = stay.connection, notification.position.offset
    if connection.continues is None or connection.had is None or connection.had < offset:
        return False
    if not reached.includes(connection):
        return False
    if notification.expires_at is not None and notification.expires_at <= connection.since:
        return False
    if notification.replaced_at is not None and notification.replaced_at <= connection.since:
        return False
    earlier = [
        one for one in all_ if one.connection.pid == connection.continues and one.connection.since < connection.since
    ]
    if not earlier:
        # The one before it had ended as this was stored.
        return connection.since > notification.stored_at and not notification.has_left
    first = min(one.connection.after for one in earlier)
    last = max(one.sent if one.sent is not None else one.connection.after for one in earlier)
    return first < offset and offset > last
