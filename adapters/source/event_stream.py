"""Server-Sent Events, read: bytes in, events out, no I/O (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")
_RETRY = re.compile(r"[0-9]{1,15}")
_BOM = b"\xef\xbb\xbf"

# An event that is too large still has an id to continue after: lines as short as this are looked at to the end of it.
_SHORT_LINE = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    ``own_id`` is what its own id field says, None where it has none, and ``last_id`` the standard's last event ID,
    which outlives an event. With ``too_large`` the data was not kept: it is empty.
    """

    type: str
    data: str
    own_id: str | None
    last_id: str
    too_large: bool = False


class EventStreamParser:
    """The parser of one response body. Never raises, whatever the bytes are.

    An event of which the lines, comments not counted, have more than ``max_event_bytes`` is reported as too large.
    No more than that, and at least 1 KiB, is ever buffered. What follows the last blank line is no event.
    """

    def __init__(self, *, max_event_bytes: int, last_id: str = "") -> None:
        self._max_event_bytes = max_event_bytes
        self._retry: int | None = None
        self._last_id = last_id
        self._line = bytearray()
        self._first_line = True
        self._after_cr = False
        self._begin()

    @property
    def retry(self) -> int | None:
        """The reconnection time in milliseconds, if the stream set one."""
        return self._retry

    def feed(self, data: bytes) -> list[Event]:
        """The events that the next bytes of the stream complete, in order."""
        if not data:
            return []
        start = 1 if self._after_cr and data.startswith(b"\n") else 0
        self._after_cr = data.endswith(b"\r")
        events: list[Event] = []
        for end in _LINE_END.finditer(data, start):
            self._extend_line(data[start : end.start()])
            start = end.end()
            event = self._end_line()
            if event is not None:
                events.append(event)
        self._extend_line(data[start:])
        return events

    def _begin(self) -> None:
        self._type = ""
        self._data: list[str] = []
        self._own_id: str | None = None
        self._size = 0
        self._too_large = False

    @property
    def _line_limit(self) -> int:
        return max(0 if self._too_large else self._max_event_bytes - self._size, _SHORT_LINE)

    def _extend_line(self, data: bytes) -> None:
        # One byte over the limit is enough to know.
        self._line += data[: self._line_limit + len(_BOM) + 1 - len(self._line)]

    def _end_line(self) -> Event | None:
        line = bytes(self._line)
        self._line.clear()
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if not line.startswith(b":"):
            self._field(line)
        return None

    def _field(self, line: bytes) -> None:
        cut = len(line) > self._line_limit
        self._size += len(line)
        if self._size > self._max_event_bytes:
            self._too_large = True
            self._data.clear()
        if cut:
            return
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data" if not self._too_large:
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._own_id = self._last_id = value
            case "retry" if _RETRY.fullmatch(value):
                self._retry = int(value)

    def _dispatch(self) -> Event | None:
        event = None
        if self._data or self._too_large:
            event = Event(
                type=self._type or "message",
                data="\n".join(self._data),
                own_id=self._own_id,
                last_id=self._last_id,
                too_large=self._too_large,
            )
        self._begin()
        return event
