"""Randomness for ids and jitter."""

from __future__ import annotations

import random
import time

from adapters.system.random_bytes import random_bytes

_TIME_BYTES = 6
_RANDOM_BYTES = 10


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
        octets = (time.time_ns() // 1_000_000).to_bytes(_TIME_BYTES, "big") + random_bytes(_RANDOM_BYTES)
        digits = octets.hex()
        variant = "89ab"[octets[8] >> 6]
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
