"""What the ports share."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from adapters.store.sqlite.append import append
from adapters.store.sqlite.opened import Opened
from adapters.store.times import microseconds
from adapters.store.window import Kept, Window
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import Position
from domain.ports import Clock


class Port:
    """One of a store that is open from when it has a ``_state``. Everything raises StoreUnavailable while it is not."""

    def __init__(self, clock: Clock, kept: Kept, retention_deliveries: timedelta, scheduled_most: int) -> None:
        self._clock = clock
        self._kept = kept
        self._retention_deliveries = retention_deliveries
        self._append = partial(append, scheduled_most)
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
