"""Rooms of several parts, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domain.model import Room, Span
from domain.rules.groups import stays_in


class RoomsOfAll:
    """Each is found by one of its parts: a topic where there is one, of those the one by which the fewest are found.
    Who is not in that part is not asked about it."""

    def __init__(self) -> None:
        self._by_part: dict[Room, dict[Room, None]] = {}
        self._found_by: dict[Room, Room] = {}

    def add(self, room: Room) -> None:
        if room in self._found_by:
            return
        topics = [part for part in room.parts if part.is_topic]
        part = min(topics or room.parts, key=lambda one: len(self._by_part.get(one, ())))
        self._by_part.setdefault(part, {})[room] = None
        self._found_by[room] = part

    def forget(self, room: Room) -> None:
        """Nothing is in it any more, and nothing is known to have been."""
        part = self._found_by.pop(room, None)
        if part is None:
            return
        del self._by_part[part][room]
        if not self._by_part[part]:
            del self._by_part[part]

    def stays(self, starts: Mapping[Room, int], spans: Sequence[Span]) -> list[Span]:
        """Of somebody in these rooms, by what they start with in rooms and by their stays in topics."""
        if not self._by_part:
            return []
        parts = {*starts, *(span.room for span in spans)}
        rooms = [room for part in parts for room in self._by_part.get(part, ())]
        return [stay for room in rooms for stay in stays_in(room, starts, spans)]
