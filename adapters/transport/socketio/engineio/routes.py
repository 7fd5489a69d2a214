"""The HTTP side of Engine.IO, on Tornado's parser and below its request handlers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import Router

from adapters.transport.socketio.engineio.channel import WebSocketChannel
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.server import EngineServer, ServedSession
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET
from adapters.transport.socketio.engineio.websocket import accept_key
from adapters.transport.streams import take_over
from adapters.wire import to_json

RETRY_AFTER_SECONDS = 5

_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json"


class Refusal(NamedTuple):
    """Why a request is refused: the status, and the ``code`` and ``message`` of the reference server."""

    status: HTTPStatus
    code: int
    message: str


UNKNOWN_TRANSPORT = Refusal(HTTPStatus.BAD_REQUEST, 0, "Transport unknown")
UNKNOWN_SESSION = Refusal(HTTPStatus.BAD_REQUEST, 1, "Session ID unknown")
BAD_METHOD = Refusal(HTTPStatus.BAD_REQUEST, 2, "Bad handshake method")
BAD_REQUEST = Refusal(HTTPStatus.BAD_REQUEST, 3, "Bad request")
FORBIDDEN = Refusal(HTTPStatus.FORBIDDEN, 4, "Forbidden")
UNSUPPORTED_VERSION = Refusal(HTTPStatus.BAD_REQUEST, 5, "Unsupported protocol version")
NOT_A_WEBSOCKET = Refusal(HTTPStatus.UPGRADE_REQUIRED, 3, "Bad request")
NOT_READY = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, 3, "Not accepting connections at the moment")


class Gatekeeper(Protocol):
    """Who may come in at all."""

    def allows_origin(self, request: HTTPServerRequest) -> bool: ...

    def address(self, request: HTTPServerRequest) -> str:
        """The client's address."""

    def is_accepting(self) -> bool:
        """Whether new sessions are opened now; if not, clients are to come back later."""


class EngineRoutes(Router):
    """Every request to the path of Engine.IO. To be the target of a rule of a ``tornado.routing.RuleRouter``."""

    def __init__(self, engine: EngineServer, gatekeeper: Gatekeeper) -> None:
        self._engine = engine
        self._gatekeeper = gatekeeper

    def find_handler(self, request: HTTPServerRequest, **_kwargs: Any) -> HTTPMessageDelegate:
        return _Exchange(request, self._engine, self._gatekeeper)


