"""Randomness for ids and jitter."""

from __future__ import annotations

import random
import uuid


class SystemRandomness:
    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def new_id(self) -> str:
        return str(uuid.uuid4())
