"""Who was in which topic, as the log says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domain.model import ChangeMembers, Entry, Room, Span, UserId


def stays_of(log: Sequence[Entry], user: UserId) -> list[Span]:
    """Of a user, the first to begin first."""
    stays: list[Span] = []
    for entry in log:
        if isinstance(entry.control, ChangeMembers):
            room, offset = Room.of_topic(entry.control.topic), entry.position.offset
            if user in entry.control.joined:
                stays.append(Span(room, offset))
            if user in entry.control.left:
                stays = [
                    Span(room, stay.after, offset) if stay.room == room and stay.upto is None else stay
                    for stay in stays
                ]
    return stays


def is_in(room: Room, offset: int, starts: Mapping[Room, int], stays: Sequence[Span]) -> bool:
    """Whether somebody with these starts and stays was in a room at an offset, or in each of its parts."""
    return all(
        starts.get(part, offset) < offset or any(stay.room == part and stay.includes(offset) for stay in stays)
        for part in room.parts
    )


def stays_together(room: Room, starts: Mapping[Room, int], stays: Sequence[Span], head: int) -> list[Span]:
    """In each part of a room at once: offset by offset."""
    found: list[Span] = []
    for offset in range(1, head + 1):
        if not is_in(room, offset, starts, stays):
            continue
        begun = found.pop() if found and found[-1].upto == offset - 1 else Span(room, offset - 1)
        found.append(Span(room, begun.after, offset))
    if found and is_in(room, head + 1, starts, stays):
        found.append(Span(room, found.pop().after))
    return found
