"""How a notification stands with those whom it is for, in numbers, and whom it names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from domain.model import Audience, AudienceKind, Recipient, RecipientPlace, RecipientsPage, Tally, UserId

NOBODY = Tally()


def tally_of(recipients: Iterable[Recipient]) -> Tally:
    """Each number for itself: what was read and then deleted is both."""
    received = seen = read = archived = deleted = 0
    for one in recipients:
        received += one.is_received
        seen += one.seen_at is not None
        read += one.read_at is not None
        archived += one.archived_at is not None
        deleted += one.is_deleted
    return Tally(received, seen, read, archived, deleted)


def together(some: Tally, others: Tally) -> Tally:
    """Of recipients of whom none is among both."""
    return Tally(
        some.received + others.received,
        some.seen + others.seen,
        some.read + others.read,
        some.archived + others.archived,
        some.deleted + others.deleted,
    )


def named_recipients(audience: Audience) -> int | None:
    """How many there are; None where they are not named."""
    return len(audience.rooms) if audience.kind is AudienceKind.USER else None


def named_after(audience: Audience, place: RecipientPlace | None) -> list[UserId]:
    """Whom it names, by name, from a place on."""
    users = sorted(UserId(room.partition(":")[2]) for room in audience.rooms)
    return users if place is None else users[bisect_right(users, place.user) :]


def recipients_until_sent(audience: Audience, after: RecipientPlace | None, limit: int) -> RecipientsPage:
    """Those after a place for whom it is to be, of whom none has it. Who else they will be is not known before."""
    if audience.kind is not AudienceKind.USER:
        return RecipientsPage([], None)
    users = named_after(audience, after)
    page = [Recipient(user, False, None, None, None, False, None) for user in users[:limit]]
    return RecipientsPage(page, RecipientPlace(0, page[-1].user) if len(users) > limit else None)
