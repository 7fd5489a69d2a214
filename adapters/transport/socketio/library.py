"""The seam to python-socketio: the one module that touches names of it which are not documented.

python-socketio keeps packets, the namespace and its events; Engine.IO below it is ours, and rooms are the domain's.
What it is relied on for, beyond its documentation, is held by tests/integration/test_library_seam.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import socketio
from socketio import packet

from adapters.transport.socketio.packet import PacketRefused, StrictPacket

NAMESPACE = "/"


class Engine(Protocol):
    """What the library may ask of Engine.IO."""

    def new_sid(self) -> str: ...

    def send_text(self, engine_sid: str, text: str) -> None:
        """Queue a message; nothing for a session that has ended."""

    def pid_of(self, sid: str) -> str:
        """The ``pid`` that goes into the CONNECT packet of a connection."""

    def connect_sent(self, sid: str) -> None:
        """The CONNECT packet of a connection has just been queued."""

    def event_received(self, sid: str, ack: int | None, event: str, arguments: Sequence[object]) -> None:
        """A client sent an event; with ``ack`` it waits for an answer."""


class SocketIoServer(socketio.AsyncServer):
    """python-socketio's server on an engine that it did not bring.

    ``opened``, ``receive`` and ``closed`` are what its own engine would call. The handlers of ``connect`` and
    ``disconnect`` are to be registered with ``on``, as documented; all other events go to the engine, which answers
    them itself: the library would answer as soon as a handler returns, and cannot keep an answer between two events.
    """

    def __init__(self, engine: Engine) -> None:
        self._owner = engine
        self._engine = _EngineForLibrary(engine)
        super().__init__(
            client_manager=RoomManager(engine.connect_sent),
            serializer=StrictPacket,
            async_handlers=False,
            logger=_quiet("socketio"),
        )

    def _engineio_server_class(self) -> Callable[..., Any]:
        return lambda **_options: self._engine

    def opened(self, engine_sid: str, environ: object) -> None:
        """``environ`` is what the connect handler gets as its second argument."""
        run_through(self._engine.handlers["connect"](engine_sid, environ))

    async def receive(self, engine_sid: str, data: str | bytes) -> None:
        """Handle a message of Engine.IO. Raises ProtocolError."""
        if not data:
            # The library would not decode it, and take what is left out for an event.
            raise PacketRefused("empty")
        await self._engine.handlers["message"](engine_sid, data)

    def closed(self, engine_sid: str, reason: str) -> None:
        run_through(self._engine.handlers["disconnect"](engine_sid, reason))

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        if pkt.packet_type == packet.CONNECT:
            pkt.data["pid"] = self._owner.pid_of(pkt.data["sid"])
        await super()._send_packet(eio_sid, pkt)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:  # noqa: A002
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE)
        if self.manager.is_connected(sid, namespace or NAMESPACE):
            self._owner.event_received(sid, id, data[0], data[1:])

    def forget(self, sid: str) -> None:
        """Drop a connection whose connect handler failed."""
        self.manager.basic_disconnect(sid, NAMESPACE)

    def end(self, sid: str) -> None:
        """End a connection with a DISCONNECT packet."""
        run_through(self.disconnect(sid))


class RoomManager(socketio.AsyncManager):
    """The library's rooms, with what each connection is in kept beside.

    The library looks through all rooms there are when a connection ends; 5,000 that end at once would stop the loop
    for seconds.
    """

    def __init__(self, connect_sent: Callable[[str], None]) -> None:
        super().__init__()
        self._connect_sent = connect_sent
        self._rooms_of: dict[str, list[str | None]] = {}

    async def connect(self, sid: str, namespace: str) -> Any:
        # Called when CONNECT is queued: the first moment at which events may follow it.
        connected = await super().connect(sid, namespace)
        self._connect_sent(sid)
        return connected

    def basic_enter_room(self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None) -> None:
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        rooms = self._rooms_of.setdefault(sid, [])
        if room not in rooms:
            rooms.append(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        super().basic_leave_room(sid, namespace, room)
        rooms = self._rooms_of.get(sid, [])
        if room in rooms:
            rooms.remove(room)
            if not rooms:
                del self._rooms_of[sid]

    def basic_disconnect(self, sid: str, namespace: str, **_kwargs: object) -> None:
        for room in list(self._rooms_of.get(sid, ())):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]


class _EngineForLibrary:
    """The part of ``engineio.AsyncServer`` that python-socketio uses for what we have it do."""

    async_mode = "tornado"

    def __init__(self, engine: Engine) -> None:
        self.handlers: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {}
        self._engine = engine

    def on(self, event: str, handler: Callable[..., Coroutine[Any, Any, None]]) -> None:
        self.handlers[event] = handler

    def generate_id(self) -> str:
        return self._engine.new_sid()

    async def send(self, engine_sid: str, data: str) -> None:
        self._engine.send_text(engine_sid, data)


def run_through(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine of the library that waits for nothing, here and now: no task, and nothing comes in between."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("python-socketio waits where it did not before: see adapters/transport/socketio/library.py")


def _quiet(name: str) -> logging.Logger:
    """The library's logger, at ERROR and above: below that it logs tokens and what clients send."""
    logger = logging.getLogger(name)
    logger.setLevel(max(logger.level, logging.ERROR))
    return logger
