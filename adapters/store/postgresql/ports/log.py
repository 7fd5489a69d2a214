"""The log, and how far sources have been taken over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from adapters.store.decisions import Batch
from adapters.store.drafts import prepare
from adapters.store.jobs import QUEUE_BYTES, one_by_one
from adapters.store.postgresql import log, users
from adapters.store.postgresql.appending import Append, Appending
from adapters.store.postgresql.arrivals import Arriving, FoundTogether, arrive
from adapters.store.postgresql.controls import Order, Ordering
from adapters.store.postgresql.database import Work
from adapters.store.postgresql.log import Reading
from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.restrictions import Restricting
from adapters.store.postgresql.users import REGISTERED_MOST, Registering
from adapters.store.registration import Registration
from domain.errors import CursorRefused, PublicationTooLarge, StoreUnavailable
from domain.model import (
    Appended,
    Arrival,
    Arrived,
    Checkpoint,
    DisconnectUser,
    Draft,
    EraseUser,
    Page,
    Position,
    RecoveryReason,
    Subscriber,
    TailEntry,
    UserControl,
)
from domain.ports import Wanted
from domain.rules.recovery import may_miss

_CHECKPOINT = one_by_one(users.checkpoint)
_PAGE = one_by_one(log.page)


class PostgresqlLog(Port):
    @cached_property
    def _appending(self) -> partial[Appending]:
        return partial(Appending, scheduled_most=self._scheduled_most, sync=self._sync)

    @cached_property
    def _ordering(self) -> Callable[[Any], Work]:
        return partial(Ordering, sync=self._sync)

    @cached_property
    def _restricting(self) -> Callable[[Any], Work]:
        return partial(Restricting, sync=self._sync)

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        self._opened()
        prepared = await prepare(batch)
        weight = sum(one.weight for one in prepared)
        if weight > QUEUE_BYTES:
            raise PublicationTooLarge("what was published at once is more than can be stored at once")
        state = self._opened()
        known = state.known()
        batch_wanted = Batch(prepared, checkpoint, all_or_nothing)
        wanted = Append(batch_wanted, self._stored_at(), known.offset, known.epoch)
        appended: Sequence[Appended] = await state.writer.do(self._appending, wanted, weight=weight)
        await state.caught_up_with(appended)
        return appended

    async def append_control(self, control: UserControl) -> Position:
        state = self._opened()
        known = state.known()
        wanted = Order(control, self._stored_at(), known.offset, known.epoch)
        work = self._ordering if isinstance(control, DisconnectUser | EraseUser) else self._restricting
        at: Position = await state.writer.do(work, wanted)
        await state.caught_up_if_possible(at)
        return at

    async def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[TailEntry]]:
        state = self._checked(after)
        if after.offset < state.log_floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with state.following(after.offset, wanted) as follower:
            while True:
                yield await state.next_batch(follower)
                # What these set off, writes to sockets above all, gets its turn before the next ones.
                await asyncio.sleep(0)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        state = self._opened()
        tail_floors = [state.tail.whole_after(arrival.rooms) for arrival in arrivals]
        request = Arriving(arrivals, self._window(), tail_floors)
        with state.suspecting():
            found = await _find(state, request)
        await state.caught_up(found.head)
        arrived = _arrived(state, arrivals, found)
        if None in arrived:
            # The tail has given up meanwhile what would be on their pages, or has got it without what is in it.
            with state.suspecting():
                found = await _find(state, replace(request, tail_floors=None))
            await state.caught_up(found.head)
            arrived = _arrived(state, arrivals, found)
        return [one for one in arrived if one is not None]

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        state = self._checked(after)
        if not state.tail.has_topics and not may_miss(subscriber, after.offset, 0):
            found = state.tail_page(subscriber, after, state.tail.head, max_entries, max_bytes)
            if found is not None:
                return found
        with state.suspecting():
            page: Page = await state.readers.do(_PAGE, Reading(subscriber, after, max_entries, max_bytes))
        await state.caught_up(page.upto)
        return page

    async def head(self) -> Position:
        state = self._opened()
        return state.generations.position(state.tail.head)

    async def checkpoint(self, source: str) -> str | None:
        return await self._opened().readers.do(_CHECKPOINT, source)


async def _find(state: Opened, request: Arriving) -> FoundTogether:
    """Whoever is not registered is so first. Raises StoreUnavailable."""
    for _ in range(REGISTERED_MOST):
        found = await state.readers.do(arrive, request)
        if None not in found.each:
            return found
        registrations = [Registration(one.user, one.role, one.rooms) for one in request.arrivals]
        await state.writer.do(Registering, registrations)
    raise StoreUnavailable


def _arrived(state: Opened, arrivals: Sequence[Arrival], found: FoundTogether) -> Sequence[Arrived | None]:
    return [
        state.arrived(arrival, one, found.head)
        for arrival, one in zip(arrivals, found.each, strict=True)
        if one is not None
    ]
