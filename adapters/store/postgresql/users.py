"""What a PostgreSQL database knows of users: where they start in shared rooms, and what is known to have been received.

Rows that several servers may write at once are written in the order of their names: otherwise each could wait for what
the other has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.store.postgresql.changes import USERS_AT_ONCE, lock_users
from adapters.store.postgresql.database import Database, Row, Snapshot, Written
from adapters.store.postgresql.log import TRIMMED
from adapters.store.registration import Registration
from domain.model import Arrival, Position, Room, Span, Subscriber, UserId
from domain.model.value import value
from domain.rules.recovery import floor_in_topics, floor_of

REGISTERED_MOST: Final = 3
"""So often is somebody registered who is erased again and again before they are found."""

_STARTS = f"""
    SELECT mine.number, mine.room,
        coalesce(
            (SELECT start_offset FROM synkrone.starts WHERE user_id = mine.user_id AND starts.room = mine.room),
            CASE WHEN mine.room = mine.own THEN 0 END),
        {TRIMMED}
    FROM unnest(%(numbers)s::integer[], %(users)s::text[], %(owns)s::text[], %(rooms)s::text[])
        AS mine (number, user_id, own, room)""".encode()  # noqa: S608
_STAYS = f"""
    SELECT mine.number, mine.room, mine.after_offset, mine.upto_offset, {TRIMMED}
    FROM (
        SELECT given.number, stay.room, stay.after_offset, stay.upto_offset
        FROM unnest(%(numbers)s::integer[], %(users)s::text[]) AS given (number, user_id)
        JOIN synkrone.memberships AS stay ON stay.user_id = given.user_id
        UNION ALL
        SELECT given.number, stay.room, stay.after_offset, stay.upto_offset
        FROM unnest(%(numbers)s::integer[], %(users)s::text[], %(rooms)s::text[], %(starts)s::text[])
            AS given (number, user_id, rooms, starts)
        CROSS JOIN LATERAL synkrone.stays_in_all(
            given.user_id, string_to_array(given.rooms, E'\\n'), string_to_array(given.starts, ' ')::bigint[])
            AS stay) AS mine""".encode()  # noqa: S608
_MARKS = b"""
    SELECT (SELECT log_offset FROM synkrone.marks WHERE marks.user_id = mine.user_id AND marks.role = mine.role)
    FROM unnest(%(users)s::text[], %(roles)s::text[]) WITH ORDINALITY AS mine (user_id, role, number)
    ORDER BY number"""
_ROLES = b"SELECT role FROM synkrone.marks WHERE user_id = %(user)s ORDER BY role"
_START = b"""
    INSERT INTO synkrone.starts (user_id, room, start_offset)
    SELECT user_id, room, synkrone.head() FROM unnest(%(users)s::text[], %(rooms)s::text[]) AS given (user_id, room)
    ORDER BY user_id COLLATE "C", room COLLATE "C" ON CONFLICT DO NOTHING"""
_MARK = b"""
    INSERT INTO synkrone.marks (user_id, role, log_offset)
    SELECT user_id, role, coalesce(
        (SELECT max(log_offset) FROM synkrone.marks WHERE marks.user_id = given.user_id), 0)
    FROM unnest(%(users)s::text[], %(roles)s::text[]) AS given (user_id, role)
    ORDER BY user_id COLLATE "C", role COLLATE "C" ON CONFLICT DO NOTHING"""
# Whoever was erased is a new user: what lies before is lost, and they have no cursor of it.
_BEGIN_ANEW = b"""
    WITH back AS (
        SELECT user_id, erased FROM (
            SELECT user_id, synkrone.erased_at(user_id) AS erased
            FROM (SELECT DISTINCT user_id FROM unnest(%(users)s::text[]) AS given (user_id)) AS each
            WHERE (SELECT true FROM synkrone.erasures LIMIT 1)) AS known
        WHERE erased IS NOT NULL),
    started AS (
        INSERT INTO synkrone.starts (user_id, room, start_offset)
        SELECT user_id, 'user:' || user_id, erased - 1 FROM back ORDER BY user_id COLLATE "C"
        ON CONFLICT (user_id, room) DO UPDATE SET start_offset = excluded.start_offset
        WHERE excluded.start_offset > starts.start_offset
        RETURNING user_id),
    lost AS (
        INSERT INTO synkrone.trimmed (room, log_offset)
        SELECT 'user:' || user_id, erased FROM back JOIN started USING (user_id) ORDER BY user_id COLLATE "C"
        ON CONFLICT (room) DO UPDATE SET log_offset = greatest(trimmed.log_offset, excluded.log_offset))
    UPDATE synkrone.marks SET log_offset = greatest(log_offset, erased)
    FROM back JOIN started USING (user_id) WHERE marks.user_id = back.user_id"""
_ACKNOWLEDGE = b"""
    WITH known AS (
        SELECT epoch, coalesce(lead(first) OVER (ORDER BY number) - 1, synkrone.head()) AS last FROM synkrone.epochs)
    INSERT INTO synkrone.marks (user_id, role, log_offset)
    SELECT given.user_id, given.role, max(given.log_offset)
    FROM unnest(%(users)s::text[], %(roles)s::text[], %(epochs)s::text[], %(offsets)s::bigint[])
        AS given (user_id, role, epoch, log_offset)
    JOIN known ON known.epoch = given.epoch AND given.log_offset <= last
    WHERE given.log_offset > CASE WHEN (SELECT true FROM synkrone.erasures LIMIT 1)
        THEN coalesce(synkrone.erased_at(given.user_id), 0) ELSE 0 END
        AND given.log_offset > coalesce(
        (SELECT log_offset FROM synkrone.marks WHERE marks.user_id = given.user_id AND marks.role = given.role), -1)
    GROUP BY given.user_id, given.role
    ORDER BY given.user_id COLLATE "C", given.role COLLATE "C"
    ON CONFLICT (user_id, role) DO UPDATE SET log_offset = excluded.log_offset
    WHERE excluded.log_offset > marks.log_offset"""


@value
class Standing:
    """Somebody who is registered. ``floor`` and ``mark`` are offsets, as the domain's Standing has them; ``spans`` are
    all stays."""

    subscriber: Subscriber
    floor: int
    mark: int
    spans: Sequence[Span]


def standings(snapshot: Snapshot, those: Sequence[Arrival | Registration]) -> list[Standing | None]:
    """In their order; None where a start or the mark has to be stored first."""
    if not those:
        return []
    mine = [(number, one.user, Room.of_user(one.user), room) for number, one in enumerate(those) for room in one.rooms]
    numbers, users, owns, rooms = zip(*mine, strict=True) if mine else ((), (), (), ())
    starts: list[dict[Room, int]] = [{} for _ in those]
    trimmed: list[dict[Room, int]] = [{} for _ in those]
    for number, room, start, lost in snapshot.db.execute(
        _STARTS,
        {
            "numbers": list(numbers),
            "users": list(users),
            "owns": list(owns),
            "rooms": list(rooms),
            "floor": snapshot.floor,
        },
    ):
        if start is not None:
            starts[number][Room(room)] = start
        trimmed[number][Room(room)] = lost
    marks = snapshot.db.execute(
        _MARKS, {"users": [one.user for one in those], "roles": [one.role for one in those]}
    ).fetchall()
    stays: list[list[Span]] = [[] for _ in those]
    for number, room, after, upto, lost in _stays_of(snapshot, those, starts):
        stays[number].append(Span(Room(room), after, upto))
        trimmed[number][Room(room)] = lost
    return [
        Standing(
            Subscriber(one.user, one.role, known), max(floor_of(known, lost), floor_in_topics(some, lost)), mark, some
        )
        if mark is not None and len(known) == len(one.rooms)
        else None
        for one, known, lost, some, (mark,) in zip(those, starts, trimmed, stays, marks, strict=True)
    ]


def _stays_of(
    snapshot: Snapshot, those: Sequence[Arrival | Registration], starts: Sequence[Mapping[Room, int]]
) -> Sequence[Row]:
    if not snapshot.has_groups:
        return ()
    return snapshot.db.execute(
        _STAYS,
        {
            "numbers": list(range(len(those))),
            "users": [one.user for one in those],
            "rooms": ["\n".join(known) for known in starts],
            "starts": [" ".join(map(str, known.values())) for known in starts],
            "floor": snapshot.floor,
        },
    ).fetchall()


def registered(snapshot: Snapshot, registrations: Sequence[Registration]) -> list[Subscriber | None]:
    """An operation of the readers. None for whoever is not registered yet."""
    return [one.subscriber if one is not None else None for one in standings(snapshot, registrations)]


def roles(snapshot: Snapshot, user: UserId) -> Sequence[str]:
    """For an operation of the readers."""
    rows = snapshot.db.execute(_ROLES, {"user": user}).fetchall()
    return [str(role) for (role,) in rows]


class Registering:
    """Work of the writer. Where there is no start yet it is the head, and a mark the user's highest."""

    once = False

    def __init__(self, batches: Sequence[Sequence[Registration]]) -> None:
        self._batches = batches

    def run(self, db: Database) -> Written:
        registrations = [one for batch in self._batches for one in batch]
        for first in range(0, len(registrations), USERS_AT_ONCE):
            _register(db, registrations[first : first + USERS_AT_ONCE])
        return Written([None] * len(self._batches))


