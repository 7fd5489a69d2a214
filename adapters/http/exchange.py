"""One request of a connection and its answer, as Tornado's handlers and the hot routes see it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from adapters.http.delivery import Delivery, DeliveryEvidence
from adapters.http.messages import RequestHead
from adapters.http.streams import Stream
from domain.ports import Clock

if TYPE_CHECKING:
    from adapters.http.connection import HttpServerConnection

Fields = Iterable[tuple[str, str]]

_LINE_BREAK = re.compile(r"[\r\n\x00]")
_STATUS_LINES: Final = {
    int(status): f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus if status >= HTTPStatus.OK
}
_WITHOUT_BODY: Final = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))


class MessageHandler(Protocol):
    """Who handles one request. Exactly one of ``finish`` and ``on_connection_close`` is called, and is the last."""

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Some of the body. Nothing more comes before what is returned is done."""

    def finish(self) -> None:
        """The request is complete."""

    def body_too_large(self) -> None:
        """It has, or announces, a body that is larger than its exchange takes, and is to be answered."""

    def on_connection_close(self) -> None:
        """It will not be complete, or was answered before it was."""


class Route(Protocol):
    """What requests to a path are handled by, before anything is made of them but their heads."""

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        """A request begins. The body, if it has one, comes when the handler is there."""


class WayBack(Protocol):
    """What handlers that may serve other nodes too ask of an ``Exchange``: its client may be at another node."""

    @property
    def is_closed(self) -> bool: ...

    @property
    def is_remote(self) -> bool:
        """Whether the client is at another node."""

    @property
    def date_line(self) -> str: ...

    def has_left(self) -> bool: ...

    def set_close_callback(self, callback: Callable[[], None] | None) -> None: ...

    def set_max_body_size(self, max_body_size: int) -> None: ...

    def delivery(self) -> DeliveryEvidence: ...

    def respond(self, status: int, fields: Fields, body: bytes) -> None: ...

    def close(self) -> None: ...

    def hand_over(self) -> tuple[Stream, bytes]: ...


class DateField:
    """The field ``Date`` (RFC 9110, section 6.6.1), written once a second."""

    __slots__ = ("_clock", "_line", "_second")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._line = ""

    def line(self) -> str:
        second = int(self._clock.now().timestamp())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


