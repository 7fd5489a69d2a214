"""One Engine.IO session, step by step, with time passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from adapters.transport.socketio.engineio.arrival import ACKNOWLEDGED_WITHIN, PATIENCE
from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.chatter import MAX_CHATTER
from adapters.transport.socketio.engineio.departure import CLOSE_EXTENSIONS
from adapters.transport.socketio.engineio.errors import Flooding, ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.session import (
    MAX_ANSWER_PACKETS,
    POLLING,
    WEBSOCKET,
    Session,
    SessionLimits,
    TransportName,
)
from adapters.transport.socketio.engineio.session_events import Closed, Message, Received

LIMITS = SessionLimits(queue_bytes=1000, cut_bytes=8000)
START = 100.0


class Stepped:
    """A session, the time, and what a client would have got of it."""

    def __init__(self, transport: TransportName) -> None:
        self.session = Session("sid", transport=transport, limits=LIMITS, nothing=Batch(), now=START)
        self.now = START
        self.polls = 0

    def send(self, text: str, mark: object = None) -> None:
        self.session.send(EncodedPacket.message(text, mark))

    def poll(self, poll_id: str | None = None, *, is_proxied: bool = False, is_stamped: bool = False) -> str | None:
        """The answer to a new poll, or None while it waits."""
        if poll_id is None:
            self.polls += 1
            poll_id = f"poll-{self.polls}"
        self.session.poll(poll_id, self.now, is_proxied=is_proxied, is_stamped=is_stamped)
        return self.answer()

    def answer(self) -> str | None:
        body = self.session.answer(self.now)
        return body.decode() if body is not None else None

    def post(self, body: str) -> None:
        self.session.post_began()
        self.session.post(body.encode(), self.now)

    def client_sends(self, packet: str) -> None:
        if self.session.transport == POLLING:
            self.post(packet)
        else:
            self.session.receive(packet, self.now)

    def frames(self) -> bytes | None:
        return self.session.take_frames(self.now)

    def after(self, seconds: float) -> list[Any]:
        """What happens by then; a sweep that is on time."""
        self.now += seconds
        self.session.tick(self.now)
        return self.events()

    def events(self) -> list[Any]:
        return self.session.take_events()


@pytest.fixture
def polling() -> Stepped:
    return Stepped(POLLING)


@pytest.fixture
def websocket() -> Stepped:
    return Stepped(WEBSOCKET)


# long-polling


def test_a_poll_gets_all_that_waits_and_the_next_one_waits(polling: Stepped) -> None:
    polling.send("one")
    polling.send("two")
    assert polling.poll() == "4one\x1e4two"
    assert polling.poll() is None
    assert polling.session.is_polled
    polling.send("three")
    assert polling.answer() == "4three"
    assert not polling.session.is_polled


def test_another_poll_is_the_receipt_for_the_last_answer(polling: Stepped) -> None:
    polling.send("one", "mark 1")
    polling.send("two", "mark 2")
    polling.poll()
    assert polling.events() == []
    polling.poll()
    assert polling.events() == [Received("mark 2")]
    polling.send("without a mark")
    polling.answer()
    polling.poll()
    assert polling.events() == []


def test_the_same_poll_gets_the_same_answer_as_often_as_it_asks(polling: Stepped) -> None:
    polling.send("one", "mark")
    assert polling.poll("a") == "4one"
    polling.send("two")
    assert [polling.poll("a"), polling.poll("a")] == ["4one", "4one"]
    assert polling.events() == []
    assert polling.poll("b") == "4two"
    assert polling.events() == [Received("mark")]


@dataclass
class Evidence:
    """Of an answer that was acknowledged whole, on a connection that still stands."""

    was_followed: bool = False
    was_cut: bool = False
    was_reset: bool = False
    was_cut_short: bool = False
    is_confirmed: bool = True
    is_witnessed: bool = True
    is_acknowledged: bool = True


# (how the answer was delivered, the same request again, through a proxy)
ARRIVED = [
    (Evidence(was_followed=True), True, False),
    (Evidence(was_followed=True), False, False),
    (Evidence(was_followed=True), False, True),
    (Evidence(was_followed=True, was_cut=True, is_acknowledged=False), True, False),
    (Evidence(), False, False),
    (Evidence(), False, True),
    (Evidence(was_reset=True), False, False),
    (Evidence(was_reset=True, was_cut=True, is_acknowledged=False), False, False),
]
LOST = [
    (Evidence(was_cut=True, was_cut_short=True, is_acknowledged=False), False, False),
    (Evidence(was_cut=True, is_acknowledged=False), True, False),
    (Evidence(was_cut=True, is_acknowledged=False), True, True),
    (Evidence(was_reset=True), True, False),
]


@pytest.mark.parametrize(("evidence", "again", "is_proxied"), ARRIVED)
def test_an_answer_that_has_arrived_is_followed_by_the_next(
    polling: Stepped, evidence: Evidence, *, again: bool, is_proxied: bool
) -> None:
    polling.send("one", "mark")
    assert polling.poll("a", is_proxied=is_proxied) in ("4one", "4one\x1e2")
    polling.session.answer_given(evidence)
    polling.send("two")
    assert polling.poll("a" if again else "b") in ("4two", "4two\x1e2")
    assert polling.events() == [Received("mark")]


UNCONFIRMED = {"is_confirmed": False, "is_acknowledged": False}


@pytest.mark.parametrize(("evidence", "again", "is_proxied"), [*ARRIVED, *LOST])
@pytest.mark.parametrize("is_stamped", [True, False])
def test_what_another_node_says_late_counts_as_if_it_had_been_known(
    polling: Stepped, evidence: Evidence, *, again: bool, is_proxied: bool, is_stamped: bool
) -> None:
    known = Stepped(POLLING)
    late = Evidence(**UNCONFIRMED)
    for stepped, delivery in ((known, evidence), (polling, late)):
        stepped.send("one", "mark")
        stepped.poll("a", is_proxied=is_proxied, is_stamped=is_stamped)
        stepped.session.answer_given(delivery)
        stepped.send("two")
    request = "a" if again else "b"
    expected = known.poll(request, is_proxied=is_proxied, is_stamped=is_stamped)
    assert polling.poll(request, is_proxied=is_proxied, is_stamped=is_stamped) is None
    assert polling.events() == []
    vars(late).update(vars(evidence))
    polling.session.reconsider(polling.now)
    assert polling.answer() == expected
    assert polling.events() == known.events()


def test_a_session_ends_whose_answer_no_node_confirms(polling: Stepped) -> None:
    polling.send("one", "mark")
    assert polling.poll("a") == "4one"
    polling.session.answer_given(Evidence(**UNCONFIRMED))
    polling.send("two")
    assert polling.poll("b") is None
    assert polling.after(ACKNOWLEDGED_WITHIN + 0.1) == [Closed("answer_uncertain")]


def test_a_session_ends_whose_answer_is_in_doubt_when_the_node_by_which_it_went_is_gone(polling: Stepped) -> None:
    polling.send("one", "mark")
    polling.poll("a")
    evidence = Evidence(is_witnessed=False, **UNCONFIRMED)
    polling.session.answer_given(evidence)
    polling.session.answer_doubted(evidence)
    assert polling.events() == [Closed("answer_uncertain")]


def test_the_doubt_about_an_answer_that_was_followed_ends_nothing(polling: Stepped) -> None:
    polling.send("one", "mark")
    polling.poll("a")
    evidence = Evidence(is_witnessed=False, was_followed=True, **UNCONFIRMED)
    polling.session.answer_given(evidence)
    polling.session.answer_doubted(evidence)
    assert polling.session.is_open


@pytest.mark.parametrize(
    ("request_target", "is_stamped", "ends"), [("b", False, False), ("a", True, False), ("a", False, True)]
)
def test_of_an_answer_that_was_written_by_a_node_that_is_gone_the_next_poll_says_more(
    polling: Stepped, request_target: str, *, is_stamped: bool, ends: bool
) -> None:
    polling.send("one", "mark")
    assert polling.poll("a", is_stamped=is_stamped) == "4one"
    polling.session.answer_given(Evidence(is_witnessed=False, is_acknowledged=False))
    polling.send("two")
    answer = polling.poll(request_target, is_stamped=is_stamped)
    if ends:
        assert answer is None
        assert polling.after(ACKNOWLEDGED_WITHIN + 0.1) == [Closed("answer_uncertain")]
    else:
        assert answer == ("4one" if request_target == "a" else "4two")


def test_an_answer_whose_connection_was_cut_is_not_given_again_to_who_polls_on(polling: Stepped) -> None:
    """The connection was reset behind the answer, before the client's system had acknowledged it."""
    polling.send("one", "mark")
    assert polling.poll("a") == "4one"
    cut = Evidence(was_reset=True, was_cut=True, is_acknowledged=False)
    polling.session.answer_given(cut)
    polling.session.answer_lost(cut)
    polling.send("two")
    assert polling.poll("b") == "4two"
    assert polling.events() == [Received("mark")]


