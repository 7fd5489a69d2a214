"""Those of one transport who are live, and what they are sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from domain.delivery.window import Window
from domain.model import NOTIFICATION_REVISED, Entry, Room, TailEntry, Unfetched
from domain.ports import Sent, Transport
from domain.ports.transport import Frame, Outlet

O = TypeVar("O", bound=Outlet)  # noqa: E741 (an outlet)
F = TypeVar("F", bound=Frame)


def _without(outlets: Collection[O], others: Collection[O]) -> Collection[O]:
    return [outlet for outlet in outlets if outlet not in others]


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
            if entry.later:
                outlets = _without(outlets, self._reaching(entry.later, outlets))
            if not outlets:
                return None
        had = self._reaching(entry.earlier, outlets) if entry.earlier else _NOBODY
        if had:
            self.transport.send(had, self.transport.encode(replace(entry, event=NOTIFICATION_REVISED)))
        others = _without(outlets, had) if had else outlets
        if others:
            self.transport.send(others, self.frame(entry))
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

    def _reaching(self, offsets: Mapping[Room, int], outlets: Collection[O]) -> Collection[O]:
        """Those of the outlets that can reach what lies at one of the offsets, which are by room."""
        reaching: dict[O, None] = {}
        for room, offset in offsets.items():
            members = self._by_room.get(room, _NOBODY)
            few, many = (members, outlets) if len(members) < len(outlets) else (outlets, members)
            reaching.update((outlet, None) for outlet in few if outlet in many and members[outlet] < offset)
        return reaching

    def _started_before(self, offset: int, rooms: frozenset[Room]) -> Collection[O]:
        """Whoever started before an offset in any of the rooms, each once."""
        return {
            outlet: start
            for room in rooms
            for outlet, start in self._by_room.get(room, _NOBODY).items()
            if start < offset
        }
