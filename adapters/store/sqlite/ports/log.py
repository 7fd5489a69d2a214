"""The log, and how far sources have been taken over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from adapters.store.decisions import Batch
from adapters.store.drafts import prepare
from adapters.store.jobs import QUEUE_BYTES, one_by_one
from adapters.store.sqlite import log, users
from adapters.store.sqlite.append import append_control
from adapters.store.sqlite.arrivals import Arriving, FoundTogether, arrive, register_and_arrive
from adapters.store.sqlite.log import Reading
from adapters.store.sqlite.opened import Opened
from adapters.store.sqlite.ports.port import Port
from domain.errors import CursorRefused, PublicationTooLarge
from domain.model import (
    Appended,
    Arrival,
    Arrived,
    Checkpoint,
    Draft,
    Entry,
    Page,
    Position,
    RecoveryReason,
    Subscriber,
    UserControl,
)
from domain.ports import Wanted
from domain.rules.recovery import may_miss

_CHECKPOINT = one_by_one(users.checkpoint)
_PAGE = one_by_one(log.page)
_APPEND_CONTROL = one_by_one(append_control)


class SqliteLog(Port):
    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        self._opened()
        prepared = await prepare(batch)
        weight = sum(one.weight for one in prepared)
        if weight > QUEUE_BYTES:
            raise PublicationTooLarge("what was published at once is more than can be stored at once")
        return await self._opened().writer.do(self._append, Batch(prepared, checkpoint, all_or_nothing), weight=weight)

    async def append_control(self, control: UserControl) -> Position:
        return await self._opened().writer.do(_APPEND_CONTROL, control)

    async def tail(
        self,
        after: Position,
        wanted: Wanted | None = None,  # noqa: ARG002 (every payload is at hand)
    ) -> AsyncIterator[Sequence[Entry]]:
        state = self._checked(after)
        if after.offset < state.log_floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with state.following(after.offset) as follower:
            while True:
                yield await state.next_batch(follower)
                # What these set off, writes to sockets above all, gets its turn before the next ones.
                await asyncio.sleep(0)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        state = self._opened()
        request = Arriving(arrivals, state.generations, self._window(), state.tail.floor, state.room_sets)
        found = await _find(state, request)
        await state.caught_up(found.head)
        # It may have given up meanwhile what would be on their pages.
        has_all = all(after.offset >= state.tail.floor for after in found.left_to_the_tail)
        arrived = _arrived(state, arrivals, found) if has_all else [None]
        if None in arrived:
            found = await _find(state, replace(request, tail_floor=None))
            await state.caught_up(found.head)
            arrived = _arrived(state, arrivals, found)
        return [one for one in arrived if one is not None]

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        state = self._checked(after)
        is_there = after.offset >= state.tail.floor and not may_miss(subscriber, after.offset, state.tail.floor)
        if is_there and not state.tail.has_topics:
            found = state.tail_page(subscriber, after, state.tail.head, max_entries, max_bytes)
            if found is not None:
                return found
        reading = Reading(state.generations, subscriber, after.offset, max_entries, max_bytes, state.room_sets)
        page, head = await state.readers.do(_PAGE, reading)
        await state.caught_up(head)
        return page

    async def head(self) -> Position:
        state = self._opened()
        return Position(state.generations.present, state.tail.head)

    async def checkpoint(self, source: str) -> str | None:
        return await self._opened().readers.do(_CHECKPOINT, source)


async def _find(state: Opened, request: Arriving) -> FoundTogether:
    """Whoever is not registered is so first."""
    found = await state.readers.do(arrive, request)
    return await state.writer.do(register_and_arrive, request) if None in found.each else found


def _arrived(state: Opened, arrivals: Sequence[Arrival], found: FoundTogether) -> list[Arrived | None]:
    return [
        state.arrived(arrival, one, found.head)
        for arrival, one in zip(arrivals, found.each, strict=True)
        if one is not None
    ]
