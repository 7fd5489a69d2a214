"""What makes a file of version 6 one of version 7: notifications that are revised, and taken back."""

from __future__ import annotations

import sqlite3


def version_7(db: sqlite3.Connection) -> None:
    """``about`` is the offset of the notification that an entry revises or takes back, and ``revised`` that of the last
    entry that revises one; those before it have no ``rooms`` and no ``payload`` any more. ``recalled`` are the rooms in
    which one was placed that was taken back, which has neither any more."""
    for statement in (
        "ALTER TABLE entries ADD COLUMN about INTEGER",
        "ALTER TABLE entries ADD COLUMN expires_at INTEGER",
        "CREATE INDEX entries_about ON entries (about) WHERE about IS NOT NULL",
        "ALTER TABLE contents ADD COLUMN recalled BLOB",
        "ALTER TABLE contents ADD COLUMN revised INTEGER",
    ):
        db.execute(statement)
