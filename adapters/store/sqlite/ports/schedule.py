"""What is to come into the log at a time of its own."""

from __future__ import annotations

from datetime import datetime

from adapters.store.coming_due import DUE_BYTES
from adapters.store.jobs import one_by_one
from adapters.store.revising import Revising
from adapters.store.sqlite import schedule
from adapters.store.sqlite.ports.port import Port
from adapters.store.sqlite.schedule import Deliver
from domain.model import Due, ScheduledNotification
from domain.ports import Revise

_FIRST_DUE = one_by_one(schedule.first_due)
_DELIVER_DUE = one_by_one(schedule.deliver_due)
_SCHEDULED = one_by_one(schedule.scheduled)
_REVISE = one_by_one(schedule.revise_scheduled)
_CANCEL = one_by_one(schedule.cancel)
_WAITING = one_by_one(schedule.waiting)


class SqliteSchedule(Port):
    async def deliver_due(self, now: datetime, most: int) -> Due:
        state = self._opened()
        first = await state.readers.do(_FIRST_DUE, None)
        if first is None or first > now:
            return Due((), first)
        return await state.writer.do(_DELIVER_DUE, Deliver(now, most), weight=DUE_BYTES)

    async def scheduled(self, id_: str) -> ScheduledNotification | None:
        return await self._opened().readers.do(_SCHEDULED, id_)

    async def revise_scheduled(self, id_: str, revise: Revise, at: datetime) -> None:
        await self._opened().writer.do(_REVISE, Revising(id_, revise, at))

    async def cancel(self, id_: str) -> None:
        await self._opened().writer.do(_CANCEL, id_)

    async def waiting(self) -> int:
        return await self._opened().readers.do(_WAITING, None)
