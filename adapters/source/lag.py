"""How far what a source has is behind."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class SourceWithLag(Protocol):
    """A source that can say so."""

    @property
    def name(self) -> str: ...

    @property
    def lag_seconds(self) -> float:
        """Since when something that it has may not be in the log: a batch is being stored, or there is no subscription;
        0 while it waits for more."""
