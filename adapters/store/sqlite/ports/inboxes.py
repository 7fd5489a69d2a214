"""What users have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.sqlite import items
from adapters.store.sqlite.changes import Change, ReadAll, change, read_all
from adapters.store.sqlite.items import Looking, View
from adapters.store.sqlite.ports.port import Port
from adapters.store.sqlite.snoozing import Snooze, snooze
from domain.model import Action, Changed, Counted, InboxQuery, Listing, Position, Subscriber

_LISTING = one_by_one(items.listing)
_CHANGE = one_by_one(change)
_READ_ALL = one_by_one(read_all)
_SNOOZE = one_by_one(snooze)


class SqliteInboxes(Port):
    async def count(self, subscriber: Subscriber) -> Counted:
        state = self._opened()
        counted = await state.readers.do(items.count, Looking(state.generations, self._view(subscriber)))
        await state.caught_up(counted.as_of.offset)
        return counted

    async def given_up(self) -> int:
        return 0

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        state = self._opened()
        looking = Looking(state.generations, self._view(subscriber), query)
        listing = await state.readers.do(_LISTING, looking)
        await state.caught_up(listing.as_of.offset)
        return listing

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        return await self._opened().writer.do(_CHANGE, Change(self._view(subscriber), action, ids, at, by))

    async def snooze(self, subscriber: Subscriber, ids: Sequence[str], until: datetime, at: datetime) -> Changed:
        return await self._opened().writer.do(_SNOOZE, Snooze(self._view(subscriber), ids, until, at))

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened() if up_to is None else self._checked(up_to)
        offset = up_to.offset if up_to is not None else None
        return await state.writer.do(_READ_ALL, ReadAll(self._view(subscriber), offset, at, by))

    def _view(self, subscriber: Subscriber) -> View:
        return View(subscriber, self._window())
