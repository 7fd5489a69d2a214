"""What the domain offers to backends that think better of what they published."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from domain.model import Amended, AmendedSchedule
from domain.ports.amendments import Revise


class Editor(Protocol):
    """What the domain offers to backends that think better of what they published."""

    async def revise(self, id_: str, revise: Revise, deliver_at: datetime | None = None) -> Amended | AmendedSchedule:
        """Give a notification other content: whoever has it is given that, and whoever has not is given nothing else.
        One that waits to be sent waits on, until ``deliver_at`` where that is given; a time that has passed is now.

        Raises UnknownNotification, NotificationRecalled, NotificationExpired or StoreUnavailable, what ``revise``
        raises, InvalidPublication or PublicationTooLarge for what it makes, and NotificationSent for one that has been
        sent and was to have another time.
        """

    async def recall(self, id_: str) -> Amended | AmendedSchedule:
        """Take a notification back: whoever has it is told, and whoever has not received it never does. One that waits
        to be sent never is.

        Once this returns no connection of this server is sent it any more; others send it no longer than until they
        come to that place in the log. Raises UnknownNotification, NotificationRecalled or StoreUnavailable.
        """
