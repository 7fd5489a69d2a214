"""Those of one transport who are live, and what they are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from domain.delivery.reach import Reach
from domain.delivery.window import Window
from domain.model import NOTIFICATION_REVISED, Entry, Room, TailEntry, Unfetched
from domain.ports import Sent, Transport
from domain.ports.transport import Frame, Outlet

O = TypeVar("O", bound=Outlet)  # noqa: E741 (an outlet)
F = TypeVar("F", bound=Frame)


def _without(outlets: Collection[O], others: Collection[O]) -> Collection[O]:
    return [outlet for outlet in outlets if outlet not in others]


_NOBODY: Mapping[Any, Reach] = {}


class LiveOutlets(Generic[O, F]):
    """Those of one transport who are live, by room, and what was encoded for it of the entries in the window. Who has
    left a topic is still told what becomes of what they got there."""

    def __init__(self, transport: Transport[O, F], window: Window) -> None:
        self.transport = transport
        self._window = window
        self._by_room: dict[Room, dict[O, Reach]] = {}
        self._left: dict[Room, dict[O, Reach]] = {}
        self._frames: dict[int, F] = {}

    @property
    def rooms(self) -> Collection[Room]:
        return self._by_room.keys()

    def enter(self, outlet: O, rooms: Iterable[Room], reach: Reach, left: Iterable[Room] = ()) -> None:
        """What is about something that is beyond its ``reach`` is not sent to it. ``left`` are topics."""
        for room in rooms:
            self._by_room.setdefault(room, {})[outlet] = reach
        for room in left:
            self._left.setdefault(room, {})[outlet] = reach

    def exit(self, outlet: O, rooms: Iterable[Room], left: Iterable[Room] = ()) -> None:
        _take_out(outlet, self._by_room, rooms)
        _take_out(outlet, self._left, left)

    def deliver(self, entry: TailEntry) -> Sent | None:
        """What was sent; None where it is for nobody."""
        if isinstance(entry, Unfetched):
            if self._in(entry.rooms, entry.position.offset):
                raise TypeError("the tail brought something for somebody without its payload")
            return None
        if entry.about is None:
            outlets = self._in(entry.rooms, entry.position.offset)
        else:
            outlets = self._reached(entry.about, entry.rooms)
        if not outlets:
            return None
        if entry.about is not None and entry.later:
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

    def _in(self, rooms: frozenset[Room], offset: int) -> Collection[O]:
        """Whoever is in any of the rooms, as of the offset to which the log was taken, each once."""
        if len(rooms) == 1:
            (room,) = rooms
            if room.is_all:
                return self._in_all(room, offset)
            return self._by_room.get(room, _NOBODY)
        outlets: dict[O, Reach] = {}
        for room in rooms:
            outlets.update(self._by_room.get(room, _NOBODY))
        return outlets

    def _reaching(self, offsets: Mapping[Room, int], outlets: Collection[O]) -> Collection[O]:
        """Those of the outlets that can reach what lies at one of the offsets, which are by room."""
        reaching: dict[O, None] = {}
        for room, offset in offsets.items():
            members = self._by_room.get(room, _NOBODY)
            few, many = (members, outlets) if len(members) < len(outlets) else (outlets, members)
            both = (outlet for outlet in few if outlet in many)
            reaching.update((outlet, None) for outlet in both if members[outlet].includes(room, offset))
        return reaching

    def _reached(self, offset: int, rooms: frozenset[Room]) -> Collection[O]:
        """For whom in any of the rooms what lies at an offset is, each once."""
        if len(rooms) == 1 and (room := next(iter(rooms))).is_all:
            return self._in_all(room, offset)
        return {
            outlet: reach
            for room in rooms
            for some in (self._by_room, self._left)
            for outlet, reach in some.get(room, _NOBODY).items()
            if reach.includes(room, offset)
        }

    def _in_all(self, room: Room, offset: int) -> Collection[O]:
        """For whom what lies at an offset in a room of several parts is: of the part with the fewest each is looked
        at."""
        few = min(([self._by_room.get(one, _NOBODY), self._left.get(one, _NOBODY)] for one in room.parts), key=_size)
        return {outlet: reach for some in few for outlet, reach in some.items() if reach.includes(room, offset)}


def _size(some: Iterable[Collection[Any]]) -> int:
    return sum(map(len, some))


def _take_out(outlet: O, by_room: dict[Room, dict[O, Reach]], rooms: Iterable[Room]) -> None:
    for room in rooms:
        outlets = by_room.get(room)
        if outlets is not None:
            outlets.pop(outlet, None)
            if not outlets:
                del by_room[room]
