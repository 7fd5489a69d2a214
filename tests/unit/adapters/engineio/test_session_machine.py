"""Any order of sending, polling, losing and upgrading: what a client has is what was sent, once, in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Session, SessionLimits, TransportName
from adapters.transport.socketio.engineio.session_events import Closed, Message, Received
from tests.campaigning import examples

LIMITS = SessionLimits(queue_bytes=10_000, cut_bytes=20_000)
EXAMPLES = examples(50, in_full=1_000)


class SessionMachine(RuleBasedStateMachine):
    """A session and a client that keeps to the protocol, over connections that fail at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.session: Session
        self.sent = 0
        self.has: list[int] = []
        self.receipts: list[int] = []
        self.said: list[str] = []
        self.heard: list[object] = []
        self.ends: list[str] = []
        self.polls = 0
        self.must_repeat = False
        self.is_polling = False
        self.pings = 0
        self.stage = 0

    @initialize(starts_on_websocket=st.booleans())
    def begin(self, *, starts_on_websocket: bool) -> None:
        transport: TransportName = WEBSOCKET if starts_on_websocket else POLLING
        self.session = Session("sid", transport=transport, limits=LIMITS, nothing=Batch(), now=self.now)
        self.stage = 2 if starts_on_websocket else 0

    def is_alive(self) -> bool:
        return not self.session.is_closed

    def polls_now(self) -> bool:
        return self.is_alive() and self.session.transport == POLLING

    def take(self, packets: list[str]) -> None:
        if "1" in packets:
            assert packets == ["1"]
        for packet in packets:
            if packet == "2":
                self.pings += 1
            elif packet.startswith("4"):
                self.has.append(int(packet[1:]))

    def after(self) -> None:
        for event in self.session.take_events():
            assert not self.ends
            if isinstance(event, Received):
                assert isinstance(event.mark, int)
                self.receipts.append(event.mark)
            elif isinstance(event, Message):
                self.heard.append(event.data)
            elif isinstance(event, Closed):
                self.ends.append(event.reason)

    @rule(number=st.integers(1, 3))
    def send(self, number: int) -> None:
        for _ in range(number):
            if self.session.is_open:
                self.sent += 1
            self.session.send(EncodedPacket.message(str(self.sent), self.sent))
        self.answer()

    @precondition(lambda self: self.polls_now() and not self.is_polling and self.stage < 2)
    @rule(is_lost=st.booleans())
    def poll(self, *, is_lost: bool) -> None:
        if not self.must_repeat:
            self.polls += 1
        try:
            self.session.poll(str(self.polls), self.now)
        except ProtocolError:
            # It was closing, and has said all.
            assert self.session.is_closed
            assert self.ends == []
        self.is_polling = not self.session.is_closed
        self.answer(is_lost=is_lost)
        self.after()

    def answer(self, *, is_lost: bool = False) -> None:
        body = self.session.answer(self.now)
        if body is None:
            return
        self.is_polling = False
        self.must_repeat = is_lost
        if not is_lost:
            self.take(body.decode().split("\x1e"))

    @precondition(lambda self: self.is_polling and self.polls_now())
    @rule()
    def abort_the_poll(self) -> None:
        self.session.poll_aborted()
        self.is_polling = False

    @precondition(lambda self: self.must_repeat and self.polls_now())
    @rule()
    def notice_that_the_answer_was_lost(self) -> None:
        self.session.answer_lost()
        # From now on any poll will do.
        self.must_repeat = False

    @precondition(lambda self: self.is_alive())
    @rule(number=st.integers(0, 9))
    def say(self, number: int) -> None:
        text = str(number)
        if self.session.is_open:
            self.said.append(text)
        self.tell("4" + text)

    @precondition(lambda self: self.is_alive() and self.pings > 0)
    @rule()
    def answer_a_ping(self) -> None:
        self.pings -= 1
        self.tell("3")

    def tell(self, packet: str) -> None:
        if self.session.transport == POLLING:
            self.session.post_began()
            self.session.post(packet.encode(), self.now)
        else:
            self.session.receive(packet, self.now)
        self.after()

    @precondition(lambda self: self.stage == 0 and self.polls_now())
    @rule()
    def begin_to_upgrade(self) -> None:
        if self.session.begin_upgrade(self.now):
            self.stage = 1
            assert self.session.probe("2probe", self.now) == "3probe"
            self.answer()

    @precondition(lambda self: self.stage == 1 and self.session.is_upgrading and not self.is_polling)
    @precondition(lambda self: not self.must_repeat)
    @rule()
    def finish_the_upgrade(self) -> None:
        self.session.probe("5", self.now)
        self.stage = 2
        self.after()

    @precondition(lambda self: self.stage == 1)
    @rule()
    def lose_the_upgrade(self) -> None:
        self.session.lose_upgrade()
        self.stage = 0

    @precondition(lambda self: self.is_alive() and self.session.transport == WEBSOCKET)
    @rule()
    def read_the_websocket(self) -> None:
        frames = self.session.take_frames(self.now) or b""
        packets = []
        while frames:
            packets.append(frames[2 : 2 + frames[1]].decode())
            frames = frames[2 + frames[1] :]
        self.take(packets)
        self.after()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.session.tick_at <= self.now or self.session.waiting_bytes:
            self.session.tick(self.now)
        if self.stage == 1 and not self.session.is_upgrading:
            self.stage = 0
        self.answer()
        self.after()

    @precondition(lambda self: self.is_alive())
    @rule(how=st.sampled_from(["close", "close for good", "abort", "lost", "said"]))
    def end(self, how: str) -> None:
        # Seldom, or nothing else would ever be seen.
        if self.sent % 7:
            return
        if how.startswith("close"):
            self.session.close("closed", self.now, for_good=how == "close for good")
        elif how == "abort":
            self.session.abort("aborted")
        elif how == "lost" and self.session.transport == WEBSOCKET:
            self.session.websocket_lost()
        elif how == "said":
            self.tell("1")
        self.answer()
        self.after()

    @invariant()
    def the_client_has_everything_once_and_in_order(self) -> None:
        assert self.has == list(range(1, len(self.has) + 1))
        assert len(self.has) <= self.sent

    @invariant()
    def a_receipt_is_for_what_the_client_has(self) -> None:
        assert self.receipts == sorted(set(self.receipts))
        assert max(self.receipts, default=0) <= len(self.has)

    @invariant()
    def what_the_client_said_was_heard_once(self) -> None:
        assert self.heard == self.said

    @invariant()
    def it_ends_once(self) -> None:
        assert len(self.ends) <= 1
        session: Any = getattr(self, "session", None)
        if session is not None:
            assert session.is_closed == bool(self.ends)
            assert session.untaken_bytes == sum(packet.size for packet in session.pending) + session.in_flight

    def teardown(self) -> None:
        """In the end a client that reads on has all that was sent."""
        session: Any = getattr(self, "session", None)
        if session is None or not session.is_open:
            return
        for _ in range(20):
            if session.transport == WEBSOCKET:
                self.read_the_websocket()
            elif not self.is_polling:
                if not self.must_repeat:
                    self.polls += 1
                session.poll(str(self.polls), self.now)
                self.is_polling = True
                self.now += 1.0
                self.answer()
        if session.is_open:
            assert len(self.has) == self.sent


TestSessionMachine = pytest.mark.campaign(SessionMachine.TestCase)
TestSessionMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=60)
