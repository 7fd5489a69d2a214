"""Reading inboxes from a PostgreSQL database: which items lie in one, their state, counts and lists.

An item without a row of state is as it came, or read and seen since the first watermark behind it: that is where
everything was read at once. A row that is made for an item begins with that, and is the truth from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from adapters.store.form import FORM, notification, unknown_form
from adapters.store.postgresql.collapsing import NOT_REPLACED, not_replaced
from adapters.store.postgresql.database import Database, Row, Snapshot
from adapters.store.postgresql.topics import ALL, STAYS, STAYS_IN_ONE_OF_SEVERAL
from adapters.store.times import MICROSECOND, moment
from adapters.store.window import Window
from domain.model import Counted, Counts, InboxQuery, Item, ItemState, Listing, Subscriber
from domain.model.value import value


def _placed(upto: str = "", condition: str = NOT_REPLACED) -> str:
    return f"""
            SELECT log_offset, expires_at FROM synkrone.placed
            WHERE placed.room = mine.room AND placed.log_offset > mine.after {upto} AND item AND {condition}
            ORDER BY log_offset DESC LIMIT %(most)s::bigint"""  # noqa: S608


# Rooms and topics apart: with an end that only stays have, the planner would expect next to nothing of either.
_NEWEST = f"""
    newest AS MATERIALIZED (
        SELECT DISTINCT log_offset, expires_at FROM (
            SELECT placed.log_offset, placed.expires_at
            FROM unnest(%(rooms)s::text[], %(afters)s::bigint[]) AS mine (room, after)
            CROSS JOIN LATERAL ({_placed()}) AS placed
            UNION ALL
            SELECT placed.log_offset, placed.expires_at
            FROM (
                SELECT room, greatest(after_offset, %(aged)s::bigint) AS after, upto_offset AS upto
                FROM ({STAYS}) AS stays) AS mine
            CROSS JOIN LATERAL ({_placed(f"AND placed.log_offset <= coalesce(mine.upto, {ALL})")}) AS placed) AS placed
        ORDER BY log_offset DESC LIMIT %(most)s::bigint)"""  # noqa: S608

_NEWEST_IN_ONE_OF_SEVERAL = f"""
    sets AS MATERIALIZED (
        SELECT rooms, afters, starts, synkrone.replaced(rooms, afters) AS replaced
        FROM (
            SELECT string_to_array(given.rooms, E'\\n') AS rooms,
                string_to_array(given.afters, ' ')::bigint[] AS afters,
                string_to_array(given.starts, ' ')::bigint[] AS starts
            FROM unnest(%(rooms)s::text[], %(afters)s::text[], %(starts)s::text[]) AS given (rooms, afters, starts))
            AS given),
    newest AS MATERIALIZED (
        SELECT DISTINCT log_offset, expires_at FROM (
            SELECT placed.log_offset, placed.expires_at
            FROM sets CROSS JOIN LATERAL unnest(sets.rooms, sets.afters) AS mine (room, after)
            CROSS JOIN LATERAL ({_placed(condition=not_replaced("sets.replaced"))}) AS placed
            UNION ALL
            SELECT placed.log_offset, placed.expires_at
            FROM (
                SELECT room, greatest(after_offset, %(aged)s::bigint) AS after, upto_offset AS upto
                FROM ({STAYS_IN_ONE_OF_SEVERAL}) AS stays) AS mine
            CROSS JOIN LATERAL (
                {_placed(f"AND placed.log_offset <= coalesce(mine.upto, {ALL})", "expires_at IS DISTINCT FROM 0")})
                AS placed) AS placed
        ORDER BY log_offset DESC LIMIT %(most)s::bigint)"""  # noqa: S608


def newest(*, in_several: bool) -> str:
    """The window of an inbox: in one set of roles, or in several at once."""
    return _NEWEST_IN_ONE_OF_SEVERAL if in_several else _NEWEST


# Looked up once, whatever the planner does; a join may be done again for each item.
_WATERMARK = """(
    SELECT coalesce(max(log_offset), 0) FROM synkrone.watermarks WHERE user_id = %(user)s::text)"""


def items_of(some: str, *, with_snoozed: bool = False) -> str:
    """``items``: what of a part of the window was neither deleted nor snoozed, nor has expired. ``place`` is where it
    lies in lists."""
    snoozed = "" if with_snoozed else "AND snoozed_until IS NULL"
    return f"""
        items AS NOT MATERIALIZED (
            SELECT {some}.log_offset, {some}.expires_at, state.user_id IS NOT NULL AS touched, read_at, seen_at,
                archived_at, read_by, archived_at IS NULL AS current, snoozed_until, raised,
                coalesce(raised, {some}.log_offset) AS place,
                CASE WHEN state.user_id IS NULL THEN {some}.log_offset > {_WATERMARK} ELSE read_at IS NULL END
                    AS unread,
                CASE WHEN state.user_id IS NULL THEN {some}.log_offset > {_WATERMARK} ELSE seen_at IS NULL END
                    AS unseen
            FROM {some}
            LEFT JOIN synkrone.state ON state.user_id = %(user)s::text AND state.log_offset = {some}.log_offset
            WHERE ({some}.expires_at IS NULL OR {some}.expires_at > %(now)s::bigint)
                AND deleted IS NOT TRUE {snoozed})"""  # noqa: S608


def all_items(*, in_several: bool, with_snoozed: bool = False) -> str:
    """The ``items`` of the whole window."""
    return f"{newest(in_several=in_several)}, {items_of('newest', with_snoozed=with_snoozed)}"


_READ_ALL_AT = """(
    SELECT watermarks.read_at FROM synkrone.watermarks
    WHERE user_id = %(user)s::text AND watermarks.log_offset > items.log_offset ORDER BY log_offset LIMIT 1)"""
TIMES = f"""
    CASE WHEN touched THEN items.read_at ELSE {_READ_ALL_AT} END AS read_at,
    CASE WHEN touched THEN items.seen_at ELSE {_READ_ALL_AT} END AS seen_at,
    archived_at"""
"""Those of one of the ``items``."""


def _summary_of(*, in_several: bool) -> bytes:
    return f"""
    WITH {all_items(in_several=in_several)}, counted AS (
        SELECT count(*) FILTER (WHERE current AND unread) AS unread,
            count(*) FILTER (WHERE current AND unseen) AS unseen, count(*) FILTER (WHERE current) AS total,
            count(*) FILTER (WHERE unread OR unseen) AS to_read,
            min(expires_at) FILTER (WHERE current) AS expires_at, min(log_offset) FILTER (WHERE current) AS oldest
        FROM items)
    SELECT unread, unseen, total, to_read, (SELECT count(*) FROM newest), expires_at,
        (SELECT stored_at FROM synkrone.contents WHERE log_offset = oldest)
    FROM counted""".encode()  # noqa: S608


_SUMMARIES = {in_several: _summary_of(in_several=in_several) for in_several in (False, True)}

_STATES: Mapping[ItemState, str] = {
    ItemState.CURRENT: "current",
    ItemState.UNREAD: "current AND unread",
    ItemState.READ: "current AND NOT unread",
    ItemState.ARCHIVED: "NOT current",
    ItemState.ALL: "true",
    # Not by IS NOT NULL: there is an index of these, of all users, and nobody else's are to be looked at.
    ItemState.SNOOZED: "coalesce(snoozed_until, 0) > 0",
    ItemState.ALL_AND_SNOOZED: "true",
}
_WITH_SNOOZED = (ItemState.SNOOZED, ItemState.ALL_AND_SNOOZED)


def _listing(state: ItemState, *, of_type: bool, in_several: bool) -> bytes:
    items = all_items(in_several=in_several, with_snoozed=state in _WITH_SNOOZED)
    # Without a type only the contents on the page are looked at, and not those of the whole inbox.
    typed = "AND (SELECT type FROM synkrone.contents WHERE contents.log_offset = items.log_offset) = %(type)s::text"

    def first(place: str, condition: str) -> str:
        return f"""(
                    SELECT * FROM items
                    WHERE {_STATES[state]} AND {condition}
                        AND (%(before)s::bigint IS NULL OR {place} < %(before)s::bigint)
                        {typed if of_type else ""}
                    ORDER BY {place} DESC LIMIT %(limit)s::integer + 1)"""  # noqa: S608

    # What lies where it came is in order: of that no more is looked at than is listed. Times are those of the page.
    return f"""
        WITH {items}, chosen AS (
            SELECT items.log_offset, place, {TIMES}, snoozed_until FROM (
                {first("log_offset", "raised IS NULL")}
                UNION ALL {first("raised", "raised IS NOT NULL")}
                ORDER BY place DESC LIMIT %(limit)s::integer + 1) AS items),
        sized AS (
            SELECT chosen.*, row_number() OVER following AS number, sum(
                (SELECT octet_length(payload) FROM synkrone.contents WHERE contents.log_offset = chosen.log_offset))
                OVER following AS bytes
            FROM chosen WINDOW following AS (ORDER BY place DESC))
        SELECT (SELECT count(*) FROM chosen), log_offset, place, read_at, seen_at, archived_at, snoozed_until, form,
            payload
        FROM sized CROSS JOIN LATERAL (
            SELECT form, payload FROM synkrone.contents WHERE contents.log_offset = sized.log_offset LIMIT 1) AS stored
        WHERE number = 1 OR (number <= %(limit)s::integer AND bytes <= %(bytes)s::bigint)
        ORDER BY place DESC""".encode()  # noqa: S608


_LISTINGS = {
    (state, of_type, in_several): _listing(state, of_type=of_type, in_several=in_several)
    for state in ItemState
    for of_type in (False, True)
    for in_several in (False, True)
}


@value
class View:
    """An inbox, as it is to be seen at a time."""

    subscriber: Subscriber
    window: Window

    @property
    def in_several(self) -> bool:
        """Whether it is one in several sets of roles."""
        return bool(self.subscriber.others)

    def parameters(self, aged: int) -> dict[str, object]:
        """Of the queries on it. All up to the offset ``aged`` is too old."""
        in_each = self.subscriber.in_each
        rooms = [list(starts) for starts in in_each]
        begun = [list(starts.values()) for starts in in_each]
        afters = [[max(start, aged) for start in starts] for starts in begun]
        of_user = {"user": self.subscriber.user, "aged": aged, **self.window.limits}
        if not self.in_several:
            return of_user | {"rooms": rooms[0], "starts": begun[0], "afters": afters[0]}
        return of_user | {
            "rooms": ["\n".join(some) for some in rooms],
            "starts": [_in_words(some) for some in begun],
            "afters": [_in_words(some) for some in afters],
        }


def _in_words(offsets: Iterable[int]) -> str:
    return " ".join(map(str, offsets))


@value
class Summary:
    """What lies in an inbox: ``to_read`` items are unread or unseen, the archived ones among them."""

    counts: Counts
    to_read: int
    room: int
    stands_until: int | None


def aged_upto(db: Database, window: Window) -> int:
    """The offset up to which everything is too old for it."""
    (aged,) = db.one(b"SELECT synkrone.aged_upto(%(before)s::bigint)", {"before": window.aged_before})
    return int(aged)


def summarize(db: Database, views: Sequence[View], aged: int) -> list[Summary]:
    found: dict[int, Summary] = {}
    for in_several, query in _SUMMARIES.items():
        those = [number for number, view in enumerate(views) if view.in_several is in_several]
        rows = db.all_of(query, [views[number].parameters(aged) for number in those])
        for number, (row,) in zip(those, rows, strict=True):
            found[number] = _summary(views[number].window, row)
    return [found[number] for number in range(len(views))]


def _summary(window: Window, row: Row) -> Summary:
    unread, unseen, total, to_read, number, expires_at, oldest_stored_at = row
    ends = [expires_at] if expires_at is not None else []
    if oldest_stored_at is not None:
        ends.append(oldest_stored_at + window.kept.retention // MICROSECOND)
    return Summary(Counts(unread, unseen, total), to_read, window.kept.per_user - number, min(ends, default=None))


def count(snapshot: Snapshot, views: Sequence[View]) -> list[Counted]:
    """An operation of the readers."""
    aged = aged_upto(snapshot.db, views[-1].window)
    summaries = summarize(snapshot.db, views, aged)
    return [counted(snapshot, view.window, found) for view, found in zip(views, summaries, strict=True)]


def counted(snapshot: Snapshot, window: Window, found: Summary) -> Counted:
    stands_until = moment(found.stands_until) if found.stands_until is not None else None
    return Counted(found.counts, snapshot.as_of, found.room, stands_until, window.kept.retention)


@value
class Looking:
    """A request for a list."""

    view: View
    query: InboxQuery


def listing(snapshot: Snapshot, looking: Looking) -> Listing:
    query, view = looking.query, looking.view
    aged = aged_upto(snapshot.db, view.window)
    (summary,) = summarize(snapshot.db, [view], aged)
    parameters = view.parameters(aged) | {
        "type": query.type,
        "before": query.before,
        "limit": query.limit,
        "bytes": query.max_bytes,
    }
    rows = snapshot.db.execute(_LISTINGS[query.state, query.type is not None, view.in_several], parameters).fetchall()
    items = tuple(_item(row[1:]) for row in rows)
    more = bool(rows) and rows[0][0] > len(rows)
    return Listing(items, items[-1].offset if more else None, summary.counts, snapshot.as_of)


def _item(row: Row) -> Item:
    offset, place, *stored, form, payload = row
    if form != FORM:
        raise unknown_form(offset)
    times = [moment(time) if time is not None else None for time in stored]
    return Item(place, notification(offset, payload.encode()), *times)
