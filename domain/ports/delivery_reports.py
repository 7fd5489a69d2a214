"""What the domain offers to whoever wants to know what became of a notification."""

from __future__ import annotations

from typing import Protocol

from domain.model import DeliveriesPage, DeliveriesQuery, UserId


class DeliveryReports(Protocol):
    async def deliveries_of(self, user: UserId, query: DeliveriesQuery) -> DeliveriesPage:
        """What became of notifications for a user, the newest first; by its id also of one that waits for its time, or
        was cancelled. Raises StoreUnavailable."""
