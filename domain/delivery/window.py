"""The newest entries that were delivered, for whoever comes back from a pause."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

from domain.model import Entry, Json, Room, TailEntry, Unfetched


class Window:
    """Entries in order, as many as have ``max_bytes`` of payload and are no more than ``max_entries``.

    It is one for all connections: were there one for each, 10,000 that are paused together could hold 10,000 times as
    much, all of which the log has.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: deque[TailEntry] = deque()
        self._offsets: set[int] = set()
        self._bytes = 0
        self._complete_after = 0

    def begin(self, offset: int) -> None:
        """Be empty: what lies at or before an offset was never in it."""
        self._entries.clear()
        self._offsets.clear()
        self._bytes = 0
        self._complete_after = offset

    def add(self, entry: TailEntry) -> list[TailEntry]:
        """Those that have to go for it, which may be itself."""
        self._entries.append(entry)
        self._offsets.add(entry.position.offset)
        self._bytes += _held(entry)
        gone = []
        while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
            oldest = self._entries.popleft()
            self._offsets.remove(oldest.position.offset)
            self._bytes -= _held(oldest)
            self._complete_after = oldest.position.offset
            gone.append(oldest)
        return gone

    def forget(self, room: Room) -> list[TailEntry]:
        """Nothing of it is for a room any more; those entries that were for no other, and are empty now."""
        gone: list[TailEntry] = []
        for index, entry in enumerate(self._entries):
            if room in entry.rooms:
                left = entry.rooms - {room}
                if not left and isinstance(entry, Entry):
                    self._bytes -= _held(entry)
                    gone.append(entry)
                    self._entries[index] = replace(entry, rooms=left, payload=Json(b""))
                else:
                    self._entries[index] = replace(entry, rooms=left)
        return gone

    def holds(self, entry: TailEntry) -> bool:
        return entry.position.offset in self._offsets

    def reaches(self, offset: int) -> bool:
        """Whether everything that was delivered beyond an offset is in it."""
        return offset >= self._complete_after

    def after(self, offset: int) -> Iterator[TailEntry]:
        """What was delivered beyond an offset, in order."""
        newest_first = list(takewhile(lambda entry: entry.position.offset > offset, reversed(self._entries)))
        return reversed(newest_first)


def _held(entry: TailEntry) -> int:
    return 0 if isinstance(entry, Unfetched) else len(entry.payload)
