"""What is to come into the log at a time of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from domain.model import Due, ScheduledNotification
from domain.ports.amendments import Revise


class Schedule(Protocol):
    """Drafts that wait are put here by ``Log.append``, as many as may, and their ids and keys are taken from then on.
    What is snoozed by ``Inboxes.snooze`` waits here too: when it is due, and still in the inbox, it is new there once
    more, by an entry in the room of its user, which is about the notification and has its present content; in lists it
    lies where that entry is. Whoever reads the log from before the notification is given, at its place, an entry that
    is ``revised`` there.

    Any number of servers may take what is due from here into the log: each comes there once, whatever ends in between.
    Raises StoreUnavailable as the log does.
    """

    async def deliver_due(self, now: datetime, most: int) -> Due:
        """Append what is due by now, the first first, and take it out of here in the same commit: no more than
        ``most``, and than is well stored at once."""

    async def scheduled(self, id_: str) -> ScheduledNotification | None:
        """The one with this id that waits here, or was cancelled, as long as its id is remembered; else None."""

    async def revise_scheduled(self, id_: str, revise: Revise, at: datetime) -> None:
        """Give it other content: no other is ever sent. Where ``revise`` gives it another ``created_at`` it is due
        then. Raises UnknownNotification where none waits with this id, NotificationRecalled for one that was
        cancelled, and what ``revise`` raises."""

    async def cancel(self, id_: str) -> None:
        """It is never sent. Its content is erased, its id is still taken, and whom it was for is still known. Raises as
        ``revise_scheduled``."""

    async def waiting(self) -> int:
        """How many wait here."""
