"""The HTTP side of Engine.IO: handshakes, polls and POSTs, and the opening handshake of a WebSocket."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from adapters.contract.json_text import to_json
from adapters.http.cors import answer_headers, preflight_headers
from adapters.http.delivery import DeliveryEvidence
from adapters.http.exchange import WayBack
from adapters.http.messages import RequestHead
from adapters.http.peer import UNIX, VouchedPeer
from adapters.transport.socketio.engineio.channel import WebSocketChannel
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.engineio.server import EngineServer
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET
from adapters.transport.socketio.engineio.websocket import accept_key

RETRY_AFTER_SECONDS = 5
WORD_SECONDS = 0.5
"""In which another node has said that the client of a poll has left, where it has."""

LOOK_AGAIN_SECONDS = 0.01

_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json"
_OF_PROXIES = ("via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip")
"""Headers that say that a request came through a proxy; whether they are believed does not matter here."""
_OF_BROWSERS = ("sec-fetch-mode", "origin")
_STAMPING_AGENTS = ("Mozilla/", "aiohttp/", "okhttp/")
"""Browsers, python-socketio and React Native or Java, by what their HTTP clients call themselves."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHODS = ("GET", "POST", "OPTIONS")


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
TOO_LARGE = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 3, "Payload too large")
NOT_A_WEBSOCKET = Refusal(HTTPStatus.UPGRADE_REQUIRED, 3, "Bad request")
NOT_READY = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, 3, "Not accepting connections at the moment")


class Gatekeeper(Protocol):
    """Who may come in at all."""

    def allows_origin(self, request: RequestHead) -> bool: ...

    def address(self, request: RequestHead) -> str:
        """The client's address."""

    def is_accepting(self) -> bool:
        """Whether new sessions are opened now; if not, clients are to come back later."""


