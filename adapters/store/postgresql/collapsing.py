"""Notifications with a collapse key in a PostgreSQL database: where they are, and which of them others have replaced.

That one may have a key is told by its payload: whoever has none pays for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.contract.events import may_have_collapse_key
from adapters.store import following
from adapters.store.postgresql.database import Database
from domain.model import NOTIFICATION_NEW, NOTIFICATION_REVISED, Entry, Room, Subscriber
from domain.rules.collapsing import OWN_ROOMS_MOST, earlier_of


def not_replaced(offsets: str) -> str:
    """A condition for what is placed: that no later one with its key has taken its place in an inbox. Those whose place
    one in another room has are ``offsets``."""
    return f"expires_at IS DISTINCT FROM 0 AND log_offset <> ALL ({offsets})"


NOT_REPLACED = not_replaced("(SELECT synkrone.replaced(%(rooms)s::text[], %(afters)s::bigint[]))::bigint[]")

_READ = b"""
    SELECT given.log_offset, keyed.key,
        (SELECT min(found.log_offset)
        FROM unnest(%(rooms)s::text[], %(starts)s::bigint[]) AS mine (room, start)
        CROSS JOIN LATERAL (
            SELECT log_offset FROM synkrone.collapsing
            WHERE collapsing.key = keyed.key AND collapsing.room = mine.room AND collapsing.log_offset > mine.start
            ORDER BY log_offset LIMIT 1) AS found),
        EXISTS (
            SELECT FROM unnest(%(rooms)s::text[], %(starts)s::bigint[]) AS mine (room, start)
            CROSS JOIN LATERAL (
                SELECT FROM synkrone.collapsing
                WHERE collapsing.key = keyed.key AND collapsing.room = mine.room
                    AND collapsing.log_offset > greatest(given.log_offset, mine.start)
                LIMIT 1) AS later)
    FROM unnest(%(offsets)s::bigint[]) AS given (log_offset)
    CROSS JOIN LATERAL (
        SELECT key FROM synkrone.collapsing WHERE collapsing.log_offset = given.log_offset LIMIT 1) AS keyed"""
_FOLLOWED = b"""
    SELECT given.log_offset, keyed.key, found.last, found.is_all
    FROM unnest(%(offsets)s::bigint[], %(abouts)s::bigint[], %(names)s::text[]) AS given (log_offset, about, rooms)
    CROSS JOIN LATERAL (
        SELECT key FROM synkrone.collapsing
        WHERE collapsing.log_offset = coalesce(given.about, given.log_offset) LIMIT 1) AS keyed
    CROSS JOIN LATERAL synkrone.last_with_key(
        keyed.key, given.rooms, coalesce(given.about, 0), given.log_offset, %(most)s::integer) AS found"""


def as_followed(db: Database, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """As whoever follows the log is given entries."""
    some = [entry for entry in entries if entry.rooms and _may_be(entry)]
    if not some:
        return tuple(entries)
    rows = db.execute(
        _FOLLOWED,
        {
            "offsets": [entry.position.offset for entry in some],
            "abouts": [entry.about for entry in some],
            "names": ["\n".join(entry.rooms) for entry in some],
            "most": OWN_ROOMS_MOST,
        },
    ).fetchall()
    found = {offset: others for offset, *others in rows}
    return tuple(_as_followed(entry, found.get(entry.position.offset)) for entry in entries)


def _as_followed(entry: Entry, found: Sequence[Any] | None) -> Entry:
    if found is None:
        return entry
    key, last, is_all = found
    return told(entry, key, last, is_all=is_all)


def told(entry: Entry, key: str, last: Mapping[str, int], *, is_all: bool) -> Entry:
    """An entry of one with a key, where ``last`` says by room which lay before it, or behind what it revises or has
    new once more."""
    offsets = {Room(room): offset for room, offset in last.items()}
    if entry.about is not None:
        return replace(entry, collapse_key=key, later=offsets)
    earlier = earlier_of(entry.position.offset, entry.rooms, offsets, is_all=is_all)
    return following.as_followed(entry, key, earlier)


def as_read(db: Database, subscriber: Subscriber, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """As a subscriber reads them: without what others have replaced."""
    offsets = [_subject(entry) for entry in entries if _may_be(entry)]
    if not offsets:
        return tuple(entries)
    starts = subscriber.starts
    rows = db.execute(_READ, {"rooms": list(starts), "starts": list(starts.values()), "offsets": offsets}).fetchall()
    return tuple(_read(entries, {offset: others for offset, *others in rows}))


def _read(entries: Sequence[Entry], found: Mapping[int, Sequence[object]]) -> Iterator[Entry]:
    for entry in entries:
        subject = _subject(entry)
        if not _may_be(entry) or subject not in found:
            yield entry
            continue
        key, first, is_replaced = found[subject]
        if not is_replaced:
            follows = first if isinstance(first, int) and first < subject else None
            yield following.as_following(entry, str(key), follows)


def _may_be(entry: Entry) -> bool:
    return entry.event in (NOTIFICATION_NEW, NOTIFICATION_REVISED) and may_have_collapse_key(entry.payload)


def _subject(entry: Entry) -> int:
    return entry.about if entry.about is not None else entry.position.offset
