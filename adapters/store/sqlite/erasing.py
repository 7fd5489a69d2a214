"""Erasing users from a SQLite file, in steps of a few milliseconds each.

As it begins the user's room gets another name: whatever hangs on its number is nobody's from then on. Then what is
placed there loses its content, or a name among others; then what else names the user; and then all of that number.

What is deleted is overwritten with zeros (``secure_delete``), but for what SQLite leaves in the unused space of pages
whose rows it moved: see ``scrubbing``. That comes last, behind a checkpoint that leaves nothing in the write-ahead log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from adapters.contract.controls import control_event, read_control
from adapters.store.addressing import without
from adapters.store.seals import SEALED, Seals
from adapters.store.sqlite.deletions import unsettle
from adapters.store.sqlite.erased import seals
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.overwriting import Overwriter
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.times import microseconds, moment
from domain.model import ChangeMembers, EraseUser, Erasure, Room, UserId
from domain.model.value import value

_AT_ONCE = 500
_NAMES_BYTES = 256 * 1024
_SUPERSEDED_AT_ONCE = 50


@value
class Beginning:
    """What is wanted."""

    user: UserId
    id: str
    at: datetime


@value
class Begun:
    """``offset`` is as of which; None where it was running, and nothing of the user has come since."""

    erasure: Erasure
    offset: int | None


def begin(transaction: LogTransaction, wanted: Beginning) -> Begun:
    """An operation of the writer."""
    db = transaction.db
    own = Room.of_user(wanted.user)
    row = db.execute("SELECT id FROM rooms WHERE name = ?", (own,)).fetchone()
    room = row[0] if row is not None else None
    same = _running(db, wanted.user) if room is None else None
    if same is not None:
        return Begun(same, None)
    transaction.log_control(EraseUser(wanted.user))
    db.execute("UPDATE rooms SET name = 'erased:' || ? WHERE id = ?", (wanted.id, room))
    # What they have snoozed comes back no more, under whichever name.
    db.execute("UPDATE state SET snoozed_until = NULL WHERE user = ? AND snoozed_until IS NOT NULL", (room,))
    # So few that they go at once: neither a group nor a topic has somebody without a name.
    db.execute("DELETE FROM starts WHERE user = ?", (room,))
    db.execute("DELETE FROM memberships WHERE user = ?", (room,))
    db.execute("UPDATE restrictions SET reason = NULL WHERE user = ?", (wanted.user,))
    db.execute(
        """
        INSERT INTO erasures (id, who, user, offset, room, at, begun_at)
        VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(number), 0) FROM scheduled), ?)""",
        (wanted.id, seals(db).user(wanted.user), wanted.user, transaction.head, room, microseconds(wanted.at)),
    )
    return Begun(Erasure(wanted.id, wanted.user, moment(microseconds(wanted.at))), transaction.head)


def _running(db: sqlite3.Connection, user: UserId) -> Erasure | None:
    """The last erasure of a user without a room, if it runs and they have nothing that came since: whatever comes for
    them gives them a room, but for a control."""
    row = db.execute(
        """
        SELECT id, begun_at FROM erasures WHERE done_at IS NULL AND user = ?1 AND NOT EXISTS (
            SELECT 1 FROM entries
            WHERE event GLOB 'user.*' AND entries.offset > erasures.offset
                AND json_extract(CAST(payload AS TEXT), '$.user') = ?1)
        ORDER BY offset DESC LIMIT 1""",
        (user,),
    ).fetchone()
    return Erasure(row[0], user, moment(row[1])) if row is not None else None


@value
class Erasing:
    """A user who is being erased."""

    id: str
    user: UserId | None
    offset: int
    room: int | None
    at: int

    @property
    def name(self) -> Room:
        return Room.of_user(self.user or "")


@value
class Stepped:
    """Whether there is more to do at once, and whether somebody is still to be erased."""

    more: bool
    is_erasing: bool


class Eraser:
    """Erases who is to be, one after the other. For the writer's thread alone."""

    def __init__(self, overwriter: Overwriter) -> None:
        self._overwriter = overwriter

    def step(self, transaction: LogTransaction, given: int) -> Stepped:
        """An operation of the writer. ``given`` is the offset up to which every follower has been given all."""
        db, overwritten = transaction.db, self._overwriter.take()
        row = db.execute(
            "SELECT id, user, offset, room, at, step FROM erasures WHERE done_at IS NULL ORDER BY offset LIMIT 1"
        ).fetchone()
        if row is None:
            return Stepped(more=False, is_erasing=False)
        *parts, number = row
        erasing = Erasing(*parts)
        if number < FREEING:
            if _STEPS[number] is _controls and given < erasing.offset:
                return Stepped(more=False, is_erasing=True)
            at = _STEPS[number](transaction, erasing)
            if at is None:
                db.execute("UPDATE erasures SET step = step + 1, at = 0 WHERE id = ?", (erasing.id,))
            else:
                db.execute("UPDATE erasures SET at = ? WHERE id = ?", (at, erasing.id))
        elif overwritten is None or overwritten.after != erasing.at:
            self._overwriter.ask(erasing.at)
        elif overwritten.upto is None:
            db.execute("UPDATE erasures SET done_at = ? WHERE id = ?", (microseconds(transaction.now), erasing.id))
        else:
            db.execute("UPDATE erasures SET at = ? WHERE id = ?", (overwritten.upto, erasing.id))
            self._overwriter.ask(overwritten.upto)
        return Stepped(more=True, is_erasing=True)


