"""The newest entries of a log, in memory: what followers are given, and what most replays are read from."""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar, cast

from adapters.contract.controls import control_event
from domain.model import (
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    ChangeMembers,
    Control,
    Entry,
    EraseUser,
    Json,
    Position,
    Room,
    Span,
    Subscriber,
    TailEntry,
    Unfetched,
    UserId,
)

E = TypeVar("E", bound=TailEntry)

NOBODY: frozenset[Room] = frozenset()
"""Whose an entry is whose contents were erased, as it has its place in the log still, or which is for servers alone."""

NOTHING = Json(b"")
"""The payload of an entry whose contents were erased."""

FOLLOW_MAX_ENTRIES = 500
FOLLOW_MAX_BYTES = 256 * 1024

# What an entry and each of its rooms take beside the payload, in bytes, rounded up from what was measured.
ENTRY_OVERHEAD = 1024
ROOM_OVERHEAD = 320


def erased(position: Position) -> Entry:
    """What is left in the log of an entry whose contents were."""
    return Entry(position, NOBODY, NOTIFICATION_NEW, NOTHING)


def vanished(position: Position) -> Entry:
    """What a follower is given for a notification that it was to be given without its contents at first, and whose
    contents are gone now that it wants them: what was read of its revisions in between is for nobody either."""
    return Entry(position, NOBODY, NOTIFICATION_DELETED, NOTHING, about=position.offset)


def revised(original: Entry, revision: Entry) -> Entry:
    """What is given of a notification in the log, once it was revised."""
    return replace(
        original,
        payload=revision.payload,
        expires_at=revision.expires_at,
        revised=revision.position.offset,
    )


def is_plain(entries: Iterable[TailEntry], upto: int) -> bool:
    """Whether they can be read up to an offset as they are: users may have deleted what some revise, or have later ones
    with the same collapse key, and what was revised behind that offset would be left to an entry that is not read."""
    return not any(
        isinstance(entry, Entry)
        and (
            entry.event == NOTIFICATION_REVISED
            or entry.collapse_key is not None
            or (entry.revised is not None and entry.revised > upto)
        )
        for entry in entries
    )


def as_seen_by(entries: Iterable[Entry], raised: Mapping[int, int]) -> tuple[Entry, ...]:
    """What a user is given of entries, for whom notifications at some offsets are new once more at others."""
    if not raised:
        return tuple(entries)
    return tuple(_as_seen(entry, raised) for entry in entries)


def _as_seen(entry: Entry, raised: Mapping[int, int]) -> Entry:
    offset = entry.position.offset
    back_at = raised.get(entry.about if entry.about is not None else offset, 0)
    if back_at <= offset or entry.event not in (NOTIFICATION_NEW, NOTIFICATION_REVISED):
        return entry
    return replace(entry, revised=max(back_at, entry.revised or 0))


def has_content(entry: TailEntry) -> bool:
    """False once it was erased."""
    return isinstance(entry, Unfetched) or bool(entry.payload)


def weight(payload_bytes: int, rooms: int) -> int:
    """About how much memory an entry takes, in bytes."""
    return payload_bytes + ENTRY_OVERHEAD + rooms * ROOM_OVERHEAD


