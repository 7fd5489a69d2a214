"""The log in a PostgreSQL database: how it is read.

What lies in a large table is looked up row by row, by subqueries that the planner cannot turn into joins: a plan that
reads the whole table would be right, and once the table has grown its cost would be that of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.contract.controls import read_control
from adapters.store.form import FORM, change, notification, unknown_form
from adapters.store.postgresql.collapsing import as_followed, as_read
from adapters.store.postgresql.database import Row, Snapshot
from adapters.store.postgresql.topics import ALL, MINE, STAYS, stays_of
from adapters.store.tail import (
    ENTRY_OVERHEAD,
    FOLLOW_MAX_BYTES,
    FOLLOW_MAX_ENTRIES,
    NOBODY,
    ROOM_OVERHEAD,
    as_seen_by,
    erased,
    has_content,
    vanished,
)
from adapters.store.times import moment
from domain.errors import CursorRefused, EntriesMissing, StoreUnavailable
from domain.model import (
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Entry,
    Page,
    Position,
    RecoveryReason,
    Room,
    Subscriber,
    TailEntry,
    Unfetched,
)
from domain.model.value import value
from domain.ports import Wanted
from domain.rules.epochs import Generations
from domain.rules.recovery import floor_in_topics, floor_of, is_told, may_miss

PAGE_TOTAL_BYTES = 16 * 1024 * 1024
"""Of a page, the names of its rooms among it: a page of entries for thousands of users each ends early."""

TRIMMED = """
    greatest(0,
        (SELECT log_offset FROM synkrone.trimmed WHERE trimmed.room = mine.room),
        (SELECT log_offset FROM synkrone.placed WHERE placed.room = mine.room AND log_offset <= %(floor)s::bigint
            ORDER BY log_offset DESC LIMIT 1))"""
"""Of ``mine.room``, the last offset that has left the log: what is at or below the floor, but still placed, is in
inboxes only."""

_TRIMMED = f"SELECT room, {TRIMMED} FROM unnest(%(rooms)s::text[]) AS mine (room)".encode()  # noqa: S608


def _bytes_of(column: str) -> str:
    """An expression for the size of a column of the entry ``found``."""
    return f"""coalesce(
        CASE WHEN found.item THEN
            (SELECT octet_length({column}) FROM synkrone.contents WHERE contents.log_offset = found.log_offset)
        ELSE (SELECT octet_length({column}) FROM synkrone.entries WHERE entries.log_offset = found.log_offset) END,
        0)"""  # noqa: S608


_SUMS = f"""
    sized AS (
        SELECT log_offset, item, bytes AS size, row_number() OVER following AS number,
            sum(bytes) OVER following AS bytes, sum(bytes + names) OVER following AS total
        FROM (SELECT found.*, {_bytes_of("payload")} AS bytes, {_bytes_of("rooms")} AS names FROM found) AS found
        WINDOW following AS (ORDER BY log_offset))"""  # noqa: S608
_RETURNED = "notification.returned"
"""A ``notification.new`` that is about another: it has its content with it."""
# With a limit the planner leaves it as it is.
_STORED = f"""
    LEFT JOIN LATERAL (
        SELECT '{NOTIFICATION_NEW}' AS event, form, expires_at, rooms, payload, revised AS other
        FROM synkrone.contents WHERE sized.item AND contents.log_offset = sized.log_offset
        UNION ALL
        SELECT CASE WHEN event = '{NOTIFICATION_NEW}' THEN '{_RETURNED}' ELSE event END,
            form, expires_at, rooms, payload, about
        FROM synkrone.entries WHERE NOT sized.item AND entries.log_offset = sized.log_offset
        LIMIT 1) AS stored ON true"""  # noqa: S608

_IN_ROOMS = """
            SELECT placed.log_offset, placed.item
            FROM unnest(%(rooms)s::text[], %(afters)s::bigint[]) AS mine (room, after)
            CROSS JOIN LATERAL (
                SELECT log_offset, item FROM synkrone.placed
                WHERE placed.room = mine.room AND placed.log_offset > mine.after
                ORDER BY log_offset LIMIT %(entries)s::integer + 1) AS placed"""
_IN_ROOMS_AND_GROUPS = f"""
            SELECT placed.log_offset, placed.item
            FROM {MINE.format(after="%(after)s::bigint")}
            CROSS JOIN LATERAL (
                SELECT log_offset, item FROM synkrone.placed
                WHERE placed.room = mine.room AND placed.log_offset > mine.after
                    AND placed.log_offset <= coalesce(mine.upto, {ALL})
                ORDER BY log_offset LIMIT %(entries)s::integer + 1) AS placed
            UNION ALL
            SELECT placed.log_offset, placed.item
            FROM (SELECT * FROM ({STAYS}) AS each WHERE upto_offset IS NOT NULL) AS stay
            CROSS JOIN LATERAL (
                SELECT log_offset, item FROM synkrone.placed
                WHERE placed.room = stay.room AND NOT item
                    AND placed.log_offset > greatest(stay.upto_offset, %(after)s::bigint)
                    AND (SELECT about FROM synkrone.entries WHERE entries.log_offset = placed.log_offset)
                        BETWEEN stay.after_offset + 1 AND stay.upto_offset
                ORDER BY log_offset LIMIT %(entries)s::integer + 1) AS placed"""  # noqa: S608


def _page(placed: str) -> bytes:
    return f"""
    WITH found AS (
        SELECT DISTINCT placed.log_offset, placed.item FROM ({placed}) AS placed
        ORDER BY log_offset LIMIT %(entries)s::integer + 1),
    {_SUMS}
    SELECT (SELECT count(*) FROM found),
        CASE WHEN (
            SELECT EXISTS (SELECT FROM synkrone.state WHERE user_id = %(user)s::text AND raised IS NOT NULL)) THEN (
            SELECT raised FROM synkrone.state
            WHERE user_id = %(user)s::text
                AND state.log_offset = CASE WHEN sized.item THEN sized.log_offset ELSE other END) END,
        log_offset, event, form, expires_at, rooms, payload, other
    FROM sized {_STORED}
    WHERE number = 1 OR (
        number <= %(entries)s::integer AND bytes <= %(bytes)s::bigint AND total <= {PAGE_TOTAL_BYTES})
    ORDER BY log_offset""".encode()  # noqa: S608


_PAGE, _PAGE_WITH_GROUPS = map(_page, (_IN_ROOMS, _IN_ROOMS_AND_GROUPS))


def _following(columns: str) -> bytes:
    return f"""
        WITH found AS (
            SELECT log_offset, event = '{NOTIFICATION_NEW}' AND about IS NULL AS item FROM synkrone.entries
            WHERE log_offset > %(after)s::bigint AND log_offset <= %(upto)s::bigint
            ORDER BY log_offset LIMIT {FOLLOW_MAX_ENTRIES}),
        {_SUMS}
        SELECT log_offset, {columns} FROM sized {_STORED}
        WHERE number = 1 OR total <= {FOLLOW_MAX_BYTES}
        ORDER BY log_offset""".encode()  # noqa: S608


_STORED_AT = "(SELECT stored_at FROM synkrone.entries WHERE entries.log_offset = sized.log_offset)"
_FOLLOWING = _following(f"event, form, expires_at, rooms, payload, other, {_STORED_AT}")
# For most of them that is all that is read. Of what is in no room there is no payload, or servers want it.
_OUTLINES = _following(
    f"nullif(event, '{NOTIFICATION_NEW}'), form, expires_at, rooms, CASE WHEN rooms IS NULL THEN payload END, size"
)
# The rest of them is known. Each array is one text, as it would be made of numbers one by one, in Python.
_PAYLOADS = b"""
    SELECT log_offset, payload, stored_at, NULL::bigint FROM synkrone.contents
    WHERE log_offset = ANY (%(items)s::text::bigint[])
    UNION ALL
    SELECT log_offset, payload, stored_at, about FROM synkrone.entries
    WHERE log_offset = ANY (%(others)s::text::bigint[]) AND (event <> 'notification.new' OR about IS NOT NULL)"""

_THERE = b"""
    SELECT log_offset FROM synkrone.contents
    WHERE log_offset = ANY (%(offsets)s::bigint[]) AND coalesce((
        SELECT NOT deleted AND snoozed_until IS NULL FROM synkrone.state
        WHERE state.user_id = %(user)s::text AND state.log_offset = contents.log_offset), true)"""

_TAIL_FLOOR = f"""
    SELECT min(log_offset) - 1 FROM (
        SELECT log_offset, sum(weight) OVER (ORDER BY log_offset DESC) AS total FROM (
            SELECT found.log_offset, {ENTRY_OVERHEAD} + {_bytes_of("payload")} + {ROOM_OVERHEAD} * (1 +
                CASE WHEN found.item THEN
                    (SELECT octet_length(rooms) - octet_length(replace(rooms, E'\\n', '')) FROM synkrone.contents
                        WHERE contents.log_offset = found.log_offset)
                ELSE 0 END) AS weight
            FROM (
                SELECT log_offset, event = '{NOTIFICATION_NEW}' AND about IS NULL AS item FROM synkrone.entries
                WHERE log_offset > %(floor)s::bigint
                ORDER BY log_offset DESC LIMIT %(entries)s::integer) AS found) AS weighed) AS summed
    WHERE total <= %(bytes)s::bigint""".encode()  # noqa: S608


def trimmed(snapshot: Snapshot, subscriber: Subscriber) -> int:
    """The highest offset of an entry that has left the log and that the subscriber could have reached; or 0."""
    stays = stays_of(snapshot, subscriber.user, subscriber.starts)
    rooms = list({*subscriber.starts, *(span.room for span in stays)})
    rows = snapshot.db.execute(_TRIMMED, {"rooms": rooms, "floor": snapshot.floor}).fetchall()
    lost = {Room(room): offset for room, offset in rows}
    return max(floor_of(subscriber.starts, lost), floor_in_topics(stays, lost))


@value
class Reading:
    """A request for a page."""

    subscriber: Subscriber
    after: Position
    max_entries: int
    max_bytes: int

    @property
    def parameters(self) -> Mapping[str, object]:
        starts = self.subscriber.starts
        return {
            "user": self.subscriber.user,
            "after": self.after.offset,
            "rooms": list(starts),
            "starts": list(starts.values()),
            "afters": [max(start, self.after.offset) for start in starts.values()],
            "entries": self.max_entries,
            "bytes": self.max_bytes,
        }


def page(snapshot: Snapshot, reading: Reading) -> Page:
    """Raises CursorRefused, and StoreUnavailable."""
    fault = snapshot.generations.fault(reading.after, snapshot.head)
    if fault is not None:
        raise CursorRefused(fault)
    after = reading.after.offset
    if may_miss(reading.subscriber, after, snapshot.floor) and trimmed(snapshot, reading.subscriber) > after:
        raise CursorRefused(RecoveryReason.TRIMMED)
    (found,) = readable_pages(snapshot, [reading])
    return found


def readable_pages(snapshot: Snapshot, readings: Sequence[Reading]) -> list[Page]:
    """Pages after positions of which nothing was trimmed. Raises StoreUnavailable."""
    pages: list[Page] = []
    query = _PAGE_WITH_GROUPS if snapshot.has_groups else _PAGE
    for rows in snapshot.db.all_of(query, [reading.parameters for reading in readings]):
        entries = as_seen_by(
            [_entry(snapshot.generations, row[2:]) for row in rows],
            {_about(row): row[1] for row in rows if row[1] is not None},
        )
        more = bool(rows) and rows[0][0] > len(rows)
        pages.append(Page(entries, entries[-1].position if more else snapshot.as_of, more))
    return [_as_read(snapshot, reading, page) for reading, page in zip(readings, pages, strict=True)]


def _as_read(snapshot: Snapshot, reading: Reading, page: Page) -> Page:
    page = _without_deleted(snapshot, reading, _told(snapshot, reading, page))
    return replace(page, entries=as_read(snapshot.db, reading.subscriber, page.entries))


def _told(snapshot: Snapshot, reading: Reading, page: Page) -> Page:
    """But for what lost its content, and what is about something in a topic that is not the subscriber's."""
    if not all(map(has_content, page.entries)):
        page = replace(page, entries=tuple(filter(has_content, page.entries)))
    if not any(entry.about is not None and any(room.is_topic for room in entry.rooms) for entry in page.entries):
        return page
    subscriber = reading.subscriber
    stays = stays_of(snapshot, subscriber.user, subscriber.starts)
    kept = (entry for entry in page.entries if is_told(entry, subscriber.starts, stays))
    return Page(tuple(kept), page.upto, page.more)


