"""Which cursors are good: the generations of a log that are still known."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

from domain.model import Position, RecoveryReason
from domain.model.value import value


@value
class Generation:
    """One time that the log was opened: its entries begin at the offset ``first``, if there are any."""

    number: int
    epoch: str
    first: int
    opened_at: datetime


class Generations:
    """At least one, in order; the last is the present one. It never changes: all threads may read it."""

    __slots__ = ("_ends", "_firsts", "known", "present")

    def __init__(self, known: Sequence[Generation]) -> None:
        self.known = tuple(known)
        self.present = known[-1].epoch
        self._firsts = [generation.first for generation in known]
        ends: list[int | None] = [following.first - 1 for following in known[1:]]
        self._ends = dict(zip((generation.epoch for generation in known), [*ends, None], strict=True))

    def position(self, offset: int) -> Position:
        """The cursor of an entry: of the generation that stored it, or where that is forgotten of the first known."""
        if offset >= self._firsts[-1]:
            return Position(self.present, offset)
        return Position(self.known[max(0, bisect_right(self._firsts, offset) - 1)].epoch, offset)

    def fault(self, position: Position, head: int) -> RecoveryReason | None:
        """What is wrong with a position: UNKNOWN_EPOCH, or INVALID past the end of its epoch."""
        if position.epoch not in self._ends:
            return RecoveryReason.UNKNOWN_EPOCH
        end = self._ends[position.epoch]
        return RecoveryReason.INVALID if position.offset > (head if end is None else end) else None

    def __contains__(self, epoch: object) -> bool:
        return epoch in self._ends

    def common_end(self, others: Generations, head: int) -> int:
        """The last offset that a log of these generations, whose last entry is at ``head``, has in common with one of
        the others; 0 where they have nothing in common."""
        for generation in reversed(self.known):
            if generation.epoch in others:
                ends = (self._ends[generation.epoch], others._ends[generation.epoch])
                return min([head, *(end for end in ends if end is not None)])
        return 0

    def forgettable(self, log_floor: int, opened_before: datetime, most: int) -> int:
        """How many of the first ones may go: they ended before that time and stored nothing that is still in the log,
        or there are more than ``most``."""
        number = 0
        for following in self.known[1:]:
            old = following.opened_at <= opened_before and following.first - 1 <= log_floor
            if not old and len(self.known) - number <= most:
                break
            number += 1
        return number
