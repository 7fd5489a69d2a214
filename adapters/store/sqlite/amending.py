"""What is done to notifications after they were published, in a SQLite file."""

from __future__ import annotations

from datetime import datetime

from adapters.contract.events import recalled_json
from adapters.store.form import notification
from adapters.store.revising import Revising, Revision
from adapters.store.sqlite.collapsing import Keyed, key_of, later
from adapters.store.sqlite.erased import rooms_of_erased
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction, NewChange
from adapters.store.times import microseconds, moment
from domain.errors import NotificationDeleted, NotificationRecalled, UnknownNotification
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_REVISED, Amended, Json, Room
from domain.model.value import value


@value
class _Published:
    """A notification as it is stored. ``revised`` is the offset of the last entry that revises it."""

    offset: int
    rooms: frozenset[Room]
    payload: Json | None
    expires_at: datetime | None
    revised: int | None


def revise(transaction: LogTransaction, wanted: Revising) -> Amended:
    """An operation of the writer."""
    published = _published(transaction, wanted.id)
    rooms = _without_deleted(transaction, published)
    if published.payload is None or (published.rooms and not rooms):
        raise NotificationDeleted
    revision = wanted.of(published.payload, published.expires_at)
    if revision is None:
        last = published.revised if published.revised is not None else published.offset
        return Amended(wanted.id, published.offset, transaction.generations.position(last))
    erase_told(transaction, published.revised)
    expires_at = revision.notification.expires_at
    key, after = revision.notification.collapse_key, None
    if key is not None:
        rooms = _where_it_is(transaction, published.offset, rooms)
        after, _ = later(transaction.db, Keyed(published.offset, key, rooms))
    told = NewChange(NOTIFICATION_REVISED, revision.payload, rooms, published.offset, expires_at, key, after)
    transaction.log_changes([told])
    _replace(transaction, published, revision)
    return Amended(wanted.id, published.offset, transaction.as_of)


def recall(transaction: LogTransaction, id_: str) -> Amended:
    """An operation of the writer."""
    published = _published(transaction, id_)
    erase_told(transaction, published.revised)
    payload = recalled_json(id_, _key_of_last(transaction, published))
    told = NewChange(NOTIFICATION_DELETED, payload, published.rooms, published.offset)
    transaction.log_changes([told])
    _erase(transaction, published)
    return Amended(id_, published.offset, transaction.as_of)


def _published(transaction: LogTransaction, id_: str) -> _Published:
    """Raises UnknownNotification and NotificationRecalled."""
    row = transaction.db.execute(
        """
        SELECT offset, rooms, payload, expires_at, revised FROM locators JOIN contents USING (offset)
        WHERE locator = ? AND id = ?""",
        (locator(id_), id_),
    ).fetchone()
    if row is None:
        raise UnknownNotification
    offset, names, payload, expires_at, revised = row
    if names is None:
        raise NotificationRecalled
    ends = moment(expires_at) if expires_at is not None else None
    rooms = _rooms(names) - rooms_of_erased(transaction.db, offset)
    if not rooms:
        raise UnknownNotification
    told = notification(offset, payload) if payload is not None else None
    return _Published(offset, rooms, told, ends, revised)


def _without_deleted(transaction: LogTransaction, published: _Published) -> frozenset[Room]:
    """Its rooms, but for those of users who have deleted it. Those of one for everyone may be a million, and are not
    looked at."""
    rows = transaction.db.execute(
        """
        SELECT name FROM json_each(:names) CROSS JOIN rooms ON rooms.name = value
        CROSS JOIN state ON state.user = rooms.id AND state.offset = :offset
        WHERE deleted""",
        {"offset": published.offset, "names": as_json(list(published.rooms))},
    )
    return published.rooms - {Room(name) for (name,) in rows}


def _where_it_is(transaction: LogTransaction, offset: int, rooms: frozenset[Room]) -> frozenset[Room]:
    """Those of the rooms in which no later one has taken its place."""
    rows = transaction.db.execute(
        """
        SELECT name FROM json_each(:names) CROSS JOIN rooms ON rooms.name = value
        CROSS JOIN placed ON placed.room = rooms.id AND placed.offset = :offset""",
        {"offset": offset, "names": as_json(list(rooms))},
    )
    return frozenset(Room(name) for (name,) in rows)


def _key_of_last(transaction: LogTransaction, published: _Published) -> str | None:
    """Its key, where nobody whom it is for has a later one with that."""
    key = key_of(transaction.db, published.offset)
    if key is None:
        return None
    after, is_all = later(transaction.db, Keyed(published.offset, key, published.rooms))
    return key if is_all and not after else None


def _replace(transaction: LogTransaction, published: _Published, revision: Revision) -> None:
    after = revision.notification
    expires_at = microseconds(after.expires_at) if after.expires_at is not None else None
    transaction.db.execute(
        "UPDATE contents SET type = ?, payload = ?, expires_at = ?, revised = ? WHERE offset = ?",
        (after.type, revision.payload, expires_at, transaction.head, published.offset),
    )
    if after.expires_at != published.expires_at:
        transaction.db.execute(
            """
            UPDATE placed SET expires_at = :expires_at WHERE offset = :offset AND room IN (
                SELECT rooms.id FROM json_each(:names) JOIN rooms ON rooms.name = value)""",
            {"expires_at": expires_at, "offset": published.offset, "names": as_json(list(published.rooms))},
        )


def _erase(transaction: LogTransaction, published: _Published) -> None:
    """It stays known by its id, and for whom it was."""
    _displace(transaction, published.offset, published.rooms)
    transaction.db.execute(
        """
        UPDATE contents SET recalled = rooms, rooms = NULL, payload = NULL,
            expires_at = min(coalesce(expires_at, :now), :now)
        WHERE offset = :offset""",
        {"offset": published.offset, "now": microseconds(transaction.now)},
    )


def erase_told(transaction: LogTransaction, revised: int | None) -> None:
    """The entry that told the content of a notification up to now, if it is still there."""
    row = transaction.db.execute("SELECT rooms FROM entries WHERE offset = ?", (revised,)).fetchone()
    if row is not None:
        _displace(transaction, revised, _rooms(row[0]))
        transaction.db.execute(
            "UPDATE entries SET rooms = NULL, payload = NULL, expires_at = NULL WHERE offset = ?", (revised,)
        )


def _displace(transaction: LogTransaction, offset: int | None, rooms: frozenset[Room]) -> None:
    transaction.db.execute(
        """
        DELETE FROM placed WHERE offset = :offset AND room IN (
            SELECT rooms.id FROM json_each(:names) JOIN rooms ON rooms.name = value)""",
        {"offset": offset, "names": as_json(list(rooms))},
    )


def _rooms(names: bytes) -> frozenset[Room]:
    return frozenset(map(Room, names.decode().split("\n"))) if names else frozenset()
