"""What users have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.model import Action, Changed, Counted, InboxQuery, Listing, Position, Subscriber


class Inboxes(Protocol):
    """What lies in the inbox of a user, as it follows from the log. Raises StoreUnavailable as the log does."""

    async def count(self, subscriber: Subscriber) -> Counted:
        """What is in the inbox. What has expired, or is older or more than is kept, is not, nor what a later one with
        the same collapse key has taken the place of: of more than is kept that is none."""

    async def given_up(self) -> int:
        """The offset up to which nothing is left in any inbox for lack of space; 0 where there is space for all."""

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        """A page of the inbox."""

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        """Do it to those of the notifications that are in the inbox and not so already, and log which, in one commit.

        READ sets ``seen_at`` too. A time that is set already stays. At most 500 ids, each once. ``by`` is the device
        that does it, of which is kept what it has read.
        """

    async def snooze(self, subscriber: Subscriber, ids: Sequence[str], until: datetime, at: datetime) -> Changed:
        """Take those of the notifications that are in the inbox, or are snoozed for another time, out of it, and log
        which, in one commit: ``Schedule.deliver_due`` brings them back. What is snoozed is brought back now where
        ``until`` is not after ``at``. At most 500 ids, each once."""

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        """READ for everything before this in the log, in one entry; with ``up_to`` for all in the inbox at or before
        it, by their ids. Where nothing changes nothing is logged. Raises CursorRefused for a bad ``up_to``."""
