"""What operators want to know of a store, beside what it says in the log."""

from __future__ import annotations

from typing import Protocol


class StoreObserver(Protocol):
    """Told in the loop. Nothing here ever raises."""

    def committed(self, jobs: int, entries: int, seconds: float) -> None:
        """So many who waited had what they wanted written in one commit, which added so many entries to the log."""

    def commit_failed(self) -> None: ...

    def gap_found(self) -> None:
        """Something that was stored is not there."""

    def scrubbed(self) -> None:
        """The whole log was looked through for gaps, once more."""


class Unobserved:
    """A StoreObserver that tells nobody."""

    def committed(self, jobs: int, entries: int, seconds: float) -> None:
        pass

    def commit_failed(self) -> None:
        pass

    def gap_found(self) -> None:
        pass

    def scrubbed(self) -> None:
        pass
