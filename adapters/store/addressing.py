"""Whom a notification is for, as it lies in a store: by the names of its rooms."""

from __future__ import annotations

from domain.model import EVERYONE, AudienceKind, Room, UserId

_ROLE = "role:"


def audience_of(rooms: str | None) -> tuple[AudienceKind, frozenset[Room]]:
    """Of its rooms, one a line, of which the first tells: they are of users, or there is one. With the shared ones."""
    first = (rooms or "").partition("\n")[0]
    if first == EVERYONE:
        return AudienceKind.EVERYONE, frozenset((EVERYONE,))
    if first.startswith(_ROLE):
        return AudienceKind.ROLE, frozenset((Room(first),))
    return AudienceKind.USER, frozenset()


def rooms_of(user: UserId, shared: frozenset[Room], *, is_own: bool) -> frozenset[Room]:
    """Those a user can be in; ``is_own``: it is for them by name."""
    return shared | {Room.of_user(user)} if is_own else shared
