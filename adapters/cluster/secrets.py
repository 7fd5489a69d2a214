"""The secrets that a cluster has had: the database gives it another one whenever it may be another database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from domain.ports import Clock

FORMER_MAX: Final = 8


class Secrets:
    """What a new one signs is understood only where it is known: for ``spread_seconds`` the one of before signs on."""

    def __init__(self, clock: Clock, *, spread_seconds: float) -> None:
        self._clock = clock
        self._spread_seconds = spread_seconds
        self._known: list[bytes] = []
        self._signs_from = 0.0

    @property
    def present(self) -> Sequence[bytes]:
        """The one that signs, and behind it all others that are known."""
        newest, *former = self._known
        if former and self._clock.monotonic() < self._signs_from:
            return (former[0], newest, *former[1:])
        return tuple(self._known)

    def learn(self, secret: bytes) -> None:
        """It is the cluster's now."""
        if self._known and self._known[0] == secret:
            return
        self._known = [secret, *(one for one in self._known if one != secret)][: FORMER_MAX + 1]
        self._signs_from = self._clock.monotonic() + self._spread_seconds
