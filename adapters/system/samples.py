"""What was measured lately, as it is kept and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Point:
    """``number`` counts the samples from the start of the server on."""

    number: int
    time: datetime
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a reader who had everything up to some sample does not have yet, the oldest first.

    ``every`` is how many seconds lie between two samples, and ``keeps`` how many there are at most.
    """

    every: float
    keeps: int
    names: Sequence[str]
    points: Sequence[Point]


class Samples(Protocol):
    def after(self, number: int) -> Excerpt:
        """All that is kept of what came after that sample; 0 for all."""
