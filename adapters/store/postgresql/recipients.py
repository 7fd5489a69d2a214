"""For whom notifications are, in a PostgreSQL database, and how they stand with them.

Whoever is in the room of a notification is found by the index of the starts, in steps of so many; each of them costs a
look at their marks, their state and their watermarks.
"""

from __future__ import annotations

from adapters.store.addressing import common_roles, most_looked_at, parts_of, roles_of, whole_audience, without
from adapters.store.form import FORM, notification, unknown_form
from adapters.store.postgresql.database import Row, Snapshot
from adapters.store.times import moment
from domain.model import (
    Audience,
    AudienceKind,
    PartialTally,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    Tally,
    UserId,
)
from domain.model.value import value
from domain.rules.recipients import named_after

_COUNTED_AT_ONCE = 5000

_PUBLISHED = b"""
    SELECT contents.log_offset, form, coalesce(rooms, recalled), payload, recalled IS NOT NULL,
        ARRAY(SELECT 'user:' || user_id FROM synkrone.erasures
            WHERE done_at IS NULL AND user_id IS NOT NULL AND erasures.log_offset > contents.log_offset)
    FROM synkrone.ids JOIN synkrone.contents ON contents.log_offset = ids.log_offset
    WHERE ids.id = %(id)s::text AND coalesce(rooms, recalled) IS NOT NULL"""


def published(snapshot: Snapshot, id_: str) -> PublishedNotification | None:
    """For an operation of the readers."""
    row = snapshot.db.execute(_PUBLISHED, {"id": id_}).fetchone()
    if row is None:
        return None
    offset, form, names, payload, is_recalled, erased = row
    if form != FORM:
        raise unknown_form(offset)
    rooms = without(names, erased)
    if not rooms:
        return None
    position = snapshot.generations.position(offset)
    told = notification(offset, payload.encode()) if payload is not None else None
    return PublishedNotification(id_, position, whole_audience(rooms), told, is_recalled)


@value
class Asking:
    """A request for the recipients after a place, or for their tally."""

    notification: PublishedNotification
    after: RecipientPlace | None
    limit: int = _COUNTED_AT_ONCE


_NAMED = """
    SELECT user_id, 0::bigint AS start_offset, number, false AS again
    FROM unnest(%(users)s::text[]) WITH ORDINALITY AS given (user_id, number)"""
_IN_ROOM = """
    SELECT user_id, start_offset, row_number() OVER (ORDER BY start_offset, user_id) AS number,
        false AS again
    FROM (
        SELECT user_id, start_offset FROM synkrone.starts
        WHERE room = %(room)s::text AND start_offset < %(offset)s::bigint
            AND (start_offset, user_id) > (%(start)s::bigint, %(after)s::text)
        ORDER BY start_offset, user_id LIMIT %(most)s::integer) AS chosen"""
_IN_TOPIC = """
    SELECT user_id, after_offset AS start_offset, row_number() OVER (ORDER BY after_offset, user_id) AS number,
        false AS again
    FROM (
        SELECT user_id, after_offset FROM synkrone.memberships
        WHERE room = %(room)s::text AND after_offset < %(offset)s::bigint
            AND (upto_offset IS NULL OR upto_offset >= %(offset)s::bigint)
            AND (after_offset, user_id) > (%(start)s::bigint, %(after)s::text)
        ORDER BY after_offset, user_id LIMIT %(most)s::integer) AS chosen"""
