"""What makes a file of version 5 one of version 6: who is in a room is found by it, and when something was deleted."""

from __future__ import annotations

import sqlite3


def version_6(db: sqlite3.Connection) -> None:
    for statement in (
        "CREATE INDEX starts_room ON starts (room, start, user)",
        "ALTER TABLE state ADD COLUMN deleted_at INTEGER",
    ):
        db.execute(statement)
