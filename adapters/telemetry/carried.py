"""What servers tell each other of traces: to which one the entries of a publish belong. One line a run of entries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from domain.model import Position
from domain.model.value import value
from domain.policy import BATCH_MAX_ITEMS

# Version 00 of a traceparent, as it is written here; what follows it is a newer version's.
_LINE: Final = re.compile(
    r"(?P<epoch>[!-~]{1,64}) (?P<first>\d{1,18}) (?P<last>\d{1,18}) (?P<stored_at>\d{1,19}) "
    r"(?P<traceparent>00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?: .*)?",
    re.ASCII,
)


@value
class Carried:
    """``traceparent`` is that of the publish that stored what is at the ``positions``, ``stored_at`` in nanoseconds
    since 1970."""

    traceparent: str
    stored_at: int
    positions: Sequence[Position]


def written(one: Carried) -> list[str]:
    """In lines, none of them longer than 200 characters."""
    return [
        f"{first.epoch} {first.offset} {last} {one.stored_at} {one.traceparent}" for first, last in _runs(one.positions)
    ]


def carried(messages: Sequence[str]) -> Iterator[Carried]:
    """What the lines of messages say; of those that say nothing of the kind, nothing."""
    for message in messages:
        for line in message.split("\n"):
            found = _LINE.fullmatch(line)
            if found is None:
                continue
            first, last = int(found["first"]), int(found["last"])
            positions = [
                Position(found["epoch"], offset) for offset in range(first, min(last + 1, first + BATCH_MAX_ITEMS))
            ]
            yield Carried(found["traceparent"], int(found["stored_at"]), positions)


def _runs(positions: Sequence[Position]) -> Iterator[tuple[Position, int]]:
    """The first of each run of positions that follow each other, and the last offset in it."""
    first: Position | None = None
    last = 0
    for position in positions:
        if first is not None and position == Position(first.epoch, last + 1):
            last += 1
            continue
        if first is not None:
            yield first, last
        first, last = position, position.offset
    if first is not None:
        yield first, last
