"""What users have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, partial

from adapters.store.jobs import one_by_one
from adapters.store.postgresql import items
from adapters.store.postgresql.changes import Change, Changing
from adapters.store.postgresql.items import Looking, View
from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.snoozing import Place, Wake, Waking
from domain.model import Action, Changed, Counted, InboxQuery, Listing, Position, Subscriber

_LISTING = one_by_one(items.listing)


class PostgresqlInboxes(Port):
    @cached_property
    def _changing(self) -> partial[Changing]:
        return partial(Changing, sync=self._sync, held=lambda: self._registry.held)

    @cached_property
    def _waking(self) -> partial[Waking]:
        return partial(Waking, sync=self._sync, held=lambda: self._registry.held)

    async def count(self, subscriber: Subscriber) -> Counted:
        state = self._opened()
        counted = await state.readers.do(items.count, self._view(subscriber))
        await state.caught_up(counted.as_of)
        return counted

    async def given_up(self) -> int:
        return 0

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        state = self._opened()
        listing = await state.readers.do(_LISTING, Looking(self._view(subscriber), query))
        await state.caught_up(listing.as_of)
        return listing

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened()
        known = state.known()
        return await self._change(
            state, Change(self._view(subscriber), action, ids, at, self._stored_at(), known.offset, known.epoch, by=by)
        )

    async def snooze(self, subscriber: Subscriber, ids: Sequence[str], until: datetime, at: datetime) -> Changed:
        state = self._opened()
        known, view = state.known(), self._view(subscriber)
        if until <= at:
            changed: Changed = await state.writer.do(
                self._waking, Wake(view, ids, Place(self._stored_at(), known.offset, known.epoch))
            )
            await state.caught_up_if_possible(changed.as_of)
            return changed
        wanted = Change(view, Action.SEEN, ids, at, self._stored_at(), known.offset, known.epoch, until=until)
        return await self._change(state, wanted)

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened() if up_to is None else self._checked(up_to)
        known = state.known()
        wanted = Change(
            self._view(subscriber),
            Action.READ,
            (),
            at,
            self._stored_at(),
            known.offset,
            known.epoch,
            all_read=True,
            up_to=up_to,
            by=by,
        )
        return await self._change(state, wanted)

    async def _change(self, state: Opened, wanted: Change) -> Changed:
        changed: Changed = await state.writer.do(self._changing, wanted)
        await state.caught_up_if_possible(changed.as_of)
        return changed

    def _view(self, subscriber: Subscriber) -> View:
        return View(subscriber, self._window())
