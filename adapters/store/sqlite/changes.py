"""What users do to notifications of theirs, in a SQLite file: the state, and the entries that say so, in one commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from adapters.store.change_events import all_read_event, change_events
from adapters.store.sqlite.erased import is_erased
from adapters.store.sqlite.items import (
    IN_INBOX,
    IN_OR_SNOOZED,
    READ_AT,
    READ_BY,
    SEEN_AT,
    UNREAD,
    UNSEEN,
    WITH_STATE,
    Numbered,
    Summary,
    View,
    is_replaced,
    items_of_stays,
    numbered,
    placed,
    summarize,
)
from adapters.store.sqlite.locators import locator
from adapters.store.sqlite.log import snapshot_of
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.topics import Groups, groups_in
from adapters.store.sqlite.transaction import LogTransaction, NewChange
from adapters.store.times import microseconds, moment
from domain.model import Action, Changed, Counts, Json, Room
from domain.model.value import value
from domain.rules.item_state import ItemTimes, counts_after

WATERMARKS_PER_USER = 1000
"""Of a user who reads everything at once more often, the oldest such times are taken for the following ones."""


@value
class Change:
    view: View
    action: Action
    ids: Sequence[str]
    at: datetime
    by: str | None = None


@value
class ReadAll:
    """With ``up_to``, an offset, only what lies at or before it, by ids."""

    view: View
    up_to: int | None
    at: datetime
    by: str | None = None


@value
class Named:
    offset: int
    id: str
    times: ItemTimes


def change(transaction: LogTransaction, wanted: Change) -> Changed:
    """An operation of the writer."""
    if is_erased(transaction, wanted.view.subscriber):
        return Changed(0, Counts(0, 0, 0), transaction.as_of)
    (summary,) = summarize(transaction.db, [wanted.view], snapshot_of(transaction.db))
    return _apply(transaction, wanted, named(transaction, wanted.view, wanted.ids, summary.floor), summary)


def read_all(transaction: LogTransaction, wanted: ReadAll) -> Changed:
    """An operation of the writer."""
    if is_erased(transaction, wanted.view.subscriber):
        return Changed(0, Counts(0, 0, 0), transaction.as_of)
    (summary,) = summarize(transaction.db, [wanted.view], snapshot_of(transaction.db))
    if wanted.up_to is None:
        return _read_everything(transaction, wanted, summary)
    items = _to_read(transaction, wanted.view, wanted.up_to, summary.floor)
    named = Change(wanted.view, Action.READ, [item.id for item in items], wanted.at, wanted.by)
    return _apply(transaction, named, items, summary)


def _read_everything(transaction: LogTransaction, wanted: ReadAll, summary: Summary) -> Changed:
    if not summary.to_read:
        return Changed(0, summary.counts, transaction.as_of)
    log_events(transaction, wanted.view, [all_read_event(wanted.at)])
    user = user_of(transaction, wanted.view)
    at, watermark = microseconds(wanted.at), transaction.head
    db = transaction.db
    db.execute(
        "INSERT INTO watermarks (user, offset, at, read_by) VALUES (?, ?, ?, ?)", (user, watermark, at, wanted.by)
    )
    db.execute(
        """
        DELETE FROM watermarks WHERE user = ? AND offset <= (
            SELECT offset FROM watermarks WHERE user = ? ORDER BY offset DESC LIMIT 1 OFFSET ?)""",
        (user, user, WATERMARKS_PER_USER),
    )
    db.execute(
        """
        UPDATE state SET read_by = CASE WHEN read_at IS NULL THEN ? ELSE read_by END,
            read_at = coalesce(read_at, ?), seen_at = coalesce(seen_at, ?)
        WHERE user = ? AND offset < ? AND (read_at IS NULL OR seen_at IS NULL) AND deleted = 0
            AND snoozed_until IS NULL""",
        (wanted.by, at, at, user, watermark),
    )
    return Changed(summary.to_read, Counts(0, 0, summary.counts.total), transaction.as_of)


def _apply(transaction: LogTransaction, wanted: Change, items: Sequence[Named], summary: Summary) -> Changed:
    changed = [
        (item, times)
        for item in items
        if (times := item.times.after(wanted.action, wanted.at, wanted.by)) != item.times
    ]
    if not changed:
        return Changed(0, summary.counts, transaction.as_of)
    ids = [item.id for item, _ in changed]
    log_events(transaction, wanted.view, change_events(wanted.action, ids, wanted.at))
    store(transaction, user_of(transaction, wanted.view), changed)
    counts = counts_after(summary.counts, ((item.times, times) for item, times in changed))
    return Changed(len(changed), counts, transaction.as_of)


def store(transaction: LogTransaction, user: int, changed: Sequence[tuple[Named, ItemTimes]]) -> None:
    rows = [
        (
            item.offset,
            *map(_stored, (times.read_at, times.seen_at, times.archived_at)),
            int(times.deleted),
            times.read_by,
            _stored(times.deleted_at),
            _stored(times.snoozed_until),
            times.raised,
        )
        for item, times in changed
    ]
    transaction.db.execute(
        """
        REPLACE INTO state (
            user, offset, read_at, seen_at, archived_at, deleted, read_by, deleted_at, snoozed_until, raised)
        SELECT ?, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
            json_extract(value, '$[3]'), json_extract(value, '$[4]'),
            json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
            json_extract(value, '$[8]')
        FROM json_each(?)""",
        (user, as_json(rows)),
    )


def _stored(time: datetime | None) -> int | None:
    return microseconds(time) if time is not None else None


def log_events(transaction: LogTransaction, view: View, events: Sequence[tuple[str, Json]]) -> None:
    own = frozenset((Room.of_user(view.subscriber.user),))
    transaction.log_changes([NewChange(event, payload, own) for event, payload in events])


def user_of(transaction: LogTransaction, view: View) -> int:
    """Known once something was logged for them."""
    own = Room.of_user(view.subscriber.user)
    return int(transaction.db.execute("SELECT id FROM rooms WHERE name = ?", (own,)).fetchone()[0])


_ITEM = f"json_array(placed.offset, id, {READ_AT}, {SEEN_AT}, archived_at, {READ_BY}, snoozed_until, raised)"


def named(transaction: LogTransaction, view: View, ids: Sequence[str], floor: int) -> list[Named]:
    """Those of the notifications that are in the inbox, or snoozed, in the order of the ids."""
    arguments = view.arguments(floor)
    # One by one: what else lies in the inbox is not looked at.
    groups = groups_in(transaction.db)
    is_there = " OR ".join(_is_in(rooms, groups) for rooms in numbered(view.subscriber))
    (rows,) = transaction.db.execute(
        f"""
        SELECT json_group_array({_ITEM})
        FROM (SELECT offset, expires_at, id
            FROM (SELECT value FROM json_each(:locators)) CROSS JOIN locators ON locator = value
            JOIN contents USING (offset) WHERE {is_there}) AS placed {WITH_STATE}
        WHERE {IN_OR_SNOOZED}""",  # noqa: S608
        arguments | {"locators": as_json([*map(locator, ids)])},
    ).fetchone()
    found = {item.id: item for item in _items(rows)}
    return [found[id_] for id_ in ids if id_ in found]


def _is_in(rooms: Numbered, groups: Groups) -> str:
    """A condition: that one of the ``contents`` is placed in the rooms, or for a stay, and not replaced in them."""
    placed_there = [
        f"""EXISTS (SELECT 1 FROM placed WHERE room = (SELECT id FROM rooms WHERE name = :room{number})
            AND placed.offset = contents.offset AND placed.offset > :after{number} AND item)"""  # noqa: S608
        for number in rooms
    ]
    if groups:
        placed_there.append(f"EXISTS ({items_of_stays(rooms, groups, '1')} AND placed.offset = contents.offset)")
    return f"({' OR '.join(placed_there) or 'false'}) AND NOT {is_replaced(rooms, 'contents.offset')}"


def _to_read(transaction: LogTransaction, view: View, up_to: int, floor: int) -> list[Named]:
    """Those up to an offset that are unread or unseen, the newest last."""
    those = placed(view.subscriber, groups_in(transaction.db))
    (rows,) = transaction.db.execute(
        f"""
        SELECT json_group_array({_ITEM})
        FROM ({those}) AS placed JOIN contents ON contents.offset = placed.offset {WITH_STATE}
        WHERE coalesce(raised, placed.offset) <= :up_to AND {IN_INBOX} AND ({UNREAD} OR {UNSEEN})""",  # noqa: S608
        view.arguments(floor) | {"up_to": up_to},
    ).fetchone()
    return sorted(_items(rows), key=lambda item: item.offset)


def _items(rows: str) -> list[Named]:
    return [
        Named(
            offset,
            id_,
            ItemTimes(
                _time(read_at),
                _time(seen_at),
                _time(archived_at),
                read_by=read_by,
                snoozed_until=_time(snoozed_until),
                raised=raised,
            ),
        )
        for offset, id_, read_at, seen_at, archived_at, read_by, snoozed_until, raised in json.loads(rows)
    ]


def _time(stored: int | None) -> datetime | None:
    return moment(stored) if stored is not None else None