def test_of_two_deliveries_the_one_that_may_have_arrived_counts(polling: Stepped) -> None:
    """The same poll was sent twice; all of the first answer was sent, and none of the second."""
    polling.send("one", "mark")
    assert [polling.poll("a"), polling.poll("a")] == ["4one", "4one"]
    polling.session.answer_given(Evidence(was_cut=True, is_acknowledged=False))
    polling.session.answer_given(Evidence(was_cut=True, was_cut_short=True, is_acknowledged=False))
    polling.send("two")
    assert polling.poll("b") == "4two"
    assert polling.events() == [Received("mark")]


def test_a_session_ends_that_upgrades_behind_an_answer_whose_connection_was_cut(polling: Stepped) -> None:
    polling.send("one", "mark")
    polling.poll("a")
    cut = Evidence(was_reset=True, was_cut=True, is_acknowledged=False)
    polling.session.answer_given(cut)
    polling.session.answer_lost(cut)
    polling.session.begin_upgrade(polling.now)
    polling.session.probe("2probe", polling.now)
    polling.session.probe("5", polling.now)
    assert polling.events() == [Closed("answer_uncertain")]


@pytest.mark.parametrize(("evidence", "again", "is_proxied"), LOST)
def test_an_answer_that_was_lost_is_given_again(
    polling: Stepped, evidence: Evidence, *, again: bool, is_proxied: bool
) -> None:
    polling.send("one", "mark")
    first = polling.poll("a", is_proxied=is_proxied)
    polling.session.answer_given(evidence)
    polling.send("two")
    assert polling.poll("a" if again else "b") == first
    assert polling.events() == []


