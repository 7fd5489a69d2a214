"""What was published, and what became of it with those whom it is for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.model.identity import UserId
from domain.model.log import Position
from domain.model.notification import Audience, Json, NotificationState
from domain.model.schedule import ScheduledNotification
from domain.model.value import value


@value
class PublishedNotification:
    """A notification as it is stored. ``payload`` is as in ``notification.new``; None once it was taken back, or soon
    after the last of all whom it names has deleted it."""

    id: str
    position: Position
    audience: Audience
    payload: Json | None
    is_recalled: bool = False

    @property
    def state(self) -> NotificationState:
        return NotificationState.RECALLED if self.is_recalled else NotificationState.SENT


@value
class RecipientPlace:
    """A recipient's place among the others: by ``start``, an offset, and of the same start by name or number. It is
    where they start in the room that the notification is in; 0 for all where it names its recipients."""

    start: int
    user: UserId


@value
class Recipient:
    """How a notification stands for one of its recipients.

    ``is_received``: one of their devices is known to have had everything up to it. ``received_at`` is when that was,
    where it is remembered. What was deleted before such times were kept has no ``deleted_at``.
    """

    user: UserId
    is_received: bool
    seen_at: datetime | None
    read_at: datetime | None
    archived_at: datetime | None
    is_deleted: bool
    deleted_at: datetime | None
    received_at: datetime | None = None


@value
class RecipientsPage:
    """``next`` is the place of the last one where there are more."""

    recipients: Sequence[Recipient]
    next: RecipientPlace | None


@value
class Tally:
    """With how many recipients a notification stands so."""

    received: int = 0
    seen: int = 0
    read: int = 0
    archived: int = 0
    deleted: int = 0


@value
class PartialTally:
    """Of some of the recipients: up to ``next``, or to the last one."""

    tally: Tally
    next: RecipientPlace | None


@value
class NotificationReport:
    """``recipients`` is None where they are not named: a role, or everyone."""

    notification: PublishedNotification | ScheduledNotification
    recipients: int | None
    tally: Tally
