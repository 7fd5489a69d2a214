"""Those of one transport who are live, and what they are sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from domain.delivery.window import Window
from domain.model import Entry, Room, TailEntry, Unfetched
from domain.ports import Sent, Transport
from domain.ports.transport import Frame, Outlet

O = TypeVar("O", bound=Outlet)  # noqa: E741 (an outlet)
F = TypeVar("F", bound=Frame)

_NOBODY: Mapping[Any, int] = {}


class LiveOutlets(Generic[O, F]):
    """Those of one transport who are live, by room, and what was encoded for it of the entries in the window."""

    def __init__(self, transport: Transport[O, F], window: Window) -> None:
        self.transport = transport
        self._window = window
        self._by_room: dict[Room, dict[O, int]] = {}
        self._frames: dict[int, F] = {}

    @property
    def rooms(self) -> Collection[Room]:
        return self._by_room.keys()

    def enter(self, outlet: O, rooms: frozenset[Room], starts: Mapping[Room, int]) -> None:
        """``starts`` are offsets: what is about something at or below the one in a room is not sent there."""
        for room in rooms:
            self._by_room.setdefault(room, {})[outlet] = starts.get(room, 0)

    def exit(self, outlet: O, rooms: frozenset[Room]) -> None:
        for room in rooms:
            outlets = self._by_room.get(room)
            if outlets is not None:
                outlets.pop(outlet, None)
                if not outlets:
                    del self._by_room[room]

    def deliver(self, entry: TailEntry) -> Sent | None:
        """What was sent; None where nobody is in its rooms."""
        outlets = self._in(entry.rooms)
        if not outlets:
            return None
        if isinstance(entry, Unfetched):
            raise TypeError("the tail brought something for somebody without its payload")
        if entry.about is not None:
            outlets = self._started_before(entry.about, entry.rooms)
            if not outlets:
                return None
        self.transport.send(outlets, self.frame(entry))
        return Sent(self.transport.name, entry, len(outlets))

    def frame(self, entry: Entry) -> F:
        """Encoded once, however many get it, now or soon."""
        offset = entry.position.offset
        frame = self._frames.get(offset)
        if frame is None:
            frame = self.transport.encode(entry)
            if self._window.holds(entry):
                self._frames[offset] = frame
        return frame

    def forget_all(self) -> None:
        self._frames.clear()

    def forget(self, entries: Sequence[TailEntry]) -> None:
        for entry in entries:
            self._frames.pop(entry.position.offset, None)

    def _in(self, rooms: frozenset[Room]) -> Collection[O]:
        """Whoever is in any of the rooms, each once."""
        if len(rooms) == 1:
            (room,) = rooms
            return self._by_room.get(room, _NOBODY)
        outlets: dict[O, int] = {}
        for room in rooms:
            outlets.update(self._by_room.get(room, _NOBODY))
        return outlets

    def _started_before(self, offset: int, rooms: frozenset[Room]) -> Collection[O]:
        """Whoever started before an offset in any of the rooms, each once."""
        return {
            outlet: start
            for room in rooms
            for outlet, start in self._by_room.get(room, _NOBODY).items()
            if start < offset
        }
