"""Users who arrive, in a SQLite file: what they are given first, of one snapshot, for many of them at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from itertools import islice

from adapters.store.sqlite import items, log
from adapters.store.sqlite.items import Kept, View
from adapters.store.sqlite.log import Reading, RoomSets, as_json
from adapters.store.sqlite.users import Registration
from domain.model import Arrival, Counted, Page, Position, Room, Subscriber
from domain.model.value import value
from domain.rules.epochs import Generations
from domain.rules.recovery import Continuation, Standing, continuation, floor_of


@value
class Arriving:
    """A request for what users are given. ``now`` is in microseconds.

    With ``tail_floor`` a page that begins at or after that offset is left to whoever has the tail.
    """

    arrivals: Sequence[Arrival]
    generations: Generations
    now: int
    kept: Kept
    tail_floor: int | None
    room_sets: RoomSets


@value
class Found:
    """What there is for somebody; without a page where it was left to the tail."""

    subscriber: Subscriber
    continuation: Continuation
    page: Page | None
    counted: Counted


@value
class FoundTogether:
    """What there is for each, in their order, of a snapshot with that ``head``; None for who is not registered yet."""

    each: Sequence[Found | None]
    head: int

    @property
    def left_to_the_tail(self) -> list[Position]:
        """The positions after which pages are to be made of the tail."""
        return [one.continuation.after for one in self.each if one is not None and one.page is None]


def arrive(db: sqlite3.Connection, requests: Sequence[Arriving]) -> list[FoundTogether]:
    """An operation of the readers."""
    arriving = [(request, arrival) for request in requests for arrival in request.arrivals]
    snapshot = _Snapshot(db, [arrival for _, arrival in arriving])
    subscribers = [snapshot.subscriber(arrival) for _, arrival in arriving]
    latest = requests[-1]
    views = [View(subscriber, latest.now, latest.kept) for subscriber in subscribers if subscriber is not None]
    as_of = Position(latest.generations.present, snapshot.head)
    counts = iter(items.counted(db, views, as_of))
    found: list[Found | None] = []
    for (request, arrival), subscriber in zip(arriving, subscribers, strict=True):
        if subscriber is None:
            found.append(None)
            continue
        where = continuation(arrival, snapshot.standing(subscriber, request.generations))
        page = _page(db, request, arrival, subscriber, where.after)
        found.append(Found(subscriber, where, page, next(counts)))
    in_order = iter(found)
    return [FoundTogether(list(islice(in_order, len(one.arrivals))), snapshot.head) for one in requests]


def registered(db: sqlite3.Connection, registrations: Sequence[Registration]) -> list[Subscriber | None]:
    """An operation of the readers. None for whoever is not registered yet."""
    snapshot = _Snapshot(db, registrations)
    return [snapshot.subscriber(registration) for registration in registrations]


def _page(
    db: sqlite3.Connection, request: Arriving, arrival: Arrival, subscriber: Subscriber, after: Position
) -> Page | None:
    if request.tail_floor is not None and after.offset >= request.tail_floor:
        return None
    reading = Reading(
        request.generations, subscriber, after.offset, arrival.max_entries, arrival.max_bytes, request.room_sets
    )
    return log.readable_page(db, reading)


class _Snapshot:
    """What the log knows of rooms and users, as far as it concerns those who arrive."""

    def __init__(self, db: sqlite3.Connection, arrivals: Sequence[Arrival | Registration]) -> None:
        rooms = {room for arrival in arrivals for room in (Room.of_user(arrival.user), *arrival.rooms)}
        self.head, self._trimmed, ids = self._read_log(db, rooms)
        own = {ids[room] for arrival in arrivals if (room := Room.of_user(arrival.user)) in ids}
        self._starts, self._marks = self._read_users(db, own)
        self._ids = ids

    def subscriber(self, arrival: Arrival | Registration) -> Subscriber | None:
        """None where a start or the mark is missing, that has to be stored first."""
        own = Room.of_user(arrival.user)
        id_ = self._ids.get(own)
        if id_ is None or (id_, arrival.role) not in self._marks:
            return None
        starts = {room: 0 if room == own else self._starts.get((id_, self._ids.get(room))) for room in arrival.rooms}
        known = {room: start for room, start in starts.items() if start is not None}
        return Subscriber(arrival.user, arrival.role, known) if len(known) == len(starts) else None

    def standing(self, subscriber: Subscriber, generations: Generations) -> Standing:
        floor = floor_of(subscriber.starts, self._trimmed)
        mark = self._marks[self._ids[Room.of_user(subscriber.user)], subscriber.role]
        return Standing(generations, self.head, floor, mark)

    @staticmethod
    def _read_log(db: sqlite3.Connection, rooms: Collection[Room]) -> tuple[int, dict[Room, int], dict[Room, int]]:
        """The head, and of each room that is known the last offset that it lost, and its id."""
        head, rows = db.execute(
            f"""
            SELECT ({log.HEAD}), (SELECT json_group_array(json_array(name, id, {log.TRIMMED}))
                FROM rooms WHERE name IN (SELECT value FROM json_each(?)))""",  # noqa: S608
            (as_json(rooms),),
        ).fetchone()
        found = json.loads(rows)
        return head, {name: trimmed for name, _, trimmed in found}, {name: id_ for name, id_, _ in found}

    @staticmethod
    def _read_users(
        db: sqlite3.Connection, users: Collection[int]
    ) -> tuple[dict[tuple[int, int | None], int], dict[tuple[int, str], int]]:
        """Starts by user and room, and marks by user and role."""
        starts, marks = db.execute(
            """
            SELECT
                (SELECT json_group_array(json_array(user, room, start))
                    FROM json_each(:users) JOIN starts ON user = value),
                (SELECT json_group_array(json_array(user, role, offset))
                    FROM json_each(:users) JOIN marks ON user = value)""",
            {"users": as_json(users)},
        ).fetchone()
        return (
            {(user, room): start for user, room, start in json.loads(starts)},
            {(user, role): offset for user, role, offset in json.loads(marks)},
        )