def _placed(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """What was placed in the room: each loses its content, or the name."""
    db = transaction.db
    rows = db.execute(
        """
        SELECT offset, item, names FROM (
            SELECT offset, item, names, row_number() OVER following AS number,
                sum(coalesce(length(names), 0)) OVER following AS size
            FROM (SELECT placed.offset AS offset, item, CASE WHEN item
                    THEN (SELECT rooms FROM contents WHERE contents.offset = placed.offset)
                    ELSE (SELECT rooms FROM entries WHERE entries.offset = placed.offset) END AS names
                FROM placed WHERE room = ? ORDER BY placed.offset LIMIT ?)
            WINDOW following AS (ORDER BY offset ROWS UNBOUNDED PRECEDING))
        WHERE number = 1 OR size <= ?""",
        (erasing.room, _AT_ONCE, _NAMES_BYTES),
    ).fetchall()
    known = seals(db)
    unsettle(db, [offset for offset, is_item, _ in rows if is_item])
    for offset, is_item, names in rows:
        left = _without(names, (erasing.name,))
        table = "contents" if is_item else "entries"
        if left:
            db.execute(f"UPDATE {table} SET rooms = ? WHERE offset = ?", (left, offset))  # noqa: S608
        elif is_item:
            if names is not None:
                seal_content(transaction, known, offset)
        else:
            db.execute("UPDATE entries SET rooms = NULL, payload = NULL, expires_at = NULL WHERE offset = ?", (offset,))
    db.execute(
        "DELETE FROM placed WHERE room = ? AND offset IN (SELECT value FROM json_each(?))",
        (erasing.room, as_json([offset for offset, *_ in rows])),
    )
    return 0 if rows else None


def _scheduled(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """What waits for its time: each is cancelled, or loses the name. From the last one that waited as it began: what
    was published since is theirs again."""
    rows = transaction.db.execute(
        f"""
        SELECT number, rooms, id, key, digest FROM (
            SELECT *, row_number() OVER following AS place, sum(coalesce(length(rooms), 0)) OVER following AS size
            FROM ({_WAITING} WHERE number <= ? ORDER BY number DESC LIMIT ?)
            WINDOW following AS (ORDER BY number DESC ROWS UNBOUNDED PRECEDING))
        WHERE place = 1 OR size <= ? ORDER BY number DESC""",  # noqa: S608
        (erasing.at, _AT_ONCE, _NAMES_BYTES),
    ).fetchall()
    known = seals(transaction.db)
    for row in rows:
        _withdraw(transaction, known, row, frozenset((erasing.name,)))
    return rows[-1][0] - 1 if rows else None


def withdraw_due(transaction: LogTransaction, now: datetime, most: int) -> int:
    """Of what is due by now, the first so many: what waited as somebody was erased, whose turn has not come yet, is not
    for them. How many are for nobody."""
    db = transaction.db
    erasing = db.execute("SELECT user, at FROM erasures WHERE done_at IS NULL AND step = 0").fetchall()
    if not erasing:
        return 0
    rows = db.execute(
        f"{_WAITING} WHERE ended IS NULL AND due <= ? ORDER BY due, number LIMIT ?", (microseconds(now), most)
    ).fetchall()
    known = seals(db)
    return sum(
        _withdraw(transaction, known, row, frozenset(Room.of_user(user) for user, upto in erasing if row[0] <= upto))
        for row in rows
    )


_Waiting: TypeAlias = tuple[int, bytes | None, str, str | None, bytes | None]
_WAITING = "SELECT number, rooms, id, key, digest FROM scheduled"


def _withdraw(transaction: LogTransaction, known: Seals, row: _Waiting, rooms: Collection[Room]) -> bool:
    """Whether it is for nobody from now on."""
    number, names, id_, key, digest = row
    left = _without(names, rooms)
    if left == (names or b""):
        return False
    if left:
        transaction.db.execute("UPDATE scheduled SET rooms = ? WHERE number = ?", (left, number))
        return False
    transaction.db.execute(
        """
        UPDATE scheduled SET ended = coalesce(ended, ?), rooms = NULL, payload = NULL, type = '', id = ?,
            key = NULL, digest = NULL
        WHERE number = ?""",
        (microseconds(transaction.now), f"{SEALED}{number}", number),
    )
    _seal(transaction.db, known, -number, (id_, key, digest))
    return True


def _seal(db: sqlite3.Connection, known: Seals, offset: int, by: tuple[str, str | None, bytes | None]) -> None:
    """Remember an id, a key and a digest, and say no more where they are. What is sealed already stays so."""
    id_, key, digest = by
    if id_.startswith(SEALED):
        return
    of_content = known.digest(digest) if digest is not None else None
    names = [known.id(id_), *([known.key(key)] if key is not None else [])]
    db.executemany(
        "INSERT OR IGNORE INTO tombstones (name, offset, digest) VALUES (?, ?, ?)",
        [(name, offset, of_content) for name in names],
    )
    db.executemany(
        "DELETE FROM locators WHERE locator = ? AND offset = ?",
        [(locator(name), offset) for name in (id_, key) if name is not None],
    )


def seal_content(transaction: LogTransaction, known: Seals, offset: int) -> None:
    """What is left is by what a retry is known."""
    db = transaction.db
    row = db.execute("SELECT id, key, digest FROM contents WHERE offset = ?", (offset,)).fetchone()
    if row is None:
        return
    # What revises it may be in no room, where whoever it is for has deleted it.
    db.execute(
        """
        UPDATE entries SET rooms = NULL, payload = NULL, expires_at = NULL
        WHERE about = ? AND event = 'notification.revised'""",
        (offset,),
    )
    _seal(db, known, offset, row)
    db.execute(
        """
        UPDATE contents SET type = '', id = ?, key = NULL, digest = NULL, rooms = NULL, payload = NULL, recalled = NULL
        WHERE offset = ?""",
        (f"{SEALED}{offset}", offset),
    )


def _superseded(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """What has a collapse key, and is not placed in the room any more where a later one is."""
    db, place = transaction.db, -(erasing.room or 0)
    rows = db.execute(
        """
        SELECT offset, (SELECT rooms FROM contents WHERE contents.offset = found.offset) FROM (
            SELECT DISTINCT offset FROM collapsing WHERE place = ? LIMIT ?) AS found""",
        (place, _SUPERSEDED_AT_ONCE),
    ).fetchall()
    known = seals(db)
    unsettle(db, [offset for offset, _ in rows])
    for offset, names in rows:
        left = _without(names, (erasing.name,))
        if left:
            db.execute("UPDATE contents SET rooms = ? WHERE offset = ?", (left, offset))
        elif names is not None:
            seal_content(transaction, known, offset)
    db.execute(
        "DELETE FROM collapsing WHERE place = ? AND offset IN (SELECT value FROM json_each(?))",
        (place, as_json([offset for offset, _ in rows])),
    )
    return 0 if rows else None


def _recalled(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """What was for the user and was taken back, which is placed nowhere any more."""
    db = transaction.db
    rows = db.execute(
        """
        SELECT offset, recalled FROM (
            SELECT offset, recalled, row_number() OVER following AS number, sum(length(recalled)) OVER following AS size
            FROM (
                SELECT offset, recalled FROM contents WHERE recalled IS NOT NULL AND offset > ? AND offset < ?
                ORDER BY offset LIMIT ?)
            WINDOW following AS (ORDER BY offset ROWS UNBOUNDED PRECEDING))
        WHERE number = 1 OR size <= ? ORDER BY offset""",
        (erasing.at, erasing.offset, _AT_ONCE, _NAMES_BYTES),
    ).fetchall()
    known = seals(db)
    for offset, names in rows:
        left = _without(names, (erasing.name,))
        if left == names:
            continue
        if left:
            db.execute("UPDATE contents SET recalled = ? WHERE offset = ?", (left, offset))
        else:
            seal_content(transaction, known, offset)
    return rows[-1][0] if rows else None


def _controls(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """What servers were told of the user. What stands against them is kept elsewhere."""
    db = transaction.db
    rows = db.execute(
        """
        SELECT offset, payload FROM entries WHERE event GLOB 'user.*' AND offset > ? AND offset <= ?
        ORDER BY offset LIMIT ?""",
        (erasing.at, erasing.offset, _AT_ONCE),
    ).fetchall()
    gone = [offset for offset, payload in rows if payload and json.loads(payload).get("user") == erasing.user]
    db.execute("UPDATE entries SET payload = NULL WHERE offset IN (SELECT value FROM json_each(?))", (as_json(gone),))
    return rows[-1][0] if rows else None


def _members(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """Who came to topics and left them, without the user."""
    db = transaction.db
    rows = db.execute(
        """
        SELECT offset, event, payload FROM (
            SELECT offset, event, payload, row_number() OVER following AS number,
                sum(length(payload)) OVER following AS size
            FROM (SELECT offset, event, payload FROM entries
                WHERE event = 'topic.members' AND offset > ? AND offset <= ? ORDER BY offset LIMIT ?)
            WINDOW following AS (ORDER BY offset ROWS UNBOUNDED PRECEDING))
        WHERE number = 1 OR size <= ?""",
        (erasing.at, erasing.offset, _AT_ONCE, _NAMES_BYTES),
    ).fetchall()
    for offset, event, payload in rows:
        control = read_control(event, payload)
        if isinstance(control, ChangeMembers) and erasing.user is not None and control.names(erasing.user):
            _, left = control_event(control.without(erasing.user))
            db.execute("UPDATE entries SET payload = ? WHERE offset = ?", (left, offset))
    return rows[-1][0] if rows else None


def _of_number(transaction: LogTransaction, erasing: Erasing) -> int | None:
    """All that hangs on the number of the room; and then nothing says any more who it was."""
    db = transaction.db
    for statement in _OF_NUMBER:
        if db.execute(statement, (erasing.room, _AT_ONCE)).rowcount:
            return 0
    db.execute("DELETE FROM rooms WHERE id = ?", (erasing.room,))
    db.execute("UPDATE erasures SET user = NULL, room = NULL WHERE id = ?", (erasing.id,))
    return None


_OF_NUMBER: Sequence[str] = (
    "DELETE FROM state WHERE user = ?1 AND offset IN (SELECT offset FROM state WHERE user = ?1 LIMIT ?2)",
    "DELETE FROM marks WHERE user = ?1 AND role IN (SELECT role FROM marks WHERE user = ?1 LIMIT ?2)",
    "DELETE FROM watermarks WHERE user = ?1 AND offset IN (SELECT offset FROM watermarks WHERE user = ?1 LIMIT ?2)",
    """DELETE FROM ledger_connections WHERE (run, number) IN (
        SELECT run, number FROM ledger_connections WHERE user = ?1 LIMIT ?2)""",
    "DELETE FROM ledger_receipts WHERE number IN (SELECT number FROM ledger_receipts WHERE user = ?1 LIMIT ?2)",
)
"""Each deletes at most so many rows. A table whose rows hang on users by that number has its statement here."""

_STEPS: Sequence[Callable[[LogTransaction, Erasing], int | None]] = (
    _scheduled,
    _placed,
    _superseded,
    _recalled,
    _controls,
    _members,
    _of_number,
)
"""In this order: what is taken back meanwhile is either placed still, or names the user no more. Each goes on from
``at`` and says how far it came; None: it is through. What else names users by their ids has a step here, before the
last."""
FREEING: Final = len(_STEPS)
"""The step behind them: what is left is in free space alone."""


def _without(names: bytes | None, rooms: Collection[Room]) -> bytes:
    return without(names.decode(), rooms).encode() if names else b""
