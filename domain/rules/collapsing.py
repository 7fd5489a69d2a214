"""Collapse keys: a notification takes the place of those before it with the same key, for each user by themselves.

Of what a user can reach, only the last with a key is in their inbox. That follows from the log and their rooms alone:
whoever publishes what at the same time, and whatever becomes of the last one later, an earlier one never comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from domain.model import Room

OWN_ROOMS_MOST = 10_000
"""Of how many users it is looked for each by themselves what was for them alone, where one is for a room of many."""


def is_reached(offsets: Mapping[Room, int], starts: Mapping[Room, int]) -> bool:
    """Whether somebody with these starts can reach what lies at one of the offsets, which are by room."""
    return any(starts.get(room, offset) < offset for room, offset in offsets.items())


def earlier_of(offset: int, rooms: Iterable[Room], last: Mapping[Room, int], *, is_all: bool) -> Mapping[Room, int]:
    """Where there was one before what lies at an offset in some rooms, and at which offset the ``last`` of them. Where
    that is not all, as it is too much to be looked at, everybody is taken to have one."""
    return last if is_all else {**dict.fromkeys(rooms, offset - 1), **last}


def is_own(room: Room) -> bool:
    """Whether it is that of one user."""
    return room.startswith("user:")
