"""What backends publish, and for whom."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import NewType

from domain.model.value import value

Json = NewType("Json", bytes)
"""One JSON text in UTF-8, known to be valid. The domain passes it on and never looks inside."""


class Room(str):
    """The name of a set of connections: ``user:{id}``, ``role:{role}``, ``topic:{topic}`` or ``everyone``; or ``all:``
    and the rooms in all of which they are, in order, between tabs, which no name holds."""

    __slots__ = ()

    @classmethod
    def of_user(cls, user: str) -> Room:
        return cls(f"user:{user}")

    @classmethod
    def of_role(cls, role: str) -> Room:
        return cls(f"role:{role}")

    @classmethod
    def of_topic(cls, topic: str) -> Room:
        return cls(f"topic:{topic}")

    @classmethod
    def of_all(cls, groups: Iterable[Room]) -> Room:
        """Of whoever is in each of these roles and topics, at least one; of one alone it is that."""
        first, *others = parts = sorted(set(groups))
        return cls(_ALL + _BETWEEN.join(parts)) if others else first

    @property
    def is_all(self) -> bool:
        """Whether it is of those who are in each of its parts. What is in such a room is in no other."""
        return self.startswith(_ALL)

    @property
    def parts(self) -> tuple[Room, ...]:
        """The rooms in all of which one has to be: roles before topics."""
        return _parts(self) if self.is_all else (self,)

    @property
    def is_topic(self) -> bool:
        """Whether users come to it and leave it at places in the log."""
        return self.startswith("topic:") or (self.is_all and self.parts[-1].is_topic)

    @property
    def is_own(self) -> bool:
        """Whether it is that of one user."""
        return self.startswith("user:")


_ALL = "all:"
_BETWEEN = "\t"


@lru_cache(4096)
def _parts(room: str) -> tuple[Room, ...]:
    return tuple(map(Room, room.removeprefix(_ALL).split(_BETWEEN)))


EVERYONE = Room("everyone")


class AudienceKind(Enum):
    USER = "user"
    ROLE = "role"
    TOPIC = "topic"
    EVERYONE = "everyone"


@value
class Audience:
    """Whom a notification is for. Recipients are told its kind, never the names."""

    kind: AudienceKind
    rooms: frozenset[Room]

    @classmethod
    def user(cls, user: str) -> Audience:
        return cls(AudienceKind.USER, frozenset((Room.of_user(user),)))

    @classmethod
    def users(cls, users: Iterable[str]) -> Audience:
        return cls(AudienceKind.USER, frozenset(Room.of_user(user) for user in users))

    @classmethod
    def role(cls, role: str) -> Audience:
        return cls(AudienceKind.ROLE, frozenset((Room.of_role(role),)))

    @classmethod
    def topic(cls, topic: str) -> Audience:
        return cls(AudienceKind.TOPIC, frozenset((Room.of_topic(topic),)))

    @classmethod
    def any_of(cls, groups: Iterable[Room]) -> Audience:
        """Whoever is in one of these roles and topics, at least one; of topics among others it is said to be for a
        topic."""
        rooms = frozenset(groups)
        return cls(AudienceKind.TOPIC if any(room.is_topic for room in rooms) else AudienceKind.ROLE, rooms)

    @classmethod
    def all_of(cls, groups: Iterable[Room]) -> Audience:
        """Whoever is in each of these roles and topics, at least one."""
        return cls.any_of((Room.of_all(groups),))

    @classmethod
    def everyone(cls) -> Audience:
        return cls(AudienceKind.EVERYONE, frozenset((EVERYONE,)))


class NotificationState(Enum):
    """How far a notification has come."""

    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"
    SENT = "sent"
    RECALLED = "recalled"


@value
class Publication:
    """What a backend asks for: a notification that has no time and perhaps no id yet.

    ``data`` is the publisher's own JSON object. ``expires_at`` and ``deliver_at`` are in UTC; before the latter nobody
    is to have it.
    """

    to: Audience
    type: str
    title: str | None = None
    body: str | None = None
    data: Json | None = None
    id: str | None = None
    expires_at: datetime | None = None
    deliver_at: datetime | None = None
    collapse_key: str | None = None


@value
class Notification:
    """A notification as every recipient gets it. Times are in UTC.

    For each of its recipients it takes the place of those before it with the same ``collapse_key``.
    """

    id: str
    type: str
    title: str | None
    body: str | None
    data: Json | None
    audience: AudienceKind
    created_at: datetime
    expires_at: datetime | None
    collapse_key: str | None = None


@value
class Draft:
    """A notification on its way into the log.

    ``idempotency_key`` names the request of a publisher that gave no id of its own; two drafts with the same
    key, or with the same id, are one and the same publication. ``own_id`` tells that the id is the publisher's.
    ``deliver_at`` is what the publisher asked for; one that ``waits`` comes into the log no sooner.
    """

    notification: Notification
    rooms: frozenset[Room]
    own_id: bool
    idempotency_key: str | None = None
    deliver_at: datetime | None = None
    waits: bool = False


@value
class Checkpoint:
    """How far a source has been taken over: the resume id of its last stored item. ``after`` is that of before, None
    for the first: where another one is stored, somebody else has taken over more meanwhile."""

    source: str
    resume_id: str
    after: str | None = None


@value
class FieldError:
    """One bad field of a request. ``path`` names it, for example ``to.users[3]``."""

    path: str
    message: str


@value
class Incoming:
    """One item a source brings: a publication, or what is wrong with it. ``resume_id`` comes after it."""

    resume_id: str
    publication: Publication | None
    errors: tuple[FieldError, ...] = ()