class _Exchange(HTTPMessageDelegate):
    """One request and its answer.

    All but an upgrade is answered once the body is there, which is short: answered earlier, Tornado closes the
    connection, and requests of others who share it behind a proxy fail.
    """

    def __init__(self, request: HTTPServerRequest, engine: EngineServer, gatekeeper: Gatekeeper) -> None:
        self._request = request
        self._connection = cast("HTTP1Connection", request.connection)
        self._engine = engine
        self._gatekeeper = gatekeeper
        self._body = bytearray()
        self._session: ServedSession | None = None
        self._refusal: Refusal | None = None
        self._is_posting = False
        self._number = 0

    def headers_received(
        self,
        start_line: RequestStartLine | ResponseStartLine,  # noqa: ARG002 (Tornado's signature)
        headers: HTTPHeaders,
    ) -> Awaitable[None] | None:
        self._connection.set_max_body_size(self._engine.limits.message_bytes)
        self._refusal = self._judge()
        if self._refusal is None and self._query("transport") == WEBSOCKET:
            self._open_websocket(headers)
        elif self._refusal is None and self._request.method == "POST" and self._session is not None:
            try:
                self._engine.post_began(self._session)
            except ProtocolError:
                self._refusal = BAD_REQUEST
            else:
                self._is_posting = True
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._body += chunk
        return None

    def finish(self) -> None:
        self._is_posting = False
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._request.method == "OPTIONS":
            self._respond(HTTPStatus.OK, b"", _TEXT, preflight=True)
        elif self._session is None:
            self._open_polling()
        elif self._request.method == "POST":
            self._post(self._session)
        else:
            self._poll(self._session)

    def on_connection_close(self) -> None:
        """Before the request was complete."""
        if self._is_posting and self._session is not None:
            self._session.post_aborted()

    def respond(self, body: bytes) -> None:
        """Answer the poll that this is."""
        self._number = self._session.answers if self._session is not None else 0
        self._connection.set_close_callback(None)
        if self._is_gone:
            self._answer_lost()
            return
        stream = self._connection.stream
        self._respond(HTTPStatus.OK, body, _TEXT)
        if stream.error is not None:
            # Closed without an error it was by Tornado, behind an answer to a request with ``Connection: close``.
            self._answer_lost()
        elif stream.writing():
            stream.write(b"").add_done_callback(self._answer_written)

    # judging

    def _judge(self) -> Refusal | None:
        request, engine = self._request, self._engine
        transport, sid = self._query("transport"), self._query("sid")
        if not self._gatekeeper.allows_origin(request):
            return FORBIDDEN
        if request.method == "OPTIONS":
            return None
        if transport not in (POLLING, WEBSOCKET):
            return UNKNOWN_TRANSPORT
        if self._query("EIO") != "4":
            return UNSUPPORTED_VERSION
        if self._query("j") is not None:
            return BAD_REQUEST
        if request.method != "GET" and (request.method != "POST" or sid is None):
            return BAD_METHOD
        is_upgrade = WEBSOCKET in _words(request.headers, "Upgrade")
        if is_upgrade != (transport == WEBSOCKET):
            return BAD_REQUEST
        if sid is not None:
            self._session = engine.find(sid)
            if self._session is None:
                return UNKNOWN_SESSION
            if transport == POLLING and self._session.transport != POLLING:
                return BAD_REQUEST
        return None

    @property
    def _is_gone(self) -> bool:
        return self._connection.stream is None or self._connection.stream.closed()

    def _query(self, name: str) -> str | None:
        values = self._request.query_arguments.get(name)
        return values[0].decode(errors="replace") if values else None

    # WebSocket

    def _open_websocket(self, headers: HTTPHeaders) -> None:
        if self._is_gone:
            # Its client left right behind its request: there is nobody to open it for, nor to tell.
            self._refusal = BAD_REQUEST
            return
        accept = accept_key(headers)
        is_good = self._request.method == "GET" and self._request.version == "HTTP/1.1"
        if accept is None or not is_good or "upgrade" not in _words(headers, "Connection"):
            self._refusal = NOT_A_WEBSOCKET
        elif self._session is None and not self._gatekeeper.is_accepting():
            self._refusal = NOT_READY
        elif self._session is not None and not self._session.begin_upgrade(self._engine.now()):
            self._refusal = BAD_REQUEST
        else:
            handshake = (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ).encode()
            channel = WebSocketChannel(
                take_over(self._connection.detach()),
                self._engine,
                max_message_bytes=self._engine.limits.message_bytes,
                linger=self._engine.limits.session.close_timeout,
            )
            if self._session is not None:
                self._engine.upgrade(self._session, channel, handshake)
            else:
                self._engine.open_websocket(channel, handshake, self._gatekeeper.address(self._request))

    # long-polling

    def _open_polling(self) -> None:
        if self._gatekeeper.is_accepting():
            packet = self._engine.open_polling(self._gatekeeper.address(self._request))
            self._respond(HTTPStatus.OK, packet, _TEXT)
        else:
            self._refuse(NOT_READY)

    def _post(self, session: ServedSession) -> None:
        try:
            self._engine.post(session, bytes(self._body))
        except ProtocolError:
            self._refuse(BAD_REQUEST)
        else:
            self._respond(HTTPStatus.OK, b"ok", "text/html")

    def _poll(self, session: ServedSession) -> None:
        if self._is_gone:
            # Its client left behind it, and Tornado would not tell again.
            return
        self._connection.set_close_callback(self._poll_aborted)
        try:
            self._engine.poll(session, self._query("t"), self)
        except ProtocolError:
            self._connection.set_close_callback(None)
            self._refuse(BAD_REQUEST)

    def _poll_aborted(self) -> None:
        if self._session is not None:
            self._engine.poll_aborted(self._session, self)

    def _answer_written(self, written: asyncio.Future[None]) -> None:
        if written.cancelled() or written.exception() is not None:
            self._answer_lost()

    def _answer_lost(self) -> None:
        if self._session is not None:
            self._engine.answer_lost(self._session, self._number)

    # answering

    def _refuse(self, refusal: Refusal) -> None:
        body = to_json({"code": refusal.code, "message": refusal.message})
        self._respond(refusal.status, body, _JSON, refusal=refusal)

    def _respond(
        self,
        status: HTTPStatus,
        body: bytes,
        content_type: str,
        *,
        refusal: Refusal | None = None,
        preflight: bool = False,
    ) -> None:
        connection = self._connection
        if self._is_gone:
            return
        headers = HTTPHeaders(
            {"Content-Type": content_type, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        )
        origin = self._request.headers.get("Origin")
        if origin is not None and refusal is not FORBIDDEN:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Vary"] = "Origin"
        if preflight:
            headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            headers["Access-Control-Allow-Headers"] = "Content-Type"
        if refusal is NOT_READY:
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        elif refusal is NOT_A_WEBSOCKET:
            headers["Sec-WebSocket-Version"] = "13"
            headers["Upgrade"] = WEBSOCKET
            headers["Connection"] = "Upgrade"
        chunk = body if body and self._request.method != "HEAD" else None
        connection.write_headers(ResponseStartLine("HTTP/1.1", status, status.phrase), headers, chunk)
        connection.finish()


_HANDSHAKE: Final = re.compile(rb"GET /socket\.io/?\?([^ ]*) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
_NEW_ON_WEBSOCKET: Final = frozenset((b"EIO=4", b"transport=websocket"))
_NOT_READY_BODY: Final = to_json({"code": NOT_READY.code, "message": NOT_READY.message})
_NOT_READY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\nRetry-After: %d\r\nConnection: close\r\n\r\n%s"
    % (len(_NOT_READY_BODY), RETRY_AFTER_SECONDS, _NOT_READY_BODY)
)


def not_ready(head: bytes) -> bytes | None:
    """The answer of NOT_READY to octets that are exactly a handshake for a new session on WebSocket, else None."""
    handshake = _HANDSHAKE.fullmatch(head)
    if handshake is None or set(handshake[1].split(b"&")) != _NEW_ON_WEBSOCKET:
        return None
    return _NOT_READY


def _words(headers: HTTPHeaders, name: str) -> list[str]:
    """A header that is a list of words (RFC 9110, section 5.6.1), in lower case."""
    return [word.strip().lower() for word in headers.get(name, "").split(",")]
