"""What of the log is for one subscription: by where its user starts in shared rooms, and by their stays in topics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from domain.model import SPANS_MOST, Entry, Room, Span, TailEntry


class _Change(NamedTuple):
    room: Room
    at: int
    is_member: bool


_NO_ROOMS: frozenset[Room] = frozenset()
_NO_STARTS: Mapping[Room, int] = {}


class Reach:
    """Of a subscription that is in ``rooms`` from its beginning on, and in topics as the log says.

    The log is followed while its user is looked up, and may be behind or ahead of what is found: what it says is kept
    until then, and counts where it is news.
    """

    __slots__ = ("_as_of", "_early", "_spans", "changed_at", "rooms", "starts")

    def __init__(self) -> None:
        self.rooms = _NO_ROOMS
        self.starts: Mapping[Room, int] = _NO_STARTS
        """Where its user starts in each room: what lies at or below that does not exist for them, nor what is about
        it."""
        self.changed_at = 0
        """The last offset at which the user came to a topic, or left one, since they were looked up."""
        # Nearly all connections never have any.
        self._spans: dict[Room, list[Span]] | None = None
        self._early: list[_Change] | None = None
        self._as_of: int | None = None

    def begin(self, starts: Mapping[Room, int], spans: Sequence[Span], as_of: int) -> None:
        """With what is stored of the user, while the log ended at an offset. The stays come in any order."""
        self.starts, self._as_of = starts, as_of
        for span in sorted(spans, key=lambda span: span.after):
            self._stays_in(span.room).append(span)
        early, self._early = self._early, None
        for one in early or ():
            self.change(*one)

    def change(self, room: Room, at: int, is_member: bool) -> bool:  # noqa: FBT001 (one of two verbs)
        """From an offset on the user is in a topic, or is not; whether it makes a difference by now."""
        if self._as_of is None:
            if self._early is None:
                self._early = []
            self._early.append(_Change(room, at, is_member))
            return False
        if at <= self._as_of or is_member == (room in self.topics):
            return False
        spans = self._stays_in(room)
        if is_member:
            spans.append(Span(room, at))
        else:
            spans.append(Span(room, spans.pop().after, at))
            del spans[:-SPANS_MOST]
        self.changed_at = at
        return True

    def _stays_in(self, room: Room) -> list[Span]:
        if self._spans is None:
            self._spans = {}
        return self._spans.setdefault(room, [])

    @property
    def topics(self) -> frozenset[Room]:
        """Those that the user is in."""
        if self._spans is None:
            return _NO_ROOMS
        return frozenset(room for room, spans in self._spans.items() if spans[-1].upto is None)

    @property
    def left(self) -> Collection[Room]:
        """Topics that the user was in, and is not."""
        if self._spans is None:
            return ()
        return [room for room, spans in self._spans.items() if spans[-1].upto is not None]

    def includes(self, room: Room, offset: int) -> bool:
        """Whether what lies at an offset, in a room, is for the user."""
        if room.is_all:
            return all(self.includes(part, offset) for part in room.parts)
        start = self.starts.get(room)
        if start is not None:
            return start < offset
        return self._spans is not None and any(span.includes(offset) for span in self._spans.get(room, ()))

    def has(self, entry: TailEntry) -> bool:
        """Whether an entry is. What is about another is for those for whom that is; in rooms that are no topics this
        is left to who looks at their starts."""
        if not self.rooms.isdisjoint(entry.rooms):
            return True
        is_all = len(entry.rooms) == 1 and next(iter(entry.rooms)).is_all
        if not self._spans and not is_all:
            return False
        about = entry.about if isinstance(entry, Entry) else None
        offset = entry.position.offset if about is None else about
        return any(self.includes(room, offset) for room in entry.rooms if is_all or room in (self._spans or ()))
