"""For whom notifications are, in a SQLite file, and how they stand with them.

Whoever is in the room of a notification is found by the index of the starts, in steps of so many; each of them costs a
look at their marks, their state and their watermarks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from adapters.store.addressing import common_roles, most_looked_at, parts_of, roles_of, whole_audience, without
from adapters.store.form import FORM, notification, unknown_form
from adapters.store.sqlite.erased import rooms_of_erased
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.schema import as_json
from adapters.store.times import moment
from adapters.store.window import Arguments
from domain.model import (
    Audience,
    AudienceKind,
    PartialTally,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    Room,
    Tally,
    UserId,
)
from domain.model.value import value
from domain.rules.epochs import Generations
from domain.rules.recipients import named_after

_COUNTED_AT_ONCE = 5000


@value
class Sought:
    """A request for the notification with an id."""

    generations: Generations
    id: str


def published(db: sqlite3.Connection, sought: Sought) -> PublishedNotification | None:
    """For an operation of the readers."""
    row = db.execute(
        """
        SELECT offset, form, CAST(coalesce(rooms, recalled) AS TEXT), payload, recalled IS NOT NULL
        FROM locators JOIN contents USING (offset)
        WHERE locator = ? AND id = ? AND coalesce(rooms, recalled) IS NOT NULL""",
        (locator(sought.id), sought.id),
    ).fetchone()
    if row is None:
        return None
    offset, form, names, payload, is_recalled = row
    if form != FORM:
        raise unknown_form(offset)
    rooms = without(names, rooms_of_erased(db, offset))
    if not rooms:
        return None
    position = sought.generations.position(offset)
    told = notification(offset, payload) if payload is not None else None
    return PublishedNotification(sought.id, position, whole_audience(rooms), told, bool(is_recalled))


@value
class Asking:
    """A request for the recipients after a place, or for their tally."""

    notification: PublishedNotification
    after: RecipientPlace | None
    limit: int = _COUNTED_AT_ONCE


_NAMED = """
    SELECT rooms.id AS user, 0 AS start, key AS number, value AS name, 0 AS again
    FROM json_each(:users) LEFT JOIN rooms ON rooms.name = 'user:' || value"""
_AFTER = "(:start, coalesce((SELECT id FROM rooms WHERE name = 'user:' || :after), 0))"
_STARTED = f"""
    SELECT user, start FROM starts
    WHERE room = (SELECT id FROM rooms WHERE name = {{room}}) AND start < :offset AND (start, user) > {_AFTER}
    ORDER BY start, user LIMIT :most"""  # noqa: S608
_STAYED = f"""
    SELECT user, after AS start FROM memberships
    WHERE room = (SELECT id FROM rooms WHERE name = {{room}}) AND after < :offset AND coalesce(upto, :offset) >= :offset
        AND (after, user) > {_AFTER}
    ORDER BY after, user LIMIT :most"""  # noqa: S608
_IN_ONE = "SELECT user, start, user AS number, NULL AS name, 0 AS again FROM ({each})"
_ANY = "(SELECT rooms.id FROM json_each(:rooms) JOIN rooms ON rooms.name = value)"
_IN_ANY = f"""
    SELECT user, start, user AS number, NULL AS name,
        EXISTS (SELECT 1 FROM starts AS other
            WHERE other.user = one.user AND other.room IN {_ANY} AND other.start < one.start)
        OR EXISTS (SELECT 1 FROM memberships AS other
            WHERE other.user = one.user AND other.room IN {_ANY} AND other.after < one.start
                AND coalesce(other.upto, :offset) >= :offset) AS again
    FROM ({{each}} ORDER BY 2, 1 LIMIT :most) AS one"""  # noqa: S608
"""Of each room no more are looked at than of all: who comes ``again`` has an earlier place by another."""
_IN_ALL = """
    SELECT user, start, user AS number, NULL AS name, 0 AS again FROM (
        SELECT user, start FROM starts
        WHERE :role IS NOT NULL AND room = (SELECT id FROM rooms WHERE name = :room) AND start < :offset
        UNION ALL
        SELECT user, after FROM memberships
        WHERE :role IS NULL AND room = (SELECT id FROM rooms WHERE name = :room) AND after < :offset
            AND coalesce(upto, :offset) >= :offset) AS one
    WHERE (start, user) > (:start, coalesce((SELECT id FROM rooms WHERE name = 'user:' || :after), 0))
        AND NOT EXISTS (SELECT 1 FROM json_each(:rooms) LEFT JOIN rooms ON rooms.name = value
            WHERE NOT EXISTS (SELECT 1 FROM starts
                    WHERE starts.user = one.user AND starts.room = rooms.id AND starts.start < :offset)
                AND NOT EXISTS (SELECT 1 FROM memberships
                    WHERE memberships.user = one.user AND memberships.room = rooms.id
                        AND memberships.after < :offset AND coalesce(upto, :offset) >= :offset))
        AND (json_array_length(:common) < 2 OR EXISTS (SELECT 1 FROM marks WHERE marks.user = one.user
            AND NOT EXISTS (SELECT 1 FROM json_each(:common)
                WHERE NOT instr(char(31) || role || char(31), char(31) || value || char(31)))))
    ORDER BY start, user LIMIT :most"""
_STANDING = """
    SELECT given.user AS user, given.name AS name, given.start AS start, given.number AS number, given.again AS again,
        EXISTS (SELECT 1 FROM marks WHERE marks.user = given.user AND marks.offset >= :offset
            AND (:roles IS NULL OR EXISTS (SELECT 1 FROM json_each(:roles)
                WHERE instr(char(31) || role || char(31), char(31) || value || char(31))))
            AND NOT EXISTS (SELECT 1 FROM json_each(:common)
                WHERE NOT instr(char(31) || role || char(31), char(31) || value || char(31)))) AS received,
        CASE WHEN state.offset IS NULL THEN iif(read_all_at <= ends, read_all_at, NULL)
            ELSE iif(seen_at <= ends, seen_at, NULL) END AS seen_at,
        CASE WHEN state.offset IS NULL THEN iif(read_all_at <= ends, read_all_at, NULL)
            ELSE iif(read_at <= ends, read_at, NULL) END AS read_at,
        archived_at, coalesce(deleted, 0) <> 0 AS deleted, deleted_at
    FROM (SELECT *, (SELECT at FROM watermarks WHERE watermarks.user = some.user AND watermarks.offset > :offset
            ORDER BY watermarks.offset LIMIT 1) AS read_all_at,
            coalesce((SELECT expires_at FROM contents WHERE contents.offset = :offset), 9223372036854775807) AS ends
        FROM ({given}) AS some) AS given
    LEFT JOIN state ON state.user = given.user AND state.offset = :offset"""
_NAME = "coalesce(name, substr((SELECT rooms.name FROM rooms WHERE rooms.id = user), 6))"
_RECIPIENTS = f"""
    SELECT json_group_array(json_array(
        {_NAME}, start, received, seen_at, read_at, archived_at, deleted, deleted_at, again))
    FROM (SELECT * FROM ({{standing}}) ORDER BY start, number)"""  # noqa: S608
_TALLY = f"""
    WITH standing AS MATERIALIZED ({{standing}})
    SELECT count(*), count(*) FILTER (WHERE received AND NOT again), count(seen_at) FILTER (WHERE NOT again),
        count(read_at) FILTER (WHERE NOT again), count(archived_at) FILTER (WHERE NOT again),
        count(*) FILTER (WHERE deleted AND NOT again),
        (SELECT json_array(start, {_NAME}) FROM standing ORDER BY start DESC, number DESC LIMIT 1)
    FROM standing"""  # noqa: S608


def recipients(db: sqlite3.Connection, asking: Asking) -> RecipientsPage:
    """For an operation of the readers."""
    most = most_looked_at(asking.notification.audience, asking.limit)
    (found,) = db.execute(_of(_RECIPIENTS, asking), _arguments(asking, most)).fetchone()
    rows = json.loads(found)
    there = [row for row in rows if not row[-1]]
    page = there[: asking.limit]
    last = page[-1] if len(there) > len(page) else rows[-1] if len(rows) == most else None
    return RecipientsPage(
        [_recipient(row) for row in page], RecipientPlace(last[1], UserId(last[0])) if last is not None else None
    )


def tally(db: sqlite3.Connection, asking: Asking) -> PartialTally:
    """For an operation of the readers."""
    number, *numbers, last = db.execute(_of(_TALLY, asking), _arguments(asking, asking.limit)).fetchone()
    if number < asking.limit:
        return PartialTally(Tally(*numbers), None)
    start, name = json.loads(last)
    return PartialTally(Tally(*numbers), RecipientPlace(start, UserId(name)))


def _of(query: str, asking: Asking) -> str:
    return query.format(standing=_STANDING.format(given=_given(asking.notification.audience)))


def _given(audience: Audience) -> str:
    if audience.kind is AudienceKind.USER:
        return _NAMED
    if parts_of(audience):
        return _IN_ALL
    rooms = _rooms_of(audience)
    if len(rooms) == 1:
        return _IN_ONE.format(each=_in(rooms[0], ":room"))
    names = (f"json_extract(:rooms, '$[{number}]')" for number in range(len(rooms)))
    each = (f"SELECT * FROM ({_in(room, name)})" for room, name in zip(rooms, names, strict=True))  # noqa: S608
    return _IN_ANY.format(each=" UNION ".join(each))


def _rooms_of(audience: Audience) -> Sequence[Room]:
    return parts_of(audience) or sorted(audience.rooms)


def _in(room: Room, name: str) -> str:
    return (_STAYED if room.is_topic else _STARTED).format(room=name)


def _arguments(asking: Asking, most: int) -> Arguments:
    audience, after = asking.notification.audience, asking.after
    roles = roles_of(audience)
    common: Arguments = {
        "offset": asking.notification.position.offset,
        "roles": as_json(roles) if roles is not None else None,
        "common": as_json(common_roles(audience)),
    }
    if audience.kind is AudienceKind.USER:
        return common | {"users": as_json(named_after(audience, after)[:most])}
    # Of several parts the last, a topic where there is one, is gone through.
    rooms = _rooms_of(audience)
    return common | {
        "room": rooms[-1],
        "role": None if rooms[-1].is_topic else 1,
        "rooms": as_json(rooms),
        "start": after.start if after is not None else -1,
        "after": after.user if after is not None else "",
        "most": most,
    }


def _recipient(row: list[Any]) -> Recipient:
    name, _, received, seen_at, read_at, archived_at, deleted, deleted_at, _ = row
    times = (seen_at, read_at, archived_at, deleted_at)
    seen, read, archived, gone = (moment(at) if at is not None else None for at in times)
    return Recipient(UserId(name), bool(received), seen, read, archived, bool(deleted), gone)
