"""Recovering: where a connection continues, and up to where users are known to have come."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import CursorRefused
from domain.model import Page, Position, RecoveryReason, ResumeRequest, Subscriber
from domain.model.value import value
from domain.policy import ConnectionPolicy
from domain.ports import Log, Pids, Subscribers
from domain.recovery import refused_offset, resumption
from domain.services.marks import Marks


@value
class Start:
    """Where a connection begins. ``continues`` is the pid of the connection whose place it takes, if any."""

    page: Page
    pid: str
    recovered: bool
    reason: RecoveryReason | None
    continues: str | None


class RecoveryService:
    """``store_marks`` has to be called about once a second, and once more at the end."""

    def __init__(self, *, log: Log, subscribers: Subscribers, pids: Pids, policy: ConnectionPolicy) -> None:
        self._log = log
        self._pids = pids
        self._policy = policy
        self._marks = Marks(subscribers)

    async def start(self, subscriber: Subscriber, resume_request: ResumeRequest) -> Start:
        """Where the client says, or, with the reason, where its user is known to have come. Raises StoreUnavailable."""
        verdict = None
        if resume_request.pid is not None:
            verdict = await self._pids.examine(resume_request.pid, subscriber.user, resume_request.offset)
        asked = resumption(resume_request, verdict)
        continues = str(resume_request.pid) if asked.stays else None
        reason = asked.reason
        if asked.cursors:
            try:
                page = await self._continue(subscriber, asked.cursors)
            except CursorRefused as refused:
                reason = refused.reason
            else:
                # Who brought no pid gets a first one.
                pid = continues or await self._pids.issue(subscriber.user, refused=None)
                return Start(page, pid, recovered=True, reason=None, continues=continues)
        page, lost = await self._undelivered(subscriber)
        pid = await self._pids.issue(subscriber.user, refused=refused_offset(resume_request))
        return Start(page, pid, recovered=False, reason=reason or lost, continues=continues)

    async def read(self, subscriber: Subscriber, after: Position) -> Page:
        """One page of the log. Raises CursorRefused or StoreUnavailable."""
        return await self._log.read(
            subscriber, after, max_entries=self._policy.replay_entries, max_bytes=self._policy.replay_bytes
        )

    def acknowledge(self, subscriber: Subscriber, upto: Position) -> None:
        """Some connection of the user has everything up to a position."""
        self._marks.acknowledge(subscriber, upto)

    async def store_marks(self) -> None:
        """Raises StoreUnavailable; what could not be stored is kept for the next time."""
        await self._marks.store()

    async def _continue(self, subscriber: Subscriber, cursors: Sequence[object]) -> Page:
        """The first page after the latest of the cursors. Raises CursorRefused unless all are good."""
        positions = [Position.parse(cursor) for cursor in cursors]
        known = [position for position in positions if position is not None]
        if len(known) < len(positions):
            raise CursorRefused(RecoveryReason.INVALID)
        for position in known:
            await self._log.ensure_readable(subscriber, position)
        latest = max(known, key=lambda position: position.offset)
        page = await self.read(subscriber, latest)
        self._marks.acknowledge(subscriber, latest)
        return page

    async def _undelivered(self, subscriber: Subscriber) -> tuple[Page, RecoveryReason | None]:
        """The first page of what the user has not received in this role, and why some of it is gone, if it is."""
        if not self._policy.replays_undelivered:
            return Page((), upto=await self._log.head(), more=False), None
        lost: RecoveryReason | None = None
        after = await self._marks.of(subscriber)
        while True:
            try:
                return await self.read(subscriber, after), lost
            except CursorRefused as refused:
                lost = refused.reason
                after = await self._log.floor(subscriber)
