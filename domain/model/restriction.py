"""Who is not let in, though their token is good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.model.identity import UserId
from domain.model.log import Position
from domain.model.value import value


@value
class Block:
    """Nobody is let in as the user before ``until``, or ever; ``reason`` is for operators."""

    until: datetime | None
    reason: str | None


@value
class Restriction:
    """What stands against a user.

    Tokens that were issued at or before ``issued_before`` are not good any more; None: there are no such. ``offset`` is
    that of the control which was the last to change it.
    """

    user: UserId
    offset: int
    issued_before: datetime | None = None
    block: Block | None = None


@value
class Restricted:
    """Everybody who is, at a position of the log."""

    as_of: Position
    restrictions: Sequence[Restriction]


@value
class Revoked:
    """A user's tokens were. ``disconnected`` is how many connections that ended."""

    issued_before: datetime
    disconnected: int


@value
class Blocked:
    """Whether a user is, and how; ``disconnected`` is how many connections that ended."""

    block: Block | None
    disconnected: int = 0
