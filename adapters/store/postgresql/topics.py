"""Who is in which topic, in a PostgreSQL database, as it is read: stays of users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adapters.store.postgresql.database import Row, Snapshot
from domain.model import Room, Span, UserId

MINE: Final = """
    (SELECT room, after, NULL::bigint AS upto
    FROM unnest(%(rooms)s::text[], %(afters)s::bigint[]) AS given (room, after)
    UNION ALL
    SELECT room, greatest(after_offset, {after}), upto_offset FROM synkrone.memberships
    WHERE user_id = %(user)s::text) AS mine"""
"""Rooms from an offset on, up to another: those that are given, and topics of a user, none from before ``{after}``."""
ALL: Final = f"{1 << 62}::bigint"
"""Beyond every offset."""

SPANS: Final = b"""
    SELECT room, after_offset, upto_offset FROM synkrone.memberships WHERE user_id = %(user)s::text"""


def spans_of(snapshot: Snapshot, user: UserId) -> list[Span]:
    return spans(snapshot.db.execute(SPANS, {"user": user}).fetchall())


def spans(rows: Iterable[Row]) -> list[Span]:
    return [Span(Room(room), after, upto) for room, after, upto in rows]


def has_topics(snapshot: Snapshot) -> bool:
    (has,) = snapshot.db.one(b"SELECT EXISTS (SELECT FROM synkrone.memberships)")
    return bool(has)
