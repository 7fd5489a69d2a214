"""How a notification stands with those whom it is for, in numbers."""

from __future__ import annotations

from collections.abc import Iterable

from domain.model import Audience, AudienceKind, Recipient, Tally

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
