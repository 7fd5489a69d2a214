"""What the domain offers to whoever has published something, and wants to know what became of it."""

from __future__ import annotations

from typing import Protocol

from domain.model import NotificationReport, RecipientPlace, RecipientsPage


class NotificationReports(Protocol):
    """Everything raises UnknownNotification for an id that no notification has, and StoreUnavailable."""

    async def report_of(self, id_: str) -> NotificationReport:
        """What was published, and with how many recipients it was received, seen, read, archived and deleted. Raises
        RateLimited where as many recipients are being counted as may be at once."""

    async def recipients_of(self, id_: str, after: RecipientPlace | None) -> RecipientsPage:
        """The recipients after a place, each with the times that are known. Of what was not sent yet, or was cancelled,
        they are those whom it names."""