class Exchange(HTTPConnection):
    """The way back of one request: ``respond`` with all of an answer, or ``write_headers``, ``write`` and ``finish``.

    What is written after the client has left goes nowhere.
    """

    is_remote = False

    def __init__(self, connection: HttpServerConnection, head: RequestHead) -> None:
        self.head = head
        self.context = connection.peer
        """Where Tornado finds a request's ``remote_ip`` and ``protocol``."""
        self.max_body_bytes = connection.service.body_bytes
        self.finished = False
        self.keeps_alive = head.keep_alive
        self._connection: HttpServerConnection | None = connection
        self._close_callback: Callable[[], None] | None = None
        self.has_begun = False
        """Whether some of the answer was written."""
        self._is_chunked = False
        self._content_left: int | None = None

    # the client

    @property
    def is_closed(self) -> bool:
        """Whether nothing that is written can arrive any more."""
        return self._connection is None or self._connection.stream.is_closed

    @property
    def stream(self) -> Stream | None:
        """The connection's bytes; None once this exchange is over."""
        return self._connection.stream if self._connection is not None else None

    def has_left(self) -> bool:
        """Whether the client has closed the connection by now, which may not have been told yet."""
        return self._connection is None or self._connection.stream.has_ended()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have it called, once, when the client has closed its side before the answer was finished."""
        self._close_callback = callback

    def client_left(self) -> None:
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            callback()

    def set_max_body_size(self, max_body_size: int) -> None:
        """Of a body in bytes. To be called before any of it has come."""
        self.max_body_bytes = max_body_size

    # answering

    def respond(self, status: int, fields: Fields, body: bytes | None = b"") -> None:
        """All of an answer, in one write. Of one to HEAD the body is left out, and its length stays; ``None`` is for
        one whose length is not known."""
        connection = self._connection
        if connection is None:
            return
        lines = [_STATUS_LINES[status], connection.service.date.line()]
        for name, value in fields:
            lines.append(_field(name, value))
        if body is not None and status not in _WITHOUT_BODY:
            lines.append(f"Content-Length: {len(body)}\r\n")
        lines.append(self._connection_field())
        octets = "".join(lines).encode("latin-1")
        self.has_begun = True
        if body and self.head.method != "HEAD" and status not in _WITHOUT_BODY:
            octets += body
        connection.write(octets)
        self._end()

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Tornado's handlers begin their answer."""
        if not isinstance(start_line, ResponseStartLine):
            raise TypeError("a server writes answers")
        code, has_length = start_line.code, "Content-Length" in headers
        without_body = self.head.method == "HEAD" or code in _WITHOUT_BODY
        if without_body:
            self._content_left = 0
        elif has_length:
            self._content_left = int(headers["Content-Length"])
        elif self.head.version == "HTTP/1.1":
            self._is_chunked = True
        else:
            # It ends with the connection (RFC 9112, section 6.3).
            self.keeps_alive = False
        lines = [f"HTTP/1.1 {code} {start_line.reason}\r\n"]
        lines += [_field(name, value) for name, value in headers.get_all() if name not in _OURS]
        if _LINE_BREAK.search(start_line.reason):
            raise ValueError("a line break in a reason phrase")
        if self._connection is not None:
            lines.append(self._connection.service.date.line())
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        lines.append(self._connection_field())
        self.has_begun = True
        body = self._framed(chunk) if chunk and not without_body else b""
        return self._write("".join(lines).encode("latin-1") + body)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        self._check_begun()
        return self._write(self._framed(chunk))

    def finish(self) -> None:
        self._check_begun()
        if self._content_left and self.head.method != "HEAD":
            self.close()
            raise HTTPOutputError(f"{self._content_left} bytes less than Content-Length")
        if self._is_chunked and self._connection is not None:
            self._connection.write(b"0\r\n\r\n")
        self._end()

    def close(self) -> None:
        """End the connection without an answer, or with one that is not whole."""
        connection = self._connection
        self.finished = True
        self.forget()
        if connection is not None:
            connection.abandoned(self)

    def written(self, told: Callable[[], None]) -> None:
        """Have ``told`` called when the socket has taken all that was written, or the connection is lost."""
        if self._connection is not None:
            self._connection.when_written(told)

    @property
    def date_line(self) -> str:
        """The field Date, for an answer that is written otherwise than by this."""
        return self._connection.service.date.line() if self._connection is not None else ""

    def delivery(self) -> Delivery:
        """What there is to know of an answer that ``respond`` is about to write."""
        return Delivery(self._connection)

    def hand_over(self) -> tuple[Stream, bytes]:
        """The connection out of HTTP's hands, and what has come of it behind this request's head.

        Only before anything was answered, for a request without a body.
        """
        connection = self._connection
        if connection is None:
            raise StreamClosedError
        self.finished = True
        self.forget()
        return connection.hand_over()

    def _check_begun(self) -> None:
        """Tornado goes on where its head was refused: what follows would be taken for the answer."""
        if not self.has_begun and self._connection is not None:
            self.close()
            raise HTTPOutputError("an answer without a head")

    def _connection_field(self) -> str:
        if self._connection is not None and not self._connection.can_stay_open(self):
            self.keeps_alive = False
        if not self.keeps_alive:
            return "Connection: close\r\n\r\n"
        return "\r\n" if self.head.version == "HTTP/1.1" else "Connection: keep-alive\r\n\r\n"

    def _framed(self, chunk: bytes) -> bytes:
        if self._content_left is not None:
            self._content_left -= len(chunk)
            if self._content_left < 0:
                self.close()
                raise HTTPOutputError("more data than Content-Length")
        if self._is_chunked and chunk:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    def _write(self, octets: bytes) -> asyncio.Future[None]:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_closed or self._connection is None:
            written.set_exception(StreamClosedError())
            # Whoever waits for it gets it; a handler that does not is not to be told again.
            written.exception()
            return written
        self._connection.write(octets)
        self._connection.when_written(partial(_settle, written))
        return written

    def _end(self) -> None:
        connection = self._connection
        self.finished = True
        self.forget()
        if connection is not None:
            connection.answered(self)

    def forget(self) -> None:
        """What is still written goes nowhere, and nobody is told that the client left."""
        self._connection = None
        self._close_callback = None


def _settle(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


_OURS = frozenset(("Date", "Connection", "Transfer-Encoding"))


# Nearly always one of a few, of which each takes 0.2 µs so, and 0.7 to be made and checked.
@lru_cache(maxsize=256)
def _field(name: str, value: str) -> str:
    if _LINE_BREAK.search(name) or _LINE_BREAK.search(value):
        raise ValueError(f"a line break in the header {name!r}")
    return f"{name}: {value}\r\n"
