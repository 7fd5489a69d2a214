"""One Engine.IO session (protocol v4) as a state machine: no socket, no loop, no clock. Time is passed in.

What a client sends goes in; events for the layer above and bytes for the client come out. All times are seconds of one
monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal, TypeAlias

from adapters.transport.socketio.engineio.arrival import Arrival, Delivery
from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.chatter import Chatter
from adapters.transport.socketio.engineio.departure import Departure
from adapters.transport.socketio.engineio.errors import Flooding, ProtocolError
from adapters.transport.socketio.engineio.heartbeat import Heartbeat
from adapters.transport.socketio.engineio.packet import (
    CLOSE,
    MESSAGE,
    NOOP,
    PING,
    PING_PACKET,
    PONG,
    UPGRADE,
    EncodedPacket,
    Packet,
    decode_packet,
    decode_payload,
)
from adapters.transport.socketio.engineio.polls import Answer, Poll, Polls
from adapters.transport.socketio.engineio.session_events import Closed, Event, Message, Received
from domain.model import DisconnectReason
from domain.rules.pace import has_room, is_too_slow, slow_since

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
TransportName: TypeAlias = Literal["polling", "websocket"]

NOOP_INTERVAL = 0.1
"""Seconds between two polls that are ended for the sake of an upgrade: a client whose WebSocket hangs would spin."""

MAX_ANSWER_PACKETS = 16
"""In an answer to a poll: python-engineio takes one with more for an attack, and ends the connection."""

_CLOSE_BODY: Final = CLOSE.encode()
_NOOP_BODY: Final = NOOP.encode()
_PROBE: Final = "probe"
NOT_FROM_CLIENT: Final = "not a packet for clients to send"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds and bytes. A session with over ``queue_bytes`` waiting for ``slow_seconds``, or with over ``cut_bytes``
    at all, ends: its client reads too slowly. ``close_timeout`` is what a client has to take the last word."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    upgrade_timeout: float = 10.0
    close_timeout: float = 0.9
    queue_bytes: int = 1_048_576
    cut_bytes: int = 8_388_608
    slow_seconds: float = 5.0


class _Upgrade(Enum):
    NONE = auto()
    OPENED = auto()
    PROBED = auto()


class Session:
    """A session, from just after its handshake to its end.

    ``is_closed``: it has ended. ``pending`` is what waits to be sent; ``nothing`` the empty batch all sessions of a
    server share. ``in_flight`` is for whoever owns the WebSocket to set: bytes taken from here that the socket has not
    taken.

    Methods that take input raise ProtocolError where it is wrong; the session has ended then, except where they say
    otherwise. After each call, ``take_events`` gives what happened, and ``answer`` or ``take_frames`` what to send.
    """

    # fmt: off
    __slots__ = (
        "_chatter", "_departure", "_events", "_farewell", "_limits", "_noop_at", "_nothing", "_polls", "_posting",
        "_slow_since", "_upgrade", "_upgrade_by", "heartbeat", "in_flight", "is_closed", "pending", "sid",
        "tick_at", "transport",
    )
    # fmt: on

    def __init__(
        self, sid: str, *, transport: TransportName, limits: SessionLimits, nothing: Batch, now: float
    ) -> None:
        self.sid = sid
        self.transport: TransportName = transport
        self.pending = nothing
        self.in_flight = 0
        self._nothing = nothing
        self._limits = limits
        self.is_closed = False
        self._events: list[Event] | None = None
        self._polls = Polls()
        self._posting = False
        self._upgrade = _Upgrade.NONE
        self._upgrade_by = 0.0
        self._noop_at = 0.0
        self.heartbeat = Heartbeat(limits.ping_interval, limits.ping_timeout, now)
        self.tick_at = self.heartbeat.next_at
        """When ``tick`` has something to do at the earliest, as long as nothing waits to be taken."""
        self._slow_since: float | None = None
        self._chatter = Chatter(now)
        self._departure: Departure | None = None
        self._farewell = _NOOP_BODY

    # how it stands

    @property
    def is_open(self) -> bool:
        return self._departure is None and not self.is_closed

    @property
    def is_upgrading(self) -> bool:
        """A WebSocket has been opened for it, which has not taken over yet."""
        return self._upgrade is not _Upgrade.NONE

    @property
    def is_polled(self) -> bool:
        """A poll waits for its answer."""
        return self._polls.waiting is not None

    @property
    def has_said_all(self) -> bool:
        """It is closing, and its WebSocket has taken everything: what is left is to close that."""
        departure = self._departure
        return (
            departure is not None
            and not departure.is_to_be_left
            and self.transport == WEBSOCKET
            and self.pending is self._nothing
            and not self.in_flight
        )

    @property
    def untaken_bytes(self) -> int:
        """Bytes that no socket has taken yet."""
        return self.pending.size + self.in_flight

    @property
    def has_room(self) -> bool:
        """Whether one more page of a replay can be sent."""
        return has_room(self.untaken_bytes, self._limits)

    @property
    def waiting_bytes(self) -> int:
        """Bytes kept for the client: not taken, or taken by a poll that nothing has followed yet."""
        return self.untaken_bytes + self._polls.size

    def take_events(self) -> list[Event]:
        events, self._events = self._events, None
        return events or []

    # sending

    def send(self, packet: EncodedPacket) -> None:
        if self._departure is None and not self.is_closed:
            self.pending = self.pending.then(packet)

    def take_frames(self, now: float) -> bytes | None:
        """What is to be written to the WebSocket now, if anything. A receipt is asked for where there is a mark."""
        batch = self.pending
        if batch is self._nothing or self.transport != WEBSOCKET:
            return None
        self.pending = self._nothing
        self._slow_since = None
        heartbeat = self.heartbeat
        heartbeat.ping_waits = False
        if batch.mark is not None:
            heartbeat.given_out = batch.mark
            heartbeat.want_receipt(now)
            if heartbeat.is_due(now):
                heartbeat.ping(batch.mark, now)
                batch = batch.then(PING_PACKET)
            self.tick_at = min(self.tick_at, heartbeat.next_at)
        return batch.frames

    def answer(self, now: float) -> bytes | None:
        """The body for the poll that waits, if one does and there is something to say."""
        poll, kept = self._polls.waiting, self._polls.answer
        if poll is None:
            return None
        if self.transport == WEBSOCKET:
            body = self._farewell if self.is_closed else _NOOP_BODY
        elif poll.is_repeat and kept is not None:
            kept.is_lost = False
            body = kept.batch.body
            self.heartbeat.pinged_again(now)
        elif poll.uncertain_until is not None:
            return None
        elif self.pending is not self._nothing:
            body = self._answer_pending(poll, now)
        elif self.is_closed:
            body = self._farewell
        elif self._departure is not None and not self._departure.is_to_be_left:
            body = self._farewell
            if body is _CLOSE_BODY:
                self._end(self._departure.reason)
        elif self._upgrade is _Upgrade.PROBED and now >= self._noop_at:
            body = _NOOP_BODY
            self._noop_at = now + NOOP_INTERVAL
        else:
            return None
        self._polls.waiting = None
        return body

    def _answer_pending(self, poll: Poll, now: float) -> bytes:
        """With a ping where nothing else may prove its arrival: see ``arrival``."""
        heartbeat = self.heartbeat
        needs_proof = self._polls.are_repeated or (poll.is_proxied and not poll.is_stamped)
        if needs_proof and not heartbeat.ping_waits and heartbeat.may_ping:
            heartbeat.ping(None, now)
            heartbeat.ping_waits = True
            self.pending = self.pending.then(PING_PACKET)
            self.tick_at = min(self.tick_at, heartbeat.next_at)
        if self._departure is not None:
            self._departure.extend(now)
        batch, self.pending = self.pending, self._nothing
        if batch.length > MAX_ANSWER_PACKETS:
            batch, self.pending = self._split(batch)
        has_ping = heartbeat.ping_waits
        self._polls.answer = Answer(poll.request, batch, heartbeat.pings if has_ping else None)
        self.heartbeat.ping_waits = False
        self.heartbeat.given_out = batch.mark or self.heartbeat.given_out
        return batch.body

    def _split(self, batch: Batch) -> tuple[Batch, Batch]:
        """What goes into one answer, a ping that waits among it, and the rest."""
        messages = [packet for packet in batch if packet is not PING_PACKET]
        has_ping = len(messages) < batch.length
        number = MAX_ANSWER_PACKETS - has_ping
        answered = rest = self._nothing
        for packet in messages[:number]:
            answered = answered.then(packet)
        for packet in messages[number:]:
            rest = rest.then(packet)
        return (answered.then(PING_PACKET) if has_ping else answered), rest

    # long-polling

    def poll(self, request: str, now: float, *, is_proxied: bool = False, is_stamped: bool = False) -> None:
        """A GET request, whose target is ``request``; through a proxy or not, of a client that stamps each or not.

        It says that the answer to the last has arrived, or that this has to be given again: see ``arrival``. Of a
        session that is closing, with all said, it is refused, whereupon its client comes back.
        """
        self._expect_polling()
        polls = self._polls
        if polls.waiting is not None and request != polls.waiting.request:
            raise self._failed(ProtocolError("a poll while another waits"))
        poll = Poll(request, is_proxied, is_stamped)
        # A client without the answer has not got the ping in it either.
        if polls.take(poll, now, self._limits.ping_timeout / 2):
            self._answer_arrived()
        elif poll.uncertain_until is not None:
            self.tick_at = min(self.tick_at, poll.uncertain_until)
        if self._departure is not None and self._has_nothing_to_say_but_goodbye(poll):
            polls.waiting = None
            self._end(self._departure.reason)
            raise ProtocolError("the session has ended")

    def _has_nothing_to_say_but_goodbye(self, poll: Poll) -> bool:
        is_last = not poll.is_repeat and poll.uncertain_until is None and self.pending is self._nothing
        return self._farewell is _NOOP_BODY and is_last

    def answer_given(self, delivery: Delivery) -> None:
        """How what ``answer`` gave last is delivered."""
        self._polls.answer_given(delivery)

    @property
    def is_uncertain(self) -> bool:
        """Whether a poll waits for it to show that the answer to the last has arrived: ``reconsider`` is to be called
        every now and then."""
        return self._polls.uncertain_until is not None

    def reconsider(self, now: float) -> None:
        """Look again at what is known of the last answer, and decide once the time for that is over."""
        arrival = self._polls.reconsider(now, answers_pings=bool(self.heartbeat.pongs))
        if arrival is Arrival.ARRIVED:
            self._answer_arrived()
        elif arrival is Arrival.UNCERTAIN:
            # The client returns, with a cursor that knows.
            self._end(DisconnectReason.ANSWER_UNCERTAIN)

    def _answer_arrived(self) -> None:
        self._slow_since = None
        answer = self._polls.take_answer()
        if answer is not None:
            self._emit_receipt(self.heartbeat.receipt(answer.batch.mark))

    def poll_aborted(self) -> None:
        """The request that waits is gone; what comes is for the next one."""
        self._polls.waiting = None

    def answer_lost(self, delivery: Delivery | None = None) -> None:
        """The answer could not be written: the next poll gets it again, or the WebSocket that takes over. Once that
        has, what follows may be on its way already, and the session ends: its client recovers.

        With a ``delivery``, that of the last answer seems to have failed, and no other of it may have arrived. Where
        all of it was sent, the next poll says more.
        """
        if self._polls.lose_answer(delivery) and self.transport == WEBSOCKET:
            self._end(DisconnectReason.TRANSPORT_CLOSE)

    def answer_doubted(self, delivery: Delivery) -> None:
        """The node by which an answer went is gone, and has not said whether it wrote it. The client returns, with a
        cursor that knows."""
        if self._polls.is_of_answer(delivery) and not delivery.was_followed:
            self._end(DisconnectReason.ANSWER_UNCERTAIN)

    def post_began(self) -> None:
        """The head of a POST request is there."""
        self._expect_polling()
        if self._posting:
            raise self._failed(ProtocolError("a POST while another is under way"))
        self._posting = True

    def post_aborted(self) -> None:
        self._posting = False

    def post(self, body: bytes, now: float) -> None:
        """The body of a POST request that began before: all its packets count, or none."""
        self._posting = False
        self._expect_polling()
        try:
            packets = decode_payload(body)
        except ProtocolError as error:
            self._failed(error)
            raise
        if not all(map(_is_from_client, packets)):
            raise self._failed(ProtocolError(NOT_FROM_CLIENT))
        for packet in packets:
            if self.is_closed:
                return
            self._take(packet, now)

    def _expect_polling(self) -> None:
        """Raises ProtocolError, and only the request is refused."""
        if self.is_closed or self.transport != POLLING:
            raise ProtocolError("the session is not polling")

    # upgrade

    def begin_upgrade(self, now: float) -> bool:
        """A WebSocket is about to be opened for this session. False where that is not to be."""
        if not self.is_open or self.transport != POLLING or self._upgrade is not _Upgrade.NONE:
            return False
        self._upgrade = _Upgrade.OPENED
        self._upgrade_by = now + self._limits.upgrade_timeout
        self.tick_at = min(self.tick_at, self._upgrade_by)
        return True

    def probe(self, encoded: str | bytes, now: float) -> str | None:
        """A message on the WebSocket that is to take over; the packet to answer it with, on the same WebSocket.

        Raises ProtocolError, and the session goes on polling.
        """
        packet = self._decode_probe(encoded)
        if self._upgrade is _Upgrade.OPENED and packet == (PING, _PROBE):
            self._upgrade = _Upgrade.PROBED
            self._noop_at = now
            return PONG + _PROBE
        if self._upgrade is _Upgrade.PROBED and packet == (UPGRADE, ""):
            self._take_over(now)
            return None
        self.lose_upgrade()
        raise ProtocolError("not a step of an upgrade")

    def _decode_probe(self, encoded: str | bytes) -> Packet:
        try:
            return decode_packet(encoded)
        except ProtocolError:
            self.lose_upgrade()
            raise

    def _take_over(self, now: float) -> None:
        if self._polls.may_have_lost_answer:
            # What a client lost, and what it has, only its cursor knows.
            self._end(DisconnectReason.ANSWER_UNCERTAIN)
            return
        self._upgrade = _Upgrade.NONE
        self.transport = WEBSOCKET
        answer = self._polls.answer
        if answer is not None and answer.is_lost:
            self.pending = answer.batch.then_all(self.pending)
            self._polls.answer = None
        self.heartbeat.want_receipt(now)
        self.tick_at = min(self.tick_at, self.heartbeat.next_at)

    def lose_upgrade(self) -> None:
        """The WebSocket that was to take over is gone: polling goes on as if it had never been."""
        self._upgrade = _Upgrade.NONE

    # WebSocket

    def receive(self, encoded: str | bytes, now: float) -> None:
        """A message on the session's WebSocket; nothing once it has ended."""
        if self.is_closed:
            return
        try:
            packet = decode_packet(encoded)
        except ProtocolError as error:
            self._failed(error)
            raise
        self._take(packet, now)

    def chatter(self, now: float) -> None:
        """Something came that says nothing. Raises Flooding where it comes too often."""
        if self._chatter.is_flooding(now):
            raise self._failed(Flooding("too much that says nothing"))

    # time

    def tick(self, now: float) -> None:
        """Keep the deadlines.

        To be called at least twice a second from ``tick_at`` on or while something waits to be taken, and before a
        request of long-polling is looked at.
        """
        if self.is_closed:
            return
        if self._departure is not None:
            if self._departure.is_over(now):
                self._end(self._departure.reason)
            return
        if self._upgrade is not _Upgrade.NONE and now >= self._upgrade_by:
            self.lose_upgrade()
        if self.is_uncertain:
            self.reconsider(now)
        if self.heartbeat.is_overdue(now):
            self._end(DisconnectReason.PING_TIMEOUT)
            return
        if self.heartbeat.is_due(now):
            # Over long-polling the next poll is the receipt, and comes first.
            covered = self.pending.mark or self.heartbeat.given_out
            self.heartbeat.ping(covered if self.transport == WEBSOCKET else None, now)
            self.heartbeat.ping_waits = True
            self.pending = self.pending.then(PING_PACKET)
        self.tick_at = self.heartbeat.next_at
        if self._upgrade is not _Upgrade.NONE:
            self.tick_at = min(self.tick_at, self._upgrade_by)
        self._keep_pace(now)

    def _keep_pace(self, now: float) -> None:
        waiting = self.waiting_bytes
        self._slow_since = slow_since(self._slow_since, waiting, now, self._limits)
        if is_too_slow(self._slow_since, waiting, now, self._limits):
            self._end(DisconnectReason.SLOW_CONSUMER)

    def check_size(self) -> None:
        """End the session where more waits than may wait at all."""
        if self.waiting_bytes > self._limits.cut_bytes:
            self._end(DisconnectReason.SLOW_CONSUMER)

    # the end

    def close(self, reason: str, now: float, *, for_good: bool = False, at_once: bool = False) -> None:
        """End it once the client has taken what was sent, or has had its time to.

        Stock clients come back by themselves, except where a client that polls gets a CLOSE packet, which to the one in
        Python is final. So that is said ``for_good`` alone, and to who broke the protocol. Of any other end a client
        learns by the refusal of its next poll.

        ``for_good`` is for who has been told in a message, on which stock clients leave by themselves. They have the
        same time for that: to the ones in Python a CLOSE packet, or the end of the WebSocket, is a second end while
        they are busy with the first. With ``at_once`` they have none: who never was let in has no end to be busy with.
        """
        if not self.is_open:
            return
        if for_good:
            self._farewell = _CLOSE_BODY
        timeout = self._limits.close_timeout
        self._departure = Departure(reason, timeout, now, is_to_be_left=for_good and not at_once)
        self.tick_at = self._departure.by

    def abort(self, reason: str) -> None:
        """End it now."""
        self._end(reason)

    def websocket_lost(self) -> None:
        """The session's WebSocket is gone."""
        self._end(self._departure.reason if self._departure is not None else DisconnectReason.TRANSPORT_CLOSE)

    def _end(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._departure = None
        self._upgrade = _Upgrade.NONE
        self.pending.forget_successors()
        self.pending = self._nothing
        self._polls.take_answer()
        self._emit(Closed(reason))

    def _failed(self, error: ProtocolError) -> ProtocolError:
        """End by an error, to be raised by the caller: raised here, this frame would hold it and be held by it, and
        with it everything that the client sent, until a collection."""
        self._farewell = _CLOSE_BODY
        self._end(error.code)
        return error

    # what the client says

    def _take(self, packet: Packet, now: float) -> None:
        if not _is_from_client(packet):
            raise self._failed(ProtocolError(NOT_FROM_CLIENT))
        if packet.type == MESSAGE:
            if self.is_open:
                self._emit(Message(packet.data))
        elif packet.type == PONG:
            self._take_pong(now)
        elif packet.type == CLOSE:
            self._end(DisconnectReason.CLIENT_CLOSE)
        else:
            self.chatter(now)

    def _take_pong(self, now: float) -> None:
        if not self.heartbeat.pong(now):
            self.chatter(now)
            return
        if self.transport == WEBSOCKET:
            # It is sent behind the upgrade, which waits for the last poll.
            self._answer_arrived()
        elif self._polls.is_proven_by(self.heartbeat.pongs):
            self._answer_arrived()
        self._emit_receipt(self.heartbeat.receipt_of_ping())
        if self.transport == WEBSOCKET:
            self.heartbeat.want_receipt(now)
        self.tick_at = min(self.tick_at, self.heartbeat.next_at)

    def _emit_receipt(self, mark: object) -> None:
        if mark is not None:
            self._emit(Received(mark))

    def _emit(self, event: Event) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)


def _is_from_client(packet: Packet) -> bool:
    """Whether a client may send it, its transport being settled: what is for an upgrade comes to ``probe``."""
    return packet.type == MESSAGE or (packet.type in (PONG, CLOSE, NOOP) and not packet.data)
