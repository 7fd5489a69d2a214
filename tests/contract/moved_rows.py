"""All rows of a store, as a SQLite file and as a PostgreSQL database have them: after a move they are the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.postgresql import PostgresqlServer

Rows = set[tuple[Any, ...]]

_USER = "(SELECT substr(name, 6) FROM rooms WHERE id = user)"
_ROOM = "(SELECT name FROM rooms WHERE id = room)"
_ERASED = "(SELECT room FROM erasures WHERE room IS NOT NULL)"
"""Of users who are being erased: what hangs on these stays behind."""
_SCHEDULED = """number, due, ended, expires_at, id, key, lower(hex(digest)), type, form, CAST(rooms AS TEXT),
    CAST(payload AS TEXT)"""
_IN_THE_FILE: Mapping[str, str] = {
    "log": "SELECT (SELECT value FROM meta WHERE name = 'secret'), (SELECT value FROM meta WHERE name = 'log_floor')",
    "epochs": "SELECT number, epoch, first, opened_at FROM generations",
    "entries": """SELECT offset, stored_at, event, form, CAST(rooms AS TEXT), CAST(payload AS TEXT), about,
        expires_at FROM entries""",
    "contents": """SELECT offset, stored_at, expires_at, id, type, form, CAST(rooms AS TEXT), CAST(payload AS TEXT),
        CAST(recalled AS TEXT), revised FROM contents""",
    "ids": """SELECT id, offset, key, digest FROM contents WHERE id NOT LIKE char(1) || '%'
        UNION ALL SELECT id, -number, key, digest FROM scheduled WHERE id NOT LIKE char(1) || '%'""",
    "placed": f"SELECT {_ROOM}, offset, item <> 0, expires_at FROM placed WHERE room NOT IN {_ERASED}",  # noqa: S608
    "trimmed": f"SELECT name, trimmed FROM rooms WHERE trimmed > 0 AND id NOT IN {_ERASED}",  # noqa: S608
    "starts": f"SELECT {_USER}, {_ROOM}, start FROM starts WHERE user NOT IN {_ERASED}",  # noqa: S608
    "marks": f"SELECT {_USER}, role, offset FROM marks WHERE user NOT IN {_ERASED}",  # noqa: S608
    "state": f"""SELECT {_USER}, offset, read_at, seen_at, archived_at, deleted <> 0, read_by, deleted_at,
        snoozed_until, raised FROM state WHERE user NOT IN {_ERASED}""",  # noqa: S608
    "watermarks": f"SELECT {_USER}, offset, at, read_by FROM watermarks WHERE user NOT IN {_ERASED}",  # noqa: S608
    "scheduled": f"SELECT {_SCHEDULED} FROM scheduled",  # noqa: S608
    "memberships": f"SELECT {_USER}, {_ROOM}, after, upto FROM memberships",  # noqa: S608
    "restrictions": "SELECT user, offset, issued_before, blocked, until, reason FROM restrictions",
    "checkpoints": "SELECT source, resume_id FROM checkpoints",
    "collapsing": f"""SELECT key, (SELECT name FROM rooms WHERE id = abs(place)), offset, superseded FROM collapsing
        WHERE abs(place) NOT IN {_ERASED}""",  # noqa: S608
    "erasures": "SELECT id, who, user, offset, begun_at, done_at, iif(step = 0, at, 0) FROM erasures",
    "tombstones": "SELECT name, offset, digest FROM tombstones",
}
_IN_THE_DATABASE: Mapping[str, str] = {
    "log": "SELECT secret, floor FROM synkrone.log",
    "epochs": "SELECT number, epoch, first, opened_at FROM synkrone.epochs",
    "state": """SELECT user_id, log_offset, read_at, seen_at, archived_at, deleted, read_by, deleted_at, snoozed_until,
        raised FROM synkrone.state""",
    "scheduled": """SELECT number, due, ended, expires_at, id, key, digest, type, form, rooms, payload
        FROM synkrone.scheduled""",
    "erasures": "SELECT id, who, user_id, log_offset, begun_at, done_at, waits_upto FROM synkrone.erasures",
    "placed": "SELECT room, log_offset, item, expires_at FROM synkrone.placed WHERE expires_at IS DISTINCT FROM 0",
}


def rows_of_file(path: Path) -> dict[str, Rows]:
    with closing(sqlite3.connect(path)) as db:
        return {table: set(db.execute(query)) for table, query in _IN_THE_FILE.items()}


def rows_of_database(server: PostgresqlServer, name: str) -> dict[str, Rows]:
    return {
        table: set(server.execute(_IN_THE_DATABASE.get(table, f"SELECT * FROM synkrone.{table}"), name))  # noqa: S608
        for table in _IN_THE_FILE
    }
