"""Who is in which topic, in a SQLite file: stays of users, also in rooms of several parts, and what was placed in the
time of one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.transaction import LogTransaction
from domain.errors import TooManyTopics
from domain.model import SPANS_MOST, ChangeMembers, Position, Room, Span, UserId
from domain.model.value import value

ALL: Final = 1 << 62
"""Beyond every offset."""


@value
class Changing:
    topic: str
    add: Sequence[UserId]
    remove: Sequence[UserId]
    most: int


def change_members(transaction: LogTransaction, wanted: Changing) -> Position:
    """An operation of the writer."""
    db, room = transaction.db, Room.of_topic(wanted.topic)
    joined = _among(db, room, wanted.add, are_members=False)
    left = _among(db, room, wanted.remove, are_members=True)
    if not joined and not left:
        return transaction.as_of
    _check(db, joined, wanted.most)
    transaction.log_control(ChangeMembers(wanted.topic, tuple(joined), tuple(left)))
    arguments = {"room": room, "offset": transaction.head}
    names = [room, *map(Room.of_user, joined)]
    db.execute("INSERT OR IGNORE INTO rooms (name) SELECT value FROM json_each(?)", (as_json(names),))
    db.execute(
        """
        INSERT INTO memberships (user, room, after)
        SELECT rooms.id, (SELECT id FROM rooms WHERE name = :room), :offset
        FROM json_each(:users) JOIN rooms ON rooms.name = 'user:' || value""",
        arguments | {"users": as_json(joined)},
    )
    db.execute(
        """
        UPDATE memberships SET upto = :offset
        WHERE room = (SELECT id FROM rooms WHERE name = :room) AND upto IS NULL AND user IN (
            SELECT rooms.id FROM json_each(:users) JOIN rooms ON rooms.name = 'user:' || value)""",
        arguments | {"users": as_json(left)},
    )
    _forget(db, left)
    return transaction.as_of


def _among(db: sqlite3.Connection, room: Room, users: Sequence[UserId], *, are_members: bool) -> list[UserId]:
    """Those of the users, in their order, who are in a topic, or who are not."""
    (found,) = db.execute(
        """
        SELECT json_group_array(value) FROM (
            SELECT value FROM json_each(:users) WHERE :are_members = EXISTS (
                SELECT 1 FROM memberships
                WHERE user = (SELECT id FROM rooms WHERE name = 'user:' || value)
                    AND room = (SELECT id FROM rooms WHERE name = :room) AND upto IS NULL)
            ORDER BY key)""",
        {"users": as_json(users), "room": room, "are_members": int(are_members)},
    ).fetchone()
    return [UserId(user) for user in json.loads(found)]


def _check(db: sqlite3.Connection, joined: Sequence[UserId], most: int) -> None:
    """Raises TooManyTopics."""
    row = db.execute(
        """
        SELECT value FROM json_each(:users) JOIN rooms ON rooms.name = 'user:' || value
        WHERE (SELECT count(*) FROM memberships WHERE user = rooms.id AND upto IS NULL) >= :most
        ORDER BY key LIMIT 1""",
        {"users": as_json(joined), "most": most},
    ).fetchone()
    if row is not None:
        raise TooManyTopics(UserId(row[0]))


def _forget(db: sqlite3.Connection, users: Sequence[UserId]) -> None:
    """The oldest stays of whoever has too many that are over."""
    rows = db.execute(
        """
        SELECT rooms.id FROM json_each(:users) JOIN rooms ON rooms.name = 'user:' || value
        WHERE (SELECT count(*) FROM memberships WHERE user = rooms.id AND upto IS NOT NULL) > :most""",
        {"users": as_json(users), "most": SPANS_MOST},
    ).fetchall()
    for (user,) in rows:
        db.execute(
            """
            DELETE FROM memberships WHERE user = :user AND upto <= (
                SELECT upto FROM memberships WHERE user = :user AND upto IS NOT NULL
                ORDER BY upto DESC LIMIT 1 OFFSET :most)""",
            {"user": user, "most": SPANS_MOST},
        )


# what somebody has there


class Groups(IntEnum):
    """What there is beside rooms that one is in for good. Each has those before it looked for as well."""

    NONE = 0
    TOPICS = 1
    ALL_OF = 2


GROUPS: Final = "SELECT value FROM meta WHERE name = 'groups'"
"""Whether anybody ever came to a topic, or anything was for who is in all of some groups."""


def groups_in(db: sqlite3.Connection) -> Groups:
    (found,) = db.execute(GROUPS).fetchone()
    return Groups(found)


def start_in(room: str, after: str) -> str:
    """A query for the one row about where somebody starts in a room, for ``stays_in``."""
    return f"SELECT {room} AS room, {after} AS after, {ALL} AS upto"


def starts_in(numbers: Iterable[int]) -> list[str]:
    """Those in rooms of these numbers, by ids and offsets that are columns."""
    return [start_in(f"room{number}", f"after{number}") for number in numbers]


def stays_in(groups: Groups, own: str, starts: Sequence[str]) -> str:
    """A query for the stays, as ``room``, ``after`` and ``upto``, of the user whose room has the id ``own``: in topics,
    and in rooms of several parts where with their ``starts`` they were in all of them at once."""
    in_topics = f"SELECT room, after, coalesce(upto, {ALL}) AS upto FROM memberships WHERE user = {own}"  # noqa: S608
    if groups < Groups.ALL_OF:
        return in_topics
    return f"""
        {in_topics}
        UNION ALL
        SELECT * FROM (
            WITH mine AS MATERIALIZED ({" UNION ALL ".join((in_topics, *starts))})
            SELECT begun.room, begun.after, min(mine.upto)
            FROM (
                SELECT DISTINCT all_of.room AS room, all_of.size AS size, first.after AS after
                FROM mine AS known CROSS JOIN all_of ON all_of.found_by = known.room
                CROSS JOIN mine AS first
                CROSS JOIN all_of_parts ON all_of_parts.room = all_of.room AND all_of_parts.part = first.room) AS begun
            CROSS JOIN mine ON mine.after <= begun.after AND mine.upto > begun.after
            CROSS JOIN all_of_parts ON all_of_parts.room = begun.room AND all_of_parts.part = mine.room
            GROUP BY begun.room, begun.after HAVING count(*) = begun.size)"""  # noqa: S608


GIVEN: Final = f"""
    SELECT (SELECT id FROM rooms WHERE name = json_extract(value, '$[0]')), json_extract(value, '$[1]'), {ALL}
    FROM json_each(:starts)"""  # noqa: S608
"""``starts`` of ``stays_in``, from an argument."""


def stays_of(db: sqlite3.Connection, user: UserId, starts: Mapping[Room, int], groups: Groups) -> list[Span]:
    """Of who has such starts, among other rooms in topics."""
    if not groups:
        return []
    rows = db.execute(
        f"""
        SELECT rooms.name, stay.after, nullif(stay.upto, {ALL})
        FROM ({stays_in(groups, "(SELECT id FROM rooms WHERE name = :own)", [GIVEN])}) AS stay
        CROSS JOIN rooms ON rooms.id = stay.room""",  # noqa: S608
        {"own": Room.of_user(user), "starts": as_json([*starts.items()])},
    )
    return [span_of(row) for row in rows]


def span_of(row: Sequence[Any]) -> Span:
    room, after, upto, *_ = row
    return Span(Room(room), after, upto)


def items_in_groups(stays: str, columns: str = "placed.offset, placed.expires_at", *, newest: str | None = None) -> str:
    """A query for the items that came to rooms in the time of ``stays``, see ``stays_in``; but for those up to the
    offset ``:aged``, and with ``newest`` at least for so many of each stay, the newest."""
    before_them = f"""coalesce((
        SELECT some.offset FROM placed AS some
        WHERE some.room = stay.room AND some.offset > max(stay.after, :aged)
            AND some.offset <= stay.upto AND some.item
        ORDER BY some.offset DESC LIMIT 1 OFFSET {newest}), 0)"""  # noqa: S608
    floor = f"max(stay.after, :aged{f', {before_them}' if newest is not None else ''})"
    return f"""
        SELECT {columns} FROM ({stays}) AS stay CROSS JOIN placed
        ON placed.room = stay.room AND placed.offset > {floor} AND placed.offset <= stay.upto AND placed.item
        WHERE true"""  # noqa: S608


ENTRIES = f"""
    SELECT * FROM (
        SELECT placed.offset AS offset, placed.item AS item
        FROM (SELECT rooms.id AS room, json_extract(value, '$[1]') AS after, json_extract(value, '$[2]') AS upto
            FROM json_each(:spans) JOIN rooms ON rooms.name = json_extract(value, '$[0]')) AS span
        CROSS JOIN placed ON placed.room = span.room AND placed.offset > span.after AND placed.offset <= min(span.upto,
            coalesce((SELECT offset FROM placed AS some WHERE some.room = span.room AND some.offset > span.after
                ORDER BY some.offset LIMIT 1 OFFSET :limit), {ALL}))
        UNION
        SELECT placed.offset, placed.item
        FROM (SELECT rooms.id AS room, json_extract(value, '$[2]') AS upto, json_extract(value, '$[3]') AS came,
                max(json_extract(value, '$[1]'), json_extract(value, '$[2]')) AS after
            FROM json_each(:spans) JOIN rooms ON rooms.name = json_extract(value, '$[0]')
            WHERE json_extract(value, '$[2]') < {ALL}) AS span
        CROSS JOIN placed ON placed.room = span.room AND placed.offset > span.after AND NOT placed.item
            AND (SELECT about FROM entries WHERE entries.offset = placed.offset) BETWEEN span.came + 1 AND span.upto
        ORDER BY 1 LIMIT :limit)"""  # noqa: S608
"""The first ``:limit`` entries that are for who stayed in topics: what came then, and what was said later of that. Of a
stay that is over what came since is looked through, as far as it is in the log."""


def stays_after(spans: Iterable[Span], after: int) -> str:
    """For ``ENTRIES``: of those beyond an offset."""
    return as_json(
        [(one.room, max(one.after, after), one.upto if one.upto is not None else ALL, one.after) for one in spans]
    )
