"""A store that is read as it was at one moment, whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from adapters.store.moving.lines import (
    Collapsing,
    Contents,
    Epoch,
    Erased,
    Line,
    LoggedEntry,
    Mark,
    Membership,
    ReadUpTo,
    Restricted,
    Scheduled,
    SourceCheckpoint,
    Start,
    State,
    Tombstone,
    Trimmed,
)
from adapters.store.moving.source import Extent, Row, Slice
from adapters.store.moving.tables import TABLES, Table
from adapters.store.served import StoreUnusable
from adapters.store.times import moment
from domain.rules.epochs import Generation, Generations

LINE_OF: dict[str, type[Line]] = {
    "epochs": Epoch,
    "checkpoints": SourceCheckpoint,
    "trimmed": Trimmed,
    "starts": Start,
    "marks": Mark,
    "watermarks": ReadUpTo,
    "state": State,
    "scheduled": Scheduled,
    "memberships": Membership,
    "restrictions": Restricted,
    "collapsing": Collapsing,
    "erasures": Erased,
    "tombstones": Tombstone,
}
"""What a row of each table is in a file. The fields of a line are the first columns of the table, in their order, with
octets as hex digits."""

EPOCHS, *CHANGING = TABLES


class Origin(Protocol):
    """One thread uses it. Within ``faults`` everything raises StoreUnusable, and nothing else for what goes wrong."""

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]: ...

    @property
    def place(self) -> str:
        """As a URL for operators."""

    @property
    def secret(self) -> bytes | None:
        """None where nobody has ever opened it."""

    @property
    def extent(self) -> Extent: ...

    @property
    def waiting(self) -> int:
        """How much of an outbox there is that no log has yet."""

    def check(self) -> None:
        """Raises StoreUnusable for what is not whole, or is not of today's form."""

    def snapshot(self) -> AbstractContextManager[None]:
        """All that is read in it is of one moment."""

    def slice_after(self, after: int, upto: int | None = None) -> tuple[Slice, Extent]: ...

    def rows_of(self, table: Table) -> Iterator[Row]:
        """In the order of its key, and few in memory at a time."""

    def faults(self) -> AbstractContextManager[None]: ...

    def close(self) -> None: ...


def generations_of(origin: Origin) -> Generations | None:
    """None where nobody has ever opened it."""
    known = [Generation(row[0], row[1], row[2], moment(row[3])) for row in origin.rows_of(EPOCHS)]
    return Generations(known) if known else None


def lines_of(origin: Origin, generations: Generations) -> Iterator[Line]:
    """All but the first and the last, still without their numbers. Raises StoreUnusable where an entry is missing."""
    yield from rows_as_lines(origin, EPOCHS)
    yield from _log_as_lines(origin, generations)
    for table in CHANGING:
        yield from rows_as_lines(origin, table)


def rows_as_lines(origin: Origin, table: Table) -> Iterator[Line]:
    line = LINE_OF[table.name]
    width = len(line.__struct_fields__) - 1
    for row in origin.rows_of(table):
        yield line(0, *(field.hex() if isinstance(field, bytes) else field for field in row[:width]))


def _log_as_lines(origin: Origin, generations: Generations) -> Iterator[Line]:
    extent = origin.extent
    # Up to the floor some are gone already.
    after, expected = extent.first - 1, min(extent.first_entry, extent.floor + 1)
    while after < extent.head:
        part, _ = origin.slice_after(after, extent.head)
        contents = iter(part.contents)
        waiting = next(contents, None)
        for entry in part.entries:
            while waiting is not None and waiting[0] < entry[0]:
                yield _contents(waiting)
                waiting = next(contents, None)
            if entry[0] != expected:
                raise StoreUnusable(f"{origin.place} has lost what was stored at offset {expected}")
            expected += 1
            yield _entry(entry, generations)
        while waiting is not None:
            yield _contents(waiting)
            waiting = next(contents, None)
        after = part.upto
    if expected != extent.head + 1:
        raise StoreUnusable(f"{origin.place} has lost what was stored at offset {expected}")


def _entry(row: Row, generations: Generations) -> LoggedEntry:
    offset, stored_at, event, form, rooms, payload, about, expires_at = row
    epoch = generations.position(offset).epoch
    return LoggedEntry(0, offset, epoch, stored_at, event, form, names_in(rooms), payload, about, expires_at)


def _contents(row: Row) -> Contents:
    offset, stored_at, expires_at, id_, type_, form, rooms, payload, recalled, revised, key, digest = row
    given = bytes(digest).hex() if digest is not None else None
    known = (key, given, names_in(recalled), revised)
    return Contents(0, offset, stored_at, expires_at, id_, type_, form, names_in(rooms), payload, *known)


def names_in(rooms: str | None) -> list[str] | None:
    if rooms is None:
        return None
    return rooms.split("\n") if rooms else []
