"""How much is tried by chance: all of it in a campaign, and each time some of it."""

from __future__ import annotations

import os

IS_FULL = os.environ.get("CAMPAIGN") == "full"


def examples(each_time: int, *, in_full: int) -> int:
    return in_full if IS_FULL else each_time
