"""Reading inboxes from a SQLite file: which items lie in one, their state, counts and lists.

An item without a row of state is as it came, or read and seen since the first watermark behind it: that is where
everything was read at once. A row that is made for an item begins with that, and is the truth from then on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta

from adapters.store.sqlite.generations import Generations
from adapters.store.sqlite.log import FIELD, ROW, as_json, head
from adapters.store.sqlite.schema import moment
from domain.model import Counted, Counts, InboxQuery, Item, ItemState, Json, Listing, Position, Room, Subscriber
from domain.model.value import value

Arguments = dict[str, object]

_OWN = "(SELECT id FROM rooms WHERE name = :own)"
_WATERMARK = f"coalesce((SELECT max(offset) FROM watermarks WHERE user = {_OWN}), 0)"  # noqa: S608
WITH_STATE = f"LEFT JOIN state ON state.user = {_OWN} AND state.offset = placed.offset"
IN_INBOX = "(placed.expires_at IS NULL OR placed.expires_at > :now) AND coalesce(deleted, 0) = 0"
CURRENT = "archived_at IS NULL"
UNREAD = f"CASE WHEN state.offset IS NULL THEN placed.offset > {_WATERMARK} ELSE read_at IS NULL END"
UNSEEN = f"CASE WHEN state.offset IS NULL THEN placed.offset > {_WATERMARK} ELSE seen_at IS NULL END"

_READ_ALL_AT = f"""
    (SELECT at FROM watermarks WHERE user = {_OWN} AND offset > placed.offset ORDER BY offset LIMIT 1)"""  # noqa: S608
READ_AT = f"CASE WHEN state.offset IS NULL THEN {_READ_ALL_AT} ELSE read_at END"
SEEN_AT = f"CASE WHEN state.offset IS NULL THEN {_READ_ALL_AT} ELSE seen_at END"

_STATES: Mapping[ItemState, str] = {
    ItemState.CURRENT: CURRENT,
    ItemState.UNREAD: f"{CURRENT} AND {UNREAD}",
    ItemState.READ: f"{CURRENT} AND NOT ({UNREAD})",
    ItemState.ARCHIVED: f"NOT ({CURRENT})",
    ItemState.ALL: "true",
}


@value
class Kept:
    """How much of an inbox is kept."""

    retention: timedelta
    per_user: int


@value
class View:
    """An inbox at a time, in microseconds: ``arguments`` are those of the queries on it."""

    subscriber: Subscriber
    now: int
    kept: Kept

    @property
    def aged_before(self) -> int:
        return self.now - self.kept.retention // timedelta(microseconds=1)

    def arguments(self, floor: int) -> Arguments:
        """For ``placed`` with what lies after the offset ``floor``."""
        arguments: Arguments = {"own": Room.of_user(self.subscriber.user), "now": self.now, "most": self.kept.per_user}
        for number, (room, start) in enumerate(self.subscriber.starts.items()):
            arguments[f"room{number}"] = room
            arguments[f"after{number}"] = max(start, floor)
        return arguments


def placed(subscriber: Subscriber) -> str:
    """A query for the items that are placed for a subscriber, newest first."""
    rooms = [
        f"""
        SELECT offset, expires_at FROM placed
        WHERE room = (SELECT id FROM rooms WHERE name = :room{number}) AND offset > :after{number} AND item"""  # noqa: S608
        for number in range(len(subscriber.starts))
    ]
    return f"{' UNION '.join(rooms) or 'SELECT NULL, NULL WHERE false'} ORDER BY 1 DESC"


@value
class Summary:
    """What lies in an inbox. ``floor`` is the offset below its window: all items in it lie above."""

    counts: Counts
    to_read: int
    floor: int
    room: int
    stands_until: int | None


def summarize(db: sqlite3.Connection, view: View) -> Summary:
    """``to_read`` items are unread or unseen, the archived ones among them."""
    aged = _aged(db, view.aged_before)
    number, oldest, unread, unseen, total, to_read, expires_at, oldest_counted = db.execute(
        f"""
        SELECT count(*), min(offset), total(counted AND unread), total(counted AND unseen), total(counted),
            total(inside AND (unread OR unseen)), min(CASE WHEN counted THEN expires_at END),
            min(CASE WHEN counted THEN offset END)
        FROM (SELECT placed.offset, placed.expires_at, {IN_INBOX} AS inside, {IN_INBOX} AND {CURRENT} AS counted,
                {UNREAD} AS unread, {UNSEEN} AS unseen
            FROM ({placed(view.subscriber)} LIMIT :most) AS placed {WITH_STATE})""",  # noqa: S608
        view.arguments(aged),
    ).fetchone()
    ends = [] if expires_at is None else [expires_at]
    if oldest_counted is not None:
        (stored_at,) = db.execute("SELECT stored_at FROM entries WHERE offset = ?", (oldest_counted,)).fetchone()
        ends.append(stored_at + view.now - view.aged_before)
    return Summary(
        Counts(int(unread), int(unseen), int(total)),
        int(to_read),
        aged if oldest is None else oldest - 1,
        view.kept.per_user - number,
        min(ends, default=None),
    )


def _aged(db: sqlite3.Connection, aged_before: int) -> int:
    """The offset up to which everything is too old. Times of storing never decrease along the log."""
    first = db.execute("SELECT offset, stored_at FROM entries ORDER BY offset LIMIT 1").fetchone()
    if first is None or first[1] > aged_before:
        return 0
    aged, young = int(first[0]), head(db) + 1
    while young - aged > 1:
        middle = (aged + young) // 2
        offset, stored_at = db.execute(
            "SELECT offset, stored_at FROM entries WHERE offset >= ? ORDER BY offset LIMIT 1", (middle,)
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


def count(db: sqlite3.Connection, looking: Looking) -> Counted:
    summary = summarize(db, looking.view)
    stands_until = moment(summary.stands_until) if summary.stands_until is not None else None
    as_of, kept_for = _as_of(db, looking), looking.view.kept.retention
    return Counted(summary.counts, as_of, summary.room, stands_until, kept_for)


def listing(db: sqlite3.Connection, looking: Looking) -> Listing:
    query, view = looking.query, looking.view
    summary = summarize(db, view)
    arguments = view.arguments(summary.floor) | {
        "type": query.type,
        "before": query.before,
        "limit": query.limit + 1,
    }
    # Without a type only the entries of the page are looked at, and not those of the whole inbox.
    of_type = "AND (SELECT type FROM entries WHERE offset = placed.offset) = :type" if query.type is not None else ""
    before = "AND placed.offset < :before" if query.before is not None else ""
    (sizes,) = db.execute(
        f"""
        SELECT group_concat(entries.offset || ' ' || length(payload), ',') FROM (
            SELECT placed.offset AS offset FROM ({placed(view.subscriber)}) AS placed {WITH_STATE}
            WHERE {IN_INBOX} AND {_STATES[query.state]} {before} {of_type} ORDER BY placed.offset DESC LIMIT :limit)
            AS listed JOIN entries ON entries.offset = listed.offset""",  # noqa: S608
        arguments,
    ).fetchone()
    found = [tuple(map(int, one.split(" "))) for one in sizes.split(",")] if sizes is not None else []
    chosen: list[int] = []
    size = 0
    for offset, payload in sorted(found, reverse=True)[: query.limit]:
        size += payload
        if chosen and size > query.max_bytes:
            break
        chosen.append(offset)
    (rows,) = db.execute(
        f"""
        SELECT CAST(group_concat(offset || char(31) || read_at || char(31) || seen_at || char(31) || archived_at
            || char(31) || payload, char(30)) AS BLOB)
        FROM (SELECT placed.offset AS offset, coalesce({READ_AT}, '') AS read_at, coalesce({SEEN_AT}, '') AS seen_at,
                coalesce(archived_at, '') AS archived_at, payload
            FROM (SELECT value AS offset FROM json_each(:chosen)) AS placed
            JOIN entries ON entries.offset = placed.offset {WITH_STATE})""",  # noqa: S608
        arguments | {"chosen": as_json(chosen)},
    ).fetchone()
    more = len(chosen) < len(found)
    return Listing(tuple(_items(rows)), chosen[-1] if more else None, summary.counts, _as_of(db, looking))


def _items(rows: bytes | None) -> list[Item]:
    if rows is None:
        return []
    items: list[Item] = []
    for row in rows.split(ROW):
        offset, *times, payload = row.split(FIELD, 4)
        read_at, seen_at, archived_at = (moment(int(time)) if time else None for time in times)
        items.append(Item(int(offset), Json(payload), read_at, seen_at, archived_at))
    return sorted(items, key=lambda item: -item.offset)


def _as_of(db: sqlite3.Connection, looking: Looking) -> Position:
    return Position(looking.generations.present, head(db))