def test_whose_requests_are_the_same_is_asked_for_pongs_from_then_on(polling: Stepped) -> None:
    polling.send("one")
    assert polling.poll("a") == "4one"
    polling.session.answer_given(Evidence())
    polling.send("two")
    assert polling.poll("a") == "4two\x1e2"


@pytest.mark.parametrize("is_proxied", [False, True])
@pytest.mark.parametrize("was_followed", [False, True])
def test_a_client_that_stamps_its_requests_sends_one_again_only_where_its_answer_was_lost(
    polling: Stepped, *, is_proxied: bool, was_followed: bool
) -> None:
    polling.send("one", "mark")
    assert polling.poll("a", is_proxied=is_proxied, is_stamped=True) == "4one"
    polling.session.answer_given(Evidence(was_followed=was_followed))
    polling.send("two")
    is_in_order = was_followed and not is_proxied
    assert polling.poll("a", is_proxied=is_proxied, is_stamped=True) == ("4two\x1e2" if is_in_order else "4one")


def test_an_answer_is_given_again_once_and_not_for_ever(polling: Stepped) -> None:
    """To a client that is taken for one that stamps its polls, and sends the same one again and again."""
    polling.send("one")
    for answer in ("4one", "4one", None):
        assert polling.poll("a", is_stamped=True) == answer
        polling.session.answer_given(Evidence())


@pytest.mark.parametrize("arrives", ["acknowledgement", "nothing"])
def test_an_answer_that_is_not_acknowledged_yet_has_its_time(polling: Stepped, arrives: str) -> None:
    polling.send("one", "mark")
    first = polling.poll("a")
    evidence = Evidence(is_acknowledged=False)
    polling.session.answer_given(evidence)
    polling.send("two")
    assert polling.poll("a") is None
    if arrives == "acknowledgement":
        evidence.is_acknowledged = True
    polling.now += ACKNOWLEDGED_WITHIN
    polling.session.tick(polling.now)
    assert polling.answer() == (first if arrives == "nothing" else "4two\x1e2")


