"""Reading inboxes from a SQLite file: which items lie in one, their state, counts and lists.

An item without a row of state is as it came, or read and seen since the first watermark behind it: that is where
everything was read at once. A row that is made for an item begins with that, and is the truth from then on.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Any, TypeAlias

from adapters.store.form import notification, other_form, unknown_form
from adapters.store.sqlite.collapsing import KEYED, places_of, replaced
from adapters.store.sqlite.log import FIELD, ROW, Snapshot, snapshot_of
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.topics import Groups, items_in_groups, start_in, starts_in, stays_in
from adapters.store.times import MICROSECOND, moment
from adapters.store.window import Arguments, Window
from domain.model import (
    Counted,
    Counts,
    InboxQuery,
    Item,
    ItemState,
    Listing,
    Position,
    Room,
    Subscriber,
)
from domain.model.value import value
from domain.rules.epochs import Generations


def _untouched_or(time: str, watermark: str) -> str:
    """A condition: of an item with a row of state that the time is not set, else that it lies behind the watermark."""
    return f"CASE WHEN state.offset IS NULL THEN placed.offset > {watermark} ELSE {time} IS NULL END"


OWN = "(SELECT id FROM rooms WHERE name = :own)"
_WATERMARK = f"coalesce((SELECT max(offset) FROM watermarks WHERE user = {OWN}), 0)"  # noqa: S608
WITH_STATE = f"LEFT JOIN state ON state.user = {OWN} AND state.offset = placed.offset"
IN_OR_SNOOZED = "(placed.expires_at IS NULL OR placed.expires_at > :now) AND coalesce(deleted, 0) = 0"
IN_INBOX = f"{IN_OR_SNOOZED} AND snoozed_until IS NULL"
CURRENT = "archived_at IS NULL"
UNREAD = _untouched_or("read_at", _WATERMARK)
UNSEEN = _untouched_or("seen_at", _WATERMARK)

_READ_ALL_AT = f"""
    (SELECT at FROM watermarks WHERE user = {OWN} AND offset > placed.offset ORDER BY offset LIMIT 1)"""  # noqa: S608
READ_AT = f"CASE WHEN state.offset IS NULL THEN {_READ_ALL_AT} ELSE read_at END"
_READ_ALL_BY = f"""
    (SELECT read_by FROM watermarks
    WHERE user = {OWN} AND offset > placed.offset ORDER BY offset LIMIT 1)"""  # noqa: S608
READ_BY = f"CASE WHEN state.offset IS NULL THEN {_READ_ALL_BY} ELSE read_by END"
SEEN_AT = f"CASE WHEN state.offset IS NULL THEN {_READ_ALL_AT} ELSE seen_at END"

_STATES: Mapping[ItemState, str] = {
    ItemState.CURRENT: CURRENT,
    ItemState.UNREAD: f"{CURRENT} AND {UNREAD}",
    ItemState.READ: f"{CURRENT} AND NOT ({UNREAD})",
    ItemState.ARCHIVED: f"NOT ({CURRENT})",
    ItemState.ALL: "true",
    # Not by IS NOT NULL: there is an index of these, of all users, and nobody else's are to be looked at.
    ItemState.SNOOZED: "coalesce(snoozed_until, 0) > 0",
    ItemState.ALL_AND_SNOOZED: "true",
}
_WITH_SNOOZED = (ItemState.SNOOZED, ItemState.ALL_AND_SNOOZED)


@value
class View:
    """An inbox: ``arguments`` are those of the queries on it."""

    subscriber: Subscriber
    window: Window

    def arguments(self, floor: int) -> Arguments:
        """For ``placed`` with what lies after the offset ``floor``."""
        arguments: Arguments = self.window.limits | {"own": Room.of_user(self.subscriber.user), "aged": floor}
        for number, (room, start) in enumerate(_pairs(self.subscriber)):
            arguments[f"room{number}"] = room
            arguments[f"after{number}"] = max(start, floor)
        return arguments


def _pairs(subscriber: Subscriber) -> list[tuple[Room, int]]:
    return [pair for starts in subscriber.in_each for pair in starts.items()]


Numbered: TypeAlias = Mapping[int, Room]
"""The rooms in a set of roles, by the numbers of the arguments about them."""


def numbered(subscriber: Subscriber) -> list[Numbered]:
    numbers = itertools.count()
    # The rooms come first: of the other one more would be taken.
    return [{number: room for room, number in zip(starts, numbers, strict=False)} for starts in subscriber.in_each]


def _not_replaced(rooms: Numbered) -> str:
    """A condition: that no later one with its key has taken its place in these rooms. Those without are not looked
    for."""
    return f"(item <> {KEYED} OR NOT {is_replaced(rooms)})"


def is_replaced(rooms: Numbered, offset: str = "placed.offset") -> str:
    """A condition: that a later one with its key has."""
    return replaced(places_of(rooms), [f":after{number}" for number in rooms], offset)


def items_of_stays(rooms: Numbered, groups: Groups, columns: str = "placed.offset, placed.expires_at") -> str:
    """A query for the items that a subscriber has by their stays."""
    begun = [start_in(f"(SELECT id FROM rooms WHERE name = :room{number})", f":after{number}") for number in rooms]  # noqa: S608
    return items_in_groups(stays_in(groups, OWN, begun), columns)


def placed(subscriber: Subscriber, groups: Groups) -> str:
    """A query for the items that are placed for a subscriber, newest first."""
    each = numbered(subscriber)
    those = [
        f"""
        SELECT offset, expires_at FROM placed
        WHERE room = (SELECT id FROM rooms WHERE name = :room{number}) AND offset > :after{number} AND item
            AND {_not_replaced(rooms)}"""  # noqa: S608
        for rooms in each
        for number in rooms
    ]
    if groups:
        those += [items_of_stays(rooms, groups) for rooms in each]
    return f"{' UNION '.join(those) or 'SELECT NULL, NULL WHERE false'} ORDER BY 1 DESC"


def _returned(subscriber: Subscriber, groups: Groups) -> str:
    """Those of them that have come back to the user."""
    those = f"SELECT offset FROM state WHERE user = {OWN} AND raised IS NOT NULL"  # noqa: S608
    each = numbered(subscriber)
    found = [
        f"""
        SELECT placed.offset, placed.expires_at
        FROM ({those}) AS back
        CROSS JOIN placed ON placed.room = (SELECT id FROM rooms WHERE name = :room{number})
            AND placed.offset = back.offset
        WHERE placed.offset > :after{number} AND item AND {_not_replaced(rooms)}"""  # noqa: S608
        for rooms in each
        for number in rooms
    ]
    if groups:
        found += [f"{items_of_stays(rooms, groups)} AND placed.offset IN ({those})" for rooms in each]
    return " UNION ".join(found) or "SELECT NULL AS offset, NULL AS expires_at WHERE false"


@value
class Summary:
    """What lies in an inbox. ``floor`` is the offset below its window: all items in it lie above."""

    counts: Counts
    to_read: int
    floor: int
    room: int
    stands_until: int | None


def summarize(db: sqlite3.Connection, views: Sequence[View], snapshot: Snapshot) -> list[Summary]:
    """All of one time, that of the last. ``to_read`` items are unread or unseen, the archived ones among them."""
    window = views[-1].window
    aged = aged_upto(db, window, snapshot)
    subscribers = [view.subscriber for view in views]
    # Nearly all have one set of roles each, and those are looked for together.
    alone = [number for number, one in enumerate(subscribers) if not one.others]
    together = [alone] if alone else []
    found: dict[int, Summary] = {}
    for numbers in [*together, *([number] for number, one in enumerate(subscribers) if one.others)]:
        some = [subscribers[number] for number in numbers]
        sets = zip(*(one.in_each for one in some), strict=True)
        sizes = tuple(max(1, *map(len, of_some)) for of_some in sets)
        (rows,) = db.execute(
            _summaries(sizes, snapshot.groups),
            {"views": as_json([_row(one, aged, sizes) for one in some]), "aged": aged} | window.limits,
        ).fetchone()
        those = (summary(row, window, aged) for row in json.loads(rows))
        found.update(zip(numbers, those, strict=True))
    return [found[number] for number in range(len(views))]


def summary(numbers: Sequence[Any], window: Window, aged: int) -> Summary:
    """Of what ``numbers_of`` found. All up to the offset ``aged`` is too old."""
    number, oldest, unread, unseen, total, to_read, expires_at, oldest_stored_at = numbers
    ends = [expires_at] if expires_at is not None else []
    if oldest_stored_at is not None:
        ends.append(oldest_stored_at + window.kept.retention // MICROSECOND)
    return Summary(
        Counts(unread, unseen, total),
        to_read,
        aged if oldest is None else oldest - 1,
        window.kept.per_user - number,
        min(ends, default=None),
    )


def _row(subscriber: Subscriber, aged: int, sizes: Sequence[int]) -> list[object]:
    """What ``_summaries`` takes of an inbox: its room, and rooms and offsets after which it has their items."""
    row: list[object] = [Room.of_user(subscriber.user)]
    for starts, size in zip(subscriber.in_each, sizes, strict=True):
        for room, start in starts.items():
            row += (room, max(start, aged))
        row += [None] * (2 * (size - len(starts)))
    return row


@lru_cache(maxsize=256)
def _summaries(sizes: Sequence[int], groups: Groups) -> str:
    """A query for the numbers of many inboxes, in their order, each in sets of roles that have at most so many rooms
    each."""
    rooms = range(sum(sizes))
    columns = "".join(
        f""",
            (SELECT id FROM rooms WHERE name = json_extract(value, '$[{2 * number + 1}]')) AS room{number},
            json_extract(value, '$[{2 * number + 2}]') AS after{number}"""  # noqa: S608
        for number in rooms
    )
    each = [rooms[upto - size : upto] for size, upto in zip(sizes, itertools.accumulate(sizes), strict=True)]
    return f"""
        WITH viewed AS MATERIALIZED (
            SELECT key, (SELECT id FROM rooms WHERE name = json_extract(value, '$[0]')) AS own{columns}
            FROM json_each(:views))
        SELECT json_group_array(json({numbers_of(each, groups)}))
        FROM (SELECT *, {LAST_WATERMARK} AS watermark FROM viewed ORDER BY key)"""  # noqa: S608


LAST_WATERMARK = "coalesce((SELECT max(offset) FROM watermarks WHERE user = own), 0)"
"""Of a user by the id ``own`` of their room."""


_ONCE = "LIMIT -1"
"""No limit. But a subquery that has one stays one: what it says of a row is worked out once, and not again wherever it
is used."""


def numbers_of(each: Sequence[Sequence[int]], groups: Groups) -> str:
    """An expression for what ``summary`` takes, in JSON, about the inbox of the user with the room ``own``: in each set
    of roles, which has rooms of these numbers, the items of ``room0`` after ``after0``, and so on, and after ``:aged``
    those of their stays. ``watermark`` is the last one of the user."""
    placed = " UNION ".join(_placed_in(rooms, groups) for rooms in each)
    return f"""(
        SELECT json_array(number, oldest, unread, unseen, total, to_read, expires_at,
            (SELECT stored_at FROM contents WHERE offset = oldest_counted))
        FROM (
            SELECT count(*) AS number, min(offset) AS oldest, coalesce(sum(counted AND unread), 0) AS unread,
                coalesce(sum(counted AND unseen), 0) AS unseen, coalesce(sum(counted), 0) AS total,
                coalesce(sum(inside AND (unread OR unseen)), 0) AS to_read,
                min(CASE WHEN counted THEN expires_at END) AS expires_at,
                min(CASE WHEN counted THEN offset END) AS oldest_counted
            FROM (
                SELECT placed.offset, placed.expires_at, {IN_INBOX} AS inside, {IN_INBOX} AND {CURRENT} AS counted,
                    {_untouched_or("read_at", "watermark")} AS unread,
                    {_untouched_or("seen_at", "watermark")} AS unseen
                FROM ({placed} ORDER BY 1 DESC LIMIT :most) AS placed
                LEFT JOIN state ON state.user = own AND state.offset = placed.offset {_ONCE})))"""  # noqa: S608


def _placed_in(rooms: Sequence[int], groups: Groups) -> str:
    places = [f"CASE room{number} WHEN own THEN -own ELSE room{number} END" for number in rooms]
    others = replaced(places, [f"after{number}" for number in rooms])
    placed = " UNION ".join(
        f"""
        SELECT offset, expires_at FROM placed
        WHERE room = room{number} AND offset > after{number} AND item AND (item <> {KEYED} OR NOT {others})"""  # noqa: S608
        for number in rooms
    )
    if groups:
        placed += f" UNION {items_in_groups(stays_in(groups, 'own', starts_in(rooms)), newest=':most')}"
    return placed


def aged_upto(db: sqlite3.Connection, window: Window, snapshot: Snapshot) -> int:
    """The offset up to which everything is too old for it."""
    return stored_upto(db, window.aged_before, snapshot)


def stored_upto(db: sqlite3.Connection, aged_before: int, snapshot: Snapshot) -> int:
    """The offset up to which all contents were stored at a time or before it; 0 where none were. Times of storing never
    decrease along the log."""
    first = db.execute("SELECT offset, stored_at FROM contents ORDER BY offset LIMIT 1").fetchone()
    if first is None or first[1] > aged_before:
        return 0
    aged, young = int(first[0]), snapshot.head + 1
    while young - aged > 1:
        middle = (aged + young) // 2
        offset, stored_at = db.execute(
            "SELECT offset, stored_at FROM contents WHERE offset >= ? ORDER BY offset LIMIT 1", (middle,)
        ).fetchone() or (young, aged_before + 1)
        if stored_at > aged_before:
            young = middle
        else:
            aged = int(offset)
    return aged


@value
class Looking:
    """A request for the counts or, with a query, for a list."""

    generations: Generations
    view: View
    query: InboxQuery = field(default_factory=InboxQuery)


def count(db: sqlite3.Connection, looking: Sequence[Looking]) -> list[Counted]:
    """An operation of the readers."""
    snapshot = snapshot_of(db)
    as_of = Position(looking[-1].generations.present, snapshot.head)
    summaries = summarize(db, [one.view for one in looking], snapshot)
    return [counted(one.view.window, found, as_of) for one, found in zip(looking, summaries, strict=True)]


def counted(window: Window, found: Summary, as_of: Position) -> Counted:
    """The counts in a snapshot of that head."""
    stands_until = moment(found.stands_until) if found.stands_until is not None else None
    return Counted(found.counts, as_of, found.room, stands_until, window.kept.retention)


def listing(db: sqlite3.Connection, looking: Looking) -> Listing:
    query, view, snapshot = looking.query, looking.view, snapshot_of(db)
    (summary,) = summarize(db, [view], snapshot)
    arguments = view.arguments(summary.floor) | {
        "type": query.type,
        "before": query.before,
        "limit": query.limit + 1,
    }
    # Without a type only the contents on the page are looked at, and not those of the whole inbox.
    of_type = "AND (SELECT type FROM contents WHERE offset = placed.offset) = :type" if query.type is not None else ""
    there = IN_OR_SNOOZED if query.state in _WITH_SNOOZED else IN_INBOX
    shown = f"{there} AND {_STATES[query.state]} {of_type}"
    before, returned_before = ("", "")
    if query.before is not None:
        before, returned_before = "AND placed.offset < :before", "AND raised < :before"
    those, back = placed(view.subscriber, snapshot.groups), _returned(view.subscriber, snapshot.groups)
    (sizes,) = db.execute(
        f"""
        SELECT '[' || group_concat('[' || place || ',' || contents.offset || ',' || length(payload) || ']') || ']'
        FROM (
            SELECT * FROM (
                SELECT placed.offset AS place, placed.offset AS offset
                FROM ({those}) AS placed {WITH_STATE}
                WHERE {shown} AND raised IS NULL {before} ORDER BY placed.offset DESC LIMIT :limit)
            UNION ALL
            SELECT * FROM (
                SELECT raised AS place, placed.offset AS offset
                FROM ({back}) AS placed {WITH_STATE}
                WHERE {shown} {returned_before} ORDER BY raised DESC LIMIT :limit)
            ORDER BY place DESC LIMIT :limit)
            AS listed JOIN contents ON contents.offset = listed.offset""",  # noqa: S608
        arguments,
    ).fetchone()
    found = json.loads(sizes) if sizes is not None else []
    places: dict[int, int] = {}
    size = 0
    for place, offset, payload in sorted(found, reverse=True)[: query.limit]:
        size += payload
        if places and size > query.max_bytes:
            break
        places[offset] = place
    rows, unknown = db.execute(
        f"""
        SELECT CAST(group_concat(offset || char(31) || read_at || char(31) || seen_at || char(31) || archived_at
            || char(31) || snoozed_until || char(31) || payload, char(30)) AS BLOB), {other_form("form", "offset")}
        FROM (SELECT placed.offset AS offset, coalesce({READ_AT}, '') AS read_at, coalesce({SEEN_AT}, '') AS seen_at,
                coalesce(archived_at, '') AS archived_at, coalesce(snoozed_until, '') AS snoozed_until, form, payload
            FROM (SELECT value AS offset FROM json_each(:chosen)) AS placed
            JOIN contents ON contents.offset = placed.offset {WITH_STATE})""",  # noqa: S608
        arguments | {"chosen": as_json([*places])},
    ).fetchone()
    if unknown is not None:
        raise unknown_form(unknown)
    last = min(places.values()) if len(places) < len(found) else None
    return Listing(
        tuple(_items(rows, places)), last, summary.counts, Position(looking.generations.present, snapshot.head)
    )


def _items(rows: bytes | None, places: Mapping[int, int]) -> list[Item]:
    if rows is None:
        return []
    items: list[Item] = []
    for row in rows.split(ROW):
        at, *stored, payload = row.split(FIELD, 5)
        offset = int(at)
        times = [moment(int(time)) if time else None for time in stored]
        items.append(Item(places[offset], notification(offset, payload), *times))
    return sorted(items, key=lambda item: -item.offset)