def _about(row: Row) -> int:
    """The offset of the notification that a row is, or is about."""
    offset, event, *_, other = row[2:]
    return int(offset if event == NOTIFICATION_NEW else other)


def _without_deleted(snapshot: Snapshot, reading: Reading, page: Page) -> Page:
    """But for what revises something that the subscriber has deleted or snoozed, or that is in no inbox any more, of
    which nobody knows who had deleted it."""
    revised = [entry.about for entry in page.entries if entry.event == NOTIFICATION_REVISED]
    if not revised:
        return page
    rows = snapshot.db.execute(_THERE, {"user": reading.subscriber.user, "offsets": revised}).fetchall()
    there = {offset for (offset,) in rows}
    kept = (one for one in page.entries if one.event != NOTIFICATION_REVISED or one.about in there)
    return Page(tuple(kept), page.upto, page.more)


@value
class Following:
    """A request for what comes after an offset, in all rooms, up to the offset ``upto``."""

    after: int
    upto: int


def following(snapshot: Snapshot, request: Following) -> tuple[Entry, ...]:
    """At least one entry. Raises CursorRefused: TRIMMED; and StoreUnavailable."""
    if snapshot.floor > request.after:
        raise CursorRefused(RecoveryReason.TRIMMED)
    return stored(snapshot, request.after, request.upto)


