"""What becomes of a notification that is revised, as every store has it."""

from __future__ import annotations

from datetime import datetime

from adapters.contract.events import notification_json, read_notification
from domain.errors import NotificationExpired
from domain.model import Json, Notification
from domain.model.value import value
from domain.ports import Revise


@value
class Revising:
    """What is wanted of the notification with an id, at a time."""

    id: str
    revise: Revise
    at: datetime

    def of(self, payload: Json, expires_at: datetime | None) -> Revision | None:
        """What it becomes; None where that is what it is. Raises NotificationExpired, and what ``revise`` raises."""
        if expires_at is not None and expires_at <= self.at:
            raise NotificationExpired
        before = read_notification(payload, expires_at)
        after = self.revise(before)
        return Revision(after, notification_json(after, self.at)) if after != before else None

    def unsent(self, payload: Json, expires_at: datetime | None) -> Revision | None:
        """The same of one that nobody was ever sent: that it was another before is nobody's business."""
        before = read_notification(payload, expires_at)
        after = self.revise(before)
        if after == before:
            return None
        due = after.created_at if after.created_at != before.created_at else None
        return Revision(after, notification_json(after), due)


@value
class Revision:
    """A notification with its new content, and as its recipients get it. ``due`` is when it is, where that is another
    time than before; only of what nobody was sent yet."""

    notification: Notification
    payload: Json
    due: datetime | None = None
