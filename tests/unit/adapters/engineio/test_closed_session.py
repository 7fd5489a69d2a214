"""A session that has ended: nothing happens in it any more, whatever still comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Session, SessionLimits, TransportName
from adapters.transport.socketio.engineio.session_events import Closed

LIMITS = SessionLimits(queue_bytes=1000, cut_bytes=8000)
NOW = 100.0


def end_unfetched(session: Session) -> None:
    session.close("end", NOW)
    session.tick(NOW + 1)


def end_without_pong(session: Session) -> None:
    session.tick(NOW + 30)
    session.tick(NOW + 60)


def end_with_too_much(session: Session) -> None:
    session.send(EncodedPacket.message("x" * 9000))
    session.check_size()


ENDS: dict[str, Callable[[Session], object]] = {
    "aborted": lambda session: session.abort("end"),
    "its websocket was lost": lambda session: session.websocket_lost(),
    "nobody fetched the last word": end_unfetched,
    "no pong came": end_without_pong,
    "too much waited": end_with_too_much,
}

STEPS: dict[str, Callable[[Session], object]] = {
    "send": lambda session: session.send(EncodedPacket.message("late", "late")),
    "poll": lambda session: session.poll("late", NOW),
    "poll aborted": lambda session: session.poll_aborted(),
    "answer lost": lambda session: session.answer_lost(),
    "post began": lambda session: session.post_began(),
    "post": lambda session: session.post(b"4late", NOW),
    "post aborted": lambda session: session.post_aborted(),
    "begin upgrade": lambda session: session.begin_upgrade(NOW),
    "lose upgrade": lambda session: session.lose_upgrade(),
    "message": lambda session: session.receive("4late", NOW),
    "pong": lambda session: session.receive("3", NOW),
    "close packet": lambda session: session.receive("1", NOW),
    "tick": lambda session: session.tick(NOW + 1000),
    "check size": lambda session: session.check_size(),
    "close": lambda session: session.close("late", NOW),
    "abort": lambda session: session.abort("late"),
    "websocket lost": lambda session: session.websocket_lost(),
    "take frames": lambda session: session.take_frames(NOW),
}


def opened(transport: TransportName) -> Session:
    return Session("sid", transport=transport, limits=LIMITS, nothing=Batch(), now=NOW)


def ended(session: Session) -> Session:
    session.abort("end")
    session.take_events()
    return session


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_nothing_happens_after_the_end(transport: TransportName, end: str, step: str) -> None:
    session = opened(transport)
    session.send(EncodedPacket.message("waits", "mark"))
    ENDS[end](session)
    events = session.take_events()
    assert [type(event) for event in events] == [Closed]
    try:
        STEPS[step](session)
    except ProtocolError:
        pass
    assert session.take_events() == []
    assert session.take_frames(NOW) is None
    assert (session.is_closed, session.is_open, session.is_polled, session.has_said_all) == (True, False, False, False)
    assert (session.untaken_bytes, session.waiting_bytes) == (0, 0)


def test_what_a_poll_got_is_not_kept_after_the_end() -> None:
    session = opened(POLLING)
    session.send(EncodedPacket.message("x"))
    session.poll("a", NOW)
    assert session.answer(NOW) == b"4x"
    assert session.waiting_bytes > 0
    assert ended(session).waiting_bytes == 0


def break_the_protocol(session: Session) -> None:
    with pytest.raises(ProtocolError):
        session.post(b"9", NOW)


def close_for_good(session: Session) -> None:
    session.close("end", NOW, for_good=True)
    session.tick(NOW + LIMITS.close_timeout)


@pytest.mark.parametrize(
    ("end", "farewell"),
    [
        (lambda session: session.abort("end"), b"6"),
        (lambda session: session.post(b"1", NOW), b"6"),
        (close_for_good, b"1"),
        (break_the_protocol, b"1"),
    ],
    ids=["aborted", "closed by the client", "closed for good", "protocol error"],
)
def test_the_poll_that_waits_is_told_of_the_end_once(end: Callable[[Session], object], farewell: bytes) -> None:
    session = opened(POLLING)
    session.poll("a", NOW)
    end(session)
    assert session.answer(NOW) == farewell
    assert session.answer(NOW) is None


def test_a_pong_after_the_end_is_no_receipt() -> None:
    session = opened(WEBSOCKET)
    session.send(EncodedPacket.message("x", "mark"))
    assert session.take_frames(NOW + 1) == b"\x81\x024x\x81\x012"
    ended(session).receive("3", NOW + 1)
    assert session.take_events() == []


@pytest.mark.parametrize("steps", [[], ["2probe"]], ids=["opened", "probed"])
def test_an_upgrade_ends_with_its_session(steps: list[str]) -> None:
    # The server closes a WebSocket that was to take over when its session is not upgrading any more.
    session = opened(POLLING)
    session.begin_upgrade(NOW)
    for step in steps:
        session.probe(step, NOW)
    assert not ended(session).is_upgrading


@pytest.mark.parametrize("steps", [["2probe"], ["2probe", "5"]])
def test_a_session_that_ended_takes_no_step_of_an_upgrade(steps: list[str]) -> None:
    session = opened(POLLING)
    session.begin_upgrade(NOW)
    *good, last = steps
    for step in good:
        session.probe(step, NOW)
    with pytest.raises(ProtocolError):
        ended(session).probe(last, NOW)
    assert session.transport == POLLING


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_first_reason_is_the_reason(how: str) -> None:
    session = opened(WEBSOCKET)
    session.close("first", NOW)
    session.close("second", NOW + 0.5)
    assert session.tick_at < NOW + 1
    if how == "close":
        session.tick(NOW + 1)
        assert session.take_events() == [Closed("first")]
    else:
        session.abort("third")
        assert session.take_events() == [Closed("third")]


def test_a_session_that_closes_answers_a_ping_no_more_than_it_sends() -> None:
    session = opened(WEBSOCKET)
    session.close("end", NOW)
    session.send(EncodedPacket.message("late"))
    session.tick(NOW + 0.1)
    events: list[Any] = session.take_events()
    assert (session.take_frames(NOW), events) == (None, [])
