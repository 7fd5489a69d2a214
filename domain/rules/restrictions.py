"""Restrictions: what stands against a user, whom it keeps out, and for how long it has to be remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from domain.errors import InvalidToken, UserBlocked
from domain.model import Block, BlockUser, Identity, Restriction, RestrictUser, RevokeTokens, UnblockUser

Fault: TypeAlias = InvalidToken | UserBlocked


def after(before: Restriction | None, control: RestrictUser, offset: int) -> Restriction:
    """The restriction of a user from the control at an offset on. One that it knew of already changes nothing.

    A revocation is never taken back: of two the later time counts. A block replaces the one before.
    """
    known = before if before is not None else Restriction(control.user, offset=0)
    if offset <= known.offset:
        return known
    match control:
        case RevokeTokens(_, issued_before):
            latest = max(issued_before, known.issued_before or issued_before)
            return replace(known, offset=offset, issued_before=latest)
        case BlockUser(_, until, reason):
            return replace(known, offset=offset, block=Block(until, reason))
        case UnblockUser():
            return replace(known, offset=offset, block=None)


def is_revoked(identity: Identity, issued_before: datetime | None) -> bool:
    """A token that does not say when it was issued may have been by then, and is."""
    if issued_before is None:
        return False
    return identity.issued_at is None or identity.issued_at <= issued_before


def is_blocked(block: Block | None, now: datetime) -> bool:
    return block is not None and (block.until is None or now < block.until)


def fault(identity: Identity, restriction: Restriction | None, now: datetime) -> Fault | None:
    """Why somebody whose token is good is not let in; None where they are."""
    if restriction is None:
        return None
    if is_blocked(restriction.block, now):
        return UserBlocked()
    if is_revoked(identity, restriction.issued_before):
        return InvalidToken("it was revoked")
    return None


def lives_too_long(identity: Identity, longest_life: timedelta, now: datetime) -> bool:
    """Whether a token may still be good when its revocation is forgotten.

    One that does not say when it was issued must expire within that time from now: what was taken before a revocation
    has expired then, too, once that is forgotten.
    """
    return identity.expires_at - (identity.issued_at or now) > longest_life


def is_over(restriction: Restriction, issued_before: datetime, until: datetime) -> bool:
    """Whether it keeps nobody out any more at the time ``until``, where no token is good any more that was issued at or
    before ``issued_before``."""
    if is_blocked(restriction.block, until):
        return False
    return restriction.issued_before is None or restriction.issued_before <= issued_before
