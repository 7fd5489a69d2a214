"""Whom a notification is for, as it lies in a store: by the names of its rooms."""

from __future__ import annotations

from bisect import bisect_right

from domain.model import EVERYONE, Audience, AudienceKind, RecipientPlace, Room, UserId

_ROLE = "role:"
_USER = "user:"


def audience_of(rooms: str | None) -> tuple[AudienceKind, frozenset[Room]]:
    """Of its rooms, one a line, of which the first tells: they are of users, or there is one. With the shared ones."""
    first = (rooms or "").partition("\n")[0]
    if first == EVERYONE:
        return AudienceKind.EVERYONE, frozenset((EVERYONE,))
    if first.startswith(_ROLE):
        return AudienceKind.ROLE, frozenset((Room(first),))
    return AudienceKind.USER, frozenset()


def whole_audience(rooms: str | None) -> Audience:
    """As ``audience_of``, with all of the rooms."""
    kind, shared = audience_of(rooms)
    return Audience(kind, shared or frozenset(map(Room, (rooms or "").split("\n"))))


def role_of(audience: Audience) -> str | None:
    """The role of one that is for a role."""
    (room, *_) = audience.rooms
    return room.removeprefix(_ROLE) if audience.kind is AudienceKind.ROLE else None


def named_after(audience: Audience, place: RecipientPlace | None) -> list[UserId]:
    """Whom it names, by name, from a place on."""
    users = sorted(UserId(room.removeprefix(_USER)) for room in audience.rooms)
    return users if place is None else users[bisect_right(users, place.user) :]


def rooms_of(user: UserId, shared: frozenset[Room], *, is_own: bool) -> frozenset[Room]:
    """Those a user can be in; ``is_own``: it is for them by name."""
    return shared | {Room.of_user(user)} if is_own else shared
