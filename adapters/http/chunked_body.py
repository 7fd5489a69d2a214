"""Bodies whose length their heads do not say, without I/O (RFC 9112)."""

from __future__ import annotations

import re
from http import HTTPStatus

from adapters.http.messages import BadRequest

MAX_CHUNK_LINE = 256
"""Octets of a chunk's size and its extensions, which nobody sends."""

MAX_TRAILER_BYTES = 4096
FREE_CHUNKS = 256
OCTETS_A_CHUNK = 16
"""A body may come in FREE_CHUNKS chunks of any size; beyond these, chunks must have so many octets on average, as each
costs as much time as hundreds of octets."""

_CHUNK_DIGITS = 12

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t -~\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")


class ChunkedBody:
    """Reads a chunked body (section 7.1): ``feed`` takes what has come, and gives what it holds of the content.

    Extensions are passed over and trailers dropped, both bounded. It keeps no more than a line that is not complete.
    """

    __slots__ = ("_chunks", "_left", "_pending", "_trailer_bytes", "announced_bytes", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self.announced_bytes = 0
        """Of content: what has come, and what the chunk under way is still to have."""
        self._pending = b""
        # Octets of the chunk that are to come; -2 stands before its CRLF, and 0 before the next size.
        self._left = 0
        self._chunks = 0
        self._trailer_bytes: int | None = None

    def feed(self, octets: bytes) -> tuple[bytes, bytes]:
        """The content in these octets, and what lies behind the end of the body. Raises BadRequest."""
        buffer = self._pending + octets if self._pending else octets
        self._pending = b""
        content: list[bytes] = []
        start, length = 0, len(buffer)
        while self._trailer_bytes is None:
            if self._left > 0:
                piece = buffer[start : start + self._left]
                content.append(piece)
                start += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._left = -2
            if self._left == -2:
                if length - start < 2:
                    self._keep(buffer[start:], b"\r\n")
                    break
                if not buffer.startswith(b"\r\n", start):
                    raise BadRequest("a chunk that is longer than its size")
                start += 2
                self._left = 0
            end = buffer.find(b"\r\n", start, start + MAX_CHUNK_LINE)
            if end < 0:
                if length - start >= MAX_CHUNK_LINE or buffer.find(b"\n", start) >= 0:
                    raise BadRequest("a malformed line before a chunk")
                self._pending = buffer[start:]
                break
            self._begin_chunk(buffer[start:end])
            start = end + 2
        if self._trailer_bytes is not None:
            start = self._read_trailers(buffer, start)
        rest = buffer[start:] if self.is_complete else b""
        return b"".join(content), rest

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(match[1].lstrip(b"0")) > _CHUNK_DIGITS:
            raise BadRequest("a malformed chunk size")
        size = int(match[1], 16)
        if not size:
            self._trailer_bytes = 0
            return
        self._left = size
        self._chunks += 1
        self.announced_bytes += size
        if self._chunks > FREE_CHUNKS and self.announced_bytes < (self._chunks - FREE_CHUNKS) * OCTETS_A_CHUNK:
            raise BadRequest("chunks too small for so many")

    def _keep(self, octets: bytes, expected: bytes) -> None:
        if not expected.startswith(octets):
            raise BadRequest("a chunk that is longer than its size")
        self._pending = octets

    def _read_trailers(self, buffer: bytes, start: int) -> int:
        while True:
            end = buffer.find(b"\r\n", start)
            size = (end if end >= 0 else len(buffer) - buffer.endswith(b"\r")) - start
            allowed = MAX_TRAILER_BYTES - (self._trailer_bytes or 0)
            # What is wrong comes first, where it lies within what is allowed: it may have come in a piece of its own.
            if buffer.find(b"\n", start, start + min(size, allowed)) >= 0:
                raise BadRequest("a malformed trailer")
            if size > allowed:
                raise BadRequest("trailers too large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            if end < 0:
                self._pending = buffer[start:]
                return len(buffer)
            if end == start:
                self.is_complete = True
                return end + 2
            if not _TRAILER_LINE.fullmatch(buffer, start, end):
                raise BadRequest("a malformed trailer")
            self._trailer_bytes = (self._trailer_bytes or 0) + size + 2
            start = end + 2
