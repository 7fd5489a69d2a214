"""Whom a notification is for, as it lies in a store: by the names of its rooms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from domain.model import EVERYONE, Audience, AudienceKind, Room, Span, UserId

_ROLE = "role:"
_TOPIC = "topic:"
_ALL = "all:"


def audience_of(rooms: str | None) -> tuple[AudienceKind, frozenset[Room]]:
    """Of its rooms, one a line, of which the first tells: they are of users, or none is. With the shared ones."""
    first = (rooms or "").partition("\n")[0]
    if first == EVERYONE:
        return AudienceKind.EVERYONE, frozenset((EVERYONE,))
    if first.startswith((_ROLE, _TOPIC, _ALL)):
        groups = Audience.any_of(map(Room, (rooms or "").split("\n")))
        return groups.kind, groups.rooms
    return AudienceKind.USER, frozenset()


def audience_in(rooms: Collection[Room]) -> Audience:
    """The same of rooms that are at hand."""
    if EVERYONE in rooms:
        return Audience.everyone()
    if any(room.is_own for room in rooms):
        return Audience(AudienceKind.USER, frozenset(rooms))
    return Audience.any_of(rooms) if rooms else Audience.users(())


def whole_audience(rooms: str | None) -> Audience:
    """As ``audience_of``, with all of the rooms."""
    kind, shared = audience_of(rooms)
    return Audience(kind, shared or frozenset(map(Room, (rooms or "").split("\n"))))


def without(names: str, rooms: Collection[str]) -> str:
    """Those of the rooms that are left, as they are stored."""
    return "\n".join(name for name in names.split("\n") if name not in rooms) if rooms else names


def roles_of(audience: Audience) -> list[str] | None:
    """The roles of one that is for any of them and nobody else; of another a mark in any role counts, see
    ``common_roles``."""
    if audience.kind is not AudienceKind.ROLE or any(room.is_all for room in audience.rooms):
        return None
    return sorted(room.removeprefix(_ROLE) for room in audience.rooms)


def parts_of(audience: Audience) -> Sequence[Room]:
    """Of one that is for who is in all of some groups these, roles first; of another none."""
    whole = next(iter(audience.rooms), EVERYONE)
    return whole.parts if whole.is_all else ()


def common_roles(audience: Audience) -> list[str]:
    """The roles that one has to have together: only a mark of who has all of them counts."""
    return [part.removeprefix(_ROLE) for part in parts_of(audience) if not part.is_topic]


LOOKED_AT: Final = 500
"""Of the recipients of one for any of several groups so many are looked at for a page: who is in more than one of them
is met in each."""


def most_looked_at(audience: Audience, limit: int) -> int:
    """Where a page has at most so many recipients; one more than that tells that there are more."""
    return (
        max(limit + 1, LOOKED_AT) if audience.kind is not AudienceKind.USER and len(audience.rooms) > 1 else limit + 1
    )


def topics_only(stays: Iterable[Span]) -> list[Span]:
    """Without those in rooms of several parts."""
    return [stay for stay in stays if not stay.room.is_all]


def rooms_of(user: UserId, shared: frozenset[Room], *, is_own: bool) -> frozenset[Room]:
    """Those a user can be in; ``is_own``: it is for them by name."""
    return shared | {Room.of_user(user)} if is_own else shared
