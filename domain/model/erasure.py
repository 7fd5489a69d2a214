"""Erasing a user: everything that was stored of them goes, and stays away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from domain.model.identity import UserId
from domain.model.value import value


class ErasureState(Enum):
    RUNNING = "running"
    DONE = "done"


class LeftIn(Enum):
    """Where bytes of what was erased are left by a store that cannot overwrite them itself, until an operator does."""

    UNUSED_SPACE = "unused_space"
    WRITE_AHEAD_LOG = "write_ahead_log"


@value
class Erasure:
    """One that was asked for. The user is named only while it runs: afterwards nothing that is kept says who it was."""

    id: str
    user: UserId | None
    begun_at: datetime
    done_at: datetime | None = None
    left_in: Sequence[LeftIn] = ()

    @property
    def state(self) -> ErasureState:
        return ErasureState.RUNNING if self.done_at is None else ErasureState.DONE