class EngineRoute:
    """Every request to the path of Engine.IO."""

    def __init__(self, engine: EngineServer, gatekeeper: Gatekeeper) -> None:
        self._engine = engine
        self._gatekeeper = gatekeeper

    def open(self, head: RequestHead, exchange: WayBack) -> EngineRequest:
        return self._open(head, exchange, self._gatekeeper)

    def open_forwarded(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> EngineRequest:
        """A request that has come to another node, which has seen and judged who sent it."""
        return self._open(head, exchange, _Vouched(self._gatekeeper, peer))

    def refuse_too_large(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> None:
        """Answer a request whose body is too large to be passed on."""
        EngineRequest(head, exchange, self._engine, _Vouched(self._gatekeeper, peer)).body_too_large()

    def holds(self, sid: str) -> bool:
        """Whether there is a session of that name here."""
        return sid in self._engine.sessions

    def _open(self, head: RequestHead, exchange: WayBack, gatekeeper: Gatekeeper) -> EngineRequest:
        request = EngineRequest(head, exchange, self._engine, gatekeeper)
        request.open()
        return request


class _Vouched:
    """What another node has said of whoever asks it."""

    __slots__ = ("_own", "_peer")

    def __init__(self, own: Gatekeeper, peer: VouchedPeer) -> None:
        self._own = own
        self._peer = peer

    def allows_origin(self, request: RequestHead) -> bool:  # noqa: ARG002 (it was judged where it came in)
        return self._peer.may_talk

    def address(self, request: RequestHead) -> str:  # noqa: ARG002 (the same)
        return self._peer.address

    def is_accepting(self) -> bool:
        return self._own.is_accepting()


class EngineRequest:
    """One request and its answer. A request that is refused is answered by its head."""

    __slots__ = (
        "_body", "_engine", "_exchange", "_gatekeeper", "_head", "_is_posting", "_query",
        "_session",
    )  # fmt: skip

    def __init__(self, head: RequestHead, exchange: WayBack, engine: EngineServer, gatekeeper: Gatekeeper) -> None:
        self._head = head
        self._query = head.query_values()
        self._exchange = exchange
        self._engine = engine
        self._gatekeeper = gatekeeper
        self._body = bytearray()
        self._session: ServedSession | None = None
        self._is_posting = False

    def open(self) -> None:
        self._exchange.set_max_body_size(self._engine.limits.message_bytes)
        refusal = self._judge()
        if refusal is None and self._query.get("transport") == WEBSOCKET:
            refusal = self._open_websocket()
        elif refusal is None and self._head.method == "POST" and self._session is not None:
            refusal = self._begin_post(self._session)
        if refusal is not None:
            self._refuse(refusal)

    # MessageHandler

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def body_too_large(self) -> None:
        self._body.clear()
        self._refuse(TOO_LARGE)

    def finish(self) -> None:
        self._is_posting = False
        if self._head.method == "OPTIONS":
            self._respond(HTTPStatus.OK, b"", _TEXT, preflight=True)
        elif self._session is None:
            self._open_polling()
        elif self._head.method == "POST":
            self._post(self._session)
        else:
            self._poll(self._session)

    def on_connection_close(self) -> None:
        """Before the request was complete."""
        if self._is_posting and self._session is not None:
            self._is_posting = False
            self._session.post_aborted()

    def release(self) -> None:
        """If this is a poll that waits, answer it, so that its client asks again, by another way."""
        if self._session is not None:
            self._engine.release_poll(self._session, self)

    # PendingPoll

    @property
    def target(self) -> str:
        return self._head.target

    @property
    def is_remote(self) -> bool:
        return self._exchange.is_remote

    @property
    def is_proxied(self) -> bool:
        head = self._head
        return head.version == "HTTP/1.0" or head.remote_ip == UNIX or any(name in head.headers for name in _OF_PROXIES)

    @property
    def is_stamped(self) -> bool:
        if "t" not in self._query:
            return False
        headers = self._head.headers
        agent = headers.get("user-agent", "")
        return any(name in headers for name in _OF_BROWSERS) or any(name in agent for name in _STAMPING_AGENTS)

    def has_left(self) -> bool:
        return self._exchange.has_left()

    def respond(self, body: bytes) -> DeliveryEvidence:
        """Answer the poll that this is."""
        self._exchange.set_close_callback(None)
        delivery = self._exchange.delivery()
        self._respond(HTTPStatus.OK, body, _TEXT)
        return delivery

    # judging

    def _judge(self) -> Refusal | None:
        head, engine, query = self._head, self._engine, self._query
        transport, sid = query.get("transport"), query.get("sid")
        if not self._gatekeeper.allows_origin(head):
            return FORBIDDEN
        if head.method == "OPTIONS":
            return None
        if transport not in (POLLING, WEBSOCKET):
            return UNKNOWN_TRANSPORT
        if query.get("EIO") != "4":
            return UNSUPPORTED_VERSION
        if "j" in query:
            return BAD_REQUEST
        if head.method != "GET" and (head.method != "POST" or sid is None):
            return BAD_METHOD
        is_upgrade = WEBSOCKET in head.headers.words("upgrade")
        if is_upgrade != (transport == WEBSOCKET):
            return BAD_REQUEST
        if sid is not None:
            self._session = engine.find(sid)
            if self._session is None:
                return UNKNOWN_SESSION
            if transport == POLLING and self._session.transport != POLLING:
                return BAD_REQUEST
        return None

    # WebSocket

    def _open_websocket(self) -> Refusal | None:
        """Take the connection over, or say why not."""
        head, engine = self._head, self._engine
        if self._exchange.is_closed:
            # Its client left right behind its request: there is nobody to open it for, nor to tell.
            return BAD_REQUEST
        accept = accept_key(head.headers)
        is_good = head.method == "GET" and head.version == "HTTP/1.1" and head.content_length == 0
        if accept is None or not is_good or "upgrade" not in head.headers.words("connection"):
            return NOT_A_WEBSOCKET
        if self._session is None and not self._gatekeeper.is_accepting():
            return NOT_READY
        if self._session is not None and not self._session.begin_upgrade(engine.now()):
            return BAD_REQUEST
        offered = head.headers.get("sec-websocket-protocol", "").partition(",")[0].strip()
        protocol = f"Sec-WebSocket-Protocol: {offered}\r\n" if _TOKEN.fullmatch(offered) else ""
        handshake = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{protocol}{self._exchange.date_line}\r\n"
        ).encode()
        stream, early = self._exchange.hand_over()
        channel = WebSocketChannel(
            stream,
            engine,
            max_message_bytes=engine.limits.message_bytes,
            linger=engine.limits.session.close_timeout,
            early=early,
        )
        if self._session is not None:
            engine.upgrade(self._session, channel, handshake)
        else:
            engine.open_websocket(channel, handshake, self._gatekeeper.address(head))
        return None

    # long-polling

    def _begin_post(self, session: ServedSession) -> Refusal | None:
        try:
            self._engine.post_began(session)
        except ProtocolError:
            return BAD_REQUEST
        self._is_posting = True
        return None

    def _open_polling(self) -> None:
        if self._gatekeeper.is_accepting():
            packet = self._engine.open_polling(self._gatekeeper.address(self._head))
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
        if self.has_left():
            # Its client left behind it, and would not be told of again.
            self._exchange.close()
            return
        self._exchange.set_close_callback(self._poll_aborted)
        self._poll_unless_taken(session, self._engine.now() + WORD_SECONDS)

    def _poll_unless_taken(self, session: ServedSession, until: float) -> None:
        """Another node may be about to say that the client of the poll before this one has left."""
        if self._exchange.is_closed:
            return
        if self._engine.may_be_free_soon(session, self) and self._engine.now() < until:
            asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._poll_unless_taken, session, until)
            return
        try:
            self._engine.poll(session, self)
        except ProtocolError:
            self._exchange.set_close_callback(None)
            self._refuse(BAD_REQUEST)

    def _poll_aborted(self) -> None:
        if self._session is not None:
            self._engine.poll_aborted(self._session, self)
        self._exchange.close()

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
        fields = [("Content-Type", content_type), ("Cache-Control", "no-store")]
        allowed = refusal is not FORBIDDEN
        if preflight:
            fields += preflight_headers(self._head, allowed=allowed, methods=_METHODS)
        else:
            fields += answer_headers(self._head, allowed=allowed)
        if refusal is NOT_READY:
            fields.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
        elif refusal is NOT_A_WEBSOCKET:
            fields += [("Sec-WebSocket-Version", "13"), ("Upgrade", WEBSOCKET)]
        self._exchange.respond(status, fields, body)


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
