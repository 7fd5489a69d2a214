"""Of what makes a file of version 7 one of version 8: who is in which topic."""

from __future__ import annotations

import sqlite3


def topics(db: sqlite3.Connection) -> None:
    """A row is a stay: ``upto`` is NULL while it is not over."""
    for statement in (
        """CREATE TABLE memberships (
            user INTEGER NOT NULL, room INTEGER NOT NULL, after INTEGER NOT NULL, upto INTEGER,
            PRIMARY KEY (user, room, after)) WITHOUT ROWID""",
        "CREATE INDEX memberships_room ON memberships (room, after, user)",
    ):
        db.execute(statement)
