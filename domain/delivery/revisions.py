"""What one connection is sent of notifications that were revised, or that take the place of others."""

from __future__ import annotations

from dataclasses import replace

from domain.delivery.reach import Reach
from domain.model import (
    NOTHING_OWED,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Entry,
    Owed,
    Position,
)
from domain.rules.collapsing import is_reached

OWED_MOST = 10_000


class Revisions:
    """Each entry that a connection has missed has to pass here, in the order of the log.

    In a replay what was revised by the time it was read is left to the entry that has its present content, which that
    replay comes to. That is then the first that the client hears of it: a new notification. Until then it is owed to
    the client, as the cursors in between say: who is cut there and comes back with one is still owed it.

    Of more than OWED_MOST only the first is remembered: what comes behind it and is revised may then be told as new
    though the client has it.

    One that takes the place of others with its collapse key revises them for whoever was given one of those, and is new
    to the others. So it does where it has expired since: they are gone, and nothing is in their place.
    """

    __slots__ = ("_after", "_given", "_keys", "_owed", "_reach", "_since")

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        # Nearly all connections never have any.
        self._owed: set[int] | None = None
        self._since: int | None = None
        self._given: set[int] | None = None
        self._keys: set[str] | None = None
        self._after = 0

    @property
    def owed(self) -> Owed:
        if not self._owed and self._since is None:
            return NOTHING_OWED
        return Owed(frozenset(self._owed or ()), self._since)

    def resume(self, owed: Owed) -> None:
        """So much was owed already where the client continues."""
        self._owed, self._since = set(owed.offsets) or None, owed.since

    def begin(self, after: int) -> None:
        """A replay, for who was sent everything up to an offset."""
        self._after, self._keys = after, None

    def settle(self) -> None:
        """It was sent all that the log holds: what it is still owed is gone."""
        self._owed = self._since = self._given = None

    def place(self, position: Position) -> Position:
        """That of an entry that is sent, for its cursor."""
        return self.owed.behind(position) if self._owed or self._since is not None else position

    def sent_for(self, entry: Entry, upto: int, *, is_read: bool = False) -> Entry | None:
        """What is sent for an entry, in a replay that goes on at least up to an offset; None: nothing is. One that
        ``is_read`` from the log may lie where its tail has not come to."""
        if entry.revised is not None and entry.revised <= upto:
            if not self._has_one(entry):
                self._owe(entry.about if entry.about is not None else entry.position.offset)
            return None
        if entry.about is None:
            has_one = self._has_one(entry)
            self._note_key(entry)
            return replace(entry, event=NOTIFICATION_REVISED) if has_one else entry
        if not self._exists(entry, entry.about, is_read=is_read):
            return None
        self._note_key(entry)
        if not self._give(entry.about) or entry.event != NOTIFICATION_REVISED:
            return entry
        return replace(entry, event=NOTIFICATION_NEW)

    def sent_for_expired(self, entry: Entry) -> Entry | None:
        """The same for one that has expired by its turn: whoever was given one before with its collapse key has that no
        more."""
        if entry.over is None or not self._has_one(entry):
            return None
        return replace(entry, event=NOTIFICATION_DELETED, payload=entry.over, expires_at=None)

    def _owe(self, offset: int) -> None:
        self._owed = self._owed if self._owed is not None else set()
        self._owed.add(offset)
        if len(self._owed) > OWED_MOST:
            first = min(self._owed)
            self._since = first if self._since is None else min(first, self._since)
            self._owed = None

    def _give(self, about: int) -> bool:
        """Whether it was owed. It is no more."""
        if self._owed is not None and about in self._owed:
            self._owed.discard(about)
            return True
        if self._since is None or about < self._since:
            return False
        self._given = self._given if self._given is not None else set()
        if about in self._given:
            return False
        self._given.add(about)
        return True

    def _exists(self, entry: Entry, about: int, *, is_read: bool) -> bool:
        if entry.later is not None and is_reached(entry.later, self._reach.starts):
            return False
        if is_read and any(room.is_topic for room in entry.rooms):
            # The log has looked at that: it knows who was there by then.
            return True
        return any(self._reach.includes(room, about) for room in entry.rooms)

    def _has_one(self, entry: Entry) -> bool:
        """Whether it was given one before with the same collapse key."""
        if entry.collapse_key is None:
            return False
        if entry.earlier is not None and is_reached(entry.earlier, self._reach.starts):
            return True
        if entry.follows is None:
            return False
        if entry.follows <= self._after and not self.owed.includes(entry.follows):
            return True
        return self._keys is not None and entry.collapse_key in self._keys

    def _note_key(self, entry: Entry) -> None:
        """Of one that is given in a replay."""
        if entry.collapse_key is not None:
            self._keys = self._keys if self._keys is not None else set()
            self._keys.add(entry.collapse_key)
