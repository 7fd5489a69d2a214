"""What the reader of a log was not given at its place, as it was revised by then: it is owed to them further on."""

from __future__ import annotations

import re

from domain.model.log import Position
from domain.model.value import value

OWED_MOST_LENGTH = 200
"""Of a cursor, at most so many characters say what is owed."""
_OWED = re.compile(r"[^:]*:([0-9]+)~([0-9a-f]+(?:\.[0-9a-f]+)*)(-?)")


@value
class Owed:
    """The offsets of such notifications; with ``since`` any from there on may be one."""

    offsets: frozenset[int] = frozenset()
    since: int | None = None

    def __bool__(self) -> bool:
        return bool(self.offsets) or self.since is not None

    def includes(self, offset: int) -> bool:
        return offset in self.offsets or (self.since is not None and offset >= self.since)

    @property
    def first(self) -> int | None:
        return min([*self.offsets, *([self.since] if self.since is not None else [])], default=None)

    def behind(self, position: Position) -> Position:
        """A place whose cursor says what is owed to whoever has everything else up to it."""
        return OwingPosition(position.epoch, position.offset, self) if self else position

    @classmethod
    def said_by(cls, cursor: object) -> Owed:
        """What a good cursor says of it."""
        match = _OWED.fullmatch(cursor) if isinstance(cursor, str) else None
        if match is None:
            return NOTHING_OWED
        offsets = [int(match[1]) - int(distance, 16) for distance in match[2].split(".")]
        return cls(since=min(offsets)) if match[3] else cls(frozenset(offsets))


NOTHING_OWED = Owed()


@value
class OwingPosition(Position):
    """A place up to which its reader has everything but what they are ``owed``, of which there is something.

    Its cursor ends with the distances to that; where they are too many, with the longest of them.
    """

    owed: Owed = NOTHING_OWED

    def __str__(self) -> str:
        distances = ".".join(f"{self.offset - offset:x}" for offset in sorted(self.owed.offsets, reverse=True))
        if self.owed.since is not None or len(distances) > OWED_MOST_LENGTH:
            distances = f"{self.offset - (self.owed.first or 0):x}-"
        return f"{self.epoch}:{self.offset}~{distances}"

    @property
    def complete(self) -> Position:
        first = self.owed.first
        return Position(self.epoch, max(0, first - 1) if first is not None else self.offset)