@pytest.mark.parametrize("was_followed", [False, True])
def test_through_a_proxy_the_same_request_waits_for_the_pong(polling: Stepped, *, was_followed: bool) -> None:
    polling.send("one", "mark")
    assert polling.poll("a", is_proxied=True) == "4one\x1e2"
    polling.session.answer_given(Evidence(was_followed=was_followed))
    polling.send("two")
    assert polling.poll("a", is_proxied=True) is None
    polling.post("3")
    assert polling.events() == [Received("mark")]
    assert polling.answer() == "4two\x1e2"


@pytest.mark.parametrize("is_proxied", [False, True])
def test_without_a_pong_the_session_ends_for_its_cursor_to_decide(polling: Stepped, *, is_proxied: bool) -> None:
    # It repeats its requests, and answers pings.
    for text in ("zero", "half"):
        polling.send(text)
        polling.poll("a", is_proxied=is_proxied)
        polling.session.answer_given(Evidence(was_followed=not is_proxied))
        if is_proxied or text == "half":
            polling.post("3")
    polling.send("one", "mark")
    polling.poll("a", is_proxied=is_proxied)
    polling.session.answer_given(Evidence())
    polling.events()
    assert polling.poll("a", is_proxied=is_proxied) is None
    polling.now += PATIENCE
    polling.session.tick(polling.now)
    assert polling.events() == [Closed("answer_uncertain")]
    assert polling.answer() is not None


def doubtful(polling: Stepped) -> None:
    """It asks through a proxy for what it was given already, and has not answered the ping in that."""
    polling.send("zero")
    polling.poll("a", is_proxied=True)
    polling.session.answer_given(Evidence())
    polling.post("3")
    polling.send("one", "mark")
    polling.poll("a", is_proxied=True)
    polling.session.answer_given(Evidence())
    polling.events()


def test_a_client_in_doubt_is_not_moved_to_a_websocket(polling: Stepped) -> None:
    doubtful(polling)
    assert polling.session.begin_upgrade(polling.now)
    assert polling.session.probe("2probe", polling.now) == "3probe"
    assert polling.poll("a", is_proxied=True) is None
    polling.now += 0.2
    assert polling.answer() is None
    polling.session.probe("5", polling.now)
    assert polling.events() == [Closed("answer_uncertain")]


def test_a_client_whose_doubt_is_resolved_is_moved_with_the_rest(polling: Stepped) -> None:
    doubtful(polling)
    polling.session.begin_upgrade(polling.now)
    polling.session.probe("2probe", polling.now)
    assert polling.poll("a", is_proxied=True) is None
    polling.post("3")
    assert polling.answer() == "6"
    polling.session.probe("5", polling.now)
    polling.send("two")
    assert polling.frames() == b"\x81\x044two"


def test_a_pong_proves_the_answer_that_its_ping_was_in_and_no_later_one(polling: Stepped) -> None:
    polling.send("one", "first")
    polling.poll("a", is_proxied=True)
    polling.session.answer_given(Evidence())
    polling.send("two", "second")
    assert polling.poll("b", is_proxied=True) == "4two\x1e2"
    polling.session.answer_given(Evidence())
    assert polling.events() == [Received("first")]
    polling.send("three")
    assert polling.poll("b", is_proxied=True) is None
    polling.post("3")
    assert polling.answer() is None
    polling.post("3")
    assert polling.events() == [Received("second")]
    assert polling.answer() == "4three\x1e2"


def test_an_aborted_poll_leaves_what_comes_to_the_next(polling: Stepped) -> None:
    polling.poll()
    polling.session.poll_aborted()
    polling.send("one")
    assert polling.answer() is None
    assert polling.poll() == "4one"


def test_an_answer_that_was_lost_is_given_to_whatever_poll_comes(polling: Stepped) -> None:
    polling.send("one", "mark")
    polling.poll("a")
    polling.session.answer_lost()
    polling.send("two")
    assert polling.poll("b") == "4one"
    assert polling.events() == []
    assert polling.poll("b") == "4one"
    assert polling.poll("c") == "4two"
    assert polling.events() == [Received("mark")]


def test_polls_that_overlap_end_the_session_and_the_first_is_told(polling: Stepped) -> None:
    polling.poll("a")
    with pytest.raises(ProtocolError):
        polling.session.poll("b", polling.now)
    assert polling.answer() == "1"
    assert polling.events() == [Closed("protocol_error")]
    with pytest.raises(ProtocolError):
        polling.session.poll("c", polling.now)


