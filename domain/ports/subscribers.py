"""Who reads the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from domain.model import Position, Room, Subscriber, UserId


class Subscribers(Protocol):
    """Who reads the log, from where on, and how far they are. Raises StoreUnavailable as the log does."""

    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        """The user as a subscriber of the rooms. Where a shared room is new to them they start at its head, and in a
        new role their mark is their highest; that is stored before this returns. Their own room they have from its
        beginning."""

    async def high_water_mark(self, subscriber: Subscriber) -> Position:
        """The user's mark in this role: the highest position that some connection of theirs is known to have received,
        or where it was when they came in it first; of a new user the beginning of the log."""

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        """Store marks of users in roles. A mark only grows."""