def stored(snapshot: Snapshot, after: int, upto: int) -> tuple[Entry, ...]:
    """The entries after an offset up to another, as many as a follower is given at once.

    Raises StoreUnavailable where one is missing.
    """
    rows = _rows_between(snapshot, _FOLLOWING, after, upto)
    return as_followed(snapshot.db, [_entry(snapshot.generations, row[:-1], row[-1]) for row in rows])


def outlined(snapshot: Snapshot, after: int, upto: int, wanted: Wanted) -> tuple[TailEntry, ...]:
    """The same, without the payload of what is not ``wanted``."""
    entries = [_outline(snapshot.generations, row) for row in _rows_between(snapshot, _OUTLINES, after, upto)]
    some = fetched(snapshot, [one for one in entries if isinstance(one, Unfetched) and wanted(one.rooms)])
    return tuple(some.get(entry.position, entry) for entry in entries)


def fetched(snapshot: Snapshot, unfetched: Sequence[Unfetched]) -> Mapping[Position, Entry]:
    """With their payloads.

    Raises CursorRefused: TRIMMED; and StoreUnavailable, also where something else is at the position of one by now.
    """
    if not unfetched:
        return {}
    items: list[int] = []
    others: list[int] = []
    for one in unfetched:
        offset = one.position.offset
        if offset > snapshot.head or snapshot.generations.position(offset) != one.position:
            raise StoreUnavailable(f"what the log had at offset {offset} is not in it any more")
        if offset <= snapshot.floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        others.append(offset)
        if one.event == NOTIFICATION_NEW:
            items.append(offset)
    rows = snapshot.db.execute(_PAYLOADS, {"items": _array(items), "others": _array(others)}).fetchall()
    payloads = {offset: others for offset, *others in rows}
    entries = as_followed(snapshot.db, [_with_payload(one, payloads) for one in unfetched])
    return {entry.position: entry for entry in entries}


