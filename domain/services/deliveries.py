"""Remembering who was connected and what they received, and saying what became of notifications."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from domain.delivery.hub import Hub
from domain.errors import StoreUnavailable
from domain.model import (
    AwaitedReceipt,
    ConnectionHistory,
    ConnectionId,
    ConnectionRecord,
    DeliveriesPage,
    DeliveriesQuery,
    DeliveryReport,
    DisconnectReason,
    Notes,
    Position,
    Receipt,
    ScheduledNotification,
    ScheduledReport,
    UserId,
)
from domain.ports import Clock, Ledger, Restrictions, Schedule
from domain.rules.deliveries import awaited, case, stays
from domain.rules.wording import sentence, sentence_of_scheduled
from domain.services.connections import Connection

ATTEMPTS_MOST = 20
"""Connections in one report: the first ones, and those that had it."""
AWAITED_MOST = 2_000
"""Receipts that are looked for at once."""
UNSTORED_MOST = 100_000
"""Of connections that have ended, and of receipts, while they cannot be stored; the oldest go."""
STILL_HERE_SECONDS = 30.0
"""So often the ledger hears of a server that has connections, and nothing to tell."""


class DeliveryLedger:
    """Everything is noted here first; ``store`` is to be called about once a second, and once at the end.

    ``store_beginnings`` is to be called soon after ``on_beginning`` has called. Where a server is killed, a client may
    come back with a cursor beyond what has expired since: without a trace of its connection nobody could tell that it
    was sent that.

    It only notes anything where it ``is_kept``.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        schedule: Schedule,
        restrictions: Restrictions,
        hub: Hub,
        clock: Clock,
        is_kept: bool,
    ) -> None:
        self._ledger = ledger
        self._schedule = schedule
        self._restrictions = restrictions
        self._hub = hub
        self._clock = clock
        self._is_kept = is_kept
        self._numbers = count(1)
        self._open: dict[ConnectionId, tuple[int, Connection]] = {}
        self._changed: dict[ConnectionId, None] = {}
        self._has_begun: Callable[[], None] = _nobody_waits
        self._ended: deque[ConnectionRecord] = deque(maxlen=UNSTORED_MOST)
        self._received: dict[ConnectionId, tuple[UserId, int]] = {}
        self._receipts: deque[tuple[UserId, Receipt]] = deque(maxlen=UNSTORED_MOST)
        self._unsent: list[int] = []
        self._stored_at: float | None = None
        self._delivered: Position | None = None

    def on_beginning(self, call: Callable[[], None]) -> None:
        """Have it called when a connection has begun."""
        self._has_begun = call

    # what happens

    def began(self, connection: Connection) -> None:
        """It was let in."""
        if self._is_kept:
            id_ = connection.subscription.outlet.id
            self._open[id_] = (next(self._numbers), connection)
            self._changed[id_] = None
            self._has_begun()

    async def store_beginnings(self) -> None:
        """Of connections that began since it was called last."""
        if self._changed:
            # Where it cannot be stored, ``store`` tries again, and says so.
            with suppress(StoreUnavailable):
                await self._record()

    def went_live(self, connection: Connection) -> None:
        id_ = connection.subscription.outlet.id
        if id_ in self._open:
            self._changed[id_] = None

    def received(self, connection: Connection, offset: int) -> None:
        """It has everything that it was sent up to there."""
        if self._is_kept and connection.identity is not None:
            self._received[connection.subscription.outlet.id] = (connection.identity.user, offset)

    def ended(self, connection: Connection, reason: DisconnectReason) -> None:
        id_ = connection.subscription.outlet.id
        known = self._open.get(id_)
        if known is not None:
            del self._open[id_]
            self._changed.pop(id_, None)
            self._ended.append(replace(_record_of(*known), until=self._clock.now(), ended=reason.value))

    def forget(self, user: UserId) -> None:
        """What is not stored yet of a user, and of connections of theirs that are still to end."""
        of_user = [id_ for id_, (_, one) in self._open.items() if _user_of(one) == user]
        for id_ in of_user:
            del self._open[id_]
            self._changed.pop(id_, None)
        for id_ in [id_ for id_, (whose, _) in self._received.items() if whose == user]:
            del self._received[id_]
        self._ended = deque((one for one in self._ended if one.user != user), UNSTORED_MOST)
        self._receipts = deque((one for one in self._receipts if one[0] != user), UNSTORED_MOST)

    async def store(self) -> None:
        """Raises StoreUnavailable; what could not be stored is kept for the next time."""
        if not self._is_kept:
            return
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._note_receipts(now)
        self._unsent += self._hub.take_unsent()
        del self._unsent[:-UNSTORED_MOST]
        delivered = self._hub.delivered
        has_sent = bool(self._open) and delivered != self._delivered
        is_due = self._stored_at is None or monotonic - self._stored_at >= STILL_HERE_SECONDS
        is_still_here = bool(self._open) and is_due
        if not (self._changed or self._ended or self._receipts or self._unsent or has_sent or is_still_here):
            return
        ended, receipts, unsent = [*self._ended], [*self._receipts], [*self._unsent]
        await self._record(ended, receipts, unsent)
        self._stored_at, self._delivered = monotonic, delivered
        _drop_first(self._ended, ended)
        _drop_first(self._receipts, receipts)
        del self._unsent[: len(unsent)]

    async def _record(
        self,
        ended: Sequence[ConnectionRecord] = (),
        receipts: Sequence[tuple[UserId, Receipt]] = (),
        unsent: Sequence[int] = (),
    ) -> None:
        """That, and what has changed of those that are open. Raises StoreUnavailable."""
        delivered = self._hub.delivered
        changed, self._changed = [*self._changed], {}
        notes = Notes(
            self._clock.now(),
            delivered.offset if delivered is not None else 0,
            [*(_record_of(*self._open[id_]) for id_ in changed), *ended],
            receipts,
            unsent,
        )
        try:
            await self._ledger.record(notes)
        except BaseException:
            self._changed = dict.fromkeys([*(id_ for id_ in changed if id_ in self._open), *self._changed])
            raise

    def _note_receipts(self, now: datetime) -> None:
        """By the end of the second in which they are known: the ledger has one row for it."""
        of_users: dict[UserId, dict[ConnectionId, int]] = {}
        for id_, (user, offset) in self._received.items():
            of_users.setdefault(user, {})[id_] = offset
        self._received = {}
        at = now if not now.microsecond else now.replace(microsecond=0) + timedelta(seconds=1)
        self._receipts.extend((user, Receipt(at, upto)) for user, upto in of_users.items())

    # what is asked

    async def deliveries_of(self, user: UserId, query: DeliveriesQuery) -> DeliveriesPage:
        """Raises StoreUnavailable."""
        page = await self._ledger.addressed(user, query)
        if not page.notifications and query.id is not None:
            scheduled = await self._schedule.scheduled(query.id)
            if scheduled is not None:
                return DeliveriesPage(
                    (), page.next, _report_of(user, scheduled) if _is_among(scheduled, query) else None
                )
            # It may have come into the log between the two.
            page = await self._ledger.addressed(user, query)
        if not page.notifications:
            return DeliveriesPage((), page.next)
        history = self._with_own(user, await self._ledger.history(user, page.notifications))
        followed = stays(history.connections)
        wanted = awaited(user, page, followed, history)[:AWAITED_MOST]
        receipts = self._own_receipts(wanted)
        for one, at in zip(wanted, await self._ledger.received_at(user, wanted), strict=True):
            if at is not None:
                receipts[one.connection, one.offset] = at
        restriction = await self._restrictions.restriction(user)
        block = restriction.block if restriction is not None else None
        now = self._clock.now()
        reports: list[DeliveryReport] = []
        for notification in page.notifications:
            found = case(user, notification, page, followed, history, receipts, block, now)
            attempts = sorted(found.attempts, key=lambda attempt: attempt.received_at is None)[:ATTEMPTS_MOST]
            attempts.sort(key=lambda attempt: attempt.connection.since)
            reports.append(DeliveryReport(notification, found.outcome, sentence(found), attempts))
        return DeliveriesPage(reports, page.next)

    def _with_own(self, user: UserId, history: ConnectionHistory) -> ConnectionHistory:
        """What the ledger has not heard of yet, of connections to this server, too."""
        own = [_record_of(*known) for known in self._open.values() if _user_of(known[1]) == user]
        own += [record for record in self._ended if record.user == user]
        records = {record.id: record for record in (*history.connections, *own)}
        unsent = dict(history.unsent)
        fresh = frozenset((*self._unsent, *self._hub.unsent))
        if fresh:
            unsent |= {record.id: unsent.get(record.id, frozenset()) | fresh for record in own}
        return ConnectionHistory(sorted(records.values(), key=lambda one: (one.since, one.number)), unsent)

    def _own_receipts(self, wanted: Sequence[AwaitedReceipt]) -> dict[tuple[ConnectionId, int], datetime]:
        """Those that are not stored yet."""
        noted: dict[ConnectionId, list[tuple[datetime, int]]] = {}
        for _, receipt in self._receipts:
            for id_, upto in receipt.upto.items():
                noted.setdefault(id_, []).append((receipt.at, upto))
        for id_, (_, upto) in self._received.items():
            noted.setdefault(id_, []).append((self._clock.now(), upto))
        found: dict[tuple[ConnectionId, int], datetime] = {}
        for one in wanted:
            for at, upto in noted.get(one.connection, ()):
                if upto >= one.offset:
                    found.setdefault((one.connection, one.offset), at)
        return found


