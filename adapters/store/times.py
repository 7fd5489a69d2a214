"""Times as stores keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """As times are stored: since 1970, in UTC."""
    return (time - _EPOCH) // MICROSECOND


def moment(stored: int) -> datetime:
    """The time that ``microseconds`` made a number of."""
    return _EPOCH + timedelta(microseconds=stored)


def second(time: datetime) -> int:
    """The beginning of its second, as it is stored."""
    return microseconds(time.replace(microsecond=0))
