"""For whom notifications are."""

from __future__ import annotations

from adapters.store.jobs import one_by_one
from adapters.store.sqlite import recipients
from adapters.store.sqlite.ports.port import Port
from domain.model import PartialTally, PublishedNotification, RecipientPlace, RecipientsPage

_PUBLISHED = one_by_one(recipients.published)
_RECIPIENTS = one_by_one(recipients.recipients)
_TALLY = one_by_one(recipients.tally)


class SqliteRecipients(Port):
    async def published(self, id_: str) -> PublishedNotification | None:
        state = self._opened()
        return await state.readers.do(_PUBLISHED, recipients.Sought(state.generations, id_))

    async def recipients(
        self, notification: PublishedNotification, after: RecipientPlace | None, limit: int
    ) -> RecipientsPage:
        return await self._opened().readers.do(_RECIPIENTS, recipients.Asking(notification, after, limit))

    async def tally(self, notification: PublishedNotification, after: RecipientPlace | None) -> PartialTally:
        return await self._opened().readers.do(_TALLY, recipients.Asking(notification, after))