# Of each room no more are looked at than of all: who comes again has an earlier place by another.
_IN_ANY = """
    SELECT user_id, start_offset, row_number() OVER (ORDER BY start_offset, user_id) AS number,
        coalesce(
            (SELECT true FROM synkrone.starts
                WHERE starts.user_id = one.user_id AND starts.room = ANY (%(rooms)s::text[])
                    AND starts.start_offset < one.start_offset LIMIT 1),
            (SELECT true FROM synkrone.memberships AS stay
                WHERE stay.user_id = one.user_id AND stay.room = ANY (%(rooms)s::text[])
                    AND stay.after_offset < one.start_offset
                    AND (stay.upto_offset IS NULL OR stay.upto_offset >= %(offset)s::bigint) LIMIT 1),
            false) AS again
    FROM (
        SELECT user_id, start_offset FROM (
            SELECT found.user_id, found.start_offset
            FROM unnest(%(rooms)s::text[]) AS named (room)
            CROSS JOIN LATERAL (
                SELECT user_id, start_offset FROM synkrone.starts
                WHERE starts.room = named.room AND start_offset < %(offset)s::bigint
                    AND (start_offset, user_id) > (%(start)s::bigint, %(after)s::text)
                ORDER BY start_offset, user_id LIMIT %(most)s::integer) AS found
            UNION
            SELECT found.user_id, found.after_offset
            FROM unnest(%(rooms)s::text[]) AS named (room)
            CROSS JOIN LATERAL (
                SELECT user_id, after_offset FROM synkrone.memberships
                WHERE memberships.room = named.room AND after_offset < %(offset)s::bigint
                    AND (upto_offset IS NULL OR upto_offset >= %(offset)s::bigint)
                    AND (after_offset, user_id) > (%(start)s::bigint, %(after)s::text)
                ORDER BY after_offset, user_id LIMIT %(most)s::integer) AS found) AS found
        ORDER BY start_offset, user_id LIMIT %(most)s::integer) AS one"""
_IN_ALL = """
    SELECT user_id, start_offset, row_number() OVER (ORDER BY start_offset, user_id) AS number,
        false AS again
    FROM (
        SELECT user_id, start_offset FROM (
            SELECT user_id, start_offset FROM synkrone.starts
            WHERE NOT %(is_topic)s::boolean AND room = %(room)s::text AND start_offset < %(offset)s::bigint
                AND (start_offset, user_id) > (%(start)s::bigint, %(after)s::text)
            UNION ALL
            SELECT user_id, after_offset FROM synkrone.memberships
            WHERE %(is_topic)s::boolean AND room = %(room)s::text AND after_offset < %(offset)s::bigint
                AND (upto_offset IS NULL OR upto_offset >= %(offset)s::bigint)
                AND (after_offset, user_id) > (%(start)s::bigint, %(after)s::text)) AS one
        WHERE NOT EXISTS (
            SELECT FROM unnest(%(rooms)s::text[]) AS other (room)
            WHERE NOT EXISTS (
                    SELECT FROM synkrone.starts
                    WHERE starts.user_id = one.user_id AND starts.room = other.room
                        AND starts.start_offset < %(offset)s::bigint)
                AND NOT EXISTS (
                    SELECT FROM synkrone.memberships AS stay
                    WHERE stay.user_id = one.user_id AND stay.room = other.room
                        AND stay.after_offset < %(offset)s::bigint
                        AND (stay.upto_offset IS NULL OR stay.upto_offset >= %(offset)s::bigint)))
            AND (cardinality(%(common)s::text[]) < 2 OR EXISTS (
                SELECT FROM synkrone.marks
                WHERE marks.user_id = one.user_id AND string_to_array(role, chr(31)) @> %(common)s::text[]))
        ORDER BY start_offset, user_id LIMIT %(most)s::integer) AS chosen"""
# With a LIMIT each is looked for by its key: otherwise the whole table could be read for a step.
_STANDING = """
    WITH given AS MATERIALIZED ({given}), standing AS MATERIALIZED (
        SELECT given.user_id, start_offset, number, again,
            coalesce((SELECT true FROM synkrone.marks
                WHERE marks.user_id = given.user_id AND log_offset >= %(offset)s::bigint
                    AND (%(roles)s::text[] IS NULL OR string_to_array(role, chr(31)) && %(roles)s::text[])
                    AND string_to_array(role, chr(31)) @> %(common)s::text[]
                LIMIT 1), false) AS received,
            CASE WHEN state.user_id IS NULL THEN CASE WHEN read_all.read_at <= ends THEN read_all.read_at END
                WHEN state.seen_at <= ends THEN state.seen_at END AS seen_at,
            CASE WHEN state.user_id IS NULL THEN CASE WHEN read_all.read_at <= ends THEN read_all.read_at END
                WHEN state.read_at <= ends THEN state.read_at END AS read_at,
            archived_at, coalesce(deleted, false) AS deleted, deleted_at
        FROM given
        CROSS JOIN (SELECT coalesce(
            (SELECT expires_at FROM synkrone.contents WHERE contents.log_offset = %(offset)s::bigint),
            9223372036854775807) AS ends) AS its
        LEFT JOIN LATERAL (
            SELECT user_id, seen_at, read_at, archived_at, deleted, deleted_at FROM synkrone.state
            WHERE state.user_id = given.user_id AND log_offset = %(offset)s::bigint LIMIT 1) AS state ON true
        LEFT JOIN LATERAL (
            SELECT read_at FROM synkrone.watermarks
            WHERE watermarks.user_id = given.user_id AND log_offset > %(offset)s::bigint
            ORDER BY log_offset LIMIT 1) AS read_all ON true)
    """
