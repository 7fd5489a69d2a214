"""What is done to a notification after it was published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeAlias

from domain.model import Amended, Notification

Revise: TypeAlias = Callable[[Notification], Notification]
"""What a notification is to become, by what it is. It may be asked more than once, and by any thread; what it raises
keeps everything as it is."""


class Amendments(Protocol):
    """Each is an entry of the log, in the rooms of the notification, and stored in the same commit as what it says.

    Raises StoreUnavailable as the log does.
    """

    async def revise(self, id_: str, revise: Revise, at: datetime) -> Amended:
        """Give a notification other content.

        Its place in lists, and what users have done to it, stay. Whoever reads the log from before it is given, at its
        place, an entry that is ``revised``; of the entries that revise it only the last has content, and is in a room.
        It is in no room of a user who has deleted the notification.
        Where nothing changes nothing is logged, and the answer is where its content was told last. Raises
        UnknownNotification, NotificationRecalled, and NotificationExpired for one that has.
        """

    async def recall(self, id_: str) -> Amended:
        """Take a notification back.

        From then on it is in no list, no count and no replay: its place in the log stays, in no room, so that offsets
        have no gap. Its content is erased, and its id is still taken. Raises UnknownNotification for one that was never
        published or is forgotten, and NotificationRecalled for one that was taken back before.
        """
