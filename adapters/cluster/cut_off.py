"""Whether a node that cannot reach the store is cut off, or whether the store is down for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

RECENT_SECONDS: Final = 5.0
"""Whoever has read the store within that time reaches it."""


def is_cut_off(answers: Sequence[float | None]) -> bool:
    """``answers``: of each other node, seconds since it has read the store; None where it does not answer.

    Where nobody reaches the store clients lose nothing by staying. A node that is alone cannot be cut off from others;
    one that reaches none of several is, as far as it can tell.
    """
    said = [answer for answer in answers if answer is not None]
    if not said:
        return bool(answers)
    return min(said) <= RECENT_SECONDS
