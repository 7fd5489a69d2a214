"""Who somebody is."""

from __future__ import annotations

from datetime import datetime
from typing import NewType

from domain.model.value import value

UserId = NewType("UserId", str)


@value
class Identity:
    """Who a token speaks for, as one verifier answers it for every type of user.

    ``expires_at`` is the token's ``exp`` (RFC 7519, section 4.1.4), in UTC and without leeway.
    ``issuer`` is empty where the verifier was configured without one. ``issued_at`` is the token's ``iat`` (section
    4.1.6), in UTC; None where it does not say.
    """

    user: UserId
    role: str
    issuer: str
    expires_at: datetime
    issued_at: datetime | None = None


@value
class Rate:
    """So many a second on average, and at most ``burst`` at once."""

    per_second: float
    burst: int


@value
class Caller:
    """A backend that authenticated itself. ``name`` appears in logs; the credential never does.

    It may publish at ``publish_rate``, in notifications; None: as fast as it can.
    """

    name: str
    scopes: frozenset[str]
    publish_rate: Rate | None = None
