"""What is done to notifications after they were published."""

from __future__ import annotations

from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.revising import Revising
from adapters.store.sqlite.amending import recall, revise
from adapters.store.sqlite.ports.port import Port
from domain.model import Amended
from domain.ports import Revise

_RECALL = one_by_one(recall)
_REVISE = one_by_one(revise)


class SqliteAmendments(Port):
    async def revise(self, id_: str, revise: Revise, at: datetime) -> Amended:
        return await self._opened().writer.do(_REVISE, Revising(id_, revise, at))

    async def recall(self, id_: str) -> Amended:
        return await self._opened().writer.do(_RECALL, id_)
