"""Trimming a log in a SQLite file, in steps of a few milliseconds each.

What is old leaves the log at once, by moving its floor. Entries are removed behind the floor; contents stay until they
are too old for the inboxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from adapters.store.sqlite import ledger, schedule
from adapters.store.sqlite.collapsing import forget
from adapters.store.sqlite.deletions import erase_deleted, unscrubbed
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.log import log_floor
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.times import microseconds
from domain.model.value import value
from domain.rules.epochs import Generations

GENERATIONS_MAX = 10_000

_AT_ONCE = 1000
_NAMES_BYTES = 64 * 1024


@value
class Step:
    """``given`` is the offset up to which every follower has been given all; ``probe`` how many bytes are written, to
    see whether they can be."""

    given: int
    probe: int


@value
class Trimmed:
    """``erased`` are the offsets of what lost its content, as all whom it names have deleted it. ``is_unscrubbed``:
    copies of some may be left in the file."""

    more: bool
    log_floor: int
    generations: Generations
    erased: Sequence[int]
    is_unscrubbed: bool


@value
class Trimmer:
    retention_log: timedelta
    retention_inbox: timedelta
    retention_deliveries: timedelta

    def step(self, transaction: LogTransaction, step: Step) -> Trimmed:
        """An operation of the writer."""
        if step.probe:
            transaction.db.execute("REPLACE INTO meta (name, value) VALUES ('probe', zeroblob(?))", (step.probe,))
        else:
            transaction.db.execute("DELETE FROM meta WHERE name = 'probe'")
        more = self._raise_floor(transaction, step.given) or self._sweep(transaction) or self._drop(transaction)
        more = more or ledger.trim(transaction, self.retention_deliveries)
        more = more or schedule.forget(transaction, transaction.now - self.retention_log)
        self._forget(transaction)
        deleted = erase_deleted(transaction)
        return Trimmed(
            more or deleted.more,
            log_floor(transaction.db),
            transaction.generations,
            deleted.erased,
            unscrubbed(transaction.db) is not None,
        )

    def _raise_floor(self, transaction: LogTransaction, given: int) -> bool:
        oldest = microseconds(transaction.now - self.retention_log)
        floor = log_floor(transaction.db)
        if not _is_old(transaction, floor, oldest):
            return False
        (new_floor,) = transaction.db.execute(
            """
            SELECT max(offset) FROM (
                SELECT offset, stored_at FROM entries WHERE offset > ? AND offset <= ? ORDER BY offset LIMIT ?)
            WHERE stored_at <= ?""",
            (floor, given, _AT_ONCE, oldest),
        ).fetchone()
        if new_floor is None:
            return False
        _set(transaction, "log_floor", new_floor)
        return True

    def _sweep(self, transaction: LogTransaction) -> bool:
        """Remove entries behind the floor. Contents stay where they were placed."""
        rows = transaction.db.execute(
            """
            SELECT offset, rooms FROM (
                SELECT offset, rooms, row_number() OVER following AS number,
                    sum(coalesce(length(rooms), 0)) OVER following AS size
                FROM (SELECT offset, rooms FROM entries
                    WHERE offset <= (SELECT value FROM meta WHERE name = 'log_floor') ORDER BY offset LIMIT ?)
                WINDOW following AS (ORDER BY offset ROWS UNBOUNDED PRECEDING))
            WHERE number = 1 OR size <= ?""",
            (_AT_ONCE, _NAMES_BYTES),
        ).fetchall()
        if not rows:
            return False
        placed = [(room, offset) for offset, names in rows if names for room in names.decode().split("\n")]
        _remove_from_rooms(transaction, placed)
        transaction.db.execute("DELETE FROM entries WHERE offset <= ?", (rows[-1][0],))
        return True

    def _drop(self, transaction: LogTransaction) -> bool:
        """Remove contents that are too old for the inboxes. Those that expired keep their place until then: without it,
        what they pushed out of an inbox would return."""
        oldest = microseconds(transaction.now - self.retention_inbox)
        first = transaction.db.execute("SELECT stored_at FROM contents ORDER BY offset LIMIT 1").fetchone()
        if first is None or first[0] > oldest:
            return False
        rows = transaction.db.execute(
            """
            SELECT offset, coalesce(rooms, x''), id, key FROM contents WHERE offset IN (
                SELECT offset FROM (
                    SELECT offset, stored_at, row_number() OVER (ORDER BY offset) AS number,
                        sum(coalesce(length(rooms), 0)) OVER (ORDER BY offset) AS size
                    FROM (SELECT offset, stored_at, rooms FROM contents
                        WHERE offset <= (SELECT value FROM meta WHERE name = 'log_floor') ORDER BY offset LIMIT ?))
                WHERE stored_at <= ? AND (number = 1 OR size <= ?))""",
            (_AT_ONCE, oldest, _NAMES_BYTES),
        ).fetchall()
        if rows and not _remove_state(transaction, [offset for offset, *_ in rows]):
            _remove_contents(transaction, rows)
        return bool(rows)

    def _forget(self, transaction: LogTransaction) -> None:
        generations = transaction.generations
        number = generations.forgettable(
            log_floor(transaction.db), transaction.now - self.retention_log, GENERATIONS_MAX
        )
        if number:
            known = generations.known[number:]
            transaction.db.execute("DELETE FROM generations WHERE number < ?", (known[0].number,))
            transaction.generations = Generations(known)
        transaction.db.execute(
            "DELETE FROM erasures WHERE begun_at <= ? AND done_at IS NOT NULL",
            (microseconds(transaction.now - self.retention_inbox),),
        )


def _is_old(transaction: LogTransaction, after: int, oldest: int) -> bool:
    """Whether the first entry after an offset is."""
    row = transaction.db.execute(
        "SELECT stored_at FROM entries WHERE offset > ? ORDER BY offset LIMIT 1", (after,)
    ).fetchone()
    return row is not None and row[0] <= oldest


def _remove_state(transaction: LogTransaction, offsets: Sequence[int]) -> bool:
    """Remove what users have done to items; True where there may be more of it."""
    removed = transaction.db.execute(
        """
        DELETE FROM state WHERE (user, offset) IN (
            SELECT user, offset FROM state WHERE offset IN (SELECT value FROM json_each(?)) LIMIT ?)""",
        (as_json(offsets), _AT_ONCE),
    ).rowcount
    return removed == _AT_ONCE


def _remove_contents(transaction: LogTransaction, rows: Sequence[tuple[int, bytes, str, str | None]]) -> None:
    """As far as a step goes: of the rooms of the last of them some may be left."""
    budget = _AT_ONCE
    gone: list[int] = []
    lost: list[tuple[str, int]] = []
    unlocated: list[tuple[int, int]] = []
    for offset, joined, id_, key in rows:
        rooms = joined.decode().split("\n") if joined else []
        lost.extend((room, offset) for room in rooms[:budget])
        if len(rooms) > budget:
            left = "\n".join(rooms[budget:]).encode()
            transaction.db.execute("UPDATE contents SET rooms = ? WHERE offset = ?", (left, offset))
            break
        budget -= len(rooms)
        gone.append(offset)
        unlocated.extend((locator(name), offset) for name in (id_, key) if name is not None)
        if not budget:
            break
    _remove_from_rooms(transaction, lost)
    db = transaction.db
    db.execute(
        """
        DELETE FROM locators WHERE (locator, offset) IN (
            SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))""",
        (as_json(unlocated),),
    )
    for table in ("contents", "tombstones"):
        db.execute(f"DELETE FROM {table} WHERE offset IN (SELECT value FROM json_each(?))", (as_json(gone),))  # noqa: S608
    forget(db, gone)


def _remove_from_rooms(transaction: LogTransaction, lost: Sequence[tuple[str, int]]) -> None:
    """Take entries out of rooms, which remember it. The entries are in order."""
    if not lost:
        return
    transaction.db.execute(
        """
        UPDATE rooms SET trimmed = max(trimmed, lost.offset)
        FROM (SELECT json_extract(value, '$[0]') AS name, json_extract(value, '$[1]') AS offset
            FROM json_each(?)) AS lost
        WHERE rooms.name = lost.name""",
        (as_json(list(dict(lost).items())),),
    )
    transaction.db.execute(
        """
        DELETE FROM placed WHERE (room, offset) IN (
            SELECT rooms.id, json_extract(value, '$[1]')
            FROM json_each(?) JOIN rooms ON rooms.name = json_extract(value, '$[0]'))""",
        (as_json(lost),),
    )


def _set(transaction: LogTransaction, name: str, value: int) -> None:
    transaction.db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