def test_the_same_poll_again_while_it_waits_is_no_overlap(polling: Stepped) -> None:
    polling.poll("a")
    assert polling.poll("a") is None
    polling.send("x")
    assert polling.answer() == "4x"


def test_posts_that_overlap_end_the_session(polling: Stepped) -> None:
    polling.session.post_began()
    with pytest.raises(ProtocolError):
        polling.session.post_began()
    assert polling.events() == [Closed("protocol_error")]
    with pytest.raises(ProtocolError):
        polling.session.post(b"4x", START)


def test_a_post_that_was_aborted_makes_room_for_another(polling: Stepped) -> None:
    polling.session.post_began()
    polling.session.post_aborted()
    polling.post("4x")
    assert polling.events() == [Message("x")]


def test_a_payload_counts_whole_or_not_at_all(polling: Stepped) -> None:
    polling.post("4a\x1e3\x1e4b\x1ebAQ==")
    assert polling.events() == [Message("a"), Message("b"), Message(b"\x01")]
    with pytest.raises(ProtocolError):
        polling.post("4c\x1eX")
    assert polling.events() == [Closed("protocol_error")]


def test_nothing_counts_after_the_client_closed(polling: Stepped) -> None:
    polling.poll()
    polling.post("4a\x1e1\x1e4b")
    assert polling.events() == [Message("a"), Closed("client_close")]
    assert polling.answer() == "6"


# the end


def test_close_is_alone_in_its_answer_and_last(polling: Stepped) -> None:
    polling.send("last")
    polling.session.close("why", polling.now, for_good=True)
    polling.send("too late")
    assert polling.poll() == "4last"
    assert polling.events() == []
    assert polling.poll() is None
    assert polling.after(LIMITS.close_timeout) == [Closed("why")]
    assert polling.answer() == "1"


@pytest.mark.parametrize("polls_first", [False, True])
def test_who_is_told_to_stay_away_has_time_to_leave_while_it_polls(polling: Stepped, *, polls_first: bool) -> None:
    if polls_first:
        polling.poll()
    polling.session.close("why", polling.now, for_good=True)
    assert (polling.answer() if polls_first else polling.poll()) is None
    assert polling.after(LIMITS.close_timeout * 0.9) == []
    assert polling.answer() is None
    assert polling.after(LIMITS.close_timeout * 0.2) == [Closed("why")]
    assert polling.answer() == "1"


def test_who_leaves_when_told_to_stay_away_has_its_poll_ended_by_that(polling: Stepped) -> None:
    polling.send("last", "mark")
    polling.session.close("why", polling.now, for_good=True)
    assert polling.poll() == "4last"
    assert polling.poll() is None
    assert polling.events() == [Received("mark")]
    polling.post("1")
    assert polling.answer() == "1"
    assert polling.events() == [Closed("client_close")]


def test_who_is_told_to_stay_away_has_time_to_leave_its_websocket(websocket: Stepped) -> None:
    websocket.send("last")
    websocket.session.close("why", websocket.now, for_good=True)
    assert websocket.frames() == b"\x81\x054last"
    assert not websocket.session.has_said_all
    assert websocket.after(LIMITS.close_timeout * 0.9) == []
    assert not websocket.session.has_said_all
    assert websocket.after(LIMITS.close_timeout * 0.2) == [Closed("why")]


def test_who_never_was_let_in_has_no_time_to_leave(polling: Stepped, websocket: Stepped) -> None:
    for one in (polling, websocket):
        one.send("refused")
        one.session.close("why", one.now, for_good=True, at_once=True)
    assert polling.poll() == "4refused"
    assert polling.poll() == "1"
    assert polling.events() == [Closed("why")]
    assert websocket.frames() == b"\x81\x084refused"
    assert websocket.session.has_said_all


def test_who_is_to_come_back_is_refused_once_all_is_said(polling: Stepped) -> None:
    polling.send("last", "mark")
    polling.session.close("why", polling.now)
    polling.send("too late")
    assert polling.poll() == "4last"
    assert polling.events() == []
    with pytest.raises(ProtocolError):
        polling.poll()
    assert polling.events() == [Received("mark"), Closed("why")]
    assert polling.answer() is None


