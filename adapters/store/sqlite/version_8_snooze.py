"""Notifications that users have snoozed, and that are new once more when they come back."""

from __future__ import annotations

import sqlite3


def version_8_snooze(db: sqlite3.Connection) -> None:
    """What is snoozed is in no inbox before ``snoozed_until``. What has come back is told by the entry at ``raised``, a
    ``notification.new`` that is ``about`` it: that has the content that the notification has."""
    of_it = "about = new.offset AND event = 'notification.new' AND payload IS NOT NULL"
    where_it_lies = f"""
        SELECT rooms.id, entries.offset FROM entries JOIN rooms ON rooms.name = CAST(entries.rooms AS TEXT)
        WHERE {of_it}"""  # noqa: S608
    for statement in (
        "ALTER TABLE state ADD COLUMN snoozed_until INTEGER",
        "ALTER TABLE state ADD COLUMN raised INTEGER",
        "CREATE INDEX state_snoozed ON state (snoozed_until) WHERE snoozed_until IS NOT NULL",
        "CREATE INDEX state_raised ON state (user, raised) WHERE raised IS NOT NULL",
        f"""CREATE TRIGGER contents_revised AFTER UPDATE OF payload ON contents WHEN new.payload IS NOT NULL BEGIN
            UPDATE placed SET expires_at = new.expires_at WHERE (room, offset) IN ({where_it_lies});
            UPDATE entries SET payload = new.payload, expires_at = new.expires_at WHERE {of_it};
        END""",  # noqa: S608
        f"""CREATE TRIGGER contents_erased AFTER UPDATE OF payload ON contents WHEN new.payload IS NULL BEGIN
            DELETE FROM placed WHERE (room, offset) IN ({where_it_lies});
            UPDATE entries SET rooms = NULL, payload = NULL, expires_at = NULL WHERE {of_it};
        END""",  # noqa: S608
    ):
        db.execute(statement)
