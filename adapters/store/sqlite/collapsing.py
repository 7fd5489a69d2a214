"""Notifications with a collapse key in a SQLite file: where they are, and which of them others have replaced.

Whoever has none pays for none: that one has a key is told by where it is placed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.store import following
from adapters.store.sqlite.schema import as_json
from domain.model import NOTIFICATION_NEW, NOTIFICATION_REVISED, Entry, Room, Subscriber
from domain.model.value import value
from domain.rules.collapsing import OWN_ROOMS_MOST, earlier_of, is_own

KEYED: Final = 2
"""The ``item`` of one with a key where it is placed."""
_END: Final = 1 << 62

PLACE: Final = "CASE WHEN substr(name, 1, 5) = 'user:' THEN -rooms.id ELSE rooms.id END"
"""The place that one of the ``rooms`` is. Of users they are apart from the others: there may be a million of those with
the same key."""
_LAST = """
    (SELECT max(offset) FROM collapsing
    WHERE collapsing.key = :key AND collapsing.place = found.place AND offset > :after AND offset < :before)"""
_NAMED = f"""
    SELECT json_group_array(json_array(name, last)) FROM (
        SELECT name, {_LAST} AS last
        FROM (SELECT name, -rooms.id AS place FROM json_each(:names) CROSS JOIN rooms ON rooms.name = value) AS found)
    WHERE last IS NOT NULL"""  # noqa: S608


def _with_key(side: str) -> str:
    # From place to place: what there is in one of them, of any number, is not read.
    return f"""
        WITH RECURSIVE found (place) AS (
            SELECT (SELECT place FROM collapsing WHERE key = :key AND {side} ORDER BY place LIMIT 1)
            UNION ALL
            SELECT (SELECT place FROM collapsing WHERE key = :key AND {side} AND collapsing.place > found.place
                ORDER BY place LIMIT 1)
            FROM found WHERE found.place IS NOT NULL LIMIT :most)
        SELECT json_group_array(json_array(name, last)) FROM (
            SELECT (SELECT name FROM rooms WHERE rooms.id = abs(place)) AS name, {_LAST} AS last
            FROM found WHERE place IS NOT NULL)
        WHERE last IS NOT NULL"""  # noqa: S608


_SHARED = _with_key("collapsing.place > 0")
_OWN = _with_key("collapsing.place < 0")


def replaced(place: Iterable[str], after: Iterable[str], offset: str = "placed.offset") -> str:
    """A condition: that behind an offset there is one with the same key in one of the places, after an offset each."""
    conditions = [
        f"""EXISTS (
            SELECT 1 FROM collapsing AS later
            WHERE later.key = (SELECT key FROM collapsing WHERE collapsing.offset = {offset} LIMIT 1)
                AND later.place = {one} AND later.offset > max({offset}, {start}))"""  # noqa: S608
        for one, start in zip(place, after, strict=True)
    ]
    return f"({' OR '.join(conditions) or 'false'})"


def places_of(rooms: Mapping[int, Room]) -> list[str]:
    """Expressions for rooms, which are the arguments ``:room0`` and so on, as places."""
    return [
        f"{'-' if is_own(room) else ''}(SELECT id FROM rooms WHERE name = :room{number})"  # noqa: S608
        for number, room in rooms.items()
    ]


@value
class Keyed:
    """A notification with a key, at an offset."""

    offset: int
    key: str
    rooms: frozenset[Room]


def collapse(db: sqlite3.Connection, one: Keyed) -> Mapping[Room, int]:
    """Take the place of those before it, which is placed already; the last of them by room, see ``Entry.earlier``."""
    last, is_all = _reachable(db, one, 0, one.offset)
    names = as_json(list(one.rooms))
    db.execute(
        f"""
        INSERT OR IGNORE INTO collapsing (key, place, offset, superseded)
        SELECT ?, {PLACE}, ?, 0 FROM json_each(?) CROSS JOIN rooms ON rooms.name = value""",  # noqa: S608
        (one.key, one.offset, names),
    )
    there = [(room, offset) for room, offset in last.items() if room in one.rooms]
    if there:
        db.execute(
            """
            DELETE FROM placed WHERE (room, offset) IN (
                SELECT rooms.id, json_extract(value, '$[1]')
                FROM json_each(?) JOIN rooms ON rooms.name = json_extract(value, '$[0]'))""",
            (as_json(there),),
        )
        db.execute(
            f"""
            UPDATE collapsing SET superseded = 1 WHERE (key, place, offset) IN (
                SELECT ?, {PLACE}, json_extract(value, '$[1]')
                FROM json_each(?) JOIN rooms ON rooms.name = json_extract(value, '$[0]'))""",  # noqa: S608
            (one.key, as_json(there)),
        )
    return earlier_of(one.offset, one.rooms, last, is_all=is_all)


def later(db: sqlite3.Connection, one: Keyed) -> tuple[Mapping[Room, int], bool]:
    """The last behind it, by room, see ``Entry.later``; and whether that is all."""
    return _reachable(db, one, one.offset, _END)


def key_of(db: sqlite3.Connection, offset: int) -> str | None:
    row = db.execute("SELECT key FROM collapsing WHERE offset = ? LIMIT 1", (offset,)).fetchone()
    return str(row[0]) if row is not None else None


def forget(db: sqlite3.Connection, offsets: Sequence[int]) -> None:
    """What lay there is gone for good."""
    db.execute("DELETE FROM collapsing WHERE offset IN (SELECT value FROM json_each(?))", (as_json(offsets),))


def as_followed(db: sqlite3.Connection, entries: Sequence[Entry]) -> Sequence[Entry]:
    """As whoever follows the log is given entries, which lie one behind the other."""
    if not entries:
        return entries
    first, last = entries[0].position.offset, entries[-1].position.offset
    keys = dict(db.execute("SELECT DISTINCT offset, key FROM collapsing WHERE offset BETWEEN ? AND ?", (first, last)))
    if not keys and not any(_is_of_another(entry) for entry in entries):
        return entries
    return [_as_followed(db, entry, keys.get(entry.position.offset)) for entry in entries]


def _as_followed(db: sqlite3.Connection, entry: Entry, key: str | None) -> Entry:
    if _is_of_another(entry) and entry.about is not None:
        about = key_of(db, entry.about)
        if about is None:
            return entry
        last, _ = _reachable(db, Keyed(entry.about, about, entry.rooms), entry.about, entry.position.offset)
        return replace(entry, collapse_key=about, later=last)
    if key is None or not entry.rooms:
        return entry
    one = Keyed(entry.position.offset, key, entry.rooms)
    last, is_all = _reachable(db, one, 0, one.offset)
    return following.as_followed(entry, key, earlier_of(one.offset, one.rooms, last, is_all=is_all))


def as_read(
    db: sqlite3.Connection, subscriber: Subscriber, entries: Sequence[Entry], keyed: frozenset[int]
) -> tuple[Entry, ...]:
    """As a subscriber reads them: without what others have replaced. Those at the offsets ``keyed`` have a key."""
    offsets = [_subject(entry) for entry in entries if entry.position.offset in keyed or _is_of_another(entry)]
    if not offsets:
        return tuple(entries)
    (rows,) = db.execute(
        """
        WITH mine AS MATERIALIZED (
            SELECT CASE WHEN json_extract(value, '$[1]') THEN -rooms.id ELSE rooms.id END AS place,
                json_extract(value, '$[2]') AS start
            FROM json_each(:mine) JOIN rooms ON rooms.name = json_extract(value, '$[0]')),
        given AS MATERIALIZED (
            SELECT value AS offset, (SELECT key FROM collapsing WHERE collapsing.offset = value LIMIT 1) AS key
            FROM json_each(:offsets))
        SELECT json_group_array(json_array(given.offset, given.key,
            (SELECT min(first) FROM (
                SELECT (SELECT collapsing.offset FROM collapsing
                    WHERE collapsing.key = given.key AND place = mine.place AND collapsing.offset > start
                    ORDER BY collapsing.offset LIMIT 1) AS first FROM mine)),
            EXISTS (SELECT 1 FROM mine CROSS JOIN collapsing ON collapsing.key = given.key
                AND collapsing.place = mine.place AND collapsing.offset > max(given.offset, start))))
        FROM given WHERE key IS NOT NULL""",
        {
            "mine": as_json([(room, int(is_own(room)), start) for room, start in subscriber.starts.items()]),
            "offsets": as_json(offsets),
        },
    ).fetchone()
    found = {offset: others for offset, *others in json.loads(rows)}
    return tuple(_read(entries, found))


def _read(entries: Sequence[Entry], found: Mapping[int, list[object]]) -> Iterator[Entry]:
    for entry in entries:
        subject = _subject(entry)
        if subject not in found or entry.event not in (NOTIFICATION_NEW, NOTIFICATION_REVISED):
            yield entry
            continue
        key, first, is_replaced = found[subject]
        if not is_replaced:
            follows = first if isinstance(first, int) and first < subject else None
            yield following.as_following(entry, str(key), follows)


def _is_of_another(entry: Entry) -> bool:
    """Whether it revises a notification, or has it new once more."""
    return entry.about is not None and entry.event in (NOTIFICATION_NEW, NOTIFICATION_REVISED)


def _subject(entry: Entry) -> int:
    return entry.about if entry.about is not None else entry.position.offset


def _reachable(db: sqlite3.Connection, one: Keyed, after: int, before: int) -> tuple[dict[Room, int], bool]:
    """The last between two offsets of each room that whoever can reach one in its rooms may be in; whether of all."""
    arguments = {"key": one.key, "after": after, "before": before, "most": OWN_ROOMS_MOST + 1}
    shared = _found(db, _SHARED, arguments)
    if all(map(is_own, one.rooms)):
        return shared | _found(db, _NAMED, arguments | {"names": as_json(list(one.rooms))}), True
    own = _found(db, _OWN, arguments)
    return shared | own, max(len(own), len(shared)) <= OWN_ROOMS_MOST


def _found(db: sqlite3.Connection, query: str, arguments: Mapping[str, object]) -> dict[Room, int]:
    (rows,) = db.execute(query, arguments).fetchone()
    return {Room(name): last for name, last in json.loads(rows)}
