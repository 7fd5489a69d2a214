"""Whatever comes, whole or in pieces: read the same, in bounded memory, and refused with ProtocolError at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, decode_packet, decode_payload
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Session, SessionLimits, TransportName
from adapters.transport.socketio.engineio.session_events import Closed
from adapters.transport.socketio.engineio.websocket import FrameReader, Received, accept_key, frame_header
from tests.campaigning import examples

MAX_BYTES = 300
LONGEST_HEADER = 14

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=50)
NEAR_PACKETS = st.builds(
    "{}{}".format, st.sampled_from(["", "b", *map(str, range(8))]), st.sampled_from(["", "probe", "x", "AQ==", "é"])
)
PACKETS = st.one_of(NEAR_PACKETS, ANY_TEXT, st.binary(max_size=50))
PAYLOADS = st.one_of(
    st.binary(max_size=100),
    st.lists(NEAR_PACKETS, max_size=6).map(lambda parts: "\x1e".join(parts).encode()),
    st.lists(st.sampled_from([b"4", b"b", b"\x1e", b"AQ==", b"\xff", "€".encode()[:2]]), max_size=12).map(b"".join),
)


def frame(first: int, payload: bytes, mask: bytes) -> bytes:
    header = bytearray(frame_header(0, len(payload)))
    header[0], header[1] = first, header[1] | 0x80
    return bytes(header) + mask + bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))


# Good headers far more often than chance would have them, or nothing behind the first would ever be reached.
FIRST_BYTES = st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]), st.integers(0, 255))
CLOSING = st.builds(
    lambda code, reason: frame(0x88, code.to_bytes(2, "big") + reason, bytes(4)),
    st.integers(0, 0xFFFF),
    st.binary(max_size=10),
)
FRAMES = st.builds(frame, FIRST_BYTES, st.binary(max_size=MAX_BYTES + 5), st.binary(min_size=4, max_size=4))
STREAMS = st.lists(st.one_of(FRAMES, CLOSING, st.binary(max_size=20)), max_size=6).map(b"".join)


def read(octets: bytes, cuts: Sequence[int]) -> tuple[list[Received], str]:
    """What is received of bytes cut at these places, and how it ends."""
    reader = FrameReader(MAX_BYTES)
    received: list[Received] = []
    ends = sorted({min(cut, len(octets)) for cut in cuts} | {len(octets)})
    start = 0
    for end in ends:
        try:
            # What comes before an error has been received.
            received.extend(reader.feed(octets[start:end]))
        except ProtocolError as error:
            return received, type(error).__name__
        start = end
    return received, ""


@given(PACKETS)
def test_a_packet_is_read_or_refused(encoded: str | bytes) -> None:
    try:
        packet = decode_packet(encoded)
    except ProtocolError:
        assert isinstance(encoded, str)
        assert encoded[:1] not in tuple("0123456")
    else:
        assert packet == (("4", encoded) if isinstance(encoded, bytes) else (encoded[0], encoded[1:]))


@given(PAYLOADS)
def test_a_payload_is_read_or_refused_and_no_longer_than_it_came(body: bytes) -> None:
    try:
        packets = decode_payload(body)
    except ProtocolError:
        return
    assert len(packets) == body.count(b"\x1e") + 1
    assert sum(len(packet.data) for packet in packets) <= len(body)


@pytest.mark.campaign
@given(STREAMS, st.lists(st.integers(0, 2000), max_size=20))
@example(frame(0x81, "é".encode(), b"\xff\x00\xff\x00"), range(12))
@settings(max_examples=examples(100, in_full=3_000))
def test_a_stream_is_read_the_same_however_it_is_cut(octets: bytes, cuts: Sequence[int]) -> None:
    whole = read(octets, [])
    assert read(octets, cuts) == whole
    assert read(octets, range(len(octets))) == whole


@pytest.mark.campaign
@given(st.lists(st.one_of(FRAMES, st.binary(max_size=40)), max_size=12))
@example([frame(0x02, b"x" * MAX_BYTES, bytes(4)), frame(0x80, b"x" * MAX_BYTES, bytes(4))[:-1]])
@settings(max_examples=examples(100, in_full=3_000))
def test_a_reader_keeps_no_more_than_one_message_and_a_header(chunks: list[bytes]) -> None:
    reader = FrameReader(MAX_BYTES)
    try:
        for chunk in chunks:
            for _ in reader.feed(chunk):
                pass
            kept = len(reader._buffer) + len(reader._message or b"")
            # A control frame may stand in the middle of a message, and is not done with either.
            assert kept <= MAX_BYTES + LONGEST_HEADER + 125
    except ProtocolError:
        pass


@given(st.dictionaries(st.sampled_from(["Sec-WebSocket-Key", "Sec-WebSocket-Version"]), ANY_TEXT))
@example({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==\n", "Sec-WebSocket-Version": "13"})
@example({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==dGhl", "Sec-WebSocket-Version": "13"})
@example({"Sec-WebSocket-Key": "\ud800", "Sec-WebSocket-Version": "13"})
def test_whatever_the_handshake_says_it_is_good_or_not(headers: dict[str, str]) -> None:
    assert accept_key(headers) is None


def session(transport: TransportName, prepared: str) -> Session:
    """A session that has seen something already, so that input meets it in each of its states."""
    made = Session("sid", transport=transport, limits=SessionLimits(), nothing=Batch(), now=0.0)
    made.send(EncodedPacket.message("x", "mark"))
    if prepared == "pinged":
        made.tick(25.0)
    elif prepared == "closing":
        made.close("why", 0.0)
    elif prepared == "closed":
        made.abort("why")
    elif prepared == "probed" and made.begin_upgrade(0.0):
        made.probe("2probe", 0.0)
    return made


INPUTS: dict[str, tuple[TransportName, st.SearchStrategy[object], Callable[[Session, object], object]]] = {
    "receive": (WEBSOCKET, PACKETS, lambda target, value: target.receive(value, 1.0)),  # type: ignore[arg-type]
    "probe": (POLLING, PACKETS, lambda target, value: target.probe(value, 1.0)),  # type: ignore[arg-type]
    "post": (POLLING, PAYLOADS, lambda target, value: target.post(value, 1.0)),  # type: ignore[arg-type]
    "poll": (POLLING, ANY_TEXT, lambda target, value: target.poll(value, 1.0)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("prepared", ["open", "pinged", "closing", "closed", "probed"])
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.campaign
@given(data=st.data())
@settings(max_examples=examples(40, in_full=400))
def test_whatever_a_client_sends_a_session_it_goes_on_or_ends_once(
    name: str, prepared: str, data: st.DataObject
) -> None:
    transport, values, give = INPUTS[name]
    target = session(transport, prepared)
    events: list[object] = []
    for value in data.draw(st.lists(values, max_size=8)):
        try:
            give(target, value)
        except ProtocolError:
            # A probe that is wrong is no end, and a poll of an ended session is refused and nothing more.
            assert target.is_closed or name == "probe"
        target.answer(1.0)
        target.take_frames(1.0)
        events += target.take_events()
    events += target.take_events()
    ends = [event for event in events if isinstance(event, Closed)]
    assert len(ends) == int(target.is_closed)
    if ends:
        assert events[-1] == ends[0]
