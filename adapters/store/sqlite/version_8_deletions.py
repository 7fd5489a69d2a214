"""What users have deleted, of which it is to be seen whether all whom it names have."""

from __future__ import annotations

import sqlite3


def deletions(db: sqlite3.Connection) -> None:
    """What was ``deleted`` is 1 until that was looked at, and 2 then. Where all have, the ``contents`` keep their
    rooms, and no payload is left; that copies of it may be in the unused space of pages is said by ``unscrubbed`` in
    ``meta``."""
    db.execute("CREATE INDEX state_unsettled ON state (offset) WHERE deleted = 1")