@pytest.mark.parametrize("polls_on", [False, True])
def test_who_takes_what_waits_may_go_on_while_it_closes(polling: Stepped, *, polls_on: bool) -> None:
    number = 10 * MAX_ANSWER_PACKETS
    for index in range(number):
        polling.send(str(index))
    polling.session.close("why", polling.now)
    polling.now += LIMITS.close_timeout * 0.9
    packets = polling.poll()
    polling.now += LIMITS.close_timeout * (0.9 if polls_on else 1.1)
    polling.session.tick(polling.now)
    assert polling.events() == ([] if polls_on else [Closed("why")])
    while polls_on and packets is not None and len(packets.split("\x1e")) < number:
        packets += "\x1e" + (polling.poll() or "")


def test_it_closes_in_the_end_however_slowly_it_is_polled(polling: Stepped) -> None:
    for index in range(100 * MAX_ANSWER_PACKETS):
        polling.send(str(index))
    polling.session.close("why", polling.now)
    polls = 0
    while not polling.session.is_closed:
        polling.now += LIMITS.close_timeout * 0.9
        polling.session.tick(polling.now)
        if not polling.session.is_closed:
            polling.poll()
            polls += 1
    assert polls <= CLOSE_EXTENSIONS * 1.2


def test_the_poll_of_who_is_to_come_back_ends_with_nothing_and_the_next_is_refused(polling: Stepped) -> None:
    polling.poll()
    polling.session.close("why", polling.now)
    assert polling.answer() == "6"
    assert polling.events() == []
    with pytest.raises(ProtocolError):
        polling.poll()
    assert polling.events() == [Closed("why")]


def test_a_close_that_nobody_fetches_is_over_within_a_second(polling: Stepped) -> None:
    polling.send("last")
    polling.session.close("why", polling.now)
    assert polling.session.tick_at <= polling.now + 1.0
    assert polling.after(0.5) == []
    assert polling.after(0.5) == [Closed("why")]


def test_a_websocket_that_took_everything_can_be_closed(websocket: Stepped) -> None:
    websocket.send("last")
    websocket.session.close("why", websocket.now)
    assert not websocket.session.has_said_all
    assert websocket.frames() == b"\x81\x054last"
    websocket.session.in_flight = 1
    assert not websocket.session.has_said_all
    websocket.session.in_flight = 0
    assert websocket.session.has_said_all
    websocket.session.websocket_lost()
    assert websocket.events() == [Closed("why")]


def test_the_end_is_told_once_and_nothing_works_any_more(websocket: Stepped) -> None:
    session = websocket.session
    session.abort("first")
    session.abort("second")
    session.close("third", START)
    session.websocket_lost()
    websocket.send("x")
    websocket.session.receive("3", START)
    websocket.session.receive("4x", START)
    assert websocket.after(1000) == [Closed("first")]
    assert websocket.frames() is None
    assert session.untaken_bytes == 0
    assert not session.begin_upgrade(START)


@pytest.mark.parametrize("packet", ["", "x", "0", "2", "2probe", "3x", "5", "1x", "6x"])
@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_what_no_client_sends_ends_the_session(transport: TransportName, packet: str) -> None:
    stepped = Stepped(transport)
    with pytest.raises(ProtocolError):
        stepped.client_sends(packet)
    assert stepped.events() == [Closed("protocol_error")]


# upgrade


def upgrade(stepped: Stepped) -> None:
    session = stepped.session
    assert session.begin_upgrade(stepped.now)
    assert session.probe("2probe", stepped.now) == "3probe"
    assert session.probe("5", stepped.now) is None
    assert session.transport == WEBSOCKET


def test_what_waits_moves_over_with_the_upgrade(polling: Stepped) -> None:
    polling.send("one")
    upgrade(polling)
    assert polling.frames() == b"\x81\x044one"
    polling.session.receive("4hello", polling.now)
    assert polling.events() == [Message("hello")]


def test_the_probe_ends_the_waiting_poll_and_those_after_it_at_a_pace(polling: Stepped) -> None:
    session = polling.session
    polling.poll()
    session.begin_upgrade(polling.now)
    assert polling.answer() is None
    session.probe("2probe", polling.now)
    assert polling.answer() == "6"
    assert polling.poll() is None
    polling.now += 0.2
    assert polling.answer() == "6"
    polling.send("still polled")
    assert polling.poll() == "4still polled"


