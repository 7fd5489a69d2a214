"""Lines of the log that whoever connects can cause."""

from __future__ import annotations

import logging
from typing import Final

from domain.ports import Clock

LOG_SECONDS: Final = 60.0


class Notice:
    """A line of the log that is there once in ``LOG_SECONDS`` at most, with how often it was meant since the last."""

    def __init__(self, log: logging.Logger, message: str, clock: Clock, level: int = logging.ERROR) -> None:
        self._log = log
        self._message = message
        self._level = level
        self._clock = clock
        self._times = 0
        self._logged_at: float | None = None

    def give(self, **details: object) -> None:
        self._times += 1
        now = self._clock.monotonic()
        if self._logged_at is None or now - self._logged_at >= LOG_SECONDS:
            self._log.log(self._level, self._message, extra={**details, "times": self._times})
            self._times, self._logged_at = 0, now
