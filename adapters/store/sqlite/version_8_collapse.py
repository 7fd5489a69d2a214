"""A step to version 8: where notifications with a collapse key are."""

from __future__ import annotations

import sqlite3


def collapse_keys(db: sqlite3.Connection) -> None:
    """``place`` is the room, and its opposite where that is the own one of a user. Of one with a key the ``item`` of
    what is ``placed`` is 2. One that is ``superseded`` is not placed there any more, as a later one is there."""
    for statement in (
        """CREATE TABLE collapsing (
            key TEXT NOT NULL, place INTEGER NOT NULL, offset INTEGER NOT NULL, superseded INTEGER NOT NULL,
            PRIMARY KEY (key, place, offset)) WITHOUT ROWID""",
        "CREATE INDEX collapsing_offset ON collapsing (offset)",
    ):
        db.execute(statement)