def _array(offsets: Iterable[int]) -> str:
    return f"{{{','.join(map(str, offsets))}}}"


def _with_payload(one: Unfetched, payloads: Mapping[int, Sequence[Any]]) -> Entry:
    offset = one.position.offset
    if offset not in payloads:
        raise EntriesMissing(offset)
    payload, written, about = payloads[offset]
    if payload is None:
        return vanished(one.position) if one.event == NOTIFICATION_NEW else erased(one.position)
    content = payload.encode()
    told = notification(offset, content) if one.event == NOTIFICATION_NEW else change(offset, content)
    return Entry(one.position, one.rooms, one.event, told, one.expires_at, None, moment(written), about)


def _rows_between(snapshot: Snapshot, query: bytes, after: int, upto: int) -> Sequence[Row]:
    rows = snapshot.db.execute(query, {"after": after, "upto": upto}).fetchall()
    for expected, row in enumerate(rows, after + 1):
        if row[0] != expected:
            raise EntriesMissing(expected)
    if upto > after and not rows:
        raise EntriesMissing(after + 1)
    return rows


def tail_floor(snapshot: Snapshot, max_entries: int, max_bytes: int) -> int:
    """The offset after which the entries fit into a tail of that size."""
    (floor,) = snapshot.db.one(_TAIL_FLOOR, {"floor": snapshot.floor, "entries": max_entries, "bytes": max_bytes})
    return snapshot.head if floor is None else int(floor)


