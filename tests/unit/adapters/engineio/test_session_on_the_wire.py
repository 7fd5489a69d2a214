"""A session and its client with a network between them, on which bytes wait, arrive late, or are lost.

What a session has given out is not what its client has: only here is a receipt for the one told from a receipt for the
other.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.chatter import CHATTER_INTERVAL, MAX_CHATTER
from adapters.transport.socketio.engineio.errors import Flooding, ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, decode_payload
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Session, SessionLimits, TransportName
from adapters.transport.socketio.engineio.session_events import Closed, Message, Received
from domain.model import DisconnectReason
from tests.campaigning import examples

LIMITS = SessionLimits(queue_bytes=2_000, cut_bytes=6_000)
SWEEP = 0.5
EXAMPLES = examples(50, in_full=1_000)


class Answer(NamedTuple):
    poll: str
    body: bytes


def split(frames: bytes) -> list[bytes]:
    """Whole frames of a server, header and all."""
    parts = []
    while frames:
        header, length = 2, frames[1]
        if length == 126:
            header, length = 4, int.from_bytes(frames[2:4], "big")
        parts.append(frames[: header + length])
        frames = frames[header + length :]
    return parts


def packet_of(frame: bytes) -> str:
    return frame[4 if frame[1] == 126 else 2 :].decode()


def sizes(body: bytes) -> int:
    """What the packets of an answer are over WebSocket."""
    return sum(EncodedPacket(part).size for part in body.split(b"\x1e"))


class WireMachine(RuleBasedStateMachine):
    """The client keeps to the protocol; the network, the server's loop and the server's wishes do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.session = self.opened(POLLING)
        # What the server sent, what the client has, and what it is known to have.
        self.sent = self.last_mark = 0
        self.has: list[int] = []
        self.receipts: list[int] = []
        self.said: list[str] = []
        self.heard: list[object] = []
        self.ends: list[str] = []
        self.pings = 0
        self.chatter: list[float] = []
        self.pinged_at: float | None = None
        # After so many messages anything may end the session: what does ends the story too.
        self.lifetime = 0
        # Long-polling: the poll that waits, the answer on its way, and the one that may still be asked for.
        self.polls = 0
        self.waits = False
        self.on_its_way: Answer | None = None
        self.last: Answer | None = None
        self.must_repeat = False
        self.is_noticed = False
        self.kept = 0
        self.paused = False
        self.upgrade = ""
        # WebSocket: what the socket has not taken, and what has been sent and not been read.
        self.window = True
        self.unsent: deque[bytes] = deque()
        self.unread: deque[bytes] = deque()

    def opened(self, transport: TransportName) -> Session:
        return Session("sid", transport=transport, limits=LIMITS, nothing=Batch(), now=self.now)

    @initialize(starts_on_websocket=st.booleans(), lifetime=st.sampled_from([2, 10, 20, 1000]))
    def begin(self, lifetime: int, *, starts_on_websocket: bool) -> None:
        self.lifetime = lifetime
        self.session = self.opened(WEBSOCKET if starts_on_websocket else POLLING)

    # what the server does after each step

    def flush(self) -> None:
        session = self.session
        body = session.answer(self.now)
        if body is not None:
            assert self.waits
            assert body == b"1" or b"1" not in body.split(b"\x1e")
            self.waits = False
            self.on_its_way = Answer(str(self.polls), body)
            if session.transport == POLLING and not session.is_closed and body != b"6":
                self.kept = sizes(body)
        if session.transport == WEBSOCKET and not session.in_flight:
            frames = session.take_frames(self.now)
            if frames is not None:
                self.unsent.extend(split(frames))
                session.in_flight = len(frames)
                if self.window:
                    self.drain(len(frames))
        session.check_size()
        if not session.heartbeat.is_overdue(float("inf")):
            self.pinged_at = None
        elif self.pinged_at is None:
            self.pinged_at = self.now
        for event in session.take_events():
            assert not self.ends
            if isinstance(event, Received):
                assert isinstance(event.mark, int)
                self.receipts.append(event.mark)
            elif isinstance(event, Message):
                self.heard.append(event.data)
            elif isinstance(event, Closed):
                self.ends.append(event.reason)
                if event.reason == DisconnectReason.PING_TIMEOUT:
                    assert self.pinged_at is not None
                    assert self.now >= self.pinged_at + LIMITS.ping_timeout / 2
                session.in_flight = 0
                self.kept = 0
                self.unsent.clear()

    def drain(self, octets: int) -> None:
        session = self.session
        session.in_flight -= min(octets, session.in_flight)
        waiting = sum(map(len, self.unsent))
        while self.unsent and waiting > session.in_flight:
            frame = self.unsent.popleft()
            waiting -= len(frame)
            self.unread.append(frame)
        if waiting < session.in_flight:
            # A frame is only there whole.
            self.unsent.appendleft(self.unread.pop())

    def take(self, packets: list[str]) -> None:
        for packet in packets:
            if packet == "2":
                self.pings += 1
            elif packet.startswith("4"):
                self.has.append(int(packet[1:].partition(":")[0]))

    def tell(self, packet: str) -> None:
        if self.session.transport == POLLING:
            self.session.post_began()
            self.session.post(packet.encode(), self.now)
        else:
            self.session.receive(packet, self.now)

    @property
    def is_alive(self) -> bool:
        return not self.session.is_closed

    @property
    def may_end(self) -> bool:
        return self.is_alive and self.sent >= self.lifetime

    @property
    def polls_now(self) -> bool:
        return self.is_alive and self.session.transport == POLLING

    @property
    def may_poll(self) -> bool:
        return self.polls_now and not self.waits and self.on_its_way is None

    # the server

    @rule(
        number=st.integers(1, 3),
        padding=st.sampled_from([0, 0, 0, 0, 0, 0, 100, 900]),
        has_mark=st.sampled_from([True, True, True, False]),
    )
    def send(self, number: int, padding: int, *, has_mark: bool) -> None:
        for _ in range(number):
            if self.session.is_open:
                self.sent += 1
                self.last_mark = self.sent if has_mark else self.last_mark
            text = f"{self.sent}:{'x' * padding}"
            self.session.send(EncodedPacket.message(text, self.sent if has_mark else None))
        self.flush()

    @precondition(lambda self: self.may_end)
    @rule(gently=st.sampled_from([True, True, False]), for_good=st.booleans(), at_once=st.booleans())
    def end(self, *, gently: bool, for_good: bool, at_once: bool) -> None:
        if gently:
            self.session.close("closed", self.now, for_good=for_good, at_once=at_once)
        else:
            self.session.abort("aborted")
        self.flush()

    @precondition(lambda self: self.may_end and self.session.is_open)
    @rule()
    def close_behind_a_message(self) -> None:
        self.send(1, 0, has_mark=True)
        self.send(1, 0, has_mark=False)
        self.session.close("closed", self.now, for_good=self.sent % 2 == 0)
        self.flush()
        self.do_all_there_is_to_do()

    # long-polling

    @precondition(lambda self: self.may_poll and (not self.paused or self.must_repeat))
    @rule()
    def poll(self) -> None:
        if not self.must_repeat:
            self.polls += 1
            self.kept = 0
        was_open = self.session.is_open
        try:
            self.session.poll(str(self.polls), self.now)
        except ProtocolError:
            assert not was_open
            assert self.session.is_closed
        else:
            self.waits = True
        self.flush()

    @precondition(lambda self: self.waits and self.polls_now)
    @rule(by_a_proxy=st.booleans())
    def abort_or_repeat_the_poll(self, *, by_a_proxy: bool) -> None:
        if by_a_proxy:
            self.session.poll(str(self.polls), self.now)
        else:
            self.session.poll_aborted()
            self.waits = False
            self.must_repeat = True
        self.flush()

    @precondition(lambda self: self.on_its_way is not None)
    @rule()
    def answer_arrives(self) -> None:
        assert self.on_its_way is not None
        answer, self.on_its_way = self.on_its_way, None
        self.take(answer.body.decode().split("\x1e"))
        self.last = answer
        self.must_repeat = self.is_noticed = False

    @precondition(lambda self: self.on_its_way is not None and self.polls_now)
    @rule(is_noticed=st.booleans())
    def answer_is_lost(self, *, is_noticed: bool) -> None:
        self.on_its_way = None
        self.must_repeat = True
        self.is_noticed = is_noticed
        if is_noticed:
            self.session.answer_lost()
            self.flush()

    @precondition(lambda self: self.may_poll and self.last is not None and not self.must_repeat and self.kept)
    @rule()
    def the_answered_poll_is_sent_again(self) -> None:
        assert self.last is not None
        self.session.poll(self.last.poll, self.now)
        assert self.session.answer(self.now) == self.last.body
        self.flush()

    # upgrade

    @precondition(lambda self: self.polls_now and not self.upgrade)
    @rule()
    def open_a_websocket(self) -> None:
        if self.session.begin_upgrade(self.now):
            self.upgrade = "opened"
        else:
            assert not self.session.is_open

    @precondition(lambda self: self.upgrade == "opened" and self.is_alive)
    @rule()
    def probe(self) -> None:
        if self.session.is_upgrading:
            assert self.session.probe("2probe", self.now) == "3probe"
            self.upgrade, self.paused = "probed", True
            self.flush()

    @precondition(lambda self: self.upgrade == "probed" and self.may_poll)
    @precondition(lambda self: not self.must_repeat or self.is_noticed)
    @rule()
    def take_over(self) -> None:
        if self.session.is_upgrading:
            assert self.session.probe("5", self.now) is None
            assert self.session.transport == WEBSOCKET
            self.upgrade = ""
            self.flush()

    @precondition(lambda self: self.may_poll and self.session.is_open and not self.upgrade)
    @rule(is_noticed=st.booleans())
    def an_answer_is_lost_before_an_upgrade(self, *, is_noticed: bool) -> None:
        # Its steps one by one are rare enough, as is their order.
        self.send(1, 0, has_mark=True)
        if self.may_poll and self.is_alive:
            self.poll()
        if self.on_its_way is None or not self.session.is_open:
            return
        self.answer_is_lost(is_noticed=is_noticed)
        self.send(1, 0, has_mark=True)
        self.open_a_websocket()
        self.probe()
        if not is_noticed:
            self.poll()
            self.answer_arrives()
        self.take_over()

    @precondition(lambda self: self.upgrade and self.polls_now)
    @rule(is_wrong=st.booleans())
    def fail_the_upgrade(self, *, is_wrong: bool) -> None:
        if is_wrong:
            with pytest.raises(ProtocolError):
                self.session.probe("4x", self.now)
        else:
            self.session.lose_upgrade()
        self.upgrade, self.paused = "", False
        self.flush()

    # WebSocket

    @precondition(lambda self: self.unread)
    @rule(number=st.sampled_from([1, 1, 2, 3, 20]))
    def read(self, number: int) -> None:
        self.take([packet_of(self.unread.popleft()) for _ in range(min(number, len(self.unread)))])

    @precondition(lambda self: self.is_alive)
    @rule(is_open=st.booleans())
    def window_changes(self, *, is_open: bool) -> None:
        self.window = is_open
        if is_open and self.session.in_flight:
            self.drain(self.session.in_flight)
        self.flush()

    @precondition(lambda self: self.session.in_flight)
    @rule(octets=st.integers(1, 300))
    def socket_takes_some(self, octets: int) -> None:
        self.drain(octets)
        self.flush()

    @precondition(lambda self: self.may_end and self.session.transport == WEBSOCKET)
    @rule()
    def lose_the_websocket(self) -> None:
        self.unread.clear()
        self.session.websocket_lost()
        self.flush()

    @precondition(lambda self: self.is_alive and self.session.transport == WEBSOCKET and not self.session.in_flight)
    @rule(before=st.integers(0, 2))
    def a_delivery_crosses_a_pong(self, before: int) -> None:
        # Left to chance, this order is rare, and nothing else tells what was given out from what has arrived.
        self.wait(1.0)
        self.send(1, 0, has_mark=True)
        given_out = len(self.unread)
        self.send(1, 0, has_mark=True)
        self.read(max(0, given_out - before))
        if self.is_alive and self.pings:
            self.pong()

    # what the client says

    @precondition(lambda self: self.is_alive)
    @rule(number=st.integers(0, 9))
    def say(self, number: int) -> None:
        if self.session.is_open:
            self.said.append(str(number))
        self.tell(f"4{number}")
        self.flush()

    @precondition(lambda self: self.is_alive and self.pings)
    @rule()
    def pong(self) -> None:
        self.pings -= 1
        self.tell("3")
        is_last = self.pings == 0 and self.on_its_way is None
        if is_last and self.last is not None and b"2" in self.last.body.split(b"\x1e"):
            # It was the ping in the last answer.
            self.kept = 0
        self.flush()

    @precondition(lambda self: self.polls_now)
    @rule()
    def abort_a_post(self) -> None:
        self.session.post_began()
        self.session.post_aborted()

    @precondition(lambda self: self.is_alive)
    @rule(number=st.sampled_from([1, 1, 10, 150]))
    def say_nothing(self, number: int) -> None:
        if not self.may_end:
            number = 1
        for _ in range(number):
            self.chatter.append(self.now)
            try:
                self.tell("6")
            except Flooding:
                assert sum(time >= self.now - CHATTER_INTERVAL for time in self.chatter) > MAX_CHATTER
                break
        self.flush()

    @precondition(lambda self: self.may_end)
    @rule(is_wrong=st.booleans())
    def hang_up(self, *, is_wrong: bool) -> None:
        if is_wrong:
            with pytest.raises(ProtocolError):
                self.tell("0")
        else:
            self.tell("1")
        self.flush()

    # time

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + SWEEP)
            self.sweep()

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0]), is_answered=st.booleans())
    def the_loop_is_blocked(self, seconds: float, *, is_answered: bool) -> None:
        self.now += seconds
        self.sweep()
        if is_answered:
            self.keep_up(LIMITS.ping_timeout / 4)

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def keep_up(self, seconds: float) -> None:
        """The client reads all there is, polls anew, and answers."""
        end = self.now + seconds
        while self.now < end:
            for _ in range(3):
                self.do_all_there_is_to_do()
            self.now += SWEEP
            self.sweep()

    def do_all_there_is_to_do(self) -> None:
        if self.on_its_way is not None:
            self.answer_arrives()
        if self.unread:
            self.read(len(self.unread))
        while self.pings and self.is_alive:
            self.pong()
        if self.may_poll and (not self.paused or self.must_repeat):
            self.poll()

    def sweep(self) -> None:
        session = self.session
        is_idle = session.is_open and session.tick_at > self.now and not session.waiting_bytes
        session.tick(self.now)
        if is_idle:
            assert (session.is_open, session.waiting_bytes) == (True, 0)
        if self.upgrade and not session.is_upgrading:
            self.upgrade, self.paused = "", False
        self.flush()

    # what holds

    @invariant()
    def the_client_has_the_beginning_of_what_was_sent_once_and_in_order(self) -> None:
        assert self.has == list(range(1, len(self.has) + 1))
        assert len(self.has) <= self.sent

    @invariant()
    def a_receipt_is_for_what_the_client_has_and_news(self) -> None:
        assert self.receipts == sorted(set(self.receipts))
        assert max(self.receipts, default=0) <= len(self.has)

    @invariant()
    def what_the_client_said_was_heard_once(self) -> None:
        assert self.heard == self.said

    @invariant()
    def it_ends_once_and_with_all_that_belongs_to_it(self) -> None:
        assert len(self.ends) == int(self.session.is_closed)

    @invariant()
    def memory_is_as_accounted(self) -> None:
        session = self.session
        pending = sum(packet.size for packet in session.pending)
        assert session.untaken_bytes == pending + session.in_flight
        if session.transport == POLLING:
            assert session.waiting_bytes == pending + self.kept
        if self.is_alive:
            assert session.waiting_bytes <= LIMITS.cut_bytes

    def teardown(self) -> None:
        """A client that reads on and answers has everything within two seconds, and the server knows."""
        session = self.session
        if not session.is_open:
            return
        self.window_changes(is_open=True)
        self.paused = False
        self.keep_up(3.0)
        if self.is_alive:
            assert len(self.has) == self.sent
            assert max(self.receipts, default=0) == self.last_mark
        elif self.session.transport == WEBSOCKET:
            assert self.ends in ([DisconnectReason.PING_TIMEOUT], [DisconnectReason.SLOW_CONSUMER])


TestWireMachine = pytest.mark.campaign(WireMachine.TestCase)
TestWireMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=80)


def test_the_frames_of_a_batch_are_told_apart() -> None:
    packets = [EncodedPacket.message(text) for text in ("", "x" * 124, "x" * 125, "x" * 2000)]
    batch = Batch()
    for packet in packets:
        batch = batch.then(packet)
    assert [packet_of(frame) for frame in split(batch.frames)] == [
        "4",
        *("4" + "x" * size for size in (124, 125, 2000)),
    ]
    assert sizes(batch.body) == batch.size
    assert len(decode_payload(batch.body)) == len(packets)