def _register(db: Database, those: Sequence[Registration]) -> None:
    """Whoever is erased meanwhile is registered before that, or begins anew."""
    users, roles = [one.user for one in those], [one.role for one in those]
    shared = [(one.user, room) for one in those for room in one.rooms if room != Room.of_user(one.user)]
    db.begin()
    with db.line.pipeline():
        lock_users(db, users)
        db.execute(_START, {"users": [user for user, _ in shared], "rooms": [room for _, room in shared]})
        db.execute(_MARK, {"users": users, "roles": roles})
        db.execute(_BEGIN_ANEW, {"users": users})
        db.execute(b"COMMIT")


Advance = Mapping[tuple[UserId, str], Position]


class Acknowledging:
    """Work of the writer. Where no mark grows nothing is written."""

    once = False

    def __init__(self, advances: Sequence[Advance]) -> None:
        self._advances = advances

    def run(self, db: Database) -> Written:
        rows = [(user, role, at.epoch, at.offset) for one in self._advances for (user, role), at in one.items()]
        users, roles, epochs, offsets = zip(*rows, strict=True) if rows else ((), (), (), ())
        db.execute(
            _ACKNOWLEDGE,
            {"users": list(users), "roles": list(roles), "epochs": list(epochs), "offsets": list(offsets)},
        )
        return Written([None] * len(self._advances))


def checkpoint(snapshot: Snapshot, source: str) -> str | None:
    row = snapshot.db.execute(
        b"SELECT resume_id FROM synkrone.checkpoints WHERE source = %(source)s::text", {"source": source}
    ).fetchone()
    return str(row[0]) if row is not None else None
