"""What one connection is sent of notifications that were revised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from domain.model import NOTIFICATION_NEW, NOTIFICATION_REVISED, Entry, Room


class Revisions:
    """Each entry that a connection has missed has to pass here, in the order of the log.

    In a replay what was revised by the time it was read is left to the entry that has its present content, which that
    replay comes to. That is then the first that the connection hears of it: a new notification.
    """

    __slots__ = ("_left", "starts")

    def __init__(self) -> None:
        self.starts: Mapping[Room, int] = {}
        """Where its user starts in each room: what lies at or below that does not exist for them, nor what is about
        it."""
        # Nearly all connections never have any.
        self._left: set[int] | None = None

    def sent_for(self, entry: Entry, upto: int) -> Entry | None:
        """What is sent for an entry, in a replay that goes on at least up to an offset; None: nothing is."""
        if entry.revised is not None and entry.revised <= upto:
            self._left = self._left or set()
            self._left.add(entry.position.offset)
            return None
        if entry.about is None:
            return entry
        if not self._exists(entry, entry.about):
            return None
        if self._left is None or entry.about not in self._left:
            return entry
        self._left.discard(entry.about)
        return replace(entry, event=NOTIFICATION_NEW) if entry.event == NOTIFICATION_REVISED else entry

    def _exists(self, entry: Entry, about: int) -> bool:
        return any(self.starts.get(room, about) < about for room in entry.rooms)
