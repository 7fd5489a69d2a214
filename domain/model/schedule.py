"""What is to come into the log at a time of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.model.notification import Audience, Json, NotificationState
from domain.model.value import value


@value
class ScheduledNotification:
    """One that nobody has yet. ``payload`` is as ``notification.new`` will have it, in which ``created_at`` is when it
    is due; None once it was cancelled."""

    id: str
    due: datetime
    audience: Audience
    payload: Json | None

    @property
    def state(self) -> NotificationState:
        return NotificationState.SCHEDULED if self.payload is not None else NotificationState.CANCELLED


@value
class AmendedSchedule:
    """What was to be sent was given other content, or is not sent any more: nobody has heard of it, and the log says
    nothing of it."""

    id: str


@value
class Due:
    """``late`` is of each that has come into the log now for how many seconds it had been due. ``next`` is when the
    first of those is due that wait on; None where none does."""

    late: Sequence[float]
    next: datetime | None
