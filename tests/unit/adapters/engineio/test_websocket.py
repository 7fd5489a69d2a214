"""WebSocket frames of clients, by the rules of RFC 6455."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.transport.socketio.engineio.errors import Flooding, MessageTooLarge, NotUtf8, ProtocolError
from adapters.transport.socketio.engineio.websocket import (
    BINARY,
    CLOSE_FRAME,
    CONTINUATION,
    MAX_FRAGMENTS,
    PING_FRAME,
    PONG_FRAME,
    TEXT,
    FrameReader,
    Received,
    accept_key,
    close_frame,
    frame_header,
)

MAX_BYTES = 70_000
MASK = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes = MASK) -> bytes:
    header = bytearray(frame_header(opcode, len(payload)))
    header[0] = opcode | (0x80 if fin else 0)
    header[1] |= 0x80
    return bytes(header) + mask + bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))


def read(octets: bytes, *, pieces: Sequence[int] = ()) -> list[Received]:
    reader, start = FrameReader(MAX_BYTES), 0
    received: list[Received] = []
    for end in (*sorted(pieces), len(octets)):
        received += reader.feed(octets[start:end])
        start = end
    return received


def test_the_accept_key_of_the_rfc() -> None:
    headers = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    assert accept_key(headers) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j", "Sec-WebSocket-Version": "13"},
        {"Sec-WebSocket-Key": "é", "Sec-WebSocket-Version": "13"},
        {"Sec-WebSocket-Key": "", "Sec-WebSocket-Version": "13"},
    ],
)
def test_other_handshakes_have_none(headers: dict[str, str]) -> None:
    assert accept_key(headers) is None


def test_the_masked_hello_of_the_rfc() -> None:
    assert read(bytes.fromhex("818537fa213d7f9f4d5158")) == [(TEXT, "Hello")]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, MAX_BYTES])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_form_of_length(opcode: int, length: int) -> None:
    payload = b"x" * length
    expected: str | bytes = payload.decode() if opcode == TEXT else payload
    assert read(frame(opcode, payload) + frame(opcode, b"next")) == [
        (opcode, expected),
        (opcode, "next" if opcode == TEXT else b"next"),
    ]


def test_fragments_make_a_message_and_control_frames_may_come_between() -> None:
    octets = (
        frame(TEXT, "é".encode()[:1], fin=False)
        + frame(PING_FRAME, b"p")
        + frame(CONTINUATION, b"", fin=False)
        + frame(PONG_FRAME, b"")
        + frame(CONTINUATION, "é".encode()[1:])
    )
    assert read(octets) == [(PING_FRAME, b"p"), (PONG_FRAME, b""), (TEXT, "é")]


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"\x81\x01x", ProtocolError),
        (b"\xc1\x80" + MASK, ProtocolError),
        (b"\xa1\x80" + MASK, ProtocolError),
        (b"\x91\x80" + MASK, ProtocolError),
        (frame(0x3, b""), ProtocolError),
        (frame(0xB, b""), ProtocolError),
        (frame(CONTINUATION, b"x"), ProtocolError),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), ProtocolError),
        (frame(PING_FRAME, b"", fin=False), ProtocolError),
        (frame(PING_FRAME, b"x" * 126), ProtocolError),
        (frame(CLOSE_FRAME, b"x"), ProtocolError),
        (frame(CLOSE_FRAME, (1005).to_bytes(2, "big")), ProtocolError),
        (frame(CLOSE_FRAME, (999).to_bytes(2, "big")), ProtocolError),
        (frame(CLOSE_FRAME, (5000).to_bytes(2, "big")), ProtocolError),
        (frame(CLOSE_FRAME, (1000).to_bytes(2, "big") + b"\xff"), NotUtf8),
        (frame(TEXT, b"\xff"), NotUtf8),
        (frame(TEXT, b"\xed\xa0\x80"), NotUtf8),
        (frame(BINARY, b"x" * (MAX_BYTES + 1)), MessageTooLarge),
        (b"\x82\xff" + (2**63 - 1).to_bytes(8, "big") + MASK, MessageTooLarge),
        (frame(BINARY, b"x" * MAX_BYTES, fin=False) + frame(CONTINUATION, b"x"), MessageTooLarge),
        (frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * MAX_FRAGMENTS, Flooding),
    ],
)
def test_what_is_against_the_rules_is_refused(octets: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error) as info:
        read(octets)
    assert type(info.value) is error


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
def test_a_close_frame_carries_its_code(code: int) -> None:
    payload = code.to_bytes(2, "big") + "é".encode()
    assert read(frame(CLOSE_FRAME, payload)) == [(CLOSE_FRAME, payload)]
    assert close_frame(code) == b"\x88\x02" + code.to_bytes(2, "big")


def test_a_frame_is_refused_by_its_header_before_it_is_there() -> None:
    reader = FrameReader(MAX_BYTES)
    with pytest.raises(MessageTooLarge):
        list(reader.feed(b"\x81\xff" + (2**40).to_bytes(8, "big")))


FRAMES = st.lists(
    st.one_of(
        st.text(max_size=300).map(lambda text: (TEXT, text.encode())),
        st.binary(max_size=300).map(lambda data: (BINARY, data)),
        st.binary(max_size=125).map(lambda data: (PING_FRAME, data)),
    ),
    max_size=5,
)


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=20))
def test_however_the_bytes_are_cut_the_messages_are_the_same(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    octets = b"".join(frame(opcode, payload) for opcode, payload in frames)
    expected = [(opcode, payload.decode() if opcode == TEXT else payload) for opcode, payload in frames]
    assert read(octets, pieces=[min(cut, len(octets)) for cut in cuts]) == expected


def test_a_message_may_come_byte_by_byte() -> None:
    octets = frame(TEXT, b"x" * 300)
    assert read(octets, pieces=range(len(octets))) == [(TEXT, "x" * 300)]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_comes_nothing_else_is_raised_and_no_more_is_kept_than_a_message(pieces: list[bytes]) -> None:
    reader = FrameReader(100)
    try:
        for piece in pieces:
            list(reader.feed(piece))
            assert len(reader._buffer) <= 100 + 14
            assert len(reader._message or b"") <= 100
    except ProtocolError:
        pass