def test_a_poll_that_waits_when_the_upgrade_completes_gets_no_packet(polling: Stepped) -> None:
    polling.session.begin_upgrade(polling.now)
    polling.session.probe("2probe", polling.now)
    polling.poll()
    polling.poll()
    polling.session.probe("5", polling.now)
    polling.send("over WebSocket")
    assert polling.answer() == "6"
    assert polling.frames() is not None


@pytest.mark.parametrize("steps", [["5"], ["4x"], ["2"], ["x"], ["2probe", "2probe"], ["2probe", "4x"], [b"2probe"]])
def test_a_wrong_step_ends_the_upgrade_and_not_the_session(polling: Stepped, steps: list[str | bytes]) -> None:
    session = polling.session
    session.begin_upgrade(polling.now)
    *good, wrong = steps
    for step in good:
        session.probe(step, polling.now)
    with pytest.raises(ProtocolError):
        session.probe(wrong, polling.now)
    assert (session.is_upgrading, session.is_open, session.transport) == (False, True, POLLING)
    upgrade(polling)


def test_an_upgrade_that_takes_too_long_is_given_up(polling: Stepped) -> None:
    polling.session.begin_upgrade(polling.now)
    assert polling.session.tick_at <= polling.now + LIMITS.upgrade_timeout
    assert not polling.session.begin_upgrade(polling.now)
    polling.after(LIMITS.upgrade_timeout)
    assert not polling.session.is_upgrading
    upgrade(polling)


def test_a_lost_answer_moves_over_before_what_came_later(polling: Stepped) -> None:
    polling.send("one")
    polling.poll()
    polling.session.answer_lost()
    polling.send("two")
    upgrade(polling)
    assert polling.frames() == b"\x81\x044one\x81\x044two"


def test_an_answer_found_lost_after_the_upgrade_ends_the_session(polling: Stepped) -> None:
    polling.send("one")
    polling.poll()
    upgrade(polling)
    polling.session.answer_lost()
    assert polling.events() == [Closed("transport_close")]


def test_what_the_last_poll_got_is_receipted_after_the_upgrade(polling: Stepped) -> None:
    polling.send("one", "mark")
    polling.poll()
    upgrade(polling)
    assert polling.after(1.0) == []
    assert polling.frames() == b"\x81\x012"
    polling.session.receive("3", polling.now)
    assert polling.events() == [Received("mark")]


def test_polls_after_the_upgrade_are_refused_and_change_nothing(polling: Stepped) -> None:
    upgrade(polling)
    with pytest.raises(ProtocolError):
        polling.session.poll("x", polling.now)
    with pytest.raises(ProtocolError):
        polling.session.post_began()
    assert not polling.session.begin_upgrade(polling.now)
    assert polling.session.is_open


# heartbeat and receipts


@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_a_ping_comes_after_its_interval_and_a_missing_pong_ends_the_session(transport: TransportName) -> None:
    stepped = Stepped(transport)
    assert stepped.session.tick_at == START + LIMITS.ping_interval
    stepped.after(LIMITS.ping_interval - 0.01)
    assert stepped.session.untaken_bytes == 0
    stepped.after(0.01)
    assert (stepped.poll() if transport == POLLING else stepped.frames()) in ("2", b"\x81\x012")
    assert stepped.session.tick_at == stepped.now + LIMITS.ping_timeout
    assert stepped.after(LIMITS.ping_timeout - 0.01) == []
    assert stepped.after(0.01) == [Closed("ping_timeout")]


def test_a_pong_starts_the_interval_anew(websocket: Stepped) -> None:
    websocket.after(LIMITS.ping_interval)
    websocket.frames()
    websocket.now += 10
    websocket.session.receive("3", websocket.now)
    assert websocket.session.tick_at <= websocket.now + LIMITS.ping_interval
    assert websocket.after(LIMITS.ping_interval - 0.01) == []
    assert websocket.frames() is None
    websocket.after(0.01)
    assert websocket.frames() == b"\x81\x012"


def test_a_sweep_that_comes_late_leaves_at_least_half_the_time(websocket: Stepped) -> None:
    websocket.after(LIMITS.ping_interval + 100)
    assert websocket.events() == []
    assert websocket.session.tick_at == websocket.now + LIMITS.ping_timeout / 2


