"""The Engine.IO server: its sessions, their sockets, and what is flushed and swept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Final

from adapters.contract.json_text import to_json
from adapters.transport.flusher import TURN_SECONDS, Flusher
from adapters.transport.socketio.engineio.arrival import Delivery, has_failed
from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.channel import WebSocketChannel
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import NOOP, OPEN, EncodedPacket
from adapters.transport.socketio.engineio.served import EngineEvents, EngineLimits, PendingPoll, ServedSession
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, TransportName
from adapters.transport.socketio.engineio.session_events import Closed, Message
from adapters.transport.socketio.engineio.session_events import Received as ReceiptEvent
from adapters.transport.socketio.engineio.websocket import BINARY, PING_FRAME, PONG_FRAME, TEXT, Received, frame_header
from domain.errors import ConnectionGone, SlowConsumer
from domain.ports import Clock

SWEEP_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 0.05
_POLICY_VIOLATION: Final = 1008
_NOTHING_TO_SAY: Final = NOOP.encode()


class EngineServer:
    """Sessions by their ``sid``. ``sweep`` is to be called every ``sweep_seconds``, and ``bind`` before all else."""

    def __init__(self, *, clock: Clock, limits: EngineLimits) -> None:
        self.limits = limits
        self.sessions: dict[str, ServedSession] = {}
        self.sweep_seconds = min(SWEEP_SECONDS, limits.session.ping_interval / 4, limits.session.ping_timeout / 4)
        self._events: EngineEvents
        self._clock = clock
        self._nothing = Batch()
        self._sessions_of: dict[WebSocketChannel, ServedSession] = {}
        self._flusher: Flusher[ServedSession] = Flusher(self._flush, clock, self._nothing.forget_successors)
        self._closed: deque[WebSocketChannel] = deque()

    def bind(self, events: EngineEvents) -> None:
        """Say who the sessions are for."""
        self._events = events

    @property
    def open_sockets(self) -> int:
        """Connections taken from HTTP that are not closed yet."""
        return len(self._sessions_of)

    def now(self) -> float:
        return self._clock.monotonic()

    # sessions

    def find(self, sid: str) -> ServedSession | None:
        """A session that has not ended by now."""
        session = self.sessions.get(sid)
        if session is None:
            return None
        session.tick(self._clock.monotonic())
        self._settle(session)
        return None if session.is_closed else session

    def open_polling(self, address: str) -> bytes:
        """A new session that polls; the answer to its handshake."""
        session = self._new_session(POLLING, address)
        self._events.session_opened(session)
        return self._open_packet(session)

    def open_websocket(self, channel: WebSocketChannel, handshake: bytes, address: str) -> None:
        """A new session on a WebSocket. ``handshake`` and the open packet leave in one write."""
        session = self._new_session(WEBSOCKET, address)
        session.channel = channel
        self._sessions_of[channel] = session
        packet = self._open_packet(session)
        channel.open(handshake + frame_header(TEXT, len(packet)) + packet)
        # Last, as it may end the session for want of a place, and its WebSocket with it.
        self._events.session_opened(session)

    def upgrade(self, session: ServedSession, channel: WebSocketChannel, handshake: bytes) -> None:
        """A WebSocket for a session whose ``begin_upgrade`` agreed to it."""
        session.upgrade_channel = channel
        self._sessions_of[channel] = session
        channel.open(handshake)

    def _new_session(self, transport: TransportName, address: str) -> ServedSession:
        session = ServedSession(
            self._events.new_sid(),
            transport=transport,
            limits=self.limits.session,
            nothing=self._nothing,
            now=self._clock.monotonic(),
        )
        session.channel = session.upgrade_channel = session.drained = None
        session.poll_request = None
        session.address = address
        session.client = None
        self.sessions[session.sid] = session
        return session

    def _open_packet(self, session: ServedSession) -> bytes:
        limits = self.limits.session
        return OPEN.encode() + to_json(
            {
                "sid": session.sid,
                "upgrades": [WEBSOCKET] if session.transport == POLLING else [],
                "pingInterval": round(limits.ping_interval * 1000),
                "pingTimeout": round(limits.ping_timeout * 1000),
                "maxPayload": self.limits.message_bytes,
            }
        )

    # sending

    def send(self, session: ServedSession, packet: EncodedPacket) -> None:
        """Queue a packet; it leaves at the end of this turn of the loop, with whatever else waits by then."""
        session.send(packet)
        self._flusher.add(session)

    def send_all(self, sessions: Iterable[ServedSession], packet: EncodedPacket) -> None:
        """``send`` to many open sessions."""
        nothing, unflushed = self._nothing, self._flusher.waiting
        before = after = nothing
        for session in sessions:
            pending = session.pending
            if pending is not before or after is nothing:
                before, after = pending, pending.then(packet)
            session.pending = after
            if pending is nothing:
                unflushed.append(session)
        if unflushed:
            self._flusher.schedule()

    async def has_room(self, session: ServedSession) -> None:
        """Wait until one more page of a replay can be sent.

        Raises ConnectionGone, and SlowConsumer once nothing was taken for ``slow_seconds``.
        """
        while not session.is_closed:
            waiting = session.untaken_bytes
            if session.has_room:
                return
            if session.drained is None:
                session.drained = asyncio.get_running_loop().create_future()
            await asyncio.wait((session.drained,), timeout=self.limits.session.slow_seconds)
            if session.untaken_bytes >= waiting and not session.is_closed:
                raise SlowConsumer
        raise ConnectionGone

    def close(self, session: ServedSession, reason: str, *, for_good: bool = False, at_once: bool = False) -> None:
        """End it once its client has what was sent, or shortly after: with no packet of Socket.IO.

        ``for_good``: the client is not to come back, as it has been told, and has the same time to leave by itself,
        or with ``at_once`` none.
        """
        session.close(reason, self._clock.monotonic(), for_good=for_good, at_once=at_once)
        self._flusher.add(session)
        asyncio.get_running_loop().call_later(self.limits.session.close_timeout, self._close_is_due, session)

    def _close_is_due(self, session: ServedSession) -> None:
        session.tick(self._clock.monotonic())
        self._settle(session)

    def abort(self, session: ServedSession, reason: str) -> None:
        """End it now."""
        session.abort(reason)
        self._settle(session)

    def close_all(self, reason: str) -> None:
        for session in list(self.sessions.values()):
            self.abort(session, reason)
        for channel in list(self._sessions_of):
            channel.abort()

    def sweep(self) -> None:
        """Keep the deadlines of all sessions. Idle ones cost a look: 10,000 take 1 ms."""
        now = self._clock.monotonic()
        nothing = self._nothing
        due = [
            session
            for session in self.sessions.values()
            if session.tick_at <= now
            or session.pending is not nothing
            or session.in_flight
            or session.transport != WEBSOCKET
        ]
        for session in due:
            session.tick(now)
            self._flusher.add(session)

    def _flush(self, session: ServedSession, now: float) -> None:
        """Write what there is, in one go."""
        if session.poll_request is not None:
            self._answer_poll(session, now)
        channel = session.channel
        if channel is not None and not session.in_flight:
            frames = session.take_frames(now)
            if frames is not None:
                session.in_flight = channel.write(frames)
                if not session.in_flight and session.is_open and session.drained is None:
                    return
        session.check_size()
        self._settle(session)

    def _answer_poll(self, session: ServedSession, now: float) -> None:
        body = session.answer(now)
        request = session.poll_request
        if body is not None and request is not None:
            session.poll_request = None
            delivery = request.respond(body)
            session.answer_given(delivery)
            delivery.watch(partial(self._look_at_answer, session, delivery))

    def _settle(self, session: ServedSession) -> None:
        """Pass on what happened in a session, and take the consequences for what serves it."""
        for event in session.take_events():
            if type(event) is Message:
                self._events.session_message(session, event.data)
            elif type(event) is ReceiptEvent:
                self._events.session_received(session, event.mark)
            elif type(event) is Closed:
                self._remove(session, event.reason)
        if session.drained is not None and session.has_room:
            if not session.drained.done():
                session.drained.set_result(None)
            session.drained = None
        if session.has_said_all and session.channel is not None:
            session.channel.close()
            session.websocket_lost()
            self._settle(session)
        elif session.upgrade_channel is not None and not session.is_upgrading:
            upgrade, session.upgrade_channel = session.upgrade_channel, None
            upgrade.close(_POLICY_VIOLATION)

    def _remove(self, session: ServedSession, reason: str) -> None:
        self.sessions.pop(session.sid, None)
        if session.poll_request is not None:
            self._answer_poll(session, self._clock.monotonic())
        if session.channel is not None:
            session.channel.close()
        session.in_flight = 0
        self._events.session_closed(session, reason)

    # long-polling

    def poll(self, session: ServedSession, request: PendingPoll) -> None:
        """A GET request of a session. Raises ProtocolError: the request is refused."""
        now = self._clock.monotonic()
        earlier = session.poll_request
        if earlier is not None and earlier.has_left():
            session.poll_aborted()
        try:
            session.poll(request.target, now, is_proxied=request.is_proxied, is_stamped=request.is_stamped)
            session.poll_request = request
            if earlier is not None:
                # The same poll sent again: whoever sent it first does not wait any more.
                earlier.respond(_NOTHING_TO_SAY)
            self._answer_poll(session, now)
        finally:
            self._settle(session)
        if session.is_uncertain:
            asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again, session, request)

    def may_be_free_soon(self, session: ServedSession, request: PendingPoll) -> bool:
        """Whether another poll waits, of which it is not known here yet whether its client has left."""
        earlier = session.poll_request
        return earlier is not None and earlier.is_remote and earlier.target != request.target and not earlier.has_left()

    def _look_again(self, session: ServedSession, request: PendingPoll) -> None:
        """Whether the answer before this poll has been acknowledged by now."""
        if session.poll_request is not request or not session.is_uncertain:
            return
        session.reconsider(self._clock.monotonic())
        self._flusher.add(session)
        asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again, session, request)

    def poll_aborted(self, session: ServedSession, request: PendingPoll) -> None:
        if session.poll_request is request:
            session.poll_request = None
            session.poll_aborted()

    def _look_at_answer(self, session: ServedSession, delivery: Delivery) -> None:
        """More is known of what has become of an answer."""
        if not delivery.is_witnessed and not delivery.is_confirmed:
            session.answer_doubted(delivery)
        elif has_failed(delivery):
            session.answer_lost(delivery)
        if session.is_uncertain:
            session.reconsider(self._clock.monotonic())
            self._flusher.add(session)
        self._settle(session)

    def release_poll(self, session: ServedSession, request: PendingPoll) -> None:
        """Answer a poll with nothing if it still waits, so that its client asks again, by another way."""
        if session.poll_request is request:
            self.poll_aborted(session, request)
            request.respond(_NOTHING_TO_SAY)

    def post_began(self, session: ServedSession) -> None:
        """Raises ProtocolError: the request is refused."""
        try:
            session.post_began()
        finally:
            self._settle(session)

    def post(self, session: ServedSession, body: bytes) -> None:
        """Raises ProtocolError: the request is refused."""
        try:
            session.post(body, self._clock.monotonic())
        finally:
            self._settle(session)
        if session.poll_request is not None:
            # A poll may have waited for the pong in it.
            self._flusher.add(session)

    # ChannelOwner

    def channel_received(self, channel: WebSocketChannel, received: Received) -> None:
        session = self._sessions_of[channel]
        opcode, data = received
        if opcode in (TEXT, BINARY):
            if session.channel is channel:
                session.receive(data, self._clock.monotonic())
            else:
                self._probe(session, channel, data)
            return
        session.chatter(self._clock.monotonic())
        if opcode == PING_FRAME and isinstance(data, bytes):
            if session.channel is channel:
                self.send(session, EncodedPacket(data, opcode=PONG_FRAME))
            elif not channel.unsent:
                channel.write(frame_header(PONG_FRAME, len(data)) + data)

    def _probe(self, session: ServedSession, channel: WebSocketChannel, data: str | bytes) -> None:
        answer = session.probe(data, self._clock.monotonic())
        if answer is not None:
            channel.write(EncodedPacket(answer.encode()).frame)
        elif session.transport == WEBSOCKET:
            session.channel, session.upgrade_channel = channel, None
            session.in_flight = channel.unsent
        self._flusher.add(session)

    def channel_failed(self, channel: WebSocketChannel, error: ProtocolError) -> None:
        session = self._sessions_of[channel]
        if session.channel is channel:
            session.abort(error.code)
        else:
            session.lose_upgrade()
            session.upgrade_channel = None
        self._settle(session)

    def channel_fed(self, channel: WebSocketChannel) -> None:
        self._settle(self._sessions_of[channel])

    def channel_drained(self, channel: WebSocketChannel, unsent: int) -> None:
        session = self._sessions_of[channel]
        if session.channel is channel:
            session.in_flight = unsent
            self._flush(session, self._clock.monotonic())

    def channel_closed(self, channel: WebSocketChannel) -> None:
        self._closed.append(channel)
        if len(self._closed) == 1:
            asyncio.get_running_loop().call_soon(self._bury)

    def _bury(self) -> None:
        """Thousands may be cut at once; each end has its price, and the loop has others to serve between them."""
        started = self._clock.monotonic()
        while self._closed:
            self._end_channel(self._closed[0])
            self._closed.popleft()
            if self._clock.monotonic() - started > TURN_SECONDS and self._closed:
                asyncio.get_running_loop().call_soon(self._bury)
                return

    def _end_channel(self, channel: WebSocketChannel) -> None:
        session = self._sessions_of.pop(channel)
        if session.channel is channel:
            session.websocket_lost()
        elif session.upgrade_channel is channel:
            session.upgrade_channel = None
            session.lose_upgrade()
        self._settle(session)
