"""Counting, again and again, whether the log in a PostgreSQL database is whole: every offset has its entry, its
contents, and its place in each of its rooms.

Whoever reads a room finds what is placed there, and would miss in silence what is not. The room of a user who is being
erased is named for a while where nothing has its place in it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from adapters.store.postgresql.database import Snapshot
from domain.model import NOTIFICATION_NEW

ROUND_SECONDS: Final = 60.0
"""From the beginning of one round through the whole log to that of the next, at least."""

SLICE_ENTRIES: Final = 2_000
SLICE_NAME_BYTES: Final = 65_536
"""Of the rooms in a slice: each is looked up. One entry is looked at whatever it takes."""

# By subqueries for one value each: anything else may be joined, and then reads all of a large table.
_SLICE = f"""
    WITH slice AS MATERIALIZED (
        SELECT log_offset, names, row_number() OVER following AS number,
            sum(octet_length(coalesce(names, ''))) OVER following AS bytes
        FROM (
            SELECT log_offset, CASE WHEN event = '{NOTIFICATION_NEW}' AND about IS NULL THEN (
                    SELECT coalesce(rooms, '') FROM synkrone.contents WHERE contents.log_offset = entries.log_offset)
                ELSE coalesce(rooms, '') END AS names
            FROM synkrone.entries
            WHERE log_offset > %(after)s::bigint AND log_offset <= %(upto)s::bigint
            ORDER BY log_offset LIMIT %(entries)s::integer) AS entries
        WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING))
    SELECT max(log_offset),
        min(%(after)s::bigint + number) FILTER (
            WHERE log_offset <> %(after)s::bigint + number OR names IS NULL OR (
                SELECT bool_or(coalesce((
                    SELECT true FROM synkrone.placed
                    WHERE placed.room = named.room AND placed.log_offset = slice.log_offset), (
                    SELECT true FROM synkrone.erasures
                    WHERE done_at IS NULL AND 'user:' || user_id = named.room AND (
                        SELECT true FROM synkrone.erasing
                        WHERE erasure = erasures.id AND erasing.log_offset = slice.log_offset)
                    LIMIT 1)) IS NULL)
                FROM string_to_table(names, E'\\n') AS named (room)))
    FROM slice WHERE number = 1 OR bytes <= %(names)s::bigint""".encode()  # noqa: S608


class Scrubber:
    """For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun_at = float("-inf")
        self._upto: int | None = None
        self.rounds = 0
        """Those that have ended."""

    def look(self, snapshot: Snapshot) -> int | None:
        """Look at the next slice of the round that is under way, if one is; the first offset that lacks something."""
        now = self._clock()
        if self._upto is None:
            if now < self._begun_at + ROUND_SECONDS:
                return None
            self._begun_at, self._upto = now, snapshot.floor
        after = max(self._upto, snapshot.floor)
        if after >= snapshot.head:
            self._upto = None
            self.rounds += 1
            return None
        last, missing = _slice(snapshot, after, snapshot.head, SLICE_ENTRIES)
        self._upto = last
        return missing


def lacks_entry(snapshot: Snapshot, offset: int) -> bool:
    """Whether something is missing at an offset."""
    return snapshot.floor < offset <= snapshot.head and _slice(snapshot, offset - 1, offset, 1)[1] is not None


def _slice(snapshot: Snapshot, after: int, upto: int, entries: int) -> tuple[int, int | None]:
    """Up to where was looked, and the first offset there that lacks something."""
    last, missing = snapshot.db.one(
        _SLICE, {"after": after, "upto": upto, "entries": entries, "names": SLICE_NAME_BYTES}
    )
    if last is None:
        return upto, after + 1
    return last, missing
