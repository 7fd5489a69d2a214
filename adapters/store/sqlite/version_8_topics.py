"""Of what makes a file of version 7 one of version 8: who is in which topic."""

from __future__ import annotations

import sqlite3


def topics(db: sqlite3.Connection) -> None:
    """A row is a stay: ``upto`` is NULL while it is not over.

    ``groups`` of ``meta`` are the ``Groups`` there are, for nearly every question begins with them: there they cost no
    page of their own.
    """
    for statement in (
        """CREATE TABLE memberships (
            user INTEGER NOT NULL, room INTEGER NOT NULL, after INTEGER NOT NULL, upto INTEGER,
            PRIMARY KEY (user, room, after)) WITHOUT ROWID""",
        "CREATE INDEX memberships_room ON memberships (room, after, user)",
        "INSERT INTO meta (name, value) VALUES ('groups', 0)",
        """CREATE TRIGGER memberships_begin AFTER INSERT ON memberships
        WHEN (SELECT value FROM meta WHERE name = 'groups') < 1 BEGIN
            UPDATE meta SET value = 1 WHERE name = 'groups';
        END""",
    ):
        db.execute(statement)
