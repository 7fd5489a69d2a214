"""An HTTP/1.1 connection: one request after the other, each answered before the next is looked at (RFC 9112)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from tornado.httputil import HTTPInputError

from adapters.http.chunked_body import ChunkedBody
from adapters.http.exchange import Exchange, MessageHandler
from adapters.http.messages import BadRequest, HeadReader, RequestHead, parse_head
from adapters.http.service import Peer, Service, Stage
from adapters.http.streams import READ_BYTES, Stream

DROPPED_BODY = 65_536
"""What is left of a body behind its answer is read and dropped where it is no longer than this: the connection stays,
and so do the requests of others who share it behind a proxy."""

LINGER_SECONDS = 5.0

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_log = logging.getLogger("synkrone.server")


class HttpServerConnection:
    """Owns a stream. It holds at most a head, what one read gives, and what of its answers the peer has not taken."""

    __slots__ = (
        "_awaits_handler",
        "_body",
        "_buffer",
        "_close_told",
        "_exchange",
        "_handler",
        "_has_ended",
        "_heads",
        "_is_in_line",
        "_is_over",
        "_is_stepping",
        "_left",
        "_outgoing",
        "_outgoing_bytes",
        "_stage",
        "_task",
        "_written",
        "peer",
        "requests",
        "service",
        "stream",
    )  # fmt: skip

    def __init__(self, stream: Stream, service: Service, peer: Peer) -> None:
        self.stream = stream
        self.service = service
        self.peer = peer
        self.requests = 0
        """How many have begun."""
        self._stage = Stage.FIRST_HEAD
        self._heads = HeadReader(service.head_bytes)
        self._buffer = b""
        # The request under way: its body's framing, who handles it, and the way back.
        self._exchange: Exchange | None = None
        self._handler: MessageHandler | None = None
        self._body: ChunkedBody | None = None
        self._left = 0
        # A handler is busy in a task of its own, and what comes waits until it is done.
        self._awaits_handler = False
        self._task: asyncio.Future[Any] | None = None
        self._is_in_line = False
        self._is_stepping = False
        # The peer sends no more; and: nothing is to be told of this connection any more.
        self._has_ended = False
        self._is_over = False
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._written: list[Callable[[], None]] = []
        self._close_told: Callable[[], None] | None = None

    def open(self) -> None:
        """Begin to read."""
        self.service.connection_waits(self, self._stage)
        self.stream.open(self)

    def close(self) -> None:
        """At once, and without a word."""
        self._buffer = b""
        self.stream.close()

    @property
    def unsent_bytes(self) -> int:
        """What was written and the socket has not taken."""
        return self._outgoing_bytes

    # StreamEvents

    def stream_received(self, octets: bytes) -> None:
        self._buffer = self._buffer + octets if self._buffer else octets
        self._advance()

    def stream_ended(self) -> None:
        self._has_ended = True
        self._tell_handler()
        self._rest()

    def _tell_handler(self) -> None:
        """Of the end of what the peer sends. Some answer all the same; one that never does has its time."""
        if self._stage is Stage.ANSWER and self._exchange is not None:
            self._exchange.client_left()
        if self._stage is Stage.ANSWER and self._exchange is not None and not self._is_over:
            self.service.connection_waits(self, Stage.END)

    def stream_drained(self, unsent: int) -> None:
        self._outgoing_bytes = sum(map(len, self._outgoing)) + unsent
        while self._outgoing and not unsent:
            octets = self._outgoing.popleft()
            unsent = self.stream.write(octets)
            self._outgoing_bytes += unsent - len(octets)
        if self._outgoing_bytes:
            self.service.connection_waits(self, self._stage)
            return
        self._tell_written()
        self._rest()

    def stream_closed(self) -> None:
        """What had come whole by then is carried out all the same; its answers go nowhere."""
        self._has_ended = True
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._tell_written()
        told, self._close_told = self._close_told, None
        if told is not None:
            told()
        self._tell_handler()
        self._rest()

    # for the exchange under way

    def write(self, octets: bytes) -> None:
        if self.stream.is_closed:
            return
        if self._outgoing_bytes:
            self._outgoing.append(octets)
            self._outgoing_bytes += len(octets)
            return
        self._outgoing_bytes = self.stream.write(octets)
        if self._outgoing_bytes:
            self.service.connection_waits(self, self._stage)

    def when_written(self, told: Callable[[], None]) -> None:
        """Have it called once the socket has taken everything, or is lost."""
        if self._outgoing_bytes and not self.stream.is_closed:
            self._written.append(told)
        else:
            told()

    def when_closed(self, told: Callable[[], None] | None) -> None:
        """Have it called when the connection closes; in place of whoever was to be told before."""
        self._close_told = told

    def can_stay_open(self, exchange: Exchange) -> bool:
        """Whether another request may follow this one, as far as its body and the service go."""
        if not self.service.keeps_alive:
            return False
        if self._stage is Stage.ANSWER:
            return bool(self._buffer) or not self._has_ended
        # A client that waits for leave to send its body may send it all the same, or may not.
        return self._body is None and self._left <= DROPPED_BODY and not exchange.head.expects_continue

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        handler, self._handler = self._handler, None
        if handler is not None and self._stage is Stage.BODY:
            handler.on_connection_close()
        if not exchange.keeps_alive:
            self._leave()
        elif self._stage is Stage.ANSWER:
            self._set_stage(Stage.NEXT_HEAD)
        # Else what is left of the body comes first, and is dropped.
        self._rest()

    def abandoned(self, exchange: Exchange) -> None:
        """There will be no answer, or not the whole of one. Requests that have come behind it are carried out."""
        self.stream.close()
        if exchange is not self._exchange:
            return
        self._exchange = None
        handler, self._handler = self._handler, None
        if self._stage is Stage.ANSWER:
            self._set_stage(Stage.NEXT_HEAD)
        elif handler is not None:
            handler.on_connection_close()
        self._rest()

    def hand_over(self) -> tuple[Stream, bytes]:
        """Out of HTTP's hands, with what has come behind the request."""
        early, self._buffer = self._buffer, b""
        self._exchange = None
        self._stage = Stage.END
        self._end()
        return self.stream, early

    # reading

    @property
    def _is_reading(self) -> bool:
        """Whether what has come may be looked at: the next request waits until the answer to this one is taken."""
        if self._awaits_handler or self._outgoing_bytes:
            return False
        return self._stage is not Stage.ANSWER and self._stage is not Stage.END

    def _advance(self) -> None:
        """Go on by one step: a head, or what there is of a body."""
        if not self._is_reading or self._is_in_line:
            # Less than that is read on, so that the end of the stream is noticed.
            if len(self._buffer) >= READ_BYTES:
                self.stream.pause()
            return
        before = len(self._buffer)
        self._is_stepping = True
        try:
            if self._stage is Stage.BODY:
                self._read_body()
            else:
                self._read_head()
        except (BadRequest, HTTPInputError) as error:
            self._refuse(error)
        except Exception:
            self._cut()
            raise
        finally:
            self._is_stepping = False
        self._rest(has_moved=len(self._buffer) < before)

    def _rest(self, *, has_moved: bool = True) -> None:
        """Between two steps: see that there will be another, or that there need not be."""
        if self._is_stepping or self._is_in_line or self._awaits_handler:
            return
        if self._is_reading:
            if self._buffer and has_moved:
                self.stream.pause()
                self._is_in_line = True
                self.service.turns.line_up(self._take_turn)
            elif self._has_ended:
                self._cut()
            else:
                self.stream.resume()
        elif self.stream.is_closed:
            # An answer that is still to come goes nowhere, and some never come.
            self._end()

    def _take_turn(self) -> None:
        self._is_in_line = False
        self._advance()

    def _read_head(self) -> None:
        if self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer[self._heads.skip_empty_lines(self._buffer) :]
        if not self._buffer:
            return
        end = self._heads.end_of_head(self._buffer)
        if not end:
            if self._stage is Stage.NEXT_HEAD:
                self._set_stage(Stage.REST_OF_HEAD)
            return
        octets, self._buffer = self._buffer[:end], self._buffer[end:]
        head = parse_head(octets)
        head.remote_ip, head.protocol = self.peer.remote_ip, self.peer.protocol
        self._begin(head)

    def _begin(self, head: RequestHead) -> None:
        self.requests += 1
        self._exchange = exchange = Exchange(self, head)
        self._body = ChunkedBody() if head.content_length is None else None
        self._left = head.content_length or 0
        self._set_stage(Stage.BODY)
        opened = self.service.open(head, exchange)
        if isinstance(opened, Awaitable):
            self._await_handler(opened, self._opened)
        else:
            self._opened(opened)

    def _opened(self, handler: MessageHandler) -> None:
        exchange = self._exchange
        if exchange is None:
            # Answered by its head alone, or handed over.
            handler.on_connection_close()
        else:
            self._handler = handler
            if self._is_too_large(exchange, handler, self._left):
                return
            if exchange.head.expects_continue and not self._buffer and (self._left or self._body is not None):
                self.write(_CONTINUE)
        if self._stage is Stage.BODY and (self._buffer or not (self._left or self._body is not None)):
            self._read_body()

    def _read_body(self) -> None:
        """Give the handler what has come; of a request that has been answered, drop it."""
        if self._body is not None:
            content, self._buffer = self._body.feed(self._buffer)
            is_complete = self._body.is_complete
        else:
            content, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(content)
            is_complete = not self._left
        exchange, handler = self._exchange, self._handler
        if exchange is None or handler is None:
            if is_complete:
                self._set_stage(Stage.NEXT_HEAD)
            return
        announced = self._body.announced_bytes if self._body is not None else 0
        if self._is_too_large(exchange, handler, announced):
            return
        taken = handler.data_received(content) if content else None
        if taken is not None:
            self._await_handler(taken, lambda _: self._body_taken(is_complete=is_complete))
        else:
            self._body_taken(is_complete=is_complete)

    def _is_too_large(self, exchange: Exchange, handler: MessageHandler, size: int) -> bool:
        if size <= exchange.max_body_bytes:
            return False
        handler.body_too_large()
        if not exchange.finished:
            raise BadRequest("the body is too large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return True

    def _body_taken(self, *, is_complete: bool) -> None:
        if not is_complete:
            return
        handler, self._handler = self._handler, None
        if handler is None:
            # It was answered meanwhile.
            if self._stage is Stage.BODY:
                self._set_stage(Stage.NEXT_HEAD)
            return
        self._set_stage(Stage.ANSWER)
        handler.finish()
        if self._has_ended:
            self._tell_handler()

    def _await_handler(self, answer: Awaitable[Any], then: Callable[[Any], None]) -> None:
        """Look at nothing else before this is done."""
        self._awaits_handler = True
        self._task = asyncio.ensure_future(answer)
        self._task.add_done_callback(lambda task: self._handler_done(task, then))

    def _handler_done(self, task: asyncio.Future[Any], then: Callable[[Any], None]) -> None:
        self._awaits_handler = False
        self._task = None
        if task.cancelled():
            self._cut()
            return
        failure = task.exception()
        if failure is not None and not isinstance(failure, HTTPInputError):
            _log.error("a request failed by a defect", exc_info=failure)
            self._cut()
            return
        self._is_stepping = True
        try:
            if failure is None:
                then(task.result())
            else:
                self._refuse(failure)
        except (BadRequest, HTTPInputError) as error:
            self._refuse(error)
        except Exception:
            self._cut()
            raise
        finally:
            self._is_stepping = False
        self._rest()

    # ending

    def _refuse(self, error: BadRequest | HTTPInputError) -> None:
        """Answer with an error, whatever the request is, and end the connection: where the next one begins is not
        known."""
        if not isinstance(error, BadRequest):
            error = BadRequest(str(error))
        if self._exchange is not None and self._exchange.has_begun:
            # Within another answer it would be taken for a part of that.
            self._cut()
            return
        media_type, body = self.service.request_refused(self, error)
        exchange = self._exchange or Exchange(self, _NO_HEAD)
        self._exchange = exchange
        exchange.keeps_alive = False
        exchange.respond(error.status, (("Content-Type", media_type),), body)

    def _leave(self) -> None:
        """Close in good order behind the last answer."""
        self._buffer = b""
        self._set_stage(Stage.END)
        self.when_written(self._linger)

    def _linger(self) -> None:
        self.stream.linger(LINGER_SECONDS)

    def _cut(self) -> None:
        """The rest of a request will not come, or its handler has failed."""
        self._buffer = b""
        exchange, self._exchange = self._exchange, None
        handler, self._handler = self._handler, None
        if exchange is not None:
            exchange.forget()
        self._set_stage(Stage.END)
        if handler is not None:
            handler.on_connection_close()
        if self.stream.is_closed:
            self._end()
        else:
            self.stream.close()

    def _tell_written(self) -> None:
        written, self._written = self._written, []
        for told in written:
            told()

    def _set_stage(self, stage: Stage) -> None:
        self._stage = stage
        if not self._is_over:
            self.service.connection_waits(self, stage)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.service.connection_ended(self)


_NO_HEAD = parse_head(b"GET / HTTP/1.1\r\nHost: none\r\n\r\n")
