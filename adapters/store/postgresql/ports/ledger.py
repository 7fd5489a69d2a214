"""What became of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.ledger_rows import Receiving, Remembering
from adapters.store.postgresql import ledger
from adapters.store.postgresql.ports.port import Port
from domain.model import Addressed, AddressedPage, AwaitedReceipt, ConnectionHistory, DeliveriesQuery, Notes, UserId

_ADDRESSED = one_by_one(ledger.addressed)
_HISTORY = one_by_one(ledger.history)
_RECEIVED_AT = one_by_one(ledger.received_at)


class PostgresqlLedger(Port):
    async def record(self, notes: Notes) -> None:
        state = self._opened()
        if state.run is not None:
            await state.writer.do(ledger.Recorder, ledger.Recording(state.run, notes, self._stored_at()))

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        kept_since = self._clock.now() - self._retention_deliveries
        return await self._opened().readers.do(_ADDRESSED, ledger.Asking(user, query, kept_since))

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        return await self._opened().readers.do(_HISTORY, Remembering(user, notifications))

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        return await self._opened().readers.do(_RECEIVED_AT, Receiving(user, awaited)) if awaited else []
