"""Users who arrive, in a SQLite file: what they are given first, of one snapshot, for many of them at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from adapters.store.addressing import topics_only
from adapters.store.registration import Registration
from adapters.store.sqlite import items, log, users
from adapters.store.sqlite.log import Reading, RoomSets
from adapters.store.sqlite.schema import as_json
from adapters.store.sqlite.topics import ALL, Groups, groups_in, span_of, start_in, stays_in
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.window import Window
from domain.errors import SynkroneError
from domain.model import Arrival, Counted, Page, Position, Room, Span, Subscriber
from domain.model.value import value
from domain.rules.epochs import Generations
from domain.rules.recovery import Continuation, Standing, continuation, floor_in_topics, floor_of


@value
class Arriving:
    """A request for what users are given.

    With ``tail_floor`` a page that begins at or after that offset is left to whoever has the tail.
    """

    arrivals: Sequence[Arrival]
    generations: Generations
    window: Window
    tail_floor: int | None
    room_sets: RoomSets


@value
class Found:
    """What there is for somebody; without a page where it was left to the tail."""

    subscriber: Subscriber
    continuation: Continuation
    page: Page | None
    counted: Counted
    spans: Sequence[Span]


@value
class FoundTogether:
    """What there is for each, in their order, of a snapshot with that ``head``; None for who is not registered yet."""

    each: Sequence[Found | None]
    head: int

    @property
    def left_to_the_tail(self) -> list[Position]:
        """The positions after which pages are to be made of the tail."""
        return [one.continuation.after for one in self.each if one is not None and one.page is None]


def arrive(db: sqlite3.Connection, requests: Sequence[Arriving]) -> list[FoundTogether | SynkroneError]:
    """An operation of the readers."""
    window = requests[-1].window
    snapshot = log.snapshot_of(db)
    aged = items.aged_upto(db, window, snapshot)
    arrivals = [arrival for request in requests for arrival in request.arrivals]
    known = _look_up(db, arrivals, _with_numbers, snapshot.groups, {"aged": aged} | window.limits)
    as_of = Position(requests[-1].generations.present, snapshot.head)
    in_order = zip(arrivals, known, strict=True)
    found: list[FoundTogether | SynkroneError] = []
    for request in requests:
        each: list[Found | None] = []
        try:
            for arrival, one in list(islice(in_order, len(request.arrivals))):
                if one is None:
                    each.append(None)
                    continue
                where = continuation(arrival, Standing(request.generations, snapshot.head, one.floor, one.mark))
                page = _page(db, request, arrival, one, where.after, snapshot.head)
                counted = items.counted(window, items.summary(one.numbers, window, aged), as_of)
                each.append(Found(one.subscriber, where, page, counted, topics_only(one.spans)))
        except SynkroneError as error:
            found.append(error)
        else:
            found.append(FoundTogether(each, snapshot.head))
    return found


def register_and_arrive(
    transaction: LogTransaction, requests: Sequence[Arriving]
) -> list[FoundTogether | SynkroneError]:
    """An operation of the writer: who is not registered yet is by it."""
    arrivals = [arrival for request in requests for arrival in request.arrivals]
    users.register(transaction, [Registration(one.user, one.role, one.rooms) for one in arrivals])
    return arrive(transaction.db, requests)


def registered(db: sqlite3.Connection, registrations: Sequence[Registration]) -> list[Subscriber | None]:
    """An operation of the readers. None for whoever is not registered yet."""
    known = _look_up(db, registrations, _without_numbers, groups_in(db), {"aged": 0})
    return [one.subscriber if one is not None else None for one in known]


def register(transaction: LogTransaction, batches: Sequence[Sequence[Registration]]) -> list[list[Subscriber]]:
    """An operation of the writer."""
    registrations = [one for batch in batches for one in batch]
    users.register(transaction, registrations)
    in_order = iter(registered(transaction.db, registrations))
    return [[one for one in islice(in_order, len(batch)) if one is not None] for batch in batches]


def _page(
    db: sqlite3.Connection, request: Arriving, arrival: Arrival, known: _Known, after: Position, head: int
) -> Page | None:
    """None where it is left to the tail, which does not know who was in a topic."""
    if request.tail_floor is not None and after.offset >= request.tail_floor and not known.spans:
        return None
    reading = Reading(
        request.generations,
        known.subscriber,
        after.offset,
        arrival.max_entries,
        arrival.max_bytes,
        request.room_sets,
    )
    return log.readable_page(db, reading, head, known.spans)


@value
class _Known:
    """Somebody who is registered. ``floor`` and ``mark`` are offsets, as in a Standing; ``spans`` are all stays."""

    subscriber: Subscriber
    floor: int
    mark: int
    spans: Sequence[Span]
    numbers: Sequence[Any]


def _look_up(
    db: sqlite3.Connection,
    those: Sequence[Arrival | Registration],
    query: Callable[[int, Groups], str],
    groups: Groups,
    arguments: Mapping[str, object],
) -> list[_Known | None]:
    """What is known of each, in their order: None where a start or the mark has to be stored first."""
    rooms = [tuple(one.rooms) for one in those]
    given = [(Room.of_user(one.user), one.role, *names) for one, names in zip(those, rooms, strict=True)]
    wanted = query(max(map(len, rooms), default=1), groups)
    (found,) = db.execute(wanted, {"given": as_json(given), **arguments}).fetchone()
    known: list[_Known | None] = []
    for one, names, (mark, starts, trimmed, stays, numbers) in zip(those, rooms, json.loads(found), strict=True):
        # Of fewer rooms than others have, the last ones are missing.
        starts_in = dict(zip(names, starts, strict=False))
        if mark is None or None in starts_in.values():
            known.append(None)
            continue
        spans = [span_of(stay) for stay in stays]
        floor = max(
            floor_of(starts_in, dict(zip(names, trimmed, strict=False))),
            floor_in_topics(spans, {span.room: lost for span, (*_, lost) in zip(spans, stays, strict=True)}),
        )
        known.append(_Known(Subscriber(one.user, one.role, starts_in), floor, mark, spans, numbers))
    return known


@cache
def _with_numbers(rooms: int, groups: Groups) -> str:
    return _query(rooms, items.numbers_of([range(rooms)], groups), groups)


@cache
def _without_numbers(rooms: int, groups: Groups) -> str:
    return _query(rooms, "'null'", groups)


def _stays(rooms: int, groups: Groups) -> str:
    if not groups:
        return "json('[]')"
    starts = [start_in(f"room{number}", f"start{number}") for number in range(rooms)]
    return f"""
        json((SELECT json_group_array(json_array(rooms.name, stay.after, nullif(stay.upto, {ALL}), {log.TRIMMED}))
            FROM ({stays_in(groups, "own", starts)}) AS stay CROSS JOIN rooms ON rooms.id = stay.room))"""  # noqa: S608


def _query(rooms: int, numbers: str, groups: Groups) -> str:
    """A query for the mark, the starts, the last offsets that left the rooms, the stays, and the numbers of each who
    has at most so many rooms.

    It is one for all of them: each would cost a wait for the interpreter's lock.
    """
    ids = "".join(
        f", (SELECT id FROM rooms WHERE name = json_extract(value, '$[{number + 2}]')) AS room{number}"  # noqa: S608
        for number in range(rooms)
    )
    starts = "".join(
        f"""
            , coalesce((SELECT start FROM starts WHERE user = own AND room = room{number}),
                CASE WHEN room{number} = own THEN 0 END) AS start{number}"""  # noqa: S608
        for number in range(rooms)
    )
    trimmed = ", ".join(f"(SELECT {log.TRIMMED} FROM rooms WHERE id = room{number})" for number in range(rooms))  # noqa: S608
    afters = "".join(f", max(start{number}, :aged) AS after{number}" for number in range(rooms))
    return f"""
        WITH named AS MATERIALIZED (
            SELECT key, json_extract(value, '$[1]') AS role,
                (SELECT id FROM rooms WHERE name = json_extract(value, '$[0]')) AS own{ids}
            FROM json_each(:given)),
        known AS MATERIALIZED (
            SELECT *, (SELECT offset FROM marks WHERE user = own AND marks.role = named.role) AS mark{starts}
            FROM named)
        SELECT json_group_array(json_array(
            mark, json_array({", ".join(f"start{number}" for number in range(rooms))}), json_array({trimmed}),
            {_stays(rooms, groups)}, json({numbers})))
        FROM (SELECT *{afters}, {items.LAST_WATERMARK} AS watermark FROM known ORDER BY key)"""  # noqa: S608
