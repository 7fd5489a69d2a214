"""What recovery owes to devices, as it follows from the log alone: who may see what, from where, and how often."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.model import (
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    NOTIFICATION_UPDATED,
    ChangeMembers,
    Entry,
    EraseUser,
    Position,
    Room,
    Span,
    UserId,
)
from tests.stays import is_in, stays_of, stays_together

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
    recalled: dict[int, int] = field(default_factory=dict)
    """By the offsets of what was taken back, those of the entries that say so."""
    revised: dict[int, int] = field(default_factory=dict)
    """By the offsets of what was revised, those of the last entries that say so."""
    erased: set[int] = field(default_factory=set)
    """Of what revised something and is not the last to do so, or whose notification was taken back."""
    deleted: set[tuple[Room, str]] = field(default_factory=set)
    """What users have deleted, by their rooms and its id."""
    scheduled: dict[str, datetime] = field(default_factory=dict)
    """When what waits is due, by its id; of what nobody was told that it is stored it may be that it does not wait."""
    promised: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    perhaps_cancelled: set[str] = field(default_factory=set)
    """Of which somebody asked for that, and may not have been told that it is done."""
    keyed: list[tuple[int, str, frozenset[Room]]] = field(default_factory=list)
    """The offset, the collapse key and the rooms of each that has a key."""
    snoozed: dict[tuple[Room, str], datetime] = field(default_factory=dict)
    """Until when, by their users' rooms and ids."""
    returns: dict[tuple[Room, int], int] = field(default_factory=dict)
    """By users' rooms, and the offsets of what came back to them, those of the last entries that say so."""
    waits_for: dict[str, frozenset[Room]] = field(default_factory=dict)
    """The rooms of what was scheduled."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """As of which offset users were erased."""
    to_begin: set[str] = field(default_factory=set)
    """Of whom nobody has come since."""


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
        self.once_amended: set[str] = set()
        self.ever_begun: dict[Place, int] = {}
        self.ever_snoozed: set[tuple[Room, str]] = set()
        self.recalled_by: dict[int, set[int]] = {}
        """What each node, by its number, has answered to have taken back."""

    # what it is told

    def appended(self, entries: Sequence[Entry]) -> None:
        """Raises Broken for a notification that was stored before."""
        for entry in entries:
            if isinstance(entry.control, EraseUser):
                self._forgotten(entry.control.user, entry.position.offset)
            elif entry.event == NOTIFICATION_NEW and entry.about is not None:
                self._returned(entry, entry.about)
            elif entry.event == NOTIFICATION_NEW:
                id_ = json.loads(entry.payload)["id"]
                if id_ in self.log.ids:
                    raise Broken(f"{id_} was stored before, and is stored twice")
                self.log.ids.add(id_)
                self._came(id_, entry)
                if entry.collapse_key is not None:
                    self.log.keyed.append((entry.position.offset, entry.collapse_key, entry.rooms))
            elif entry.about is not None:
                self._amended(entry, entry.about)
            elif entry.event == NOTIFICATION_DELETED:
                (room,) = entry.rooms
                self.log.deleted.update((room, id_) for id_ in json.loads(entry.payload)["ids"])
            elif entry.event == NOTIFICATION_UPDATED:
                self._updated(entry)
        self.log.entries.extend(entries)
        self.by_cursor.update((str(entry.position), entry) for entry in entries)

    def _forgotten(self, user: UserId, offset: int) -> None:
        """Nothing of before is theirs any more."""
        log, own = self.log, Room.of_user(user)
        log.forgotten[user] = offset
        log.to_begin.add(user)
        log.entries = [_without(entry, own, user) for entry in log.entries]
        self.by_cursor.update((str(entry.position), entry) for entry in log.entries)
        log.keyed = [(at, key, rooms - {own}) for at, key, rooms in log.keyed]
        log.snoozed = {key: until for key, until in log.snoozed.items() if key[0] != own}
        log.returns = {key: at for key, at in log.returns.items() if key[0] != own}
        for marks in (log.stored, *self.unstored.values()):
            for place in [place for place in marks if place[0] == user]:
                del marks[place]
        for id_, rooms in log.waits_for.items():
            log.waits_for[id_] = rooms - {own}
            if own in rooms and not log.waits_for[id_] and id_ in log.scheduled:
                del log.scheduled[id_]
                log.cancelled.add(id_)
        self.counted["erasures"] += 1

    def _came(self, id_: str, entry: Entry) -> None:
        due = self.log.scheduled.pop(id_, None)
        if id_ in self.log.cancelled:
            raise Broken(f"{id_} was cancelled, and is stored")
        if due is not None and (entry.stored_at is None or entry.stored_at < due):
            raise Broken(f"{id_} is due at {due}, and was stored before")
        if due is not None:
            self.counted["came due"] += 1

    def _updated(self, entry: Entry) -> None:
        said = json.loads(entry.payload)
        until = said["change"].get("snoozed_until")
        if until is not None:
            (room,) = entry.rooms
            self.log.snoozed.update({(room, id_): datetime.fromisoformat(until) for id_ in said["ids"]})
            self.ever_snoozed.update((room, id_) for id_ in said["ids"])

    def _returned(self, entry: Entry, about: int) -> None:
        (room,) = entry.rooms
        id_ = self.id_of(entry)
        until = self.log.snoozed.pop((room, id_), None)
        if until is None or entry.stored_at is None or entry.stored_at < until:
            raise Broken(f"{id_} is back for {room} at {entry.stored_at}, and was snoozed until {until}")
        if (room, id_) in self.log.deleted or about in self.log.recalled:
            raise Broken(f"{id_} is back for {room}, and was deleted")
        if self.is_replaced(room, about):
            raise Broken(f"{id_} is back for {room}, and another one has taken its place")
        self.log.erased.update({self.log.returns.get((room, about), 0)} - {0})
        self.log.returns[room, about] = entry.position.offset
        self.counted["came back"] += 1

    def _amended(self, entry: Entry, about: int) -> None:
        """What was trimmed to make space for it had left the log as it was."""
        before = self.log.revised.get(about, 0)
        if before > self.log.trimmed:
            self.log.erased.add(before)
        if entry.event == NOTIFICATION_REVISED:
            self.log.revised[about] = entry.position.offset
        elif about > self.log.trimmed:
            self.log.recalled[about] = entry.position.offset
            self.log.erased.update(at for (_, offset), at in self.log.returns.items() if offset == about)

    def trimmed(self, upto: int) -> None:
        """A copy of the log may bring back what was trimmed; whoever was told of that does not come back for it."""
        self.once_trimmed.update(str(entry.position) for entry in self.log.entries[self.log.trimmed : upto])
        self.log.trimmed = upto

    def entered(self, user: UserId, role: str, rooms: frozenset[Room]) -> None:
        erased = self.log.forgotten.get(user, 0)
        if user in self.log.to_begin:
            self.log.to_begin.remove(user)
            self.log.starts = {key: start for key, start in self.log.starts.items() if key[0] != user}
            self.log.begins = {key: begin for key, begin in self.log.begins.items() if key[0] != user}
        for room in rooms:
            first = max(0, erased - 1) if room == Room.of_user(user) else self.head
            self.log.starts.setdefault((user, room), first)
        highest = self._highest(self.log.stored, user)
        known = [self._highest(unstored, user) for unstored in self.unstored.values()]
        highest = max(highest, erased)
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
        self.recalled_by.pop(node, None)

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
            log.recalled.copy(),
            log.revised.copy(),
            log.erased.copy(),
            log.deleted.copy(),
            log.scheduled.copy(),
            log.promised.copy(),
            log.cancelled.copy(),
            log.perhaps_cancelled.copy(),
            log.keyed.copy(),
            log.snoozed.copy(),
            log.returns.copy(),
            log.waits_for.copy(),
            log.forgotten.copy(),
            log.to_begin.copy(),
        )

    def restored(self, backup: Log) -> None:
        lost = len(self.log.entries) - len(backup.entries)
        self.counted["entries lost to a restore"] += max(0, lost)
        # Whoever was not sent these, as they were taken back or revised, does not come back for them.
        amended = self.log.recalled.keys() | self.log.revised.keys() | self.log.erased
        amended |= {offset for offset, _, _ in self.log.keyed} | {about for _, about in self.log.returns}
        self.once_amended.update(str(self.log.entries[offset - 1].position) for offset in amended)
        self.log = backup
        self.by_cursor.update((str(entry.position), entry) for entry in backup.entries)
        self.unstored.clear()
        self.recalled_by.clear()

    # what follows

    @property
    def head(self) -> int:
        return self.log.entries[-1].position.offset if self.log.entries else 0

    def visible(self, place: Place, after: int, upto: int | None = None) -> Iterator[Entry]:
        """What exists for a user in a role, trimmed or not; of what is about a notification, where that does."""
        starts, stays = self.starts_of(place), self._stays(place)
        # Offsets begin at 1 and have no gaps.
        for entry in self.log.entries[after : upto if upto is not None else None]:
            offset = entry.about if entry.about is not None else entry.position.offset
            if any(is_in(room, offset, starts, stays) for room in entry.rooms):
                yield entry

    def _stays(self, place: Place) -> Sequence[Span]:
        return stays_of(self.log.entries, UserId(place[0]))

    def starts_of(self, place: Place) -> Mapping[Room, int]:
        user, role = place
        rooms = (Room.of_user(user), Room.of_role(role), Room("everyone"))
        return {room: self.log.starts.get((user, room), 0) for room in rooms}

    def owed(self, place: Place, after: int, now: datetime, upto: int | None = None) -> list[Entry]:
        """What a connection that is at ``after`` has to get, and could: what has not expired, and was neither taken
        back, nor revised or replaced since. What revises something that a user has deleted or snoozed, or that is gone,
        need not come."""
        replaced = self.replaced(place)
        away = self.log.deleted | self.log.snoozed.keys()
        return [
            e
            for e in self.visible(place, after, upto)
            if (e.expires_at is None or now < e.expires_at)
            and e.position.offset not in self.log.recalled
            and e.position.offset not in self.log.erased
            and e.position.offset not in self.log.revised
            and (e.about if e.about is not None and e.event != NOTIFICATION_DELETED else e.position.offset)
            not in replaced
            and not self.is_left(place, e)
            and not (e.event == NOTIFICATION_REVISED and (Room.of_user(place[0]), self.id_of(e)) in away)
            and not (e.event == NOTIFICATION_REVISED and e.about is not None and e.about <= self.log.trimmed)
        ]

    def replaced(self, place: Place) -> dict[int, list[int]]:
        """By the offsets of what later ones with the same collapse key have taken the place of for a user in a role,
        those of all of these. Whatever became of them, it does not come back."""
        starts = self.starts_of(place)
        by_key: dict[str, list[int]] = {}
        for offset, key, rooms in self.log.keyed:
            if any(room in rooms and start < offset for room, start in starts.items()):
                by_key.setdefault(key, []).append(offset)
        return {
            offset: offsets[number:] for offsets in by_key.values() for number, offset in enumerate(offsets[:-1], 1)
        }

    def is_replaced(self, own: Room, offset: int) -> bool:
        """Whether it is so for a user in whatever role."""
        log, everyone = self.log, Room("everyone")
        its = next(((key, rooms) for at, key, rooms in log.keyed if at == offset), None)
        if its is None:
            return False
        key, rooms = its
        reached = {room for room in rooms if not room.is_own} | {own}
        start = log.starts.get((own.removeprefix("user:"), everyone))
        return any(
            at > offset
            and one == key
            and (not reached.isdisjoint(others) or (everyone in others and start is not None and at > start))
            for at, one, others in log.keyed
        )

    def is_left(self, place: Place, entry: Entry) -> bool:
        """Whether it came back to the user behind it, and is to be given there."""
        offset = entry.position.offset
        about = entry.about if entry.about is not None else offset
        return (
            entry.event in (NOTIFICATION_NEW, NOTIFICATION_REVISED)
            and self.log.returns.get((Room.of_user(place[0]), about), 0) > offset
        )

    @staticmethod
    def id_of(entry: Entry) -> str:
        return str(json.loads(entry.payload)["id"])

    def title_of(self, offset: int) -> str | None:
        """The present one of a notification."""
        about = self.log.entries[offset - 1].about or offset
        last = self.log.entries[self.log.revised.get(about, about) - 1]
        title: str | None = json.loads(last.payload)["title"]
        return title

    def recalled_at(self, entry: Entry) -> int | None:
        """The offset of what takes an entry back, if something does in the log as it is."""
        offset = entry.position.offset
        is_there = offset <= self.head and self.log.entries[offset - 1].position == entry.position
        about = entry.about if entry.event != NOTIFICATION_DELETED and entry.about is not None else offset
        return self.log.recalled.get(about) if is_there else None

    def floor(self, place: Place, trimmed: int) -> int:
        """The last that was trimmed of what was in their rooms, and was neither taken back nor revised before. Of a
        topic that they have left, too: what came behind their stay may be about what they have from it. And of what is
        for who is in all of some groups, where they have left one of them."""
        kept_out = self.log.recalled.keys() | self.log.erased
        lost: dict[Room, int] = {}
        for entry in self.log.entries[:trimmed]:
            if entry.position.offset not in kept_out:
                lost.update(dict.fromkeys(entry.rooms, entry.position.offset))
        starts, stays = self.starts_of(place), self._stays(place)
        together = [stay for room in lost if room.is_all for stay in stays_together(room, starts, stays, self.head)]
        floors = [lost[room] for room, start in starts.items() if lost.get(room, 0) > start]
        floors += [lost[stay.room] for stay in [*stays, *together] if lost.get(stay.room, 0) > stay.after]
        floors.append(self.log.forgotten.get(place[0], 0))
        return max(floors)

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
        accounted = self.got.get(place, set()) | self.passed.get(place, set()) | self.once_trimmed | self.once_amended
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


def _without(entry: Entry, own: Room, user: UserId) -> Entry:
    """As it is left once a user is erased."""
    if own in entry.rooms:
        return replace(entry, rooms=entry.rooms - {own})
    if isinstance(entry.control, ChangeMembers) and entry.control.names(user):
        return replace(entry, control=entry.control.without(user))
    return entry
