"""The Tornado handler in front of the Engine.IO driver: what it lets through is well-formed, bounded and allowed."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Protocol

import socketio
import tornado.web
from engineio.payload import Payload
from tornado.httputil import HTTPServerRequest
from tornado.websocket import WebSocketClosedError

from adapters.transport.socketio.peer import PeerPolicy
from adapters.wire import to_json

PACKET_SEPARATOR = "\x1e"
MAX_PACKETS: int = Payload.max_decode_packets
"""In one request; of more the driver would drop all."""


class Gatekeeper(Protocol):
    """What the handler asks of the transport."""

    peers: PeerPolicy
    message_bytes: int
    unhandled_messages: int

    def is_accepting(self) -> bool:
        """Whether new handshakes are taken at all."""

    def has_session(self, engine_id: str, *, upgradable: bool) -> bool:
        """Whether a session exists, and may still be upgraded where that is asked."""

    def websocket_opened(self, handler: Any) -> None: ...

    def websocket_closed(self, handler: Any) -> None: ...

    def protocol_error(self, handler: Any, what: str) -> None:
        """A client broke the protocol: end its session."""

    def bytes_queued(self, handler: Any) -> None:
        """More bytes wait for this client than before."""


def is_client_packet(packet: str) -> bool:
    """Whether an Engine.IO packet (v4) is one that a client may send: close, pong, text message, upgrade, probe.

    A message has to begin with a Socket.IO packet type of its own: CONNECT, DISCONNECT, EVENT or ACK.
    """
    if packet[:1] == "4":
        return packet[1:2] in ("0", "1", "2", "3")
    return packet in ("1", "2probe", "3", "3probe", "5", "6")


def make_handler(server: socketio.AsyncServer, gatekeeper: Gatekeeper) -> type[tornado.web.RequestHandler]:
    """The library's handler for ``server`` with our limits in front."""
    stock: Any = socketio.get_tornado_handler(server)

    @tornado.web.stream_request_body
    class Handler(stock):
        request: HTTPServerRequest

        def initialize(self) -> None:
            self.engine_id: str | None = None
            self.unsent_bytes = 0
            self.drained = asyncio.Event()
            self.drained.set()
            self._body = bytearray()

        def set_default_headers(self) -> None:
            self.clear_header("Server")

        def prepare(self) -> None:
            connection: Any = self.request.connection
            connection.set_max_body_size(gatekeeper.message_bytes)

        def data_received(self, chunk: bytes) -> None:
            self._body += chunk

        async def options(self, *args: Any, **kwargs: Any) -> None:
            if self._is_admitted():
                await super().options(*args, **kwargs)

        async def get(self, *args: Any, **kwargs: Any) -> None:
            if self._is_admitted():
                await super().get(*args, **kwargs)

        async def post(self, *args: Any, **kwargs: Any) -> None:
            if not self._is_admitted():
                return
            try:
                packets = self._body.decode().split(PACKET_SEPARATOR)
            except UnicodeDecodeError:
                packets = [""]
            if len(packets) > MAX_PACKETS or not all(is_client_packet(packet) for packet in packets):
                gatekeeper.protocol_error(self, "malformed payload")
                self._refuse(400, "malformed payload")
                return
            self.request.body = bytes(self._body)
            # The driver goes by this header alone, which a chunked request does not have.
            self.request.headers["Content-Length"] = str(len(self._body))
            await super().post(*args, **kwargs)

        def check_origin(self, _origin: str) -> bool:
            return gatekeeper.peers.allows_origin(self.request)

        def get_compression_options(self) -> None:
            return None

        async def open(self, *args: Any, **kwargs: Any) -> None:
            self.set_nodelay(True)
            if self.engine_id is not None:
                gatekeeper.websocket_opened(self)
            await super().open(*args, **kwargs)

        async def on_message(self, message: str | bytes) -> None:
            if isinstance(message, bytes) or not is_client_packet(message):
                gatekeeper.protocol_error(self, "malformed frame")
                self.close(1002)
            elif self.receive_queue.qsize() >= gatekeeper.unhandled_messages:
                gatekeeper.protocol_error(self, "sends faster than it is served")
                self.close(1008)
            else:
                await super().on_message(message)

        def write_message(self, message: str | bytes | dict[str, Any], binary: bool = False) -> Any:  # noqa: FBT001, FBT002 (Tornado's signature)
            size = len(message.encode()) if isinstance(message, str) else len(message)
            written = super().write_message(message, binary)
            self.unsent_bytes += size
            self.drained.clear()
            gatekeeper.bytes_queued(self)

            def sent(future: asyncio.Future[None]) -> None:
                if not future.cancelled() and isinstance(future.exception(), WebSocketClosedError):
                    self.unsent_bytes = 0
                else:
                    self.unsent_bytes -= size
                if self.unsent_bytes <= 0:
                    self.drained.set()

            written.add_done_callback(sent)
            return written

        def on_close(self) -> None:
            self.drained.set()
            if self.engine_id is not None:
                gatekeeper.websocket_closed(self)
            super().on_close()

        def write_error(self, status_code: int, **_kwargs: Any) -> None:
            self._refuse(status_code, HTTPStatus(status_code).phrase)

        def _is_admitted(self) -> bool:
            """Whether the request may go on to the driver; if not, it has been answered.

            Not asked in ``prepare``: what is answered before its body was read has its connection closed, and
            others who share that connection see their requests fail.
            """
            transport, engine_id = self._query("transport"), self._query("sid")
            if not gatekeeper.peers.allows_origin(self.request):
                self._refuse(403, "origin not allowed")
            elif self.request.method == "OPTIONS":
                return True
            elif self._query("EIO") != "4" or self._query("j") is not None:
                self._refuse(400, "unsupported protocol version")
            elif transport not in ("polling", "websocket") or (transport == "websocket") != self._is_upgrade():
                self._refuse(400, "transport unknown or does not fit the request")
            elif engine_id is None and not gatekeeper.is_accepting():
                self.set_header("Retry-After", "5")
                self._refuse(503, "not accepting connections at the moment")
            elif engine_id is not None and not gatekeeper.has_session(engine_id, upgradable=transport == "websocket"):
                self._refuse(400, "unknown session")
            else:
                self.engine_id = engine_id
                return True
            return False

        def _query(self, name: str) -> str | None:
            values = self.request.query_arguments.get(name, [])
            return values[0].decode(errors="replace") if values else None

        def _is_upgrade(self) -> bool:
            return self.request.headers.get("Upgrade", "").lower() == "websocket"

        def _refuse(self, status: int, message: str) -> None:
            origin = self.request.headers.get("Origin")
            if origin is not None and status != 403:
                self.set_header("Access-Control-Allow-Origin", origin)
                self.set_header("Access-Control-Allow-Credentials", "true")
                self.set_header("Vary", "Origin")
            self.set_status(status)
            self.set_header("Content-Type", "application/json")
            self.finish(to_json({"code": status, "message": message}))

    return Handler
