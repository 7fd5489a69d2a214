"""What makes a file of version 4 one of version 5: the ledger of deliveries, and by which device something was read."""

from __future__ import annotations

import sqlite3


def version_5(db: sqlite3.Connection) -> None:
    for statement in (
        """CREATE TABLE ledger_runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT, began_at INTEGER NOT NULL, seen_at INTEGER NOT NULL,
            delivered INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0)""",
        """CREATE TABLE ledger_connections (
            run INTEGER NOT NULL, number INTEGER NOT NULL, user INTEGER NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
            device TEXT, transport TEXT NOT NULL, pid TEXT NOT NULL, since INTEGER NOT NULL, after INTEGER NOT NULL,
            had INTEGER, continues TEXT, replayed INTEGER, skipped TEXT NOT NULL,
            until INTEGER, ended TEXT, sent INTEGER, received INTEGER, PRIMARY KEY (run, number)) WITHOUT ROWID""",
        "CREATE INDEX ledger_connections_user ON ledger_connections (user, until)",
        "CREATE INDEX ledger_connections_until ON ledger_connections (until)",
        # In the order in which they came, so that the oldest go first; the index alone is written to all over.
        """CREATE TABLE ledger_receipts (
            number INTEGER PRIMARY KEY, user INTEGER NOT NULL, at INTEGER NOT NULL, upto TEXT NOT NULL)""",
        "CREATE UNIQUE INDEX ledger_receipts_user ON ledger_receipts (user, at)",
        """CREATE TABLE ledger_unsent (
            number INTEGER PRIMARY KEY, run INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL)""",
        "CREATE INDEX ledger_unsent_offset ON ledger_unsent (offset)",
        "ALTER TABLE state ADD COLUMN read_by TEXT",
        "ALTER TABLE watermarks ADD COLUMN read_by TEXT",
    ):
        db.execute(statement)
