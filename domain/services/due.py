"""What was to be delivered at a time of its own, and comes into the log when it is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from domain.model import Appended, AppendOutcome, Draft
from domain.ports import Clock, Schedule, Telemetry

AT_ONCE = 500
"""So many come into the log in one commit."""
TOGETHER_SECONDS = 0.02
"""So long after a commit what is due next waits for more: thousands a second, each in a commit of its own, would leave
the machine no time for anything else."""
LOOK_SECONDS = 1.0
"""After which it is looked again in any case: others may have scheduled something, or have ended, and wall clocks are
set."""


class DueService:
    """``deliver`` is to be called again and again, for as long as the server lives: once its seconds have passed, or as
    soon as ``on_earlier`` calls."""

    def __init__(self, *, schedule: Schedule, clock: Clock, telemetry: Telemetry) -> None:
        self._schedule = schedule
        self._clock = clock
        self._telemetry = telemetry
        self._next: datetime | None = None
        self._is_earlier: Callable[[], None] = _nobody_waits

    def on_earlier(self, call: Callable[[], None]) -> None:
        """Have it called when something was scheduled that is due before what was known of."""
        self._is_earlier = call

    def note(self, drafts: Sequence[Draft], outcomes: Sequence[Appended]) -> None:
        """What has become of them here."""
        due = [
            draft.deliver_at
            for draft, appended in zip(drafts, outcomes, strict=True)
            if draft.deliver_at is not None and appended.waits and appended.outcome is AppendOutcome.STORED
        ]
        if due:
            self.expect(min(due))

    def expect(self, due: datetime) -> None:
        """Something is due then, or was."""
        if self._next is None or due < self._next:
            self._next = due
            self._is_earlier()

    async def deliver(self) -> float:
        """Bring some of what is due into the log; after how many seconds there is more to be done.

        Raises StoreUnavailable; called again it loses nothing and stores nothing twice.
        """
        # What is scheduled while the store is asked may be missing in what it says.
        self._next = None
        due = await self._schedule.deliver_due(self._clock.now(), AT_ONCE)
        if due.late:
            self._telemetry.came_due(due.late)
        if due.next is not None and (self._next is None or due.next < self._next):
            self._next = due.next
        if self._next is None:
            return LOOK_SECONDS
        # As much as that at once is behind: there is no time to lose.
        least = TOGETHER_SECONDS if 0 < len(due.late) < AT_ONCE else 0.0
        return min(LOOK_SECONDS, max(least, (self._next - self._clock.now()).total_seconds()))

    async def count(self) -> bool:
        """Tell operators how much waits. False: there is no more to be done. Raises StoreUnavailable.

        To be called beside ``deliver``, every now and then: of a million it takes the store a second.
        """
        self._telemetry.waiting(await self._schedule.waiting())
        return False


def _nobody_waits() -> None:
    pass
