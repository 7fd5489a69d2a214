"""The newest entries of a log that other servers append to as well, without the payloads that nobody here wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.store.tail import Tail
from domain.model import Room, TailEntry, Unfetched


class PartialTail(Tail[TailEntry]):
    def __init__(self, floor: int) -> None:
        super().__init__(floor)
        self._unfetched: dict[Room, int] = {}

    def append(self, entries: Sequence[TailEntry]) -> None:
        super().append(entries)
        self._note(entries)

    def drop_first(self) -> TailEntry:
        entry = super().drop_first()
        for room in entry.rooms:
            if self._unfetched.get(room) == self.floor:
                del self._unfetched[room]
        return entry

    def cut_back(self, offset: int) -> None:
        super().cut_back(offset)
        self._unfetched.clear()
        self._note(self._entries.values())

    def begin_at(self, offset: int) -> None:
        super().begin_at(offset)
        self._unfetched.clear()

    def whole_after(self, rooms: Iterable[Room]) -> int:
        """The offset after which everything in these rooms is here with its payload."""
        return max((self._unfetched[room] for room in rooms if room in self._unfetched), default=self.floor)

    def _note(self, entries: Iterable[TailEntry]) -> None:
        for entry in entries:
            if isinstance(entry, Unfetched):
                self._unfetched.update(dict.fromkeys(entry.rooms, entry.position.offset))
