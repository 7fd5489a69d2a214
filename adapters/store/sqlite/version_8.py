"""What makes a file of version 7 one of version 8: one step for each of the things that backends gained with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

STEPS: Sequence[Callable[[sqlite3.Connection], None]] = ()


def version_8(db: sqlite3.Connection) -> None:
    for step in STEPS:
        step(db)
