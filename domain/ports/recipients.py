"""For whom notifications are, and how they stand with them."""

from __future__ import annotations

from typing import Protocol

from domain.model import PartialTally, PublishedNotification, RecipientPlace, RecipientsPage


class Recipients(Protocol):
    """Recipients are the users that a notification names; of one for a role or for everyone, those who had their start
    in that room before it. They come in the order of their places, and nobody who starts later comes between them.
    Raises StoreUnavailable as the log does."""

    async def published(self, id_: str) -> PublishedNotification | None:
        """The notification with this id, be it taken back or not; None where there is none, or none any more."""

    async def recipients(
        self, notification: PublishedNotification, after: RecipientPlace | None, limit: int
    ) -> RecipientsPage:
        """So many of the recipients, those after a place, or fewer where there may be more behind ``next``; without a
        time at which they received it."""

    async def tally(self, notification: PublishedNotification, after: RecipientPlace | None) -> PartialTally:
        """Of the recipients after a place as many as are counted at once. It says of them what ``recipients`` says."""