@dataclass(eq=False, slots=True)
class Follower:
    """Whoever was given everything up to the offset ``given``. One that is ``cut_off`` was given what was taken out of
    the log."""

    given: int
    cut_off: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Tail(Generic[E]):
    """The entries after the offset ``floor``, up to ``head``, by offset and by room. For one event loop."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.head = floor
        self.bytes = 0
        """About how much memory they take."""
        self._entries: dict[int, E] = {}
        self._rooms: dict[Room, list[int]] = {}
        self._followers: set[Follower] = set()
        # The last entry that revises a notification, by the offset of that.
        self._revisions: dict[int, int] = {}
        self.has_topics = False
        """Whether anybody is known to have come to one, or anything to a room of several parts: then it does not say
        what is for whom."""
        # The entries by which it is new once more for users, by the same; and the last one of each room.
        self._returns: dict[int, list[int]] = {}
        self._last_return: dict[Room, int] = {}

    def __len__(self) -> int:
        return self.head - self.floor

    def __getitem__(self, offset: int) -> E:
        return self._entries[offset]

    @property
    def given_to_all(self) -> int:
        """The offset up to which every follower has been given all."""
        return min((follower.given for follower in self._followers), default=self.head)

    def append(self, entries: Sequence[E]) -> None:
        """Add entries, whose offsets follow each other and the head, and wake the followers. What one of them takes
        back is erased, what it revises has its content, and whom it erases has nothing from before."""
        for entry in entries:
            if isinstance(entry, Entry):
                if entry.about is not None:
                    self._amend(entry, entry.about)
                elif entry.control is not None:
                    self._heed(entry.control, entry.position.offset)
            self.head = offset = entry.position.offset
            self.bytes += _weight(entry)
            self._entries[offset] = entry
            for room in entry.rooms:
                offsets = self._rooms.get(room)
                if offsets is not None:
                    offsets.append(offset)
                else:
                    self._rooms[room] = [offset]
                    self.has_topics = self.has_topics or room.is_all
        if entries:
            for follower in self._followers:
                follower.wake.set()

    def _heed(self, control: Control, offset: int) -> None:
        if isinstance(control, ChangeMembers):
            self.has_topics = True
        elif isinstance(control, EraseUser):
            self.forget(control.user, offset)

    def drop_first(self) -> E:
        """Give up the oldest entry."""
        self.floor += 1
        entry = self._entries.pop(self.floor)
        self._unlink(entry)
        self.bytes -= _weight(entry)
        for room in entry.rooms:
            self._drop_from(room)
            if self._last_return.get(room) == self.floor:
                del self._last_return[room]
        return entry

    def forget(self, user: UserId, upto: int) -> None:
        """The room of a user has nothing any more of what lies before an offset. What was for no other is erased, and
        so is what servers were told of the user, once all have been: among others their name is."""
        room = Room.of_user(user)
        of_room = self._rooms.get(room, [])
        for offset in of_room[: bisect_right(of_room, upto)]:
            if offset > self.floor:
                self._forget(room, offset)
        self._last_return.pop(room, None)
        for offset in range(self.floor + 1, min(upto - 1, self.given_to_all) + 1):
            entry = self._entries[offset]
            control = entry.control if isinstance(entry, Entry) else None
            if isinstance(control, ChangeMembers):
                if control.names(user):
                    self._say_instead(offset, control.without(user))
            elif control is not None and control.user == user:
                self._erase(offset)

    def forget_contents(self, offsets: Iterable[int]) -> list[int]:
        """Of notifications that all whom they name have deleted; the offsets of what else told it. They keep their
        rooms, where they count among what is in inboxes."""
        others: list[int] = []
        for offset in offsets:
            others += self._returns.pop(offset, ())
            if (revision := self._revisions.pop(offset, None)) is not None:
                others.append(revision)
            entry = self._entries.get(offset)
            if isinstance(entry, Entry) and entry.payload:
                self.bytes -= len(entry.payload)
                self._entries[offset] = cast("E", replace(entry, payload=NOTHING))
        for other in others:
            self._erase(other)
        return others

    def _say_instead(self, offset: int, control: ChangeMembers) -> None:
        entry = self._entries[offset]
        event, payload = control_event(control)
        self.bytes -= _weight(entry)
        self._entries[offset] = left = cast("E", Entry(entry.position, NOBODY, event, payload, control=control))
        self.bytes += _weight(left)

    def _forget(self, room: Room, offset: int) -> None:
        entry = self._entries[offset]
        left = entry.rooms - {room}
        if not left and isinstance(entry, Entry):
            self._unlink(entry)
            self._erase(offset)
            # What revises it may be in no room, where whoever it is for has deleted it.
            if (revision := self._revisions.pop(offset, None)) is not None:
                self._erase(revision)
            return
        offsets = self._rooms[room]
        del offsets[bisect_left(offsets, offset)]
        if not offsets:
            del self._rooms[room]
        self.bytes -= _weight(entry)
        self._entries[offset] = kept = replace(entry, rooms=left)
        self.bytes += _weight(kept)

    def _amend(self, entry: E, about: int) -> None:
        """What revised the same before is erased in any case."""
        if entry.event == NOTIFICATION_NEW:
            self._return(entry, about)
            return
        before = self._revisions.pop(about, None)
        if before is not None:
            self._erase(before)
        if entry.event != NOTIFICATION_REVISED:
            for offset in (about, *self._returns.pop(about, ())):
                self._erase(offset)
            return
        self._revisions[about] = entry.position.offset
        original = self._entries.get(about)
        if isinstance(original, Entry) and isinstance(entry, Entry) and original.payload:
            self.bytes += len(entry.payload) - len(original.payload)
            self._entries[about] = cast("E", revised(original, entry))
        for offset in self._returns.get(about, ()):
            told = self._entries.get(offset)
            if isinstance(told, Entry) and isinstance(entry, Entry):
                self.bytes += len(entry.payload) - len(told.payload)
                self._entries[offset] = cast("E", replace(told, payload=entry.payload, expires_at=entry.expires_at))

    def _return(self, entry: E, about: int) -> None:
        """By which it was new once more for the same user before is erased."""
        returns = self._returns.setdefault(about, [])
        for before in [offset for offset in returns if self._entries[offset].rooms == entry.rooms]:
            returns.remove(before)
            self._erase(before)
        returns.append(entry.position.offset)
        self._last_return.update(dict.fromkeys(entry.rooms, entry.position.offset))

    def _unlink(self, entry: E) -> None:
        """It is going: what it is about is not looked for at its place any more."""
        if not isinstance(entry, Entry) or entry.about is None:
            return
        about, offset = entry.about, entry.position.offset
        if self._revisions.get(about) == offset:
            del self._revisions[about]
        returns = self._returns.get(about, [])
        if offset in returns:
            returns.remove(offset)
            if not returns:
                del self._returns[about]

    def has_returns(self, rooms: Iterable[Room], after: int) -> bool:
        """Whether something is new once more, behind an offset, for who is in one of the rooms."""
        return any(self._last_return.get(room, 0) > after for room in rooms)

    def _erase(self, offset: int) -> None:
        """One that was read without its payload stays: it is never sent, nor is what lies before the next entry of its
        rooms."""
        entry = self._entries.get(offset)
        if not isinstance(entry, Entry):
            return
        for room in entry.rooms:
            offsets = self._rooms[room]
            del offsets[bisect_left(offsets, offset)]
            if not offsets:
                del self._rooms[room]
        self.bytes -= _weight(entry)
        self._entries[offset] = left = cast("E", erased(entry.position))
        self.bytes += _weight(left)

    def _drop_from(self, room: Room) -> None:
        offsets = self._rooms[room]
        gone = bisect_right(offsets, self.floor)
        if gone == len(offsets):
            del self._rooms[room]
        elif gone > len(offsets) // 2:
            # A list gives up its first items at the cost of moving the others: once in a while, not each time.
            del offsets[:gone]

    def cut_back(self, offset: int) -> None:
        """Take out what lies behind an offset, and wake those who follow. What it has done to entries before is undone
        by giving up all of them."""
        if offset <= self.floor or any(self._amends(behind) for behind in range(offset + 1, self.head + 1)):
            self.begin_at(offset)
        while self.head > offset:
            entry = self._entries.pop(self.head)
            self.bytes -= _weight(entry)
            for room in entry.rooms:
                offsets = self._rooms[room]
                offsets.pop()
                if not offsets:
                    del self._rooms[room]
            self.head -= 1
        for follower in self._followers:
            follower.cut_off = follower.cut_off or follower.given > offset
            follower.wake.set()

    def _amends(self, offset: int) -> bool:
        entry = self._entries[offset]
        return isinstance(entry, Entry) and entry.about is not None

    def begin_at(self, offset: int) -> None:
        """Give up everything, and go on behind an offset."""
        self._entries.clear()
        self._rooms.clear()
        self._revisions.clear()
        self._returns.clear()
        self._last_return.clear()
        self.bytes = 0
        self.floor = self.head = offset

    def offsets(self, room: Room, after: int) -> Iterator[int]:
        """The offsets of a room's entries after an offset, in order."""
        offsets = self._rooms.get(room, [])
        for index in range(bisect_right(offsets, max(after, self.floor)), len(offsets)):
            yield offsets[index]

    def newest_first(self, room: Room, after: int) -> Iterator[int]:
        """The same, in the opposite order."""
        offsets = self._rooms.get(room, [])
        for index in range(len(offsets) - 1, bisect_right(offsets, max(after, self.floor)) - 1, -1):
            yield offsets[index]

    def newest_in(self, span: Span) -> Iterator[int]:
        """Those of a topic in the time of a stay in it, in that order too."""
        return filter(span.includes, self.newest_first(span.room, span.after))

    def _in(self, span: Span, after: int) -> Iterator[int]:
        """What is for who stayed in a topic, after an offset: also what was said later of what they got there."""
        for offset in self.offsets(span.room, max(after, span.after)):
            if span.includes(offset) or self._is_about(offset, span):
                yield offset

    def _is_about(self, offset: int, span: Span) -> bool:
        entry = self._entries[offset]
        return isinstance(entry, Entry) and entry.about is not None and span.includes(entry.about)

    def page(
        self,
        subscriber: Subscriber,
        after: int,
        upto: int,
        spans: Iterable[Span] = (),
        /,
        *,
        max_entries: int,
        max_bytes: int,
    ) -> tuple[tuple[E, ...], bool]:
        """What a subscriber who was in topics for these ``spans`` can reach after an offset that is not below the
        floor, up to another; and whether there is more."""
        entries: list[E] = []
        size = 0
        rooms = [self.offsets(room, max(after, start)) for room, start in subscriber.starts.items()]
        rooms += [self._in(span, after) for span in spans]
        for offset in heapq.merge(*rooms):
            if offset > upto:
                break
            if entries and entries[-1].position.offset == offset:
                continue
            entry = self._entries[offset]
            if not has_content(entry):
                continue
            size += _size(entry)
            if entries and (len(entries) >= max_entries or size > max_bytes):
                return tuple(entries), True
            entries.append(entry)
        return tuple(entries), False

    @contextmanager
    def following(self, after: int) -> Iterator[Follower]:
        follower = Follower(after)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    async def next_batch(self, follower: Follower) -> list[E]:
        """What comes next for a follower who was given all below the floor; waits for it. It counts as given."""
        while follower.given >= self.head:
            follower.wake.clear()
            await follower.wake.wait()
        entries = self.batch(follower.given)
        follower.given = entries[-1].position.offset
        return entries

    def batch(self, after: int) -> list[E]:
        """What comes after an offset between the floor and the head, as much as a follower is given at once."""
        entries: list[E] = []
        size = 0
        for offset in range(after + 1, min(self.head, after + FOLLOW_MAX_ENTRIES) + 1):
            entry = self._entries[offset]
            size += _size(entry)
            if entries and size > FOLLOW_MAX_BYTES:
                break
            entries.append(entry if has_content(entry) else cast("E", erased(entry.position)))
        return entries


def _size(entry: TailEntry) -> int:
    """Of its payload, wherever that is."""
    return entry.size if isinstance(entry, Unfetched) else len(entry.payload)


def _weight(entry: TailEntry) -> int:
    if isinstance(entry, Unfetched):
        return weight(0, len(entry.rooms))
    rooms = len(entry.rooms)
    if entry.earlier or entry.later:
        rooms += len(entry.earlier or ()) + len(entry.later or ())
    return weight(len(entry.payload), rooms)
