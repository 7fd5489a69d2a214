"""Chance."""

from __future__ import annotations

from typing import Protocol


class Randomness(Protocol):
    def uniform(self, low: float, high: float) -> float:
        """A number between the two, evenly spread: for jitter."""

    def new_id(self) -> str:
        """A new notification id: unguessable, unique, of ``[A-Za-z0-9._:-]``."""