_RECIPIENTS = f"""{_STANDING}
    SELECT user_id, start_offset, received, seen_at, read_at, archived_at, deleted, deleted_at, again
    FROM standing ORDER BY number"""  # noqa: S608
_TALLY = f"""{_STANDING}
    SELECT count(*), count(*) FILTER (WHERE received AND NOT again), count(seen_at) FILTER (WHERE NOT again),
        count(read_at) FILTER (WHERE NOT again), count(archived_at) FILTER (WHERE NOT again),
        count(*) FILTER (WHERE deleted AND NOT again),
        (SELECT start_offset FROM standing ORDER BY number DESC LIMIT 1),
        (SELECT user_id FROM standing ORDER BY number DESC LIMIT 1)
    FROM standing"""  # noqa: S608


def _queries(query: str) -> dict[str, bytes]:
    """By how recipients are found."""
    return {given: query.format(given=given).encode() for given in (_NAMED, _IN_ROOM, _IN_TOPIC, _IN_ANY, _IN_ALL)}


_RECIPIENTS_OF, _TALLY_OF = _queries(_RECIPIENTS), _queries(_TALLY)


def _given(audience: Audience) -> str:
    if audience.kind is AudienceKind.USER:
        return _NAMED
    if len(audience.rooms) > 1:
        return _IN_ANY
    if parts_of(audience):
        return _IN_ALL
    return _IN_TOPIC if audience.kind is AudienceKind.TOPIC else _IN_ROOM


def recipients(snapshot: Snapshot, asking: Asking) -> RecipientsPage:
    """For an operation of the readers."""
    query = _RECIPIENTS_OF[_given(asking.notification.audience)]
    most = most_looked_at(asking.notification.audience, asking.limit)
    rows = snapshot.db.execute(query, _parameters(asking, most)).fetchall()
    there = [row for row in rows if not row[-1]]
    page = there[: asking.limit]
    last = page[-1] if len(there) > len(page) else rows[-1] if len(rows) == most else None
    return RecipientsPage(
        [_recipient(row) for row in page], RecipientPlace(last[1], UserId(last[0])) if last is not None else None
    )


def tally(snapshot: Snapshot, asking: Asking) -> PartialTally:
    """For an operation of the readers."""
    query = _TALLY_OF[_given(asking.notification.audience)]
    number, *numbers, start, user = snapshot.db.one(query, _parameters(asking, asking.limit))
    last = RecipientPlace(start, UserId(user)) if number == asking.limit else None
    return PartialTally(Tally(*numbers), last)


def _parameters(asking: Asking, most: int) -> dict[str, object]:
    audience, after = asking.notification.audience, asking.after
    common: dict[str, object] = {
        "offset": asking.notification.position.offset,
        "roles": roles_of(audience),
        "common": common_roles(audience),
    }
    if audience.kind is AudienceKind.USER:
        return common | {"users": named_after(audience, after)[:most]}
    # Of several parts the last, a topic where there is one, is gone through.
    rooms = list(parts_of(audience) or audience.rooms)
    return common | {
        "room": rooms[-1],
        "is_topic": rooms[-1].is_topic,
        "rooms": rooms,
        "start": after.start if after is not None else -1,
        "after": after.user if after is not None else "",
        "most": most,
    }


def _recipient(row: Row) -> Recipient:
    user, _, received, seen_at, read_at, archived_at, deleted, deleted_at, _ = row
    times = (seen_at, read_at, archived_at, deleted_at)
    seen, read, archived, gone = (moment(at) if at is not None else None for at in times)
    return Recipient(UserId(user), received, seen, read, archived, deleted, gone)
