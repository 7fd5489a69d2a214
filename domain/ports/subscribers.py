"""Who reads the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.model import Position, Room, Subscriber, UserId


class Subscribers(Protocol):
    """Who reads the log, from where on, and how far they are. Who has several roles at a time is kept by the name of
    their set, as by that of one. Raises StoreUnavailable as the log does."""

    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        """The user as a subscriber of the rooms. Where a shared room is new to them they start at its head, and in a
        new role their mark is their highest; that is stored before this returns. Their own room they have from its
        beginning."""

    async def roles(self, user: UserId) -> Sequence[str]:
        """In which roles the user was registered, in alphabetical order; none of a user who never was. It stores
        nothing."""

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        """Store marks of users in roles: the highest position that some connection of theirs is known to have received.

        A mark only grows. A position of an epoch that is not known any more is left out. In a new role it is where
        their highest was when they came in it first; of a new user it is the beginning of the log.
        """
