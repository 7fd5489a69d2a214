"""Whether a node that cannot reach the store is cut off, or whether the store is down for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PARTS_OF_A_LEASE: Final = 3


class CutOff:
    """To be told what the other nodes answer, again and again, while this one cannot renew its lease.

    It is cut off once its lease is over, and others have reached the store for a third of a lease: when a store comes
    back that was down for all, one of them reaches it first.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._part = lease_seconds / PARTS_OF_A_LEASE
        self._since: float | None = None

    def renewed(self) -> None:
        self._since = None

    def hear(self, answers: Sequence[float | None], *, now: float, renewed_at: float) -> bool:
        """Whether it is. ``answers``: of each other node, seconds since it has read the store; None where it does not
        answer."""
        if not self._others_reach_it(answers):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - renewed_at >= self._lease_seconds and now - self._since >= self._part

    def _others_reach_it(self, answers: Sequence[float | None]) -> bool:
        """Where nobody does clients lose nothing by staying. A node that is alone cannot be cut off from others; of one
        that reaches none of several it has to be assumed."""
        said = [answer for answer in answers if answer is not None]
        if not said:
            return bool(answers)
        return min(said) <= self._part
