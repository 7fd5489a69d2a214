"""Boots that nobody has: each is looked for once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SOUGHT_MAX: Final = 1_000
GONE_MAX: Final = 10_000


class UnknownBoots:
    """A node registers before anybody hears of it, and never again once it has gone: who was not there when somebody
    looked for it, later than it was heard of, will not be there."""

    def __init__(self) -> None:
        self._sought: set[str] = set()
        self._gone: dict[str, None] = {}

    def seek(self, boot: str) -> bool:
        """Note that it is looked for; False where there is no point in that, or too many are already."""
        if boot in self._gone or (boot not in self._sought and len(self._sought) >= SOUGHT_MAX):
            return False
        self._sought.add(boot)
        return True

    def take(self) -> frozenset[str]:
        """Those to look for now."""
        sought, self._sought = frozenset(self._sought), set()
        return sought

    def never_found(self, boots: Collection[str]) -> None:
        for boot in boots:
            self._gone[boot] = None
        while len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def found(self, boots: Collection[str]) -> None:
        for boot in boots:
            self._gone.pop(boot, None)
