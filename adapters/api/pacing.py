"""How fast backends may publish, and users ask for their inboxes: by this server alone."""

from __future__ import annotations

from domain.errors import RateLimited
from domain.model import Caller, Rate, UserId
from domain.ports import Clock
from domain.rules.rates import Allowances

MOST_CALLERS = 10_000
MOST_USERS = 100_000


class PublishPace:
    """Of each backend, at its own rate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowances: Allowances[str] = Allowances(MOST_CALLERS)

    def take(self, caller: Caller | None, notifications: int) -> None:
        """Raises RateLimited."""
        if caller is not None and caller.publish_rate is not None:
            rate = caller.publish_rate
            _check(
                self._allowances.take(caller.name, rate, notifications, self._clock.monotonic()), rate, "notifications"
            )


class RequestPace:
    """Of each user, at the same ``rate``."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._allowances: Allowances[UserId] = Allowances(MOST_USERS)

    def take(self, user: UserId) -> None:
        """Raises RateLimited."""
        _check(self._allowances.take(user, self.rate, 1, self._clock.monotonic()), self.rate, "requests")


def _check(retry_after: float, rate: Rate, of: str) -> None:
    if retry_after > 0:
        raise RateLimited(
            f"{rate.per_second:g} {of} a second are allowed, {rate.burst} at once", retry_after=retry_after
        )
