"""Who was in which topic, as the log says."""

from __future__ import annotations

from collections.abc import Sequence

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
