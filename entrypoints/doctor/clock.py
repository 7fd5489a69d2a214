"""The clock of this machine against the ``Date`` of somebody's answer (RFC 9110, section 6.6.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True)
class Skew:
    """``ahead`` is how many seconds this clock is ahead of the other at least; below 0, behind it."""

    ahead: float

    @property
    def seconds(self) -> float:
        return abs(self.ahead)

    @property
    def words(self) -> str:
        return f"{self.seconds:.0f} s {'ahead of' if self.ahead > 0 else 'behind'}"


async def look_at_clock(url: str) -> Skew | None:
    """None where there is no answer, or no date in it."""
    began = time.time()
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.head(url, allow_redirects=False) as answer,
        ):
            return skew_of(answer.headers.get("Date"), began, time.time())
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def skew_of(date: str | None, began: float, ended: float) -> Skew | None:
    """Of an answer that was asked for and had between the two times, in seconds. A date is of whole seconds."""
    try:
        said = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    if said > ended:
        return Skew(ended - said)
    return Skew(max(0.0, began - (said + 1)))
