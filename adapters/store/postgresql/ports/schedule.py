"""What is to come into the log at a time of its own."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property, partial

from adapters.store.coming_due import DUE_BYTES
from adapters.store.jobs import one_by_one
from adapters.store.postgresql import schedule, snoozing
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.schedule import Cancel, Cancelling, Deliver, Delivering, RevisingScheduled
from adapters.store.revising import Revising
from domain.model import Due, ScheduledNotification
from domain.ports import Revise

_FIRST_DUE = one_by_one(snoozing.first_due)
_SCHEDULED = one_by_one(schedule.scheduled)
_WAITING = one_by_one(snoozing.waiting)


class PostgresqlSchedule(Port):
    @cached_property
    def _delivering(self) -> partial[Delivering]:
        return partial(Delivering, sync=self._sync)

    @cached_property
    def _cancelling(self) -> partial[Cancelling]:
        return partial(Cancelling, sync=self._sync)

    @cached_property
    def _revising_scheduled(self) -> partial[RevisingScheduled]:
        return partial(RevisingScheduled, sync=self._sync)

    async def deliver_due(self, now: datetime, most: int) -> Due:
        state = self._opened()
        first = await state.readers.do(_FIRST_DUE, None)
        if first is None or first > now:
            return Due((), first)
        known = state.known()
        wanted = Deliver(now, most, self._stored_at(), known.offset, known.epoch)
        due: Due = await state.writer.do(self._delivering, wanted, weight=DUE_BYTES)
        return due

    async def scheduled(self, id_: str) -> ScheduledNotification | None:
        return await self._opened().readers.do(_SCHEDULED, id_)

    async def revise_scheduled(self, id_: str, revise: Revise, at: datetime) -> None:
        await self._opened().writer.do(self._revising_scheduled, Revising(id_, revise, at))

    async def cancel(self, id_: str) -> None:
        await self._opened().writer.do(self._cancelling, Cancel(id_, self._stored_at()))

    async def waiting(self) -> int:
        return await self._opened().readers.do(_WAITING, None)
