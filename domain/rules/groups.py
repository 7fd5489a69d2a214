"""Rooms of several parts: when somebody was in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from domain.model import Room, Span

_BEYOND = 1 << 62
"""Every offset."""


def stays_in(room: Room, starts: Mapping[Room, int], spans: Iterable[Span]) -> Sequence[Span]:
    """Where the stays of a user in each of its parts, and what comes after their start in each role, lie together."""
    parts = frozenset(room.parts)
    mine = [Span(part, start) for part, start in starts.items() if part in parts]
    mine += [span for span in spans if span.room in parts]
    found: list[Span] = []
    for after in sorted({span.after for span in mine}):
        ends = {span.room: _end(span) for span in mine if span.after <= after < _end(span)}
        if len(ends) == len(parts):
            end = min(ends.values())
            found.append(Span(room, after, end if end < _BEYOND else None))
    return found


def _end(span: Span) -> int:
    return span.upto if span.upto is not None else _BEYOND
