from __future__ import annotations

from typing import cast

import pytest

from adapters.http.streams import Stream, StreamEvents
from adapters.transport.sse.stream import WRITE_BYTES, EventStream, StreamLimits, event_frame
from domain.errors import ConnectionGone
from domain.model import Json, Position
from tests.doubles import ManualClock

LIMITS = StreamLimits(queue_bytes=100, cut_bytes=800, slow_seconds=5.0)


class ScriptedSocket:
    """The part of a Stream that events need. Takes ``room`` bytes and then no more, until the test makes it."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.unsent = 0
        self.is_closed = False
        self.was_cut = self.was_cut_short = False
        self.was_reset = False
        self.events: StreamEvents | None = None

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        assert not early
        self.events = events

    def pause(self) -> None:
        """It sends nothing."""

    def resume(self) -> None:
        """It sends nothing."""

    def unacknowledged_bytes(self) -> int:
        return self.unsent

    def has_ended(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> int:
        assert not self.unsent
        self.writes.append(data)
        taken = min(self.room, len(data))
        self.room -= taken
        self.unsent = len(data) - taken
        return self.unsent

    def take(self, number: int) -> None:
        """The client reads so many bytes of what waits in the socket."""
        assert self.events is not None
        self.room += number
        taken = min(self.room, self.unsent)
        self.room -= taken
        self.unsent -= taken
        self.events.stream_drained(self.unsent)

    def linger(self, seconds: float) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opened(clock: ManualClock, room: int, ended: list[str] | None = None) -> tuple[EventStream, ScriptedSocket]:
    socket = ScriptedSocket(room)
    endings = ended if ended is not None else []
    return EventStream(
        cast("Stream", socket), clock=clock, limits=LIMITS, ended=lambda: endings.append("ended")
    ), socket


def test_an_event_has_its_cursor_as_id() -> None:
    assert event_frame("a.b", Json(b'{"n":1}'), Position("e", 7)) == b'event: a.b\nid: e:7\ndata: {"n":1}\n\n'
    assert event_frame("a.b", Json(b"{}"), retry_ms=2500) == b"retry: 2500\nevent: a.b\ndata: {}\n\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_every_line_of_a_payload_is_a_line_of_data(line_end: bytes) -> None:
    frame = event_frame("a", Json(b"{" + line_end + b'"n":1}'))
    assert frame == b'event: a\ndata: {\ndata: "n":1}\n\n'


def test_characters_that_end_lines_elsewhere_stay_in_theirs() -> None:
    payload = '"a\u2028b\u0085c"'.encode()
    assert event_frame("a", Json(payload)) == b"event: a\ndata: " + payload + b"\n\n"


def test_what_comes_together_leaves_in_one_write(clock: ManualClock) -> None:
    stream, socket = opened(clock, 1000)
    assert [stream.send(frame) for frame in (b"a", b"b", b"c")] == [True, False, False]
    stream.flush(clock.monotonic())
    assert socket.writes == [b"abc"]
    assert stream.untaken_bytes == 0


def test_a_large_backlog_is_joined_piece_by_piece(clock: ManualClock) -> None:
    stream, socket = opened(clock, 10_000_000)
    frames = [bytes(40_000), bytes(20_000), bytes(10_000), bytes(WRITE_BYTES + 1), b"end"]
    for frame in frames:
        stream.send(frame)
    stream.flush(clock.monotonic())
    assert [len(write) for write in socket.writes] == [60_000, 10_000, WRITE_BYTES + 1, 3]
    assert b"".join(socket.writes) == b"".join(frames)


def test_what_the_socket_does_not_take_waits_and_follows_in_order(clock: ManualClock) -> None:
    stream, socket = opened(clock, 2)
    stream.send(b"abc")
    stream.flush(clock.monotonic())
    assert not stream.send(b"def")
    stream.flush(clock.monotonic())
    assert (socket.writes, stream.untaken_bytes) == ([b"abc"], 4)
    socket.take(10)
    assert (socket.writes, stream.untaken_bytes) == ([b"abc", b"def"], 0)


def test_over_the_queue_for_too_long_is_cut(clock: ManualClock) -> None:
    stream, socket = opened(clock, 0)
    stream.send(bytes(101))
    stream.flush(clock.monotonic())
    clock.advance(5.0)
    stream.keep_pace(clock.monotonic())
    assert not socket.is_closed
    clock.advance(0.1)
    stream.keep_pace(clock.monotonic())
    assert socket.is_closed
    assert stream.was_too_slow
    assert stream.untaken_bytes == 0


def test_as_much_as_the_queue_may_wait_for_ever(clock: ManualClock) -> None:
    stream, socket = opened(clock, 0)
    stream.send(bytes(100))
    for _ in range(2):
        stream.flush(clock.monotonic())
        clock.advance(60.0)
    assert not socket.is_closed


def test_who_caught_up_between_two_looks_has_all_the_time_again(clock: ManualClock) -> None:
    stream, socket = opened(clock, 0)
    for _ in range(3):
        stream.send(bytes(150))
        stream.flush(clock.monotonic())
        clock.advance(4.0)
        stream.keep_pace(clock.monotonic())
        socket.take(150)
    assert not socket.is_closed


def test_far_too_much_asks_for_a_flush_that_cuts_at_once(clock: ManualClock) -> None:
    stream, socket = opened(clock, 0)
    stream.send(bytes(400))
    stream.flush(clock.monotonic())
    assert not stream.send(bytes(400))
    stream.flush(clock.monotonic())
    assert not socket.is_closed
    assert not stream.send(b"x")
    assert stream.send(b"y")
    stream.flush(clock.monotonic())
    assert socket.is_closed
    assert stream.was_too_slow


def test_it_closes_once_all_was_taken_and_not_before(clock: ManualClock) -> None:
    stream, socket = opened(clock, 2)
    stream.send(b"abc")
    stream.close()
    stream.flush(clock.monotonic())
    assert not socket.is_closed
    socket.take(1)
    assert socket.is_closed
    assert not stream.was_too_slow


def test_what_comes_after_the_end_is_dropped(clock: ManualClock) -> None:
    ended: list[str] = []
    stream, socket = opened(clock, 100, ended)
    stream.send(b"a")
    stream.abort()
    stream.send(b"b")
    stream.flush(clock.monotonic())
    assert (socket.writes, stream.untaken_bytes, socket.is_closed, ended) == ([], 0, True, [])
    stream.stream_closed()
    assert ended == ["ended"]


@pytest.mark.gen_test
async def test_waiting_for_a_stream_that_has_ended_says_so(clock: ManualClock) -> None:
    stream, _ = opened(clock, 0)
    await stream.has_room()
    stream.stream_closed()
    with pytest.raises(ConnectionGone):
        await stream.has_room()
