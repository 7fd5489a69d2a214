"""What of an inbox is kept, and to be seen at a time."""

from __future__ import annotations

from datetime import timedelta

from adapters.store.times import MICROSECOND
from domain.model.value import value

Arguments = dict[str, object]


@value
class Kept:
    """How much of an inbox is kept."""

    retention: timedelta
    per_user: int


@value
class Window:
    """What of inboxes is to be seen at a time, in microseconds. ``limits`` are those of the queries on it."""

    now: int
    kept: Kept

    @property
    def aged_before(self) -> int:
        return self.now - self.kept.retention // MICROSECOND

    @property
    def limits(self) -> Arguments:
        return {"now": self.now, "most": self.kept.per_user}
