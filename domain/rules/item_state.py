"""What users do to their notifications, and how these stand for them then."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from domain.model import Action, Counts, ItemState
from domain.model.value import value

IDS_PER_ENTRY = 500
"""How many notifications an entry about some names."""


@value
class ItemTimes:
    """The state of one notification for one user. ``read_by`` is the name of the device by which it was read.

    One that is snoozed is in no count before ``snoozed_until``, and in no list but those of what is snoozed. One that
    was lies where it came back since, at the offset ``raised``.
    """

    read_at: datetime | None = None
    seen_at: datetime | None = None
    archived_at: datetime | None = None
    deleted: bool = False
    read_by: str | None = None
    deleted_at: datetime | None = None
    snoozed_until: datetime | None = None
    raised: int | None = None

    def after(self, action: Action, at: datetime, by: str | None = None) -> ItemTimes:
        """The state once that was done; a time that is set stays, and so does what was deleted. What is snoozed can
        only be deleted."""
        if self.deleted or (self.snoozed_until is not None and action is not Action.DELETE):
            return self
        match action:
            case Action.READ:
                read_by = by if self.read_at is None else self.read_by
                return replace(self, read_at=self.read_at or at, seen_at=self.seen_at or at, read_by=read_by)
            case Action.UNREAD:
                return replace(self, read_at=None, read_by=None)
            case Action.SEEN:
                return replace(self, seen_at=self.seen_at or at)
            case Action.ARCHIVE:
                return replace(self, archived_at=self.archived_at or at)
            case Action.UNARCHIVE:
                return replace(self, archived_at=None)
            case Action.DELETE:
                return replace(self, deleted=True, deleted_at=at, snoozed_until=None)

    @property
    def is_away(self) -> bool:
        """Whether its user hears nothing of it."""
        return self.deleted or self.snoozed_until is not None

    def snoozed(self, until: datetime) -> ItemTimes:
        return self if self.deleted else replace(self, snoozed_until=until)

    def until(self, end: datetime | None) -> ItemTimes:
        """The state as it was when the notification was over: what reads everything later reads nothing of it."""
        return replace(
            self,
            read_at=in_time(self.read_at, end),
            read_by=self.read_by if in_time(self.read_at, end) is not None else None,
            seen_at=in_time(self.seen_at, end),
        )

    @staticmethod
    def back_at(offset: int) -> ItemTimes:
        """The state once it has come back: as if it were new."""
        return ItemTimes(raised=offset)

    def is_in(self, state: ItemState) -> bool:
        """Whether a list of these shows it."""
        if self.deleted:
            return False
        if self.snoozed_until is not None:
            return state in (ItemState.SNOOZED, ItemState.ALL_AND_SNOOZED)
        match state:
            case ItemState.CURRENT:
                return self.archived_at is None
            case ItemState.UNREAD:
                return self.archived_at is None and self.read_at is None
            case ItemState.READ:
                return self.archived_at is None and self.read_at is not None
            case ItemState.ARCHIVED:
                return self.archived_at is not None
            case ItemState.SNOOZED:
                return False
            case ItemState.ALL | ItemState.ALL_AND_SNOOZED:
                return True

    @property
    def counted(self) -> Counts:
        """What it adds to the counts."""
        if self.is_away or self.archived_at is not None:
            return _NOT_COUNTED
        return _COUNTED[self.read_at is None, self.seen_at is None]


def in_time(at: datetime | None, end: datetime | None) -> datetime | None:
    """When something was done to a notification, unless it was over by then."""
    return at if at is not None and (end is None or at <= end) else None


_NOT_COUNTED = Counts(0, 0, 0)
_COUNTED = {
    (unread, unseen): Counts(int(unread), int(unseen), 1) for unread in (False, True) for unseen in (False, True)
}


def counts_after(counts: Counts, changed: Iterable[tuple[ItemTimes, ItemTimes]]) -> Counts:
    """The counts once the states of some that are counted have changed: from the first to the second of each."""
    unread, unseen, total = counts.unread, counts.unseen, counts.total
    for before, after in changed:
        unread += after.counted.unread - before.counted.unread
        unseen += after.counted.unseen - before.counted.unseen
        total += after.counted.total - before.counted.total
    return Counts(unread, unseen, total)


def change_of(action: Action, at: datetime) -> Mapping[str, datetime | None]:
    """The member ``change`` of ``notification.updated``; deleting has an event of its own."""
    match action:
        case Action.READ:
            return {"read_at": at, "seen_at": at}
        case Action.UNREAD:
            return {"read_at": None}
        case Action.SEEN:
            return {"seen_at": at}
        case Action.ARCHIVE:
            return {"archived_at": at}
        case Action.UNARCHIVE:
            return {"archived_at": None}
        case Action.DELETE:
            return {}


UNTOUCHED = ItemTimes()


class UserState:
    """The states of a user's notifications by offset: of few it is kept, of the others it follows from ``read_all``."""

    __slots__ = ("_all_read", "_touched", "has_raised")

    def __init__(self) -> None:
        self._touched: dict[int, ItemTimes] = {}
        self._all_read: list[tuple[int, datetime, str | None]] = []
        self.has_raised = False

    def of(self, offset: int) -> ItemTimes:
        touched = self._touched.get(offset)
        if touched is not None:
            return touched
        index = bisect_right(self._all_read, offset, key=lambda watermark: watermark[0])
        if index == len(self._all_read):
            return UNTOUCHED
        _, at, by = self._all_read[index]
        return ItemTimes(read_at=at, seen_at=at, read_by=by)

    def put(self, offset: int, times: ItemTimes) -> None:
        self._touched[offset] = times
        self.has_raised = self.has_raised or times.raised is not None

    def read_all(self, offset: int, at: datetime, by: str | None = None) -> None:
        """Everything placed before the offset was read, where it was not."""
        self._all_read.append((offset, at, by))
        for touched, times in self._touched.items():
            self._touched[touched] = times.after(Action.READ, at, by)

    def forget(self, floor: int) -> None:
        """What lies at or below the floor is not in the log any more."""
        self._touched = {offset: times for offset, times in self._touched.items() if offset > floor}
        self._all_read = [watermark for watermark in self._all_read if watermark[0] > floor]
