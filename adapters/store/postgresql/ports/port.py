"""What the ports share."""

from __future__ import annotations

from datetime import datetime, timedelta

from adapters.store.postgresql.nodes import PostgresqlRegistry
from adapters.store.postgresql.opened import Opened
from adapters.store.times import microseconds
from adapters.store.window import Kept, Window
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import Position
from domain.ports import Clock


class Port:
    """One of a store that is open from when it has a ``_state``. Everything raises StoreUnavailable while it is not."""

    def __init__(
        self,
        registry: PostgresqlRegistry,
        clock: Clock,
        kept: Kept,
        retention_deliveries: timedelta,
        *,
        scheduled_most: int,
        sync: bool,
        stamped_by: Clock | None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._kept = kept
        self._retention_deliveries = retention_deliveries
        self._scheduled_most = scheduled_most
        self._sync = sync
        self._stamped_by = stamped_by
        self._state: Opened | None = None

    def _opened(self) -> Opened:
        if self._state is None or self._state.closed:
            raise StoreUnavailable
        return self._state

    def _checked(self, position: Position) -> Opened:
        """Raises CursorRefused where it is none of the log."""
        state = self._opened()
        fault = state.generations.fault(position, state.tail.head)
        if fault is not None:
            raise CursorRefused(fault)
        return state

    def _window(self) -> Window:
        return Window(microseconds(self._clock.now()), self._kept)

    def _stored_at(self) -> datetime | None:
        """None where the database says it."""
        return self._stamped_by.now() if self._stamped_by is not None else None