def test_after_a_delivery_the_ping_comes_with_it_or_within_a_second(websocket: Stepped) -> None:
    websocket.now += 5
    websocket.send("one", "mark 1")
    assert websocket.frames() == b"\x81\x044one\x81\x012"
    assert not websocket.session.heartbeat.is_overdue(websocket.now + LIMITS.ping_timeout - 0.01)
    websocket.session.receive("3", websocket.now)
    assert websocket.events() == [Received("mark 1")]
    websocket.now += 0.25
    websocket.send("two", "mark 2")
    assert websocket.frames() == b"\x81\x044two"
    assert websocket.session.tick_at <= websocket.now + 0.75
    websocket.after(0.75)
    assert websocket.frames() == b"\x81\x012"
    websocket.session.receive("3", websocket.now)
    assert websocket.events() == [Received("mark 2")]


def test_a_pong_is_no_receipt_for_what_was_sent_after_its_ping(websocket: Stepped) -> None:
    websocket.now += 5
    websocket.send("one", "mark 1")
    websocket.frames()
    websocket.send("two", "mark 2")
    websocket.frames()
    websocket.session.receive("3", websocket.now)
    assert websocket.events() == [Received("mark 1")]
    assert websocket.session.tick_at <= websocket.now + 1.0
    websocket.after(1.0)
    assert websocket.frames() == b"\x81\x012"
    websocket.session.receive("3", websocket.now)
    assert websocket.events() == [Received("mark 2")]


def test_what_has_no_mark_asks_for_no_receipt(websocket: Stepped) -> None:
    websocket.now += 5
    websocket.send("one")
    assert websocket.frames() == b"\x81\x044one"
    assert websocket.session.tick_at == START + LIMITS.ping_interval


def test_pongs_that_nobody_asked_for_are_borne_up_to_a_number(websocket: Stepped) -> None:
    for _ in range(MAX_CHATTER):
        websocket.session.receive("3", websocket.now)
    websocket.now += 60
    for _ in range(MAX_CHATTER):
        websocket.session.receive("6", websocket.now)
    with pytest.raises(Flooding):
        websocket.session.receive("3", websocket.now)
    assert websocket.events() == [Closed("protocol_error")]


def test_a_pong_over_long_polling_is_no_receipt_older_than_the_last(polling: Stepped) -> None:
    polling.send("one", "mark 1")
    polling.poll(is_proxied=True)
    polling.send("two", "mark 2")
    assert polling.poll(is_proxied=True) == "4two\x1e2"
    polling.poll()
    polling.post("3")
    polling.post("3")
    assert polling.events() == [Received("mark 1"), Received("mark 2")]


# slow readers


@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_too_much_that_waits_for_too_long_ends_the_session(transport: TransportName) -> None:
    stepped = Stepped(transport)
    stepped.send("x" * (LIMITS.queue_bytes + 1))
    assert stepped.after(0.5) == []
    assert stepped.after(LIMITS.slow_seconds) == []
    assert stepped.after(0.1) == [Closed("slow_consumer")]


def test_what_a_poll_got_waits_until_the_next_one(polling: Stepped) -> None:
    polling.send("x" * (LIMITS.queue_bytes + 1))
    polling.poll()
    assert polling.session.untaken_bytes == 0
    assert polling.session.waiting_bytes > LIMITS.queue_bytes
    polling.poll()
    assert polling.session.waiting_bytes == 0


def test_far_too_much_ends_the_session_at_once(websocket: Stepped) -> None:
    websocket.send("x" * LIMITS.cut_bytes)
    websocket.session.check_size()
    assert websocket.events() == [Closed("slow_consumer")]


def test_a_reader_that_caught_up_is_not_slow_from_before(websocket: Stepped) -> None:
    for _ in range(3):
        websocket.send("x" * (LIMITS.queue_bytes + 1))
        assert websocket.after(0.1) == []
        assert websocket.after(LIMITS.slow_seconds - 0.1) == []
        websocket.frames()
        websocket.session.receive("3", websocket.now)
    assert websocket.events() == []


def test_what_the_socket_has_not_taken_counts(websocket: Stepped) -> None:
    websocket.send("x" * 100)
    frames = websocket.frames()
    assert frames is not None
    websocket.session.in_flight = len(frames)
    websocket.send("y")
    assert websocket.session.untaken_bytes == len(frames) + 4
