"""What lies in a user's inbox, and what users do to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from domain.model.log import Position
from domain.model.notification import Json
from domain.model.value import value


@value
class Counts:
    """Of what lies in an inbox and is not archived: exact, never capped."""

    unread: int
    unseen: int
    total: int

    def with_new(self, number: int) -> Counts:
        return Counts(self.unread + number, self.unseen + number, self.total + number)


@value
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
    """Which items of an inbox a list shows. CURRENT: what is not archived; UNREAD and READ are parts of it. What is
    snoozed is in no list but SNOOZED, and ALL_AND_SNOOZED, which exports are made of."""

    CURRENT = "current"
    UNREAD = "unread"
    READ = "read"
    ARCHIVED = "archived"
    ALL = "all"
    SNOOZED = "snoozed"
    ALL_AND_SNOOZED = "all_and_snoozed"


@value
class InboxQuery:
    """``before`` is an offset: only older items are listed. A page ends early where its payloads would have more than
    ``max_bytes``, but not before its first item."""

    limit: int = 20
    max_bytes: int = 262_144
    before: int | None = None
    state: ItemState = ItemState.CURRENT
    type: str | None = None


@value
class Item:
    """A notification in a user's inbox. ``payload`` is as in ``notification.new``: its own three times are null. Only
    what is snoozed has ``snoozed_until``."""

    offset: int
    payload: Json
    read_at: datetime | None
    seen_at: datetime | None
    archived_at: datetime | None
    snoozed_until: datetime | None = None


@value
class Listing:
    """One page, newest first, of one snapshot. ``next`` is the ``before`` of the following page."""

    items: tuple[Item, ...]
    next: int | None
    counts: Counts
    as_of: Position


@value
class Changed:
    """``changed`` notifications are different now; the entries that say so lie at or before ``as_of``."""

    changed: int
    counts: Counts
    as_of: Position
