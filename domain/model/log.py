"""Events in their one order, and places in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from domain.model.identity import UserId
from domain.model.notification import Json, Room
from domain.model.value import value

NOTIFICATION_NEW = "notification.new"
NOTIFICATION_UPDATED = "notification.updated"
NOTIFICATION_REVISED = "notification.revised"
NOTIFICATION_DELETED = "notification.deleted"
CURSOR_MAX_LENGTH = 256
_CURSOR = re.compile(
    r"(?P<epoch>[A-Za-z0-9._~-]+):(?P<offset>0|[1-9][0-9]{0,17})(?:~[0-9a-f]{1,16}(?:\.[0-9a-f]{1,16})*-?)?"
)


@value
class Position:
    """A place in the log: one total order by ``offset``; ``epoch`` names the writer's generation.

    ``str()`` gives the cursor that clients store and send back.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, cursor: object) -> Position | None:
        """The position a cursor stands for, or None for anything that never was a cursor. What it says beside that, see
        Owed, is left out."""
        if not isinstance(cursor, str) or len(cursor) > CURSOR_MAX_LENGTH:
            return None
        match = _CURSOR.fullmatch(cursor)
        return Position(match["epoch"], int(match["offset"])) if match else None

    @property
    def complete(self) -> Position:
        """Up to here whoever is at this place has everything."""
        return self


@value
class DisconnectUser:
    """Every server is to close the connections that the user has by then; with ``reconnect`` their clients come back by
    themselves."""

    user: UserId
    reconnect: bool


@value
class RevokeTokens:
    """No server is to take a token of the user that was issued at or before a time, or does not say when it was."""

    user: UserId
    issued_before: datetime


@value
class BlockUser:
    """No server is to take any token of the user until a time; None: until they are unblocked. ``reason`` is for
    operators."""

    user: UserId
    until: datetime | None
    reason: str | None


@value
class UnblockUser:
    """The last block of the user is over."""

    user: UserId


@value
class EraseUser:
    """Everything of the user that was there by then is gone: every server is to close the connections that they have by
    then, whose clients come back by themselves, and to give up what it holds of them."""

    user: UserId


RestrictUser: TypeAlias = RevokeTokens | BlockUser | UnblockUser
"""What changes the restriction of a user."""

UserControl: TypeAlias = DisconnectUser | EraseUser | RestrictUser


@value
class ChangeMembers:
    """From its place on these users are in a topic who were not before, and those are not who were."""

    topic: str
    joined: tuple[UserId, ...]
    left: tuple[UserId, ...]

    def names(self, user: UserId) -> bool:
        return user in self.joined or user in self.left

    def without(self, user: UserId) -> ChangeMembers:
        joined, left = (tuple(one for one in users if one != user) for users in (self.joined, self.left))
        return ChangeMembers(self.topic, joined, left)


Control: TypeAlias = UserControl | ChangeMembers
"""What every server is to do at one place in the log."""


@value
class Entry:
    """One event of the log, the same bytes for every recipient.

    ``payload`` is the event's first argument; the cursor, ``str(position)``, is its last.
    From the instant ``expires_at`` the entry is neither delivered nor replayed.
    One with a ``control`` is in no room: it is for the servers, and no client ever gets it.
    One that revises a notification, takes it back, or has it new once more for a user says with ``about`` at which
    offset that lies; a notification that was revised says with ``revised`` at which offset its present content is told,
    which it has here as well. For whom it is new once more it is ``revised`` there, and so is what revised it before.
    One of a notification with a ``collapse_key``, as it follows the log, says with ``earlier`` in which rooms there was
    another one with that key before, and at which offset the last of them; and one that revises it or has it new once
    more says with ``later`` where there is one after it. As somebody reads it, it says with ``follows`` which was the
    first of them for that user. Where there was one, it says with ``over`` what is told if it has expired by its turn:
    that nothing with that key is there any more.
    ``stored_at`` is when it was, in UTC, where who brings it knows: by the clock of this server where it stored the
    entry, else by that of the store. It is the same entry with and without.
    """

    position: Position
    rooms: frozenset[Room]
    event: str
    payload: Json
    expires_at: datetime | None = None
    control: Control | None = None
    stored_at: datetime | None = field(default=None, compare=False)
    about: int | None = None
    revised: int | None = None
    collapse_key: str | None = field(default=None, compare=False)
    earlier: Mapping[Room, int] | None = field(default=None, compare=False)
    later: Mapping[Room, int] | None = field(default=None, compare=False)
    follows: int | None = field(default=None, compare=False)
    over: Json | None = field(default=None, compare=False)


@value
class Unfetched:
    """An entry that is for nobody here, as the tail gives it: all but its payload, which is left where it is stored.

    ``size`` is that of the payload, in bytes.
    """

    position: Position
    rooms: frozenset[Room]
    event: str
    size: int
    expires_at: datetime | None = None


TailEntry: TypeAlias = Entry | Unfetched


@value
class Subscriber:
    """A user in one role, and the rooms they can reach, each with their start in it.

    A start is an offset: what lies at or below it does not exist for them. An inbox may be looked at in several sets of
    roles at once, which no token gave together: ``others`` is the same in each of those beside the first. There is in
    it what is in the inbox in one of them.
    """

    user: UserId
    role: str
    starts: Mapping[Room, int]
    others: tuple[Mapping[Room, int], ...] = ()

    @property
    def in_each(self) -> Sequence[Mapping[Room, int]]:
        """The starts in each set of roles."""
        return (self.starts, *self.others)


@value
class Page:
    """Entries of some rooms, in order, and how far the log was read for them.

    With ``more`` the reading stopped at ``upto`` for its limits; without, ``upto`` was the head of the log.
    """

    entries: tuple[Entry, ...]
    upto: Position
    more: bool

    @property
    def continues_at(self) -> Position:
        """The cursor of a client that has everything before this page, and nothing of it.

        Just before the first entry, or with none as far as was read: a client cut right after it was told resumes
        there and misses nothing.
        """
        if not self.entries:
            return self.upto
        first = self.entries[0].position
        return Position(first.epoch, first.offset - 1)


@value
class Amended:
    """What was done to a notification, which lies at the offset ``about``: the entry at ``position`` says so."""

    id: str
    about: int
    position: Position


class AppendOutcome(Enum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    WITHHELD = "withheld"


@value
class Appended:
    """What became of one draft. A duplicate carries the id and position of the first; so does a conflict.

    Withheld is what would have been stored, had another of an all-or-nothing batch not been a conflict. One that
    ``waits`` has no place in the log yet: it is stored in the schedule, and ``position`` is one that the log had.
    """

    outcome: AppendOutcome
    id: str
    position: Position
    waits: bool = False
