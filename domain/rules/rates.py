"""Rates: how much of something may be done in how much time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from domain.model import Rate

K = TypeVar("K", bound=Hashable)


class Allowance:
    """A token bucket: it fills at a rate up to the burst, and is full at first.

    More than the burst at once is allowed where it is full, and paid off afterwards: on average the rate holds, and
    nothing is too large for ever. All times are seconds of one clock that never goes back.
    """

    __slots__ = ("_filled_at", "_level")

    def __init__(self, rate: Rate, now: float) -> None:
        self._level = float(rate.burst)
        self._filled_at = now

    def take(self, rate: Rate, amount: int, now: float) -> float:
        """Take so many. Seconds until they can be taken, where they were not; else 0."""
        self._level = min(rate.burst, self._level + (now - self._filled_at) * rate.per_second)
        self._filled_at = now
        lacking = min(amount, rate.burst) - self._level
        if lacking > 0:
            return lacking / rate.per_second
        self._level -= amount
        return 0.0


class Allowances(Generic[K]):
    """One for each of many, of which no more than ``most`` are remembered: those that were asked for last.

    Whoever is forgotten has a full one again, as whoever has not asked for a while has anyway.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: OrderedDict[K, Allowance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def take(self, key: K, rate: Rate, amount: int, now: float) -> float:
        """As an Allowance does it. All of one key have the same rate, which may change."""
        allowance = self._of.get(key)
        if allowance is None:
            allowance = self._of[key] = Allowance(rate, now)
            if len(self._of) > self._most:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(key)
        return allowance.take(rate, amount, now)
