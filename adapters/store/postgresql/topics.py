"""Who is in which topic, in a PostgreSQL database, as it is read: stays of users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from adapters.store.postgresql.database import Row, Snapshot
from domain.model import Room, Span, UserId

MINE: Final = """
    (SELECT room, after, NULL::bigint AS upto
    FROM unnest(%(rooms)s::text[], %(afters)s::bigint[]) AS given (room, after)
    UNION ALL
    SELECT room, greatest(after_offset, {after}), upto_offset FROM synkrone.memberships
    WHERE user_id = %(user)s::text
    UNION ALL
    SELECT room, greatest(after_offset, {after}), upto_offset
    FROM synkrone.stays_in_all(%(user)s::text, %(rooms)s::text[], %(starts)s::bigint[])) AS mine"""
"""Rooms from an offset on, up to another: those that are given, and by the stays of a user, none from before
``{after}``. The ``starts`` are the offsets with which the rooms that are given begin for them."""
ALL: Final = f"{1 << 62}::bigint"
"""Beyond every offset."""

STAYS: Final = """
    SELECT room, after_offset, upto_offset FROM synkrone.memberships WHERE user_id = %(user)s::text
    UNION ALL
    SELECT room, after_offset, upto_offset
    FROM synkrone.stays_in_all(%(user)s::text, %(rooms)s::text[], %(starts)s::bigint[])"""
STAYS_IN_ONE_OF_SEVERAL: Final = """
    SELECT room, after_offset, upto_offset FROM synkrone.memberships WHERE user_id = %(user)s::text
    UNION
    SELECT stay.room, stay.after_offset, stay.upto_offset
    FROM sets CROSS JOIN LATERAL synkrone.stays_in_all(%(user)s::text, sets.rooms, sets.starts) AS stay"""
"""The same of who has several sets of roles, which are the ``rooms`` and ``starts`` of ``sets``."""
_STAYS = STAYS.encode()


def stays_of(snapshot: Snapshot, user: UserId, starts: Mapping[Room, int]) -> list[Span]:
    """Of who has such starts, in topics and in rooms of several parts."""
    if not snapshot.has_groups:
        return []
    given = {"user": user, "rooms": list(starts), "starts": list(starts.values())}
    return spans(snapshot.db.execute(_STAYS, given).fetchall())


def spans(rows: Iterable[Row]) -> list[Span]:
    return [Span(Room(room), after, upto) for room, after, upto in rows]
