"""Where notifications with a collapse key are, in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from domain.model import Room
from domain.rules.collapsing import OWN_ROOMS_MOST, earlier_of, is_own

_Offsets = dict[Room, list[int]]


class CollapseIndex:
    """By key and room, in order: also those that were taken back or have expired, as long as the log has them."""

    def __init__(self) -> None:
        self._own: dict[str, _Offsets] = {}
        self._shared: dict[str, _Offsets] = {}

    def add(self, key: str, rooms: Iterable[Room], offset: int) -> None:
        for room in rooms:
            self._side(room).setdefault(key, {}).setdefault(room, []).append(offset)

    def remove(self, key: str, rooms: Iterable[Room], offset: int) -> None:
        for room in rooms:
            side = self._side(room)
            offsets = side[key][room]
            del offsets[bisect_left(offsets, offset)]
            if not offsets:
                del side[key][room]
                if not side[key]:
                    del side[key]

    def is_replaced(self, key: str, starts: Mapping[Room, int], offset: int) -> bool:
        """Whether somebody with these starts can reach one behind an offset."""
        return any((last := self._last(key, room)) > offset and last > start for room, start in starts.items())

    def is_replaced_in(self, key: str, room: Room, offset: int) -> bool:
        """Whether there is one behind an offset in the same room."""
        return self._last(key, room) > offset

    def first_before(self, key: str, starts: Mapping[Room, int], offset: int) -> int | None:
        """The first that somebody with these starts can reach, where it lies before an offset."""
        first = self._first(key, starts)
        return first if first is not None and first < offset else None

    def first_after(self, key: str, starts: Mapping[Room, int], offset: int) -> int | None:
        """The first behind an offset that somebody with these starts can reach."""
        return self._first(key, {room: max(start, offset) for room, start in starts.items()})

    def earlier(self, key: str, rooms: frozenset[Room], offset: int) -> Mapping[Room, int]:
        """The last before an offset of each room that whoever can reach one in these may be in."""
        last, is_all = self._reachable(
            key, rooms, lambda offsets: offsets[index - 1] if (index := bisect_left(offsets, offset)) else None
        )
        return earlier_of(offset, rooms, last, is_all=is_all)

    def later(self, key: str, rooms: frozenset[Room], offset: int) -> Mapping[Room, int]:
        """The same, of those behind it."""
        return self._later(key, rooms, offset)[0]

    def is_last(self, key: str, rooms: frozenset[Room], offset: int) -> bool:
        """Whether nobody in these rooms can reach one behind an offset."""
        later, is_all = self._later(key, rooms, offset)
        return is_all and not later

    def _later(self, key: str, rooms: frozenset[Room], offset: int) -> tuple[dict[Room, int], bool]:
        return self._reachable(key, rooms, lambda offsets: offsets[-1] if offsets[-1] > offset else None)

    def _reachable(
        self, key: str, rooms: frozenset[Room], pick: Callable[[list[int]], int | None]
    ) -> tuple[dict[Room, int], bool]:
        own, is_all = self._own.get(key, {}), True
        some: Iterable[tuple[Room, list[int]]]
        if all(map(is_own, rooms)):
            some = ((room, own[room]) for room in rooms if room in own)
        else:
            is_all = len(own) <= OWN_ROOMS_MOST
            some = islice(own.items(), OWN_ROOMS_MOST)
        those = [*some, *self._shared.get(key, {}).items()]
        return {room: found for room, offsets in those if (found := pick(offsets)) is not None}, is_all

    def _first(self, key: str, starts: Mapping[Room, int]) -> int | None:
        found: list[int] = []
        for room, start in starts.items():
            offsets = self._side(room).get(key, {}).get(room, [])
            index = bisect_right(offsets, start)
            found += offsets[index : index + 1]
        return min(found, default=None)

    def _last(self, key: str, room: Room) -> int:
        offsets = self._side(room).get(key, {}).get(room)
        return offsets[-1] if offsets is not None else 0

    def _side(self, room: Room) -> dict[str, _Offsets]:
        return self._own if is_own(room) else self._shared
