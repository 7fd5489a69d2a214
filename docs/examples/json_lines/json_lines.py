"""A NotificationSource that follows a file of JSON lines, to which a backend appends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidPublication, Unavailable
from domain.model import FieldError, Incoming, Publication

BATCH_MAX_ITEMS = 100
BATCH_MAX_BYTES = 256 * 1024
HEAD_BYTES = 4096
"""How much of its first line a file is known again by."""

_log = logging.getLogger("synkrone.source")


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind a line of the file with a certain first line; as a resume id ``head:offset``, the offset in bytes."""

    head: str = ""
    offset: int = 0

    @classmethod
    def of(cls, resume_id: str) -> _Place:
        head, _, offset = resume_id.partition(":")
        return cls(head, int(offset)) if offset.isdecimal() and len(offset) < len(str(2**63)) else cls(head, -1)

    def __str__(self) -> str:
        return f"{self.head}:{self.offset}"


class _File:
    """An open file. Its methods block for as long as a read of a local file takes. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, offset)

    def head(self) -> str:
        line, _, _ = self.read(0, HEAD_BYTES).partition(b"\n")
        return hashlib.sha256(line).hexdigest()[:32]

    def has(self, place: _Place) -> bool:
        """Whether a line ends there, in a file that begins as it did then."""
        return place == _Place() or (
            place.offset > 0 and self.read(place.offset - 1, 1) == b"\n" and self.head() == place.head
        )

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def is_at(self, path: Path) -> bool:
        """Whether the path leads to this file; so it is said, too, while it leads to none."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return True


class JsonLines:
    """Each line of the file is one publish body; one without an ``id`` is published under that of its place.

    A last line that does not end is waited for. A line that is no publish body, or has more than ``max_line_bytes``, is
    given as invalid. The resume id has the place behind the line; where a file has no such place, as it was rotated or
    truncated meanwhile, that is logged, and it is read from its beginning. A file that is renamed while it is followed
    is read to its end before the one that has taken its place.

    ``poll_seconds`` is how long after its end was reached a file is looked at again. Raises ConfigurationError for a
    path that leads to what is no file.
    """

    def __init__(
        self, path: Path, max_line_bytes: int = 1024 * 1024, *, poll_seconds: float = 0.25, name: str = "jsonl"
    ) -> None:
        if path.exists() and not path.is_file():
            raise ConfigurationError("", f"{path} is not a file")
        self._path = path
        self._max_line_bytes = max_line_bytes
        self._poll_seconds = poll_seconds
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        place = _Place.of(after) if after else _Place()
        while True:
            file = await self._opened()
            try:
                async with aclosing(self._follow(file, place)) as batches:
                    async for batch in batches:
                        yield batch
            except OSError as error:
                raise Unavailable(f"cannot read {self._path}: {error.strerror}") from None
            finally:
                file.close()
            place = _Place()

    async def _follow(self, file: _File, place: _Place) -> AsyncGenerator[Sequence[Incoming], None]:
        """The items of a file until another one has taken its place.

        Of a line that is too long no more is kept than how many of its bytes, behind ``place``, were ``dropped``.
        """
        dropped = 0
        while True:
            if not file.has(place) or file.size() < place.offset + dropped:
                _log.warning("source %s: %s has no %s any more: read from its start", self._name, self._path, place)
                place, dropped = _Place(), 0
            data = file.read(place.offset + dropped, self._max_line_bytes + 1)
            end = place.offset + dropped + len(data)
            lines, newline, _ = data.rpartition(b"\n")
            if newline and not dropped:
                # Before they are stored: by then the file may be another one.
                place = _Place(file.head(), place.offset)
                for batch in self._batches(lines, place):
                    yield batch
                    # A store may take a batch without a pause, and what was appended may be much.
                    await asyncio.sleep(0)
                place = replace(place, offset=place.offset + len(lines) + 1)
            elif newline:
                place = _Place(file.head(), place.offset + dropped + data.index(b"\n") + 1)
                dropped = 0
                yield [_invalid(place, f"has more than {self._max_line_bytes} bytes")]
            elif len(data) > self._max_line_bytes or (dropped and data):
                dropped += len(data)
                await asyncio.sleep(0)
            elif file.is_at(self._path):
                await asyncio.sleep(self._poll_seconds)
            elif file.size() == end:
                if end > place.offset:
                    yield [_invalid(_Place(file.head(), end), "does not end, and the file was rotated")]
                return

    async def _opened(self) -> _File:
        """Waits until there is a file. Raises Unavailable."""
        waited = False
        while True:
            try:
                return _File(self._path)
            except FileNotFoundError:
                if not waited:
                    _log.warning("source %s: there is no %s yet", self._name, self._path)
                waited = True
                await asyncio.sleep(self._poll_seconds)
            except OSError as error:
                raise Unavailable(f"cannot open {self._path}: {error.strerror}") from None

    def _batches(self, lines: bytes, place: _Place) -> Iterator[Sequence[Incoming]]:
        batch: list[Incoming] = []
        size = 0
        for line in lines.split(b"\n"):
            place = replace(place, offset=place.offset + len(line) + 1)
            if not line.strip():
                continue
            size += len(line)
            if batch and (len(batch) == BATCH_MAX_ITEMS or size > BATCH_MAX_BYTES):
                yield batch
                batch, size = [], len(line)
            batch.append(self._item(line, place))
        if batch:
            yield batch

    def _item(self, line: bytes, place: _Place) -> Incoming:
        try:
            return Incoming(str(place), _publication(line, place))
        except InvalidPublication as error:
            return Incoming(str(place), None, error.errors)
        except InvalidJson as error:
            return _invalid(place, f"is not JSON: {error.detail}")


def _publication(line: bytes, place: _Place) -> Publication:
    publication = parse_publication(line)
    return publication if publication.id is not None else replace(publication, id=str(place))


def _invalid(place: _Place, reason: str) -> Incoming:
    return Incoming(str(place), None, (FieldError("line", reason),))
