"""What the tables of the session leave open: payloads, paces and sizes at their edges."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.chatter import CHATTER_INTERVAL, MAX_CHATTER
from adapters.transport.socketio.engineio.errors import Flooding, ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.session import (
    NOOP_INTERVAL,
    POLLING,
    WEBSOCKET,
    Session,
    SessionLimits,
    TransportName,
)
from adapters.transport.socketio.engineio.session_events import Closed, Message, Received

LIMITS = SessionLimits(queue_bytes=1000, cut_bytes=8000)
START = 100.0


def opened(transport: TransportName, limits: SessionLimits = LIMITS) -> Session:
    return Session("sid", transport=transport, limits=limits, nothing=Batch(), now=START)


def of_size(size: int) -> EncodedPacket:
    """A message that is so many bytes over WebSocket."""
    packet = EncodedPacket.message("x" * (size - (3 if size < 128 else 5)))
    assert packet.size == size
    return packet


def polled(session: Session, poll_id: str, now: float = START) -> bytes | None:
    session.poll(poll_id, now)
    return session.answer(now)


# payloads


@pytest.mark.parametrize("wrong", ["0", "2", "2probe", "3x", "5", "1x", "6x"])
def test_a_payload_with_a_packet_that_no_client_sends_counts_not_at_all(wrong: str) -> None:
    session = opened(POLLING)
    session.post_began()
    with pytest.raises(ProtocolError):
        session.post(f"4a\x1e{wrong}\x1e4b".encode(), START)
    assert session.take_events() == [Closed("protocol_error")]


def test_a_session_that_closes_hears_no_messages_and_still_its_client_closing() -> None:
    session = opened(POLLING)
    session.close("why", START)
    session.post(b"4late", START)
    assert session.take_events() == []
    session.post(b"1", START)
    assert session.take_events() == [Closed("client_close")]


def test_binary_messages_are_heard_over_both_transports() -> None:
    session = opened(POLLING)
    session.post(b"bAQI=", START)
    assert session.take_events() == [Message(b"\x01\x02")]
    session = opened(WEBSOCKET)
    session.receive(b"\x01\x02", START)
    assert session.take_events() == [Message(b"\x01\x02")]


# repeated polls


@pytest.mark.parametrize("for_good", [False, True])
def test_the_answer_that_is_repeated_while_closing_comes_before_the_close(*, for_good: bool) -> None:
    session = opened(POLLING)
    session.send(EncodedPacket.message("last", "mark"))
    assert polled(session, "a") == b"4last"
    session.close("why", START, for_good=for_good)
    assert polled(session, "a") == b"4last"
    assert session.take_events() == []
    if for_good:
        assert polled(session, "b") is None
        assert session.take_events() == [Received("mark")]
        session.tick(START + LIMITS.close_timeout)
        assert session.answer(START + LIMITS.close_timeout) == b"1"
        assert session.take_events() == [Closed("why")]
    else:
        with pytest.raises(ProtocolError):
            polled(session, "b")
        assert session.take_events() == [Received("mark"), Closed("why")]


def test_a_poll_sent_again_after_it_was_aborted_is_the_poll_it_was() -> None:
    session = opened(POLLING)
    assert polled(session, "a") is None
    session.poll_aborted()
    session.send(EncodedPacket.message("x", "mark"))
    assert polled(session, "a") == b"4x"
    assert session.take_events() == []


def test_nothing_is_lost_where_no_answer_was_given() -> None:
    session = opened(POLLING)
    session.answer_lost()
    assert polled(session, "a") is None
    assert session.take_events() == []


# upgrade


def test_the_pace_of_noops_is_kept_to_the_interval() -> None:
    session = opened(POLLING)
    session.begin_upgrade(START)
    session.probe("2probe", START)
    assert polled(session, "a") == b"6"
    session.poll("b", START)
    assert session.answer(START + NOOP_INTERVAL * 0.99) is None
    assert session.answer(START + NOOP_INTERVAL) == b"6"


def test_polls_wait_again_once_the_upgrade_is_lost() -> None:
    session = opened(POLLING)
    session.begin_upgrade(START)
    session.probe("2probe", START)
    session.lose_upgrade()
    assert polled(session, "a", START + 1) is None


def test_a_second_upgrade_has_the_whole_time_again() -> None:
    session = opened(POLLING)
    session.begin_upgrade(START)
    session.tick(START + 9.9)
    assert session.is_upgrading
    session.lose_upgrade()
    session.begin_upgrade(START + 9.9)
    session.tick(START + 19.8)
    assert session.is_upgrading
    session.tick(START + 19.9)
    assert not session.is_upgrading


def test_a_session_that_closes_may_still_move_over_to_say_its_last() -> None:
    session = opened(POLLING)
    session.begin_upgrade(START)
    session.probe("2probe", START)
    session.send(EncodedPacket.message("last"))
    session.close("why", START)
    session.probe("5", START)
    assert not session.has_said_all
    assert session.take_frames(START) == b"\x81\x054last"
    assert session.has_said_all
    assert not session.begin_upgrade(START)


def test_who_is_told_to_stay_away_in_the_middle_of_an_upgrade_can_finish_it() -> None:
    # The stock JavaScript client does, before it leaves.
    session = opened(POLLING)
    session.begin_upgrade(START)
    session.poll("a", START)
    session.close("why", START, for_good=True)
    assert session.answer(START) is None
    assert session.probe("2probe", START) == "3probe"
    assert session.answer(START) == b"6"
    session.probe("5", START)
    assert not session.has_said_all
    session.receive("1", START)
    assert session.take_events() == [Closed("client_close")]


def test_a_receipt_by_pong_after_the_upgrade_frees_what_the_last_poll_got() -> None:
    session = opened(POLLING)
    session.send(EncodedPacket.message("x", "mark"))
    assert polled(session, "a") == b"4x"
    session.begin_upgrade(START)
    session.probe("2probe", START)
    session.probe("5", START)
    assert session.waiting_bytes > 0
    session.tick(START + 1)
    assert session.take_frames(START + 1) == b"\x81\x012"
    session.receive("3", START + 1)
    assert session.waiting_bytes == 0
    assert session.take_events() == [Received("mark")]
    session.answer_lost()
    assert session.is_open


def test_a_ping_that_waited_for_a_poll_moves_over_and_its_pong_counts() -> None:
    session = opened(POLLING)
    session.tick(START + LIMITS.ping_interval)
    session.begin_upgrade(START + LIMITS.ping_interval)
    session.probe("2probe", START + LIMITS.ping_interval)
    session.probe("5", START + LIMITS.ping_interval)
    assert session.take_frames(START + LIMITS.ping_interval) == b"\x81\x012"
    session.receive("3", START + LIMITS.ping_interval)
    session.tick(START + LIMITS.ping_interval + LIMITS.ping_timeout)
    assert session.take_events() == []


# heartbeat and receipts


def test_receipts_come_once_a_second_while_marks_are_being_sent() -> None:
    session = opened(WEBSOCKET)
    pings, now = 0, START
    for mark in range(1, 101):
        now += 0.1
        session.tick(now)
        session.send(EncodedPacket.message("x", mark))
        frames = session.take_frames(now) or b""
        if b"\x81\x012" in frames:
            pings += 1
            session.receive("3", now)
    marks = [int(str(event.mark)) for event in session.take_events() if isinstance(event, Received)]
    assert pings == pytest.approx(10, abs=1)
    assert len(marks) == pings
    assert marks == sorted(set(marks))
    assert 100 - marks[-1] <= 10


def test_what_is_sent_while_a_ping_is_under_way_is_receipted_within_a_second_of_its_pong() -> None:
    session = opened(WEBSOCKET)
    session.send(EncodedPacket.message("x", 1))
    session.take_frames(START + 5)
    session.send(EncodedPacket.message("y", 2))
    session.take_frames(START + 5)
    session.receive("3", START + 15)
    # More than a second after the last ping: the next is due at once.
    assert session.tick_at <= START + 15
    session.tick(START + 15)
    assert session.take_frames(START + 15) == b"\x81\x012"
    session.receive("3", START + 15)
    assert session.take_events() == [Received(1), Received(2)]


def test_a_pong_that_brings_no_news_is_no_receipt() -> None:
    session = opened(WEBSOCKET)
    session.send(EncodedPacket.message("x", 1))
    session.take_frames(START + 5)
    session.receive("3", START + 5)
    session.tick(START + 5 + LIMITS.ping_interval)
    session.take_frames(START + 5 + LIMITS.ping_interval)
    session.receive("3", START + 5 + LIMITS.ping_interval)
    assert session.take_events() == [Received(1)]


def test_a_ping_covers_what_waits_before_it() -> None:
    session = opened(WEBSOCKET)
    session.in_flight = 10
    session.send(EncodedPacket.message("x", 1))
    session.tick(START + LIMITS.ping_interval)
    session.send(EncodedPacket.message("y", 2))
    assert session.take_frames(START + LIMITS.ping_interval) == b"\x81\x024x\x81\x012\x81\x024y"
    session.receive("3", START + LIMITS.ping_interval)
    assert session.take_events() == [Received(1)]


def test_a_pong_that_comes_before_its_ping_has_left_is_no_receipt() -> None:
    # Found by fuzzing: what waits with the ping has not been given to anybody.
    session = opened(WEBSOCKET)
    session.in_flight = 10
    session.send(EncodedPacket.message("x", "mark"))
    session.tick(START + LIMITS.ping_interval)
    session.receive("3", START + LIMITS.ping_interval)
    assert session.take_events() == []
    session.in_flight = 0
    assert session.take_frames(START + LIMITS.ping_interval) == b"\x81\x024x\x81\x012"
    session.receive("3", START + LIMITS.ping_interval)
    assert session.take_events() == [Received("mark")]


@pytest.mark.parametrize("late", [0.0, 5.0, 10.0, 15.0, 100.0])
def test_a_late_ping_leaves_its_client_between_a_half_and_the_whole_time(late: float) -> None:
    session = opened(WEBSOCKET)
    sent = START + LIMITS.ping_interval + late
    session.tick(sent)
    allowed = LIMITS.ping_timeout - min(late, LIMITS.ping_timeout / 2)
    assert session.tick_at == sent + allowed
    session.tick(sent + allowed - 0.01)
    assert session.is_open
    session.tick(sent + allowed)
    assert session.take_events() == [Closed("ping_timeout")]


def test_one_ping_is_under_way_at_a_time() -> None:
    session = opened(WEBSOCKET)
    for seconds in range(1, 45):
        session.tick(START + seconds)
    assert session.take_frames(START + 44) == b"\x81\x012"
    assert session.is_open


# chatter


def test_chatter_is_counted_anew_after_its_interval_and_not_before() -> None:
    session = opened(WEBSOCKET)
    for _ in range(MAX_CHATTER):
        session.chatter(START)
    for _ in range(MAX_CHATTER):
        session.chatter(START + CHATTER_INTERVAL + 0.01)
    with pytest.raises(Flooding):
        session.chatter(START + CHATTER_INTERVAL + 0.01)
    session = opened(WEBSOCKET)
    for _ in range(MAX_CHATTER):
        session.chatter(START)
    with pytest.raises(Flooding):
        session.chatter(START + CHATTER_INTERVAL)
    assert session.take_events() == [Closed("protocol_error")]


def test_pongs_that_were_asked_for_are_no_chatter() -> None:
    session = opened(WEBSOCKET)
    for _ in range(MAX_CHATTER - 1):
        session.chatter(START)
    now = START
    for mark in range(1, 4):
        now += 1.0
        session.send(EncodedPacket.message("x", mark))
        session.take_frames(now)
        session.receive("3", now)
    session.chatter(now)
    assert session.is_open


def test_chatter_in_a_payload_is_chatter() -> None:
    session = opened(POLLING)
    session.post(b"\x1e".join([b"6"] * MAX_CHATTER), START)
    with pytest.raises(Flooding):
        session.post(b"3", START)


# slow readers


def test_the_sizes_at_which_a_reader_is_slow_are_over_the_limits() -> None:
    session = opened(WEBSOCKET)
    session.send(of_size(LIMITS.queue_bytes))
    for seconds in range(20):
        session.tick(START + seconds)
    assert session.is_open
    session = opened(WEBSOCKET)
    session.send(of_size(LIMITS.cut_bytes))
    session.check_size()
    assert session.is_open
    session.send(EncodedPacket.message(""))
    session.check_size()
    assert session.take_events() == [Closed("slow_consumer")]


def test_a_tick_cuts_what_is_far_too_much() -> None:
    session = opened(POLLING)
    session.send(of_size(LIMITS.cut_bytes + 1))
    session.tick(START)
    assert session.take_events() == [Closed("slow_consumer")]


def test_the_defaults_are_one_mebibyte_for_five_seconds_and_eight_at_once() -> None:
    session = opened(WEBSOCKET, SessionLimits())
    session.in_flight = 1_048_577
    session.tick(START)
    session.tick(START + 5)
    assert session.is_open
    session.tick(START + 5.5)
    assert session.take_events() == [Closed("slow_consumer")]
    session = opened(WEBSOCKET, SessionLimits())
    session.in_flight = 8_388_609
    session.check_size()
    assert session.take_events() == [Closed("slow_consumer")]


@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_a_reader_that_takes_everything_is_never_slow(transport: TransportName) -> None:
    session = opened(transport)
    for step in range(60):
        now = START + 0.5 * step
        session.send(of_size(LIMITS.queue_bytes + 1))
        # A sweep that falls between what was sent and what is taken of it, as under load they do.
        if transport == POLLING:
            assert polled(session, str(step), now) is not None
            session.tick(now)
        else:
            session.tick(now)
            assert session.take_frames(now) is not None
            if step % 40 == 0:
                session.receive("3", now)
    assert session.take_events() == []


def test_a_reader_over_long_polling_that_comes_back_in_time_is_not_slow_from_before() -> None:
    session = opened(POLLING)
    session.send(of_size(LIMITS.queue_bytes + 1))
    session.tick(START)
    assert polled(session, "a", START + 4) is not None
    assert polled(session, "b", START + 4) is None
    session.send(of_size(LIMITS.queue_bytes + 1))
    session.tick(START + 5.5)
    assert session.take_events() == []


def test_what_was_lost_and_moved_over_is_accounted_for() -> None:
    session = opened(POLLING)
    first, second = of_size(100), of_size(50)
    session.send(first)
    polled(session, "a")
    session.send(second)
    assert (session.untaken_bytes, session.waiting_bytes) == (50, 150)
    session.answer_lost()
    session.begin_upgrade(START)
    session.probe("2probe", START)
    session.probe("5", START)
    assert (session.untaken_bytes, session.waiting_bytes) == (150, 150)
    frames: Any = session.take_frames(START)
    assert frames == first.frame + second.frame
    assert (session.untaken_bytes, session.waiting_bytes) == (0, 0)
