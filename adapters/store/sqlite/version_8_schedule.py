"""Notifications that wait for their time."""

from __future__ import annotations

import sqlite3


def version_8_schedule(db: sqlite3.Connection) -> None:
    """Of one that was cancelled there is no ``payload`` any more, but a time at which it ``ended``; where nobody is
    left whom it was for there are no ``rooms`` either. So many are ``waiting``.

    The locators of what waits lead to its ``number`` as one below 0: so it costs nothing to know an id of the schedule
    from one that is new.
    """
    for statement in (
        # The payload is last: what only needs the other columns reads no overflow pages.
        """CREATE TABLE scheduled (
            number INTEGER PRIMARY KEY, due INTEGER NOT NULL, ended INTEGER, expires_at INTEGER, id TEXT NOT NULL,
            key TEXT, digest BLOB, type TEXT NOT NULL, form INTEGER NOT NULL, rooms BLOB, payload BLOB)""",
        "CREATE INDEX scheduled_due ON scheduled (due, number) WHERE ended IS NULL",
        "CREATE INDEX scheduled_ended ON scheduled (ended) WHERE ended IS NOT NULL",
        # Counted, a million takes longer than to publish one more.
        "CREATE TABLE waiting (number INTEGER NOT NULL)",
        "INSERT INTO waiting VALUES (0)",
        """CREATE TRIGGER scheduled_begins AFTER INSERT ON scheduled WHEN new.ended IS NULL BEGIN
            UPDATE waiting SET number = number + 1;
        END""",
        """CREATE TRIGGER scheduled_ends AFTER UPDATE OF ended ON scheduled
        WHEN old.ended IS NULL AND new.ended IS NOT NULL BEGIN
            UPDATE waiting SET number = number - 1;
        END""",
        """CREATE TRIGGER scheduled_leaves AFTER DELETE ON scheduled WHEN old.ended IS NULL BEGIN
            UPDATE waiting SET number = number - 1;
        END""",
    ):
        db.execute(statement)
