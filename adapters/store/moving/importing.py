"""Reading lines of JSON into a store that nobody has opened yet. One that broke off goes on when it is run again.

Nobody opens the store before everything is in it and was compared with the file. Then whoever opens it begins a new
generation behind the last entry of the file: cursors up to there are good, and those into what came later elsewhere
are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, Final

from adapters.store.form import FORM
from adapters.store.moving.destination import Batch, Destination
from adapters.store.moving.exporting import TOLD_EVERY, Tell
from adapters.store.moving.lines import (
    Contents,
    Digests,
    End,
    Epoch,
    Header,
    Line,
    LoggedEntry,
    Reader,
    Scheduled,
    kind_of,
)
from adapters.store.moving.origin import LINE_OF, generations_of, lines_of
from adapters.store.served import StoreUnusable
from adapters.store.times import moment
from domain.model.value import value
from domain.rules.epochs import Generation, Generations

_ORDER: Final[dict[type[Line], int]] = {
    Epoch: 0,
    LoggedEntry: 1,
    Contents: 1,
    **{line: place for place, line in enumerate(LINE_OF.values(), 1) if line is not Epoch},
    End: len(LINE_OF) + 1,
}


@value
class Imported:
    """``went_on_after`` is the line at which an earlier run had broken off, or 0; ``before``: one had done it all."""

    place: str
    lines: int
    entries: int
    notifications: int
    epoch: str
    head: int
    went_on_after: int
    before: bool = False


def import_(
    source: BinaryIO, name: str, size: int | None, open_destination: Callable[[], Destination], tell: Tell
) -> Imported:
    """Blocks. ``name`` is the file's, for messages, and ``size`` how many bytes it has, where that is known.

    Nothing is opened, or made, for a file that is no export. Raises StoreUnusable, of which BadFile is one, and
    OSError.
    """
    reader = Reader(source, name)
    header = reader.header()
    with closing(open_destination()) as destination, destination.faults():
        return _Course(reader, size, destination, tell).run(header)


class _Course:
    def __init__(self, reader: Reader, size: int | None, destination: Destination, tell: Tell) -> None:
        self._reader = reader
        self._size = size
        self._destination = destination
        self._tell = tell
        self._digests = Digests()

    def run(self, header: Header) -> Imported:
        done = self._begin(header)
        end = self._read(header, done)
        if done is not None:
            self._verify(header)
            self._destination.finish(header)
        counts = self._digests.counts
        return Imported(
            place=self._destination.place,
            lines=end.line,
            entries=counts.get("entry", 0),
            notifications=counts.get("contents", 0),
            epoch=header.epoch,
            head=header.head,
            went_on_after=done or 0,
            before=done is None,
        )

    def _begin(self, header: Header) -> int | None:
        """The line up to which everything is stored, from an earlier run; None where all is, and served by now."""
        begun = self._destination.begun
        if begun is None:
            self._destination.begin(header)
            return 0
        if begun.name == header.name:
            return None if begun.is_finished else begun.upto
        place = self._destination.place
        if begun.is_finished:
            raise StoreUnusable(f"{place} holds a store already, which is not of this export")
        raise StoreUnusable(
            f"an import of another export into {place} was begun: run that again, or remove what is there"
        )

    def _read(self, header: Header, done: int | None) -> End:
        rules = _Rules(header, self._reader)
        batch = Batch()
        for line in self._reader:
            rules.check(line)
            if not line.line % TOLD_EVERY:
                self._tell("bytes", self._reader.bytes, self._size)
            if isinstance(line, End):
                if line.counts != {"export": 1} | self._digests.counts:
                    raise self._reader.bad("counts: are not those of the lines before it")
                if batch.rows:
                    self._destination.write(batch)
                return line
            self._digests.add(line)
            if done is not None and line.line > done:
                batch.add(line)
                if batch.is_full:
                    self._destination.write(batch)
                    batch = Batch()
        raise AssertionError("a reader ends with the last line, or raises")

    def _verify(self, header: Header) -> None:
        """What is stored is what the file says. Raises StoreUnusable."""
        found = Digests()
        with closing(self._destination.written()) as origin, origin.faults(), origin.snapshot():
            generations, extent = generations_of(origin), origin.extent
            if generations is not None and (extent.head, extent.floor) == (header.head, header.floor):
                total = sum(self._digests.counts.values())
                for number, line in enumerate(lines_of(origin, generations), 1):
                    found.add(line)
                    if not number % TOLD_EVERY:
                        self._tell("lines compared", number, total)
        if (found.counts, found.sums) != (self._digests.counts, self._digests.sums):
            raise StoreUnusable(
                f"what was stored in {self._destination.place} is not what the file says: remove it, and begin anew"
            )


class _Rules:
    """What a line may say, after those before it."""

    def __init__(self, header: Header, reader: Reader) -> None:
        self._header = header
        self._bad = reader.bad
        self._rank = 0
        self._epochs: list[Generation] = []
        self._generations: Generations | None = None
        self._offset: int | None = None

    def check(self, line: Line) -> None:
        """Raises BadFile."""
        rank = _ORDER.get(type(line), -1)
        if rank < self._rank:
            raise self._bad(f"kind: {kind_of(line)} does not come here")
        if self._rank <= 1 < rank:
            self._check_end_of_log()
        self._rank = rank
        if isinstance(line, Epoch):
            self._add(line)
            return
        self._check_offset(line)
        if isinstance(line, LoggedEntry):
            self._check_entry(line)
        if isinstance(line, LoggedEntry | Contents | Scheduled) and line.form not in {None, FORM}:
            raise self._bad(f"form: is {line.form}, which this program does not know")

    def _add(self, epoch: Epoch) -> None:
        last = self._epochs[-1] if self._epochs else None
        if last is not None and (epoch.number <= last.number or epoch.first < last.first):
            raise self._bad("number: is not behind the one before it")
        self._epochs.append(Generation(epoch.number, epoch.epoch, epoch.first, moment(epoch.opened_at)))

    def _known(self) -> Generations:
        if self._generations is None:
            if not self._epochs or self._epochs[-1].epoch != self._header.epoch:
                raise self._bad("kind: the present epoch is missing before it")
            self._generations = Generations(self._epochs)
        return self._generations

    def _check_offset(self, line: Line) -> None:
        offset = getattr(line, "offset", 0)
        if offset > self._header.head:
            raise self._bad(f"offset: is {offset}, and the last entry is at {self._header.head}")

    def _check_entry(self, entry: LoggedEntry) -> None:
        expected = min(entry.offset, self._header.floor + 1) if self._offset is None else self._offset + 1
        if entry.offset != expected:
            raise self._bad(f"offset: is {entry.offset}, and {expected} is the next one")
        self._offset = entry.offset
        if entry.epoch != self._known().position(entry.offset).epoch:
            raise self._bad("epoch: is not that of the offset")

    def _check_end_of_log(self) -> None:
        self._known()
        if (self._header.floor if self._offset is None else self._offset) != self._header.head:
            raise self._bad(f"kind: entries up to {self._header.head} are missing before it")
