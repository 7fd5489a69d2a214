"""How far an outbox was read, so that nothing that is committed late is passed over.

Numbers are given out in the order of calls, and become visible in the order of commits: what has a lower number than
something that was read may come later. To read everything anew each time would do, were it not for rows that are
deleted and cannot be removed while some transaction is open: there may be many of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING_MAX = 1_000


class Place:
    """Everything up to ``after`` was read, but for the numbers that are ``missing``: those were rolled back, or are in
    transactions that are still open. Each has a transaction id beyond all that it can have.

    Transaction ids grow, and a transaction has its own before it is given a number.
    """

    def __init__(self) -> None:
        self.after = 0
        self.missing: dict[int, int] = {}
        # Where too many are missing: everything up to a number is there once a transaction id is over.
        self._settles: tuple[int, int] | None = None

    def read(self, found: Sequence[int], *, is_all: bool, oldest_open: int, newest: int) -> None:
        """A snapshot had the numbers ``found``, in order, of those that are missing or beyond ``after``: all that it
        had, or the first ones. They are taken out of the outbox before it is read again.

        In the snapshot every transaction with an id below ``oldest_open`` was over; ``newest`` is an id that was given
        out after it.
        """
        there = set(found)
        last = found[-1] if found else 0
        upto = math.inf if is_all else last
        self.missing = {
            number: newest_then
            for number, newest_then in self.missing.items()
            if number not in there and (number > upto or newest_then >= oldest_open)
        }
        if self._settles is not None and self._settles[1] < oldest_open:
            self.after = max(self.after, int(min(self._settles[0], upto)))
            self._settles = None
        if last <= self.after:
            return
        gaps = last - self.after - sum(number > self.after for number in found)
        if len(self.missing) + gaps <= MISSING_MAX:
            self.missing |= {number: newest for number in range(self.after + 1, last) if number not in there}
            self.after = last
        elif self._settles is None:
            self._settles = last, newest
