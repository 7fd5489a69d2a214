"""What an export is imported into, whatever keeps it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec.structs import astuple

from adapters.store.moving.lines import Contents, Header, Line, LoggedEntry
from adapters.store.moving.origin import LINE_OF, Origin
from adapters.store.moving.source import SLICE_BYTES, SLICE_OFFSETS, Row, Slice
from adapters.store.sqlite.importing import Begun

_TABLE_OF: Final = {line: table for table, line in LINE_OF.items()}


@dataclass(eq=False, slots=True)
class Batch:
    """Rows that are stored at once: of the log, and of tables by their names, in the columns of a file's lines."""

    entries: list[Row] = field(default_factory=list)
    contents: list[Row] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    upto: int = 0
    """The last line of them."""
    rows: int = 0
    bytes: int = 0

    @property
    def part(self) -> Slice:
        return Slice(0, 0, self.entries, self.contents)

    @property
    def is_full(self) -> bool:
        return self.rows >= SLICE_OFFSETS or self.bytes >= SLICE_BYTES

    def add(self, line: Line) -> None:
        """One of those between the first and the last."""
        self.upto = line.line
        self.rows += 1
        if isinstance(line, LoggedEntry):
            rooms = _joined(line.rooms)
            logged = (line.offset, line.stored_at, line.event, line.form, rooms, line.payload)
            self.entries.append((*logged, line.about, line.expires_at))
            self.bytes += len(rooms or "") + len(line.payload or "")
        elif isinstance(line, Contents):
            rooms = _joined(line.rooms)
            digest = bytes.fromhex(line.digest) if line.digest is not None else None
            first = (line.offset, line.stored_at, line.expires_at, line.id, line.type, line.form, rooms, line.payload)
            self.contents.append((*first, _joined(line.recalled), line.revised, line.key, digest))
            self.bytes += len(rooms or "") + len(line.payload or "")
        else:
            self.tables.setdefault(_TABLE_OF[type(line)], []).append(astuple(line)[1:])


class Destination(Protocol):
    """One thread uses it, and nobody else while it is there. Within ``faults`` everything raises StoreUnusable."""

    @property
    def place(self) -> str:
        """As a URL for operators."""

    @property
    def begun(self) -> Begun | None:
        """The import that was begun into it, or that made it what it is."""

    def begin(self, header: Header) -> None:
        """Nobody opens it any more until it is finished. Raises StoreUnusable where there is a store already."""

    def write(self, batch: Batch) -> None:
        """Whole or not at all, with the line that the import has come to."""

    def written(self) -> Origin:
        """To be read, and closed."""

    def finish(self, header: Header) -> None:
        """From now on it can be opened. What was written is on the disk when this returns."""

    def faults(self) -> AbstractContextManager[None]: ...

    def close(self) -> None: ...


def _joined(rooms: list[str] | None) -> str | None:
    return "\n".join(rooms) if rooms is not None else None
