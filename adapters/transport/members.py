"""Who is in which room."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, Protocol, TypeVar

from domain.model import Room


class Member(Hashable, Protocol):
    rooms: frozenset[Room]
    """Kept by the index."""


M = TypeVar("M", bound=Member)


class Members(Generic[M]):
    """The members of rooms; its length is the number of rooms that have one."""

    def __init__(self) -> None:
        self._by_room: dict[Room, dict[M, None]] = {}

    def __len__(self) -> int:
        return len(self._by_room)

    @property
    def rooms(self) -> frozenset[Room]:
        return frozenset(self._by_room)

    def join(self, member: M, rooms: frozenset[Room]) -> None:
        member.rooms |= rooms
        for room in rooms:
            self._by_room.setdefault(room, {})[member] = None

    def leave(self, member: M) -> None:
        """Out of all rooms."""
        for room in member.rooms:
            members = self._by_room[room]
            del members[member]
            if not members:
                del self._by_room[room]
        member.rooms = frozenset()

    def of(self, rooms: frozenset[Room]) -> Collection[M]:
        """Whoever is in any of the rooms, each once."""
        if len(rooms) == 1:
            (room,) = rooms
            return self._by_room.get(room, ())
        members: dict[M, None] = {}
        for room in rooms:
            members.update(self._by_room.get(room, {}))
        return members
