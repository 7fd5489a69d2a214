"""What makes a file of version 7 one of version 8: one step for each of the things that backends gained with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from adapters.store.sqlite.version_8_all_of import all_of
from adapters.store.sqlite.version_8_collapse import collapse_keys
from adapters.store.sqlite.version_8_deletions import deletions
from adapters.store.sqlite.version_8_erasures import erasures
from adapters.store.sqlite.version_8_schedule import version_8_schedule
from adapters.store.sqlite.version_8_snooze import version_8_snooze
from adapters.store.sqlite.version_8_topics import topics

STEPS: Sequence[Callable[[sqlite3.Connection], None]] = (
    version_8_schedule,
    collapse_keys,
    topics,
    version_8_snooze,
    erasures,
    deletions,
    all_of,
)


def version_8(db: sqlite3.Connection) -> None:
    for step in STEPS:
        step(db)
