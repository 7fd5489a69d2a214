"""Trimming a log in a SQLite file, in steps of a few milliseconds each.

What is old leaves the log at once, by moving its floor. What only the log needed is removed behind the floor; items
stay until they are too old for the inboxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from adapters.store.sqlite.log import LogTransaction, as_json, log_floor
from adapters.store.sqlite.schema import microseconds
from domain.model import NOTIFICATION_NEW
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
    more: bool
    log_floor: int
    generations: Generations


@value
class Trimmer:
    retention_log: timedelta
    retention_inbox: timedelta

    def step(self, transaction: LogTransaction, step: Step) -> Trimmed:
        """An operation of the writer."""
        if step.probe:
            transaction.db.execute("REPLACE INTO meta (name, value) VALUES ('probe', zeroblob(?))", (step.probe,))
        else:
            transaction.db.execute("DELETE FROM meta WHERE name = 'probe'")
        more = self._raise_floor(transaction, step.given) or self._sweep(transaction) or self._drop(transaction)
        self._forget(transaction)
        return Trimmed(more, log_floor(transaction.db), transaction.generations)

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
        """Remove behind the floor what lies in no inbox."""
        swept, floor = _get(transaction, "swept"), log_floor(transaction.db)
        if swept == floor:
            return False
        upto = _upto(transaction, swept, floor)
        # Expired items keep their place: without it, what they pushed out of an inbox would return.
        useless = f"event <> '{NOTIFICATION_NEW}'"
        if not _remove(transaction, swept, upto, useless):
            _set(transaction, "swept", upto)
        return True

    def _drop(self, transaction: LogTransaction) -> bool:
        """Remove what is too old for the inboxes too."""
        oldest = microseconds(transaction.now - self.retention_inbox)
        if not _is_old(transaction, 0, oldest):
            return False
        upto = _upto(transaction, 0, _get(transaction, "swept"))
        return _remove(transaction, 0, upto, f"stored_at <= {oldest}")

    def _forget(self, transaction: LogTransaction) -> None:
        generations = transaction.generations
        number = generations.forgettable(
            log_floor(transaction.db), transaction.now - self.retention_log, GENERATIONS_MAX
        )
        if number:
            known = generations.known[number:]
            transaction.db.execute("DELETE FROM generations WHERE number < ?", (known[0].number,))
            transaction.generations = Generations(known)


def _is_old(transaction: LogTransaction, after: int, oldest: int) -> bool:
    """Whether the first entry after an offset is."""
    row = transaction.db.execute(
        "SELECT stored_at FROM entries WHERE offset > ? ORDER BY offset LIMIT 1", (after,)
    ).fetchone()
    return row is not None and row[0] <= oldest


def _upto(transaction: LogTransaction, after: int, end: int) -> int:
    """How far one step looks: some entries on, at most to the end."""
    number, last = transaction.db.execute(
        """
        SELECT count(*), max(offset) FROM (
            SELECT offset FROM entries WHERE offset > ? AND offset <= ? ORDER BY offset LIMIT ?)""",
        (after, end, _AT_ONCE),
    ).fetchone()
    return int(last) if number == _AT_ONCE else end


def _remove(transaction: LogTransaction, after: int, upto: int, which: str) -> bool:
    """Remove the first of these entries, as much as fits into a step; False where there are none."""
    rows = transaction.db.execute(
        f"""
        SELECT offset, rooms FROM entries WHERE offset IN (
            SELECT offset FROM (
                SELECT offset, row_number() OVER (ORDER BY offset) AS number,
                    sum(length(rooms)) OVER (ORDER BY offset) AS size
                FROM entries WHERE offset > ? AND offset <= ? AND ({which}))
            WHERE number = 1 OR size <= ?)""",  # noqa: S608
        (after, upto, _NAMES_BYTES),
    ).fetchall()
    if rows and not _remove_state(transaction, [offset for offset, _ in rows]):
        _remove_entries(transaction, rows)
    return bool(rows)


def _remove_state(transaction: LogTransaction, offsets: Sequence[int]) -> bool:
    """Remove what users have done to items; True where there may be more of it."""
    removed = transaction.db.execute(
        """
        DELETE FROM state WHERE (user, offset) IN (
            SELECT user, offset FROM state WHERE offset IN (SELECT value FROM json_each(?)) LIMIT ?)""",
        (as_json(offsets), _AT_ONCE),
    ).rowcount
    return removed == _AT_ONCE


def _remove_entries(transaction: LogTransaction, rows: Sequence[tuple[int, bytes]]) -> None:
    budget = _AT_ONCE
    gone: list[int] = []
    lost: list[tuple[str, int]] = []
    for offset, joined in rows:
        rooms = joined.decode().split("\n")
        lost.extend((room, offset) for room in rooms[:budget])
        if len(rooms) > budget:
            left = "\n".join(rooms[budget:]).encode()
            transaction.db.execute("UPDATE entries SET rooms = ? WHERE offset = ?", (left, offset))
            break
        budget -= len(rooms)
        gone.append(offset)
        if not budget:
            break
    _remove_from_rooms(transaction, lost)
    transaction.db.execute("DELETE FROM entries WHERE offset IN (SELECT value FROM json_each(?))", (as_json(gone),))


def _remove_from_rooms(transaction: LogTransaction, lost: Sequence[tuple[str, int]]) -> None:
    """Take entries out of rooms, which remember it. The entries are in order."""
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


def _get(transaction: LogTransaction, name: str) -> int:
    return int(transaction.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _set(transaction: LogTransaction, name: str, value: int) -> None:
    transaction.db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
