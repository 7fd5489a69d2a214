"""Giving users what is stored of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from domain.errors import StoreUnavailable
from domain.model import (
    DeliveriesQuery,
    InboxQuery,
    ItemState,
    Listing,
    Subscriber,
    UserExport,
    UserId,
    UserPart,
)
from domain.ports import Erasures, Inboxes, Ledger, Subscribers
from domain.services.owners import owner

PAGE_ITEMS = 100


class ExportService:
    """The UserExports of the domain. It holds a page at a time."""

    def __init__(self, *, subscribers: Subscribers, inboxes: Inboxes, ledger: Ledger, erasures: Erasures) -> None:
        self._subscribers = subscribers
        self._inboxes = inboxes
        self._ledger = ledger
        self._erasures = erasures

    async def begin(self, user: UserId, role: str | None) -> UserExport:
        erased_at = await self._erasures.erased_at(user)
        subscriber = await owner(self._subscribers, user, role, await self._subscribers.roles(user))
        known = await self._ledger.addressed(user, DeliveriesQuery(limit=1))
        snoozed = await self._inboxes.list_items(subscriber, InboxQuery(limit=PAGE_ITEMS, state=ItemState.SNOOZED))
        stays = sorted(known.spans, key=lambda stay: (stay.after, stay.room))
        return UserExport(subscriber, known.marks, stays, snoozed, erased_at)

    async def parts(self, export: UserExport) -> AsyncIterator[UserPart]:
        """Raises StoreUnavailable, also where the user is erased meanwhile, whether or not they are back: what is left
        would look like all."""
        # What is snoozed comes first: whatever of it comes back meanwhile lies behind where the rest is read from.
        told: set[int] = set()
        async for items in self._pages(export.subscriber, ItemState.SNOOZED, export.snoozed):
            told.update(item.offset for item in items)
            if items:
                yield items
        query = InboxQuery(limit=PAGE_ITEMS, before=export.as_of.offset + 1, state=ItemState.ALL_AND_SNOOZED)
        first = await self._inboxes.list_items(export.subscriber, query)
        async for items in self._pages(export.subscriber, ItemState.ALL_AND_SNOOZED, first):
            rest = [item for item in items if item.offset not in told]
            if rest:
                yield rest
        if await self._erasures.erased_at(export.subscriber.user) > export.erased_at:
            raise StoreUnavailable("the user was erased meanwhile")

    async def _pages(self, subscriber: Subscriber, state: ItemState, listing: Listing) -> AsyncIterator[UserPart]:
        """Those from the given one on."""
        yield listing.items
        while listing.next is not None:
            query = InboxQuery(limit=PAGE_ITEMS, before=listing.next, state=state)
            listing = await self._inboxes.list_items(subscriber, query)
            yield listing.items
