"""What was taken back, for whatever was read of it before."""

from __future__ import annotations

from collections import OrderedDict

from domain.model import NOTIFICATION_DELETED, Entry, TailEntry

WITHDRAWN_MOST = 10_000


class Withdrawn:
    """The offsets of notifications that were taken back, the last WITHDRAWN_MOST of them."""

    def __init__(self) -> None:
        self._offsets: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._offsets)

    def includes(self, entry: TailEntry) -> bool:
        """Whether it is one of them, or revises or brings back one."""
        if entry.position.offset in self._offsets:
            return True
        return isinstance(entry, Entry) and entry.event != NOTIFICATION_DELETED and entry.about in self._offsets

    def add(self, offset: int) -> None:
        self._offsets[offset] = None
        if len(self._offsets) > WITHDRAWN_MOST:
            self._offsets.popitem(last=False)

    def clear(self) -> None:
        self._offsets.clear()
