"""What was noted of deliveries, in memory: as long as its process, and bounded by numbers beside times."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from domain.model import AwaitedReceipt, ConnectionHistory, ConnectionId, ConnectionRecord, Notes, UserId
from domain.ports.ledger import CONNECTIONS_MOST, RECEIPT_WITHIN

_UNSENT_MOST = 100_000


class KeptNotes:
    """Kept are what is no older than ``retention``, ``most`` connections that have ended, and as many receipts."""

    def __init__(self, retention: timedelta, most: int = 100_000) -> None:
        self._retention = retention
        self._most = most
        self._open: dict[ConnectionId, ConnectionRecord] = {}
        self._ended: OrderedDict[ConnectionId, ConnectionRecord] = OrderedDict()
        self._of_users: dict[UserId, dict[ConnectionId, None]] = {}
        self._receipts: dict[UserId, dict[datetime, dict[ConnectionId, int]]] = {}
        self._order: deque[tuple[datetime, UserId]] = deque()
        self._unsent: deque[int] = deque(maxlen=_UNSENT_MOST)
        self._delivered = 0

    def record(self, notes: Notes) -> None:
        self._delivered = notes.delivered
        self._unsent.extend(notes.unsent)
        for one in notes.connections:
            self._of_users.setdefault(one.user, {})[one.id] = None
            if one.until is None:
                self._open[one.id] = one
            else:
                self._open.pop(one.id, None)
                self._ended[one.id] = one
        for user, receipt in notes.receipts:
            at = receipt.at.replace(microsecond=0)
            of_user = self._receipts.setdefault(user, {})
            if at not in of_user:
                of_user[at] = {}
                self._order.append((at, user))
            of_user[at].update(receipt.upto)
        self.trim(notes.at)

    def forget(self, user: UserId) -> None:
        for id_ in self._of_users.pop(user, {}):
            self._open.pop(id_, None)
            self._ended.pop(id_, None)
        if self._receipts.pop(user, None) is not None:
            self._order = deque((at, whose) for at, whose in self._order if whose != user)

    def trim(self, now: datetime) -> None:
        before = now - self._retention
        while self._ended and (len(self._ended) > self._most or _until(next(iter(self._ended.values()))) <= before):
            _, gone = self._ended.popitem(last=False)
            ids = self._of_users[gone.user]
            del ids[gone.id]
            if not ids:
                del self._of_users[gone.user]
        while self._order and (len(self._order) > self._most or self._order[0][0] <= before):
            at, user = self._order.popleft()
            del self._receipts[user][at]
            if not self._receipts[user]:
                del self._receipts[user]

    def history(self, user: UserId, moments: Sequence[datetime], offsets: Sequence[int]) -> ConnectionHistory:
        ids = self._of_users.get(user, {})
        is_open = [self._open[id_] for id_ in ids if id_ in self._open]
        ended = sorted((self._ended[id_] for id_ in ids if id_ in self._ended), key=_until)
        found: dict[ConnectionId, ConnectionRecord] = {one.id: self._as_it_is(one) for one in is_open}
        for at in moments:
            first = bisect_left(ended, at, key=_until)
            found |= {one.id: one for one in ended[first : first + CONNECTIONS_MOST]}
        unsent = frozenset(self._unsent) & frozenset(offsets)
        return ConnectionHistory(
            sorted(found.values(), key=lambda one: (one.since, one.number)), dict.fromkeys(found, unsent)
        )

    def _as_it_is(self, one: ConnectionRecord) -> ConnectionRecord:
        return replace(one, sent=max(self._delivered, one.sent or 0)) if one.replayed is not None else one

    def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> list[datetime | None]:
        of_user = self._receipts.get(user, {})
        times = sorted(of_user)
        found: list[datetime | None] = []
        for one in awaited:
            since = one.since.replace(microsecond=0)
            some = times[bisect_left(times, since) : bisect_right(times, since + RECEIPT_WITHIN)]
            found.append(next((at for at in some if of_user[at].get(one.connection, -1) >= one.offset), None))
        return found


def _until(one: ConnectionRecord) -> datetime:
    if one.until is None:
        raise ValueError(f"{one.id} is open")
    return one.until
