"""What is to come into the log at a time of its own, in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from adapters.contract.events import read_notification
from adapters.store.addressing import whole_audience, without
from adapters.store.coming_due import DUE_BYTES
from adapters.store.drafts import PreparedDraft
from adapters.store.form import FORM, notification, other_form, unknown_form
from adapters.store.revising import Revising
from adapters.store.sqlite.erased import know_again, rooms_not_withdrawn
from adapters.store.sqlite.erasing import withdraw_due
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.log import FIELD, ROW
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.snoozing import bring_back, due_snoozes, first_snooze, number_of_snoozed
from adapters.store.sqlite.transaction import LogTransaction, NewNotification
from adapters.store.times import microseconds, moment
from domain.errors import NotificationRecalled, UnknownNotification
from domain.model import Draft, Due, Room, ScheduledNotification
from domain.model.value import value

_FORGOTTEN_AT_ONCE = 1000

_DUE = f"""
    SELECT CAST(group_concat(number || char(31) || due || char(31) || coalesce(expires_at, '')
            || char(31) || hex(coalesce(key, x'')) || char(31) || hex(coalesce(digest, x'')) || char(31) || rooms
            || char(31) || payload, char(30)) AS BLOB),
        {other_form("form", "number")}
    FROM (
        SELECT *, row_number() OVER first_first AS place,
            sum(length(rooms) + length(payload)) OVER first_first AS size
        FROM (SELECT * FROM scheduled WHERE ended IS NULL AND due <= :now ORDER BY due, number LIMIT :most)
        WINDOW first_first AS (ORDER BY due, number ROWS UNBOUNDED PRECEDING))
    WHERE place = 1 OR size <= {DUE_BYTES}"""  # noqa: S608

_LAST = """
    SELECT max(coalesce((SELECT max(number) FROM scheduled), 0),
        coalesce((SELECT max(at) FROM erasures WHERE done_at IS NULL AND step = 0), 0))"""
"""What waits from now on is none of those that an erasure has yet to go through."""


@value
class Deliver:
    """What is due by now, as many as that."""

    now: datetime
    most: int


@value
class _Waiting:
    number: int
    due: int
    draft: PreparedDraft


def schedule(transaction: LogTransaction, waiting: Sequence[NewNotification]) -> None:
    """Have them wait; at least one."""
    (last,) = transaction.db.execute(_LAST).fetchone()
    rows: list[tuple[object, ...]] = []
    locators: list[tuple[int, int]] = []
    for number, one in enumerate(waiting, last + 1):
        draft, payload, digest = one.prepared.draft, one.prepared.payload, one.prepared.digest
        ends, due = draft.notification.expires_at, draft.deliver_at
        rows.append(
            (
                number,
                microseconds(due) if due is not None else None,
                microseconds(ends) if ends is not None else None,
                draft.notification.id,
                draft.idempotency_key,
                digest,
                draft.notification.type,
                "\n".join(draft.rooms).encode(),
                payload,
            )
        )
        locators.extend((named, -number) for named in one.locators)
    transaction.db.executemany(
        f"""
        INSERT INTO scheduled (number, due, expires_at, id, key, digest, type, form, rooms, payload)
        VALUES (?, ?, ?, ?, ?, ?, ?, {FORM}, ?, ?)""",  # noqa: S608
        rows,
    )
    transaction.db.executemany("INSERT INTO locators (locator, offset) VALUES (?, ?)", locators)
    know_again(transaction.db, {room for one in waiting for room in one.prepared.draft.rooms})


def deliver_due(transaction: LogTransaction, wanted: Deliver) -> Due:
    """An operation of the writer. Raises UnknownForm."""
    most = wanted.most - withdraw_due(transaction, wanted.now, wanted.most)
    rows, unknown = transaction.db.execute(_DUE, {"now": microseconds(wanted.now), "most": most}).fetchone()
    if unknown is not None:
        raise unknown_form(-unknown)
    due = sorted(map(_waiting, rows.split(ROW) if rows is not None else ()), key=lambda one: (one.due, one.number))
    snoozed = due_snoozes(transaction.db, wanted.now, wanted.most - len(due))
    if due:
        located = [(one, _locators(one.draft.draft)) for one in due]
        _remove(transaction, located)
        transaction.log_notifications([NewNotification(one.draft, locators) for one, locators in located])
    if snoozed:
        bring_back(transaction, snoozed)
    times = [*(moment(one.due) for one in due), *(one.until for one in snoozed)]
    return Due([(transaction.now - time).total_seconds() for time in times], first_due(transaction.db, None))


def _waiting(row: bytes) -> _Waiting:
    number, due, expires_at, key, digest, rooms, payload = row.split(FIELD, 6)
    told = notification(-int(number), payload)
    ends = moment(int(expires_at)) if expires_at else None
    draft = Draft(
        read_notification(told, ends),
        frozenset(map(Room, rooms.decode().split("\n"))),
        own_id=True,
        idempotency_key=bytes.fromhex(key.decode()).decode() or None,
        deliver_at=moment(int(due)),
    )
    return _Waiting(int(number), int(due), PreparedDraft(draft, told, bytes.fromhex(digest.decode()) or None))


def _locators(draft: Draft) -> tuple[int, ...]:
    names = (draft.notification.id, draft.idempotency_key)
    return tuple(dict.fromkeys(locator(name) for name in names if name is not None))


def _remove(transaction: LogTransaction, located: Sequence[tuple[_Waiting, Sequence[int]]]) -> None:
    leading = [(named, -one.number) for one, locators in located for named in locators]
    transaction.db.execute(
        """
        DELETE FROM locators WHERE (locator, offset) IN (
            SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))""",
        (as_json(leading),),
    )
    transaction.db.execute(
        "DELETE FROM scheduled WHERE number IN (SELECT value FROM json_each(?))",
        (as_json([one.number for one, _ in located]),),
    )


def first_due(db: sqlite3.Connection, _: None) -> datetime | None:
    """For an operation of the readers: when the first of those that wait is due."""
    snoozed = first_snooze(db)
    row = db.execute("SELECT due FROM scheduled WHERE ended IS NULL ORDER BY due LIMIT 1").fetchone()
    times = [*([moment(row[0])] if row is not None else []), *([snoozed] if snoozed is not None else [])]
    return min(times, default=None)


def waiting(db: sqlite3.Connection, _: None) -> int:
    """For an operation of the readers."""
    return number_waiting(db) + number_of_snoozed(db)


def number_waiting(db: sqlite3.Connection) -> int:
    (number,) = db.execute("SELECT number FROM waiting").fetchone()
    return int(number)


_NAMED = """
    FROM locators JOIN scheduled ON number = -locators.offset WHERE locator = ? AND locators.offset < 0 AND id = ?"""


def scheduled(db: sqlite3.Connection, id_: str) -> ScheduledNotification | None:
    """For an operation of the readers. Raises UnknownForm."""
    row = db.execute(
        f"SELECT number, due, form, CAST(rooms AS TEXT), payload {_NAMED} AND rooms IS NOT NULL",
        (locator(id_), id_),
    ).fetchone()
    if row is None:
        return None
    number, due, form, names, payload = row
    if form != FORM:
        raise unknown_form(-number)
    rooms = without(names, rooms_not_withdrawn(db, number))
    if not rooms:
        return None
    told = notification(-number, payload) if payload is not None else None
    return ScheduledNotification(id_, moment(due), whole_audience(rooms), told)


def revise_scheduled(transaction: LogTransaction, wanted: Revising) -> None:
    """An operation of the writer."""
    number, payload, expires_at = _known(transaction, wanted.id)
    revision = wanted.unsent(notification(-number, payload), moment(expires_at) if expires_at is not None else None)
    if revision is not None:
        ends = revision.notification.expires_at
        transaction.db.execute(
            "UPDATE scheduled SET type = ?, payload = ?, expires_at = ?, due = coalesce(?, due) WHERE number = ?",
            (
                revision.notification.type,
                revision.payload,
                microseconds(ends) if ends is not None else None,
                microseconds(revision.due) if revision.due is not None else None,
                number,
            ),
        )


def cancel(transaction: LogTransaction, id_: str) -> None:
    """An operation of the writer."""
    number, *_ = _known(transaction, id_)
    transaction.db.execute(
        "UPDATE scheduled SET ended = ?, payload = NULL WHERE number = ?",
        (microseconds(transaction.now), number),
    )


def _known(transaction: LogTransaction, id_: str) -> tuple[int, bytes, int | None]:
    """Its number, its payload and when it expires. Raises UnknownNotification and NotificationRecalled."""
    row = transaction.db.execute(
        f"SELECT number, payload, expires_at, CAST(rooms AS TEXT) {_NAMED}",
        (locator(id_), id_),
    ).fetchone()
    if row is None:
        raise UnknownNotification
    number, payload, expires_at, names = row
    if names is not None and not without(names, rooms_not_withdrawn(transaction.db, number)):
        raise UnknownNotification
    if payload is None:
        raise NotificationRecalled
    return number, payload, expires_at


def forget(transaction: LogTransaction, before: datetime) -> bool:
    """What was cancelled by then; whether there may be more of it."""
    rows = transaction.db.execute(
        "SELECT number, id, key FROM scheduled WHERE ended <= ? LIMIT ?", (microseconds(before), _FORGOTTEN_AT_ONCE)
    ).fetchall()
    if rows:
        leading = [(locator(name), -number) for number, *names in rows for name in names if name is not None]
        transaction.db.executemany("DELETE FROM locators WHERE locator = ? AND offset = ?", leading)
        transaction.db.executemany("DELETE FROM tombstones WHERE offset = ?", [(-number,) for number, *_ in rows])
        transaction.db.executemany("DELETE FROM scheduled WHERE number = ?", [(number,) for number, *_ in rows])
    return len(rows) == _FORGOTTEN_AT_ONCE
