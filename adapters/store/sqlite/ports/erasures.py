"""Users who are erased."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.sqlite import erasing
from adapters.store.sqlite.erased import erased
from adapters.store.sqlite.erasing import Beginning, Begun
from adapters.store.sqlite.opened import Opened
from adapters.store.sqlite.ports.port import Port
from adapters.store.times import moment
from domain.errors import SynkroneError
from domain.model import Erasure, UserId

_BEGIN = one_by_one(erasing.begin)


def _found(db: sqlite3.Connection, ids: Sequence[str]) -> Sequence[Erasure | SynkroneError | None]:
    found: list[Erasure | SynkroneError | None] = []
    for id_ in ids:
        row = db.execute("SELECT user, begun_at, done_at FROM erasures WHERE id = ?", (id_,)).fetchone()
        found.append(
            Erasure(
                id_,
                UserId(row[0]) if row[0] is not None else None,
                moment(row[1]),
                moment(row[2]) if row[2] is not None else None,
            )
            if row is not None
            else None
        )
    return found


def _erased_at(db: sqlite3.Connection, users: Sequence[UserId]) -> Sequence[int | SynkroneError]:
    found = erased(db, users)
    return [found.get(user, 0) for user in users]


class SqliteErasures(Port):
    async def begin_erasure(self, user: UserId, id_: str, at: datetime) -> Erasure:
        state = self._opened()
        begun: Begun = await state.writer.do(
            _BEGIN, Beginning(user, id_, at), applied=lambda begun: _forget(state, user, begun)
        )
        return begun.erasure

    async def erased_at(self, user: UserId) -> int:
        return await self._opened().readers.do(_erased_at, user)

    async def erasure(self, id_: str) -> Erasure | None:
        return await self._opened().readers.do(_found, id_)


def _forget(state: Opened, user: UserId, begun: Begun) -> None:
    if begun.offset is not None:
        state.forget(user)
