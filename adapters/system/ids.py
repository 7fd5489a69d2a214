"""Randomness for ids and jitter."""

from __future__ import annotations

import random
import secrets
import time

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
        bits = milliseconds << _RANDOM_BITS | int.from_bytes(secrets.token_bytes(_RANDOM_BITS // 8), "big")
        versioned = bits & ~(0xF << 76) | 7 << 76
        digits = f"{versioned & ~(3 << 62) | 2 << 62:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
