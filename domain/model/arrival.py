"""Users who come to read the log, and what they are given first."""

from __future__ import annotations

from collections.abc import Sequence

from domain.model.connection import RecoveryReason
from domain.model.identity import UserId
from domain.model.inbox import Counted
from domain.model.log import Page, Position, Subscriber
from domain.model.notification import Room
from domain.model.topic import Span
from domain.model.value import value


@value
class Arrival:
    """A user who comes in a role to read the log of some rooms.

    ``cursors`` are where they ask to continue; None is what never was a cursor. ``unstored_mark`` is their mark in this
    role, where the store was not told of it yet. With ``replays_undelivered`` they continue after their mark where no
    cursor counts, else at the head. ``max_entries`` and ``max_bytes`` bound their first page.
    """

    user: UserId
    role: str
    rooms: frozenset[Room]
    cursors: tuple[Position | None, ...]
    unstored_mark: Position | None
    replays_undelivered: bool
    max_entries: int
    max_bytes: int


@value
class Arrived:
    """What the log and the inbox hold for them, of one moment.

    ``page`` is the first one after ``after``. ``recovered``: they continue where their cursors stand. ``reason``: why
    they do not, though they had some, or why some of what they have not received is gone. ``spans`` are their stays in
    topics, in any order.
    """

    subscriber: Subscriber
    after: Position
    recovered: bool
    reason: RecoveryReason | None
    page: Page
    counted: Counted
    spans: Sequence[Span] = ()
