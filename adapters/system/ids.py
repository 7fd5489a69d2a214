"""Randomness for ids and jitter."""

from __future__ import annotations

import random
import secrets
import time
import uuid

_RANDOM_BITS = 80


class SystemRandomness:
    def __init__(self) -> None:
        # Jitter is no secret, and each number of the system's costs a call of it: a tenth of a connect.
        self._random = random.Random()  # noqa: S311

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def new_id(self) -> str:
        """A UUID of version 7 (RFC 9562, section 5.7), with 74 random bits.

        It begins with the time, so that the index of ids grows at its end: with random ones each insertion into a large
        log would touch a page of its own.
        """
        milliseconds = time.time_ns() // 1_000_000
        bits = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        version = bits & ~(0xF << 76) | 7 << 76
        return str(uuid.UUID(int=version & ~(3 << 62) | 2 << 62))
