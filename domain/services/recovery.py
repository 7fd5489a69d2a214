"""Recovering: where a connection continues, and up to where users are known to have come."""

from __future__ import annotations

from collections.abc import Sequence

from domain.model import (
    NOTHING_OWED,
    Arrival,
    Arrived,
    Counted,
    Identity,
    Owed,
    Page,
    Position,
    RecoveryReason,
    ResumeRequest,
    Room,
    Span,
    Subscriber,
    UserId,
)
from domain.model.value import value
from domain.policy import ConnectionPolicy
from domain.ports import Log, Pids, Subscribers
from domain.rules.recovery import refused_offset, resumption
from domain.services.marks import Marks


@value
class Start:
    """Where a connection begins: the page is the first one ``after`` a position. Its client ``had`` everything up to
    another, as its cursor says, but for what it is ``owed``. ``continues`` is the pid of the connection whose place it
    takes, if any. ``spans`` are the stays of its user in topics."""

    subscriber: Subscriber
    after: Position
    had: Position | None
    page: Page
    counted: Counted
    pid: str
    recovered: bool
    reason: RecoveryReason | None
    continues: str | None
    owed: Owed
    spans: Sequence[Span]


class RecoveryService:
    """``store_marks`` has to be called about once a second, and once more at the end."""

    def __init__(self, *, log: Log, subscribers: Subscribers, pids: Pids, policy: ConnectionPolicy) -> None:
        self._log = log
        self._pids = pids
        self._policy = policy
        self._marks = Marks(subscribers)

    async def start(self, identity: Identity, rooms: frozenset[Room], resume_request: ResumeRequest) -> Start:
        """Where the client says, or, with the reason, where its user is known to have come. Raises StoreUnavailable."""
        user, role = identity.user, identity.role_set
        verdict = None
        if resume_request.pid is not None:
            verdict = await self._pids.examine(resume_request.pid, user, resume_request.offset)
        asked = resumption(resume_request, verdict)
        arrival = Arrival(
            user,
            role,
            rooms,
            cursors=tuple(map(Position.parse, asked.cursors)),
            unstored_mark=self._marks.unstored(user, role),
            replays_undelivered=self._policy.replays_undelivered,
            max_entries=self._policy.replay_entries,
            max_bytes=self._policy.replay_bytes,
        )
        (arrived,) = await self._log.arrive([arrival])
        owed = _owed(arrival, asked.cursors, arrived)
        continues = str(resume_request.pid) if asked.stays else None
        if arrived.recovered:
            self._marks.acknowledge(user, role, owed.behind(arrived.after).complete)
            # Who brought no pid gets a first one.
            pid = continues or await self._pids.issue(user, refused=None)
        else:
            pid = await self._pids.issue(user, refused=refused_offset(resume_request))
        return Start(
            arrived.subscriber,
            arrived.after,
            _had(arrival, arrived),
            arrived.page,
            arrived.counted,
            pid,
            arrived.recovered,
            asked.reason or arrived.reason,
            continues,
            owed,
            arrived.spans,
        )

    async def read(self, subscriber: Subscriber, after: Position) -> Page:
        """One page of the log. Raises CursorRefused or StoreUnavailable."""
        return await self._log.read(
            subscriber, after, max_entries=self._policy.replay_entries, max_bytes=self._policy.replay_bytes
        )

    def acknowledge(self, subscriber: Subscriber, upto: Position) -> None:
        """Some connection of the user has everything up to a position."""
        self._marks.acknowledge(subscriber.user, subscriber.role, upto.complete)

    def forget_marks(self) -> None:
        """Those that are not stored yet: who comes back without a cursor is sent what they were sent already."""
        self._marks.forget()

    def forget_marks_of(self, user: UserId) -> None:
        """Those of a user that are not stored yet."""
        self._marks.forget_user(user)

    async def store_marks(self) -> None:
        """Raises StoreUnavailable; what could not be stored is kept for the next time."""
        await self._marks.store()


def _owed(arrival: Arrival, cursors: Sequence[object], arrived: Arrived) -> Owed:
    """By the cursor that counts."""
    if arrived.recovered:
        for position, cursor in zip(arrival.cursors, cursors, strict=True):
            if position is not None and position.offset == arrived.after.offset:
                return Owed.said_by(cursor)
    return NOTHING_OWED


def _had(arrival: Arrival, arrived: Arrived) -> Position | None:
    """A client has what its cursor says, though what follows may be gone."""
    if arrived.recovered:
        return arrived.after
    if arrived.reason is RecoveryReason.TRIMMED and len(arrival.cursors) == 1:
        return arrival.cursors[0]
    return None
