"""Users who are erased: what is still to be done, and by what they are known afterwards."""

from __future__ import annotations

import sqlite3


def erasures(db: sqlite3.Connection) -> None:
    """``user`` is named only until nothing of them is left, and ``who`` is a seal of that. They were erased as of
    ``offset``. What was theirs belongs to ``room``, which has another name by then. ``step`` is the number of what is
    being done, and ``at`` how far that is.

    ``tombstones`` have the ids and keys of what was for somebody who was erased, each as its seal, and the seal of the
    content's digest; below 0 is the number of what was scheduled.
    """
    for statement in (
        """CREATE TABLE erasures (
            id TEXT PRIMARY KEY, who BLOB NOT NULL, user TEXT, offset INTEGER NOT NULL, room INTEGER,
            step INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL DEFAULT 0, begun_at INTEGER NOT NULL,
            done_at INTEGER) WITHOUT ROWID""",
        "CREATE INDEX erasures_who ON erasures (who, offset)",
        "CREATE INDEX erasures_running ON erasures (offset) WHERE done_at IS NULL",
        "CREATE INDEX erasures_begun ON erasures (begun_at)",
        "CREATE TABLE tombstones (name BLOB PRIMARY KEY, offset INTEGER NOT NULL, digest BLOB) WITHOUT ROWID",
        "CREATE INDEX tombstones_offset ON tombstones (offset)",
        # What else names users than what is placed in their rooms.
        "CREATE INDEX contents_recalled ON contents (offset) WHERE recalled IS NOT NULL",
        "CREATE INDEX collapsing_place ON collapsing (place, offset)",
        "CREATE INDEX entries_controls ON entries (offset) WHERE event GLOB 'user.*'",
        "CREATE INDEX entries_members ON entries (offset) WHERE event = 'topic.members'",
    ):
        db.execute(statement)
