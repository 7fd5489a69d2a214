"""What stands against a user, as the row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adapters.store.times import microseconds, moment
from domain.model import Block, Restriction, UserId
from domain.model.value import value


@value
class Over:
    """Revocations of what was issued at or before a time, and blocks that ended by another, are not to be kept."""

    issued_before: datetime
    until: datetime


def stored(restriction: Restriction) -> tuple[object, ...]:
    """The user, the offset, the time of the revocation, whether there is a block, its end and its reason."""
    block = restriction.block
    return (
        restriction.user,
        restriction.offset,
        _number(restriction.issued_before),
        int(block is not None),
        _number(block.until) if block is not None else None,
        block.reason if block is not None else None,
    )


def restriction_of(row: Sequence[Any]) -> Restriction:
    """The one that was ``stored`` so."""
    user, offset, issued_before, blocked, until, reason = row
    return Restriction(UserId(user), offset, _moment(issued_before), Block(_moment(until), reason) if blocked else None)


def _number(time: datetime | None) -> int | None:
    return microseconds(time) if time is not None else None


def _moment(number: int | None) -> datetime | None:
    return moment(number) if number is not None else None
