"""What recovery owes to devices, as it follows from the log alone: who may see what, from where, and how often."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.model import NOTIFICATION_NEW, Entry, Position, Room, UserId

Place = tuple[str, str]
"""A user in one role."""


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass(slots=True)
class Log:
    """What a backup of the store brings back."""

    entries: list[Entry] = field(default_factory=list)
    trimmed: int = 0
    generations: dict[str, int] = field(default_factory=dict)
    starts: dict[tuple[str, Room], int] = field(default_factory=dict)
    stored: dict[Place, int] = field(default_factory=dict)
    begins: dict[Place, tuple[int, int]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Expected:
    """How a claim is to be answered. ``cursors`` are those that count; ``refused``: it is taken for unanswered."""

    recovered: bool
    reasons: frozenset[str | None]
    cursors: tuple[Position, ...] = ()
    refused: bool = False


class Oracle:
    """Told of every entry, of every start, and of what devices received; it asks the server nothing."""

    def __init__(self) -> None:
        self.log = Log()
        self.unstored: dict[int, dict[Place, int]] = {}
        """What each node knows, by its number, and has not stored."""
        self.pids: dict[str, tuple[str, str | None]] = {}
        self.got: dict[Place, set[str]] = {}
        self.passed: dict[Place, set[str]] = {}
        self.counted: Counter[str] = Counter()
        self.by_cursor: dict[str, Entry] = {}
        self.once_trimmed: set[str] = set()
        self.ever_begun: dict[Place, int] = {}

    # what it is told

    def appended(self, entries: Sequence[Entry]) -> None:
        """Raises Broken for a notification that was stored before."""
        for entry in entries:
            if entry.event == NOTIFICATION_NEW:
                id_ = json.loads(entry.payload)["id"]
                if id_ in self.log.ids:
                    raise Broken(f"{id_} was stored before, and is stored twice")
                self.log.ids.add(id_)
        self.log.entries.extend(entries)
        self.by_cursor.update((str(entry.position), entry) for entry in entries)

    def trimmed(self, upto: int) -> None:
        """A copy of the log may bring back what was trimmed; whoever was told of that does not come back for it."""
        self.once_trimmed.update(str(entry.position) for entry in self.log.entries[self.log.trimmed : upto])
        self.log.trimmed = upto

    def entered(self, user: UserId, role: str, rooms: frozenset[Room]) -> None:
        for room in rooms:
            self.log.starts.setdefault((user, room), 0 if room == Room.of_user(user) else self.head)
        highest = self._highest(self.log.stored, user)
        known = [self._highest(unstored, user) for unstored in self.unstored.values()]
        begin = (highest, max([highest, *known]))
        _, high = self.log.begins.setdefault((user, role), begin)
        # A cursor from before a restore leaves out what was not of this role then.
        self.ever_begun[user, role] = max(high, self.ever_begun.get((user, role), 0))

    def received(self, place: Place, offset: int, node: int) -> None:
        """A node could know."""
        unstored = self.unstored.setdefault(node, {})
        unstored[place] = max(offset, unstored.get(place, 0))

    def marks_stored(self, node: int) -> None:
        for place, offset in self.unstored.pop(node, {}).items():
            self.log.stored[place] = max(offset, self.log.stored.get(place, 0))

    def crashed(self, node: int) -> None:
        self.unstored.pop(node, None)

    def backup(self) -> Log:
        log = self.log
        return Log(
            log.entries.copy(),
            log.trimmed,
            log.generations.copy(),
            log.starts.copy(),
            log.stored.copy(),
            log.begins.copy(),
            log.ids.copy(),
        )

    def restored(self, backup: Log) -> None:
        lost = len(self.log.entries) - len(backup.entries)
        self.counted["entries lost to a restore"] += max(0, lost)
        self.log = backup
        self.unstored.clear()

    # what follows

    @property
    def head(self) -> int:
        return self.log.entries[-1].position.offset if self.log.entries else 0

    def visible(self, place: Place, after: int, upto: int | None = None) -> Iterator[Entry]:
        """What exists for a user in a role, trimmed or not."""
        user, role = place
        rooms = (Room.of_user(user), Room.of_role(role), Room("everyone"))
        starts = {room: self.log.starts.get((user, room), 0) for room in rooms}
        # Offsets begin at 1 and have no gaps.
        for entry in self.log.entries[after : upto if upto is not None else None]:
            offset = entry.position.offset
            if any(room in entry.rooms and start < offset for room, start in starts.items()):
                yield entry

    def owed(self, place: Place, after: int, now: datetime, upto: int | None = None) -> list[Entry]:
        """What a connection that is at ``after`` has to get, and could: what has not expired."""
        return [e for e in self.visible(place, after, upto) if e.expires_at is None or now < e.expires_at]

    def floor(self, place: Place, trimmed: int) -> int:
        """The last that was trimmed of what exists for them."""
        return max((entry.position.offset for entry in self.visible(place, 0, trimmed)), default=0)

    def mark(self, place: Place, node: int) -> tuple[int, int]:
        """The lowest and the highest that the mark may be, for a node.

        Of a new role it begins where the user's others are: what these know but have not stored may count for it. What
        another node knows and has not stored may be stored by now.
        """
        stored = self.log.stored.get(place, 0)
        own = max(stored, self.unstored.get(node, {}).get(place, 0))
        known = max([own, *(unstored.get(place, 0) for unstored in self.unstored.values())])
        low, high = self.log.begins[place]
        return max(low, own), max(high, known)

    def undelivered(self, place: Place, now: datetime, upto: int) -> list[Entry]:
        """What no device of theirs in this role ever got, though the log has it."""
        accounted = self.got.get(place, set()) | self.passed.get(place, set()) | self.once_trimmed
        return [e for e in self.owed(place, self.ever_begun[place], now, upto) if str(e.position) not in accounted]

    def expected(self, place: Place, auth: Mapping[str, object], trimmed: int, node: int) -> Expected:
        """``trimmed``: up to where the log was trimmed when it was read."""
        pid, offset, cursor = auth.get("pid"), auth.get("offset"), auth.get("cursor")
        said = [cursor]
        if pid is not None:
            if pid not in self.pids:
                return Expected(recovered=False, reasons=frozenset(("unknown_epoch",)))
            user, refused = self.pids[str(pid)]
            if user != place[0]:
                return Expected(recovered=False, reasons=frozenset(("identity_changed",)))
            if offset is not None and offset == refused:
                return Expected(recovered=False, reasons=self._without_cursor(place, trimmed, node), refused=True)
            said = [offset, cursor]
        present = [one for one in said if one is not None]
        if not present:
            return Expected(recovered=False, reasons=self._without_cursor(place, trimmed, node))
        wrong = {self._wrong(place, one, trimmed) for one in present} - {None}
        if wrong:
            return Expected(recovered=False, reasons=frozenset(wrong))
        positions = tuple(position for one in present if (position := Position.parse(one)) is not None)
        return Expected(recovered=True, reasons=frozenset((None,)), cursors=positions)

    def _without_cursor(self, place: Place, trimmed: int, node: int) -> frozenset[str | None]:
        floor = self.floor(place, trimmed)
        return frozenset("trimmed" if mark < floor else None for mark in self.mark(place, node))

    def _wrong(self, place: Place, cursor: object, trimmed: int) -> str | None:
        position = Position.parse(cursor)
        if position is None:
            return "invalid"
        epochs = list(self.log.generations)
        if position.epoch not in epochs:
            return "unknown_epoch"
        following = epochs[epochs.index(position.epoch) + 1 :]
        end = self.log.generations[following[0]] - 1 if following else self.head
        if position.offset > end:
            return "invalid"
        return "trimmed" if position.offset < self.floor(place, trimmed) else None

    @staticmethod
    def _highest(marks: Mapping[Place, int], user: str) -> int:
        return max((offset for (known, _), offset in marks.items() if known == user), default=0)
