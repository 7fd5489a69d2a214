"""Who somebody is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NewType

from domain.model.value import value

UserId = NewType("UserId", str)

ROLES_MOST = 50
"""Of one token."""
_BETWEEN = "\x1f"
"""No role holds a control."""


def role_set(roles: Iterable[str]) -> str:
    """The name of a set of roles; that of a single one is its own. What is known of users is kept by it."""
    return role_list(sorted(set(roles)))


def role_list(roles: Iterable[str]) -> str:
    """The same of roles in an order that counts."""
    return _BETWEEN.join(roles)


def roles_in(name: str) -> Sequence[str]:
    """Those of a set, or of a list, with a name."""
    return name.split(_BETWEEN)


@value
class Identity:
    """Who a token speaks for, as one verifier answers it for every type of user.

    ``expires_at`` is the token's ``exp`` (RFC 7519, section 4.1.4), in UTC and without leeway.
    ``roles`` are all that it gives, of which ``role`` is the first; empty where its issuer gives one alone.
    ``issuer`` is empty where the verifier was configured without one. ``issued_at`` is the token's ``iat`` (section
    4.1.6), in UTC; None where it does not say.
    """

    user: UserId
    role: str
    issuer: str
    expires_at: datetime
    issued_at: datetime | None = None
    roles: tuple[str, ...] = ()

    @property
    def all_roles(self) -> Sequence[str]:
        return self.roles or (self.role,)

    @property
    def role_set(self) -> str:
        """By which it is kept what is known of the user."""
        return role_set(self.all_roles)


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
