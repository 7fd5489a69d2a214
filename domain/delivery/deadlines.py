"""What falls due by itself: the first ones are found without looking at the others."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

H = TypeVar("H", bound=Hashable)
K = TypeVar("K", datetime, int)

_OUTDATED_MAX = 64


class Deadlines(Generic[H, K]):
    """Things, each with one deadline. It takes memory for as many as there are, however often one is put off."""

    def __init__(self) -> None:
        self._deadlines: dict[H, K] = {}
        # Ties are broken by a number, because the things themselves have no order.
        self._heap: list[tuple[K, int, H]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._deadlines)

    def put(self, thing: H, deadline: K | None) -> None:
        """Its deadline from now on; None: it has none."""
        if deadline is None:
            self._deadlines.pop(thing, None)
        elif self._deadlines.get(thing) != deadline:
            self._deadlines[thing] = deadline
            heappush(self._heap, (deadline, next(self._numbers), thing))
        # What was put off is still in the heap at its old place.
        if len(self._heap) > 2 * len(self._deadlines) + _OUTDATED_MAX:
            self._heap = [(due, next(self._numbers), thing) for thing, due in self._deadlines.items()]
            heapify(self._heap)

    def take(self, upto: K, at_most: int) -> list[H]:
        """Those that are due, which then have no deadline any more: the first ones, in no more than so many steps."""
        due: list[H] = []
        for _ in range(at_most):
            if not self.any_due(upto):
                break
            deadline, _, thing = heappop(self._heap)
            if self._deadlines.get(thing) == deadline:
                del self._deadlines[thing]
                due.append(thing)
        return due

    def any_due(self, upto: K) -> bool:
        """Whether there is more for ``take`` to do."""
        return bool(self._heap) and self._heap[0][0] <= upto