def _nobody_waits() -> None:
    pass


def _is_among(scheduled: ScheduledNotification, query: DeliveriesQuery) -> bool:
    """As if it were stored as it is due: it lies before no place in the log."""
    return query.before is None and (query.since is None or query.since <= scheduled.due)


def _report_of(user: UserId, scheduled: ScheduledNotification) -> ScheduledReport:
    return ScheduledReport(scheduled, sentence_of_scheduled(user, scheduled))


def _user_of(connection: Connection) -> UserId | None:
    return connection.identity.user if connection.identity is not None else None


def _drop_first(from_: deque[ConnectionRecord] | deque[tuple[UserId, Receipt]], some: Sequence[object]) -> None:
    """What of ``some`` is still at the beginning: while they were stored, the oldest may have gone."""
    stored = set(map(id, some))
    while from_ and id(from_[0]) in stored:
        from_.popleft()


def _record_of(number: int, connection: Connection) -> ConnectionRecord:
    subscription = connection.subscription
    sent, replayed = subscription.sent, subscription.replayed
    return ConnectionRecord(
        id=subscription.outlet.id,
        number=number,
        user=connection.identity.user if connection.identity is not None else UserId(""),
        role=connection.identity.role_set if connection.identity is not None else "",
        device=connection.device,
        transport=subscription.outlet.technology,
        pid=connection.pid or "",
        since=connection.since,
        after=connection.began_after,
        had=connection.had.offset if connection.had is not None else None,
        continues=connection.continues,
        replayed=replayed.offset if replayed is not None else None,
        skipped=tuple(subscription.skipped),
        sent=sent.offset if sent is not None else None,
        received=connection.received.offset if connection.received is not None else None,
    )
