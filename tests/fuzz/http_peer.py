"""An HTTP connection on a stream of the test's own: no loop, no socket, and turns that come when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

from adapters.http.connection import HttpServerConnection
from adapters.http.exchange import DateField, Exchange, MessageHandler
from adapters.http.messages import BadRequest, RequestHead
from adapters.http.service import Peer, Stage
from adapters.http.streams import StreamEvents
from adapters.http.turns import Rank, Turns
from domain.ports import Clock

MOST_STEPS = 100_000


class _Noon:
    def now(self) -> datetime:
        return datetime(2030, 1, 1, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Line:
    """Turns without a loop: steps wait until ``run``."""

    def __init__(self) -> None:
        self._steps: deque[Callable[[], None]] = deque()

    def is_over(self) -> bool:
        return bool(self._steps)

    def line_up(self, step: Callable[[], None], rank: Rank = Rank.BUSY) -> None:
        self._steps.append(step)

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            if not self._steps:
                return
            self._steps.popleft()()
        raise AssertionError("it goes on for ever")


class HeldStream:
    """Gives what the test ``feeds`` while it is read, and keeps what was written."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._events: StreamEvents | None = None
        self._pieces: deque[bytes] = deque()
        self._has_ended = False
        self.written = bytearray()
        self.is_closed = False
        self.is_reading = False
        self.is_lingering = False
        self.was_cut = self.was_cut_short = False
        self.was_reset = False

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        self._events = events
        self.is_reading = True

    def pause(self) -> None:
        self.is_reading = False

    def resume(self) -> None:
        self.is_reading = True

    def write(self, data: bytes) -> int:
        if not self.is_closed:
            self.written += data
        return 0

    def unacknowledged_bytes(self) -> int:
        return 0

    def has_ended(self) -> bool:
        return self.is_closed

    def linger(self, seconds: float) -> None:
        self.is_lingering = True

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._line.line_up(self._tell_closed)

    def feed(self, octets: bytes) -> None:
        self._pieces.append(octets)
        self.go_on()

    def end(self) -> None:
        """The peer sends no more."""
        self._has_ended = True
        self.go_on()

    def go_on(self) -> None:
        """Until it waits for the peer, or for an answer."""
        self._line.run()
        while self._pieces and self.is_reading and not self.is_closed:
            octets = self._pieces.popleft()
            if self._events is not None and not self.is_lingering:
                self._events.stream_received(octets)
            self._line.run()
        if self._has_ended and not self._pieces and self.is_reading and not self.is_closed:
            self._has_ended = False
            if self.is_lingering:
                self.close()
            elif self._events is not None:
                self.is_reading = False
                self._events.stream_ended()
            self._line.run()

    @property
    def has_unread(self) -> bool:
        return bool(self._pieces)

    def _tell_closed(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.stream_closed()


class Told:
    """A request, and how its handler was told of its end."""

    def __init__(self, head: RequestHead, exchange: Exchange) -> None:
        self.head = head
        self.exchange = exchange
        self.body = b""
        self.endings = 0
        self.is_complete = False

    def data_received(self, chunk: bytes) -> None:
        if self.endings:
            raise AssertionError("some of a body after its end")
        self.body += chunk

    def finish(self) -> None:
        self.endings += 1
        self.is_complete = True
        self.exchange.respond(200, [], b"ok")

    def body_too_large(self) -> None:
        """The connection is to answer."""

    def on_connection_close(self) -> None:
        self.endings += 1


class HttpPeer:
    """A connection, its stream, and the service behind it, in one."""

    def __init__(self, *, head_bytes: int, body_bytes: int) -> None:
        self.head_bytes = head_bytes
        self.body_bytes = body_bytes
        self.keeps_alive = True
        self.date = DateField(cast("Clock", _Noon()))
        self.line = Line()
        self.turns = cast("Turns", self.line)
        self.requests: list[Told] = []
        self.refusals: list[BadRequest] = []
        self.has_ended = False
        self.stream = HeldStream(self.line)
        self.connection = HttpServerConnection(self.stream, cast("Any", self), Peer("198.51.100.1", "http"))
        self.connection.open()

    # Service

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        told = Told(head, exchange)
        self.requests.append(told)
        return told

    def connection_waits(self, connection: HttpServerConnection, stage: Stage) -> None:
        if self.has_ended:
            raise AssertionError("told of a connection that has ended")

    def connection_ended(self, connection: HttpServerConnection) -> None:
        if self.has_ended:
            raise AssertionError("a connection ends twice")
        self.has_ended = True

    def request_refused(self, connection: HttpServerConnection, error: BadRequest) -> tuple[str, bytes]:
        self.refusals.append(error)
        return "text/plain", b""
