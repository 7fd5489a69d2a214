"""What an outbox asks of the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial

from adapters.store.decisions import Batch
from adapters.store.drafts import prepare
from adapters.store.postgresql.appending import Append
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.relaying import OutboxRow, Parking, Relay, Relaying
from domain.model import Appended, Draft


class PostgresqlRelay(Port):
    @cached_property
    def _relaying(self) -> partial[Relaying]:
        return partial(Relaying, scheduled_most=self._scheduled_most, sync=self._sync)

    async def _take_over(self, rows: Sequence[OutboxRow], drafts: Sequence[Draft]) -> Mapping[OutboxRow, Appended]:
        self._opened()
        prepared = await prepare(drafts)
        state = self._opened()
        known = state.known()
        batch = Batch(prepared, None, all_or_nothing=False)
        wanted = Relay(rows, Append(batch, self._stored_at(), known.offset, known.epoch))
        weight = sum(one.weight for one in prepared)
        taken: Mapping[OutboxRow, Appended] = await state.writer.do(self._relaying, wanted, weight=weight)
        await state.caught_up_with(taken.values())
        return taken

    async def _park(self, reasons: Mapping[OutboxRow, str]) -> Collection[OutboxRow]:
        parked: Collection[OutboxRow] = await self._opened().writer.do(Parking, reasons)
        return parked
