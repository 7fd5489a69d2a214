"""What is fuzzed, each as a function of bytes that raises where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis.stateful import get_state_machine_test

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, decode_payload
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Closed, Received, Session, SessionLimits
from adapters.transport.socketio.engineio.websocket import FrameReader
from adapters.transport.socketio.engineio.websocket import Received as Frame
from adapters.transport.socketio.packet import StrictPacket
from tests.unit.adapters.engineio.test_session_on_the_wire import WireMachine

MAX_BYTES = 512
LIMITS = SessionLimits(queue_bytes=2000, cut_bytes=4000)
MOST_PACKETS = 200


class Broken(AssertionError):
    """A promise was broken."""


def frames(data: bytes) -> None:
    """Nothing but ProtocolError, in bounded memory, and the same in however many pieces it comes."""
    outcomes = []
    for size in (len(data) or 1, 1 + len(data) % 7):
        reader = FrameReader(MAX_BYTES)
        received: list[Frame] = []
        outcome = "read"
        try:
            for start in range(0, len(data), size):
                received += reader.feed(data[start : start + size])
                if len(reader._buffer) > MAX_BYTES + 14 + size or len(reader._message or b"") > MAX_BYTES:
                    raise Broken("the reader keeps too much")
        except ProtocolError as error:
            outcome = error.code
        outcomes.append((received, outcome))
    if outcomes[0] != outcomes[1]:
        raise Broken("pieces are read otherwise than the whole")


def payloads(data: bytes) -> None:
    try:
        packets = decode_payload(data)
    except ProtocolError:
        return
    if not packets:
        raise Broken("a payload of no packets")


def socketio_packets(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if text:
        try:
            StrictPacket(encoded_packet=text)
        except ProtocolError:
            return


def sessions(data: bytes) -> None:
    """A program for one session: each byte is a step, and the bytes behind it what the client sends."""
    session = Session(
        "sid", transport=WEBSOCKET if data[:1] > b"\x7f" else POLLING, limits=LIMITS, nothing=Batch(), now=0
    )
    steps, now, sent, had, receipts, ended = iter(data[1:]), 0.0, 0, 0, 0, False
    for step in steps:
        text = bytes(next(steps, 0x34) for _ in range(step >> 5)).decode("latin-1")
        now += (step >> 4) / 10
        try:
            match step & 0x0F:
                case 0 | 1 | 2:
                    sent += 1
                    session.send(EncodedPacket.message(str(sent), sent))
                case 3:
                    session.poll(text or None)
                case 4:
                    session.poll_aborted()
                case 5:
                    session.answer_lost()
                case 6:
                    session.post_began()
                case 7:
                    session.post(text.encode(), now)
                case 8:
                    session.begin_upgrade(now)
                case 9:
                    session.probe("2probe" if step & 0x10 else text, now)
                case 10:
                    session.probe("5", now)
                case 11:
                    session.receive(text, now)
                case 12:
                    session.tick(now)
                case 13:
                    session.lose_upgrade()
                case 14:
                    had = max([had, *_numbers(session.take_frames(now) or b"")])
                case 15:
                    session.close("closed", now)
        except ProtocolError:
            pass
        body = session.answer(now)
        if body is not None:
            if b"1" in body.split(b"\x1e") and body != b"1":
                raise Broken("CLOSE shares its answer")
            had = max([had, *(int(part[1:]) for part in body.split(b"\x1e") if part[:1] == b"4")])
        for event in session.take_events():
            if ended:
                raise Broken("something happens after the end")
            ended = isinstance(event, Closed)
            if isinstance(event, Received):
                if not isinstance(event.mark, int) or not receipts < event.mark <= had:
                    raise Broken("a receipt for what was not given out")
                receipts = event.mark
        if session.untaken_bytes != sum(packet.size for packet in session.pending):
            raise Broken("what waits is not what is accounted")
        session.check_size()
        if session.waiting_bytes > LIMITS.cut_bytes:
            raise Broken("more waits than may wait")


def _numbers(frames: bytes) -> list[int]:
    numbers = []
    while frames:
        length = frames[1]
        if frames[2:3] == b"4":
            numbers.append(int(frames[3 : 2 + length]))
        frames = frames[2 + length :]
    return numbers


def conversations(data: bytes) -> None:
    """A session and a client that keeps to the protocol: the bytes choose what happens next, and when."""
    _story.hypothesis.fuzz_one_input(data)


_story: Any = get_state_machine_test(WireMachine, settings=settings(database=None))

TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "payloads": payloads,
    "socketio_packets": socketio_packets,
    "sessions": sessions,
    "conversations": conversations,
}