def _outline(generations: Generations, row: Row) -> TailEntry:
    offset, other_event, form, expires_at, names, payload, size = row
    event = NOTIFICATION_NEW if other_event in (None, _RETURNED) else other_event
    if names is None:
        return _entry(generations, (offset, event, form, expires_at, names, payload, None))
    _check_form(offset, form)
    ends = moment(expires_at) if expires_at is not None else None
    return Unfetched(generations.position(offset), rooms_of(names), event, size, ends)


def _check_form(offset: int, form: int | None) -> None:
    """Raises StoreUnavailable."""
    if form is None:
        raise EntriesMissing(offset)
    if form != FORM:
        raise unknown_form(offset)


def _entry(generations: Generations, row: Row, written: int | None = None) -> Entry:
    """``written`` is when it was, where that was read."""
    # An event has what it is about, and a notification what it was revised by.
    offset, event, form, expires_at, names, payload, other = row
    _check_form(offset, form)
    stored_at = moment(written) if written is not None else None
    position = generations.position(offset)
    if payload is None:
        return erased(position)
    content = payload.encode()
    ends = moment(expires_at) if expires_at is not None else None
    if event not in (NOTIFICATION_NEW, _RETURNED):
        told = change(offset, content)
        if names is None:
            return Entry(position, NOBODY, event, told, control=read_control(event, told))
        return Entry(position, rooms_of(names), event, told, ends, None, stored_at, other)
    told = notification(offset, content)
    if event == _RETURNED:
        return Entry(position, rooms_of(names), NOTIFICATION_NEW, told, ends, None, stored_at, other)
    return Entry(position, rooms_of(names), event, told, ends, None, stored_at, None, other)


def joined(rooms: Iterable[Room]) -> str:
    """As rooms are stored."""
    return "\n".join(rooms)


def rooms_of(names: str) -> frozenset[Room]:
    return frozenset(map(Room, names.split("\n")))
