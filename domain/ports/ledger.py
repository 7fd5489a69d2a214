"""What became of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from domain.model import (
    Addressed,
    AddressedPage,
    AwaitedReceipt,
    ConnectionHistory,
    DeliveriesQuery,
    Notes,
    UserId,
)

CONNECTIONS_MOST = 200
"""Of a user, that are looked at from one time on."""
RECEIPT_WITHIN = timedelta(minutes=10)
"""After something was sent is looked for its receipt: it comes with the answer to a ping, or the connection ends."""


class Ledger(Protocol):
    """Who was connected when and what they are known to have received: for as long as deliveries are kept, at most one
    row a connection and one a user and second. Raises StoreUnavailable as the log does."""

    async def record(self, notes: Notes) -> None:
        """Add to it. A connection that was noted before is as it is noted last; of one offset that a connection
        received, the first time counts."""

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        """Notifications as they stand for a user. By its id also one that is for others; without one those alone that
        are for this one. Where there is no such notification, or none any more, the page has none."""

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        """The user's connections that had not ended as one of the notifications was stored: from each on, the first
        ``CONNECTIONS_MOST`` of them to end, and those that are open. Each once, in the order in which they began."""

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        """When the first of these receipts came, in their order, to the second; None where none has within
        ``RECEIPT_WITHIN``."""
