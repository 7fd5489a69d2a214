"""Frames, payloads and batches at the edges of what the documents allow."""

from __future__ import annotations

import gc
import weakref

import pytest

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import Flooding, MessageTooLarge, NotUtf8, ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, decode_payload
from adapters.transport.socketio.engineio.websocket import (
    BINARY,
    CLOSE_FRAME,
    CONTINUATION,
    MAX_FRAGMENTS,
    PING_FRAME,
    TEXT,
    FrameReader,
    Received,
    accept_key,
    frame_header,
)

MAX_BYTES = 1000
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """With a mask of zeros, and lengths written here, not by what is tested."""
    first = opcode | (0x80 if fin else 0)
    if len(payload) < 126:
        header = bytes((first, 0x80 | len(payload)))
    else:
        header = bytes((first, 0xFE)) + len(payload).to_bytes(2, "big")
    return header + bytes(4) + payload


def read(octets: bytes) -> list[Received]:
    return list(FrameReader(MAX_BYTES).feed(octets))


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (127, "827e007f"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
        (2**32, "827f0000000100000000"),
    ],
)
def test_a_length_takes_the_shortest_form_there_is(length: int, header: str) -> None:
    assert frame_header(BINARY, length).hex() == header


def test_the_examples_of_the_rfc() -> None:
    # Section 5.7: a server's text, a ping and its masked pong, a text in two fragments.
    assert EncodedPacket(b"Hello").frame == bytes.fromhex("810548656c6c6f")
    assert frame_header(PING_FRAME, 5) + b"Hello" == bytes.fromhex("890548656c6c6f")
    assert read(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [(0xA, b"Hello")]
    assert read(frame(TEXT, b"Hel", fin=False) + frame(CONTINUATION, b"lo")) == [(TEXT, "Hello")]


@pytest.mark.parametrize("key", ["*" + KEY, KEY[:-1], KEY + "AA", " " + KEY + "x", "dGhlIHNhbXBsZS*Bub25jZQ=="])
def test_a_key_that_is_not_sixteen_bytes_of_base64_is_none(key: str) -> None:
    assert accept_key({"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}) is None


@pytest.mark.parametrize("version", ["13", " 13", "13 "])
def test_the_version_may_have_spaces_around_it(version: str) -> None:
    assert accept_key({"Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": version}) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("opcode", [0x3, 0x7, 0xB, 0xF])
@pytest.mark.parametrize("inside", [b"", frame(TEXT, b"a", fin=False)], ids=["first", "inside a message"])
def test_an_opcode_without_a_meaning_is_refused_wherever_it_comes(opcode: int, inside: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(inside + frame(opcode, b""))


def test_the_largest_messages_and_control_frames_are_taken() -> None:
    assert read(frame(BINARY, b"x" * MAX_BYTES)) == [(BINARY, b"x" * MAX_BYTES)]
    in_two = frame(BINARY, b"x" * (MAX_BYTES - 1), fin=False) + frame(CONTINUATION, b"x")
    assert read(in_two) == [(BINARY, b"x" * MAX_BYTES)]
    assert read(frame(PING_FRAME, b"x" * 125)) == [(PING_FRAME, b"x" * 125)]
    assert read(frame(CLOSE_FRAME, b"\x03\xe8" + b"x" * 123)) == [(CLOSE_FRAME, b"\x03\xe8" + b"x" * 123)]


def test_a_message_is_refused_by_the_header_of_the_fragment_that_makes_it_too_large() -> None:
    reader = FrameReader(MAX_BYTES)
    assert list(reader.feed(frame(BINARY, b"x" * MAX_BYTES, fin=False))) == []
    with pytest.raises(MessageTooLarge):
        list(reader.feed(frame(CONTINUATION, b"xx")[:2]))


def test_a_ping_of_any_size_fits_between_fragments() -> None:
    octets = frame(BINARY, b"x" * MAX_BYTES, fin=False) + frame(PING_FRAME, b"p" * 125) + frame(CONTINUATION, b"")
    assert read(octets) == [(PING_FRAME, b"p" * 125), (BINARY, b"x" * MAX_BYTES)]


def test_so_many_fragments_make_a_message_and_each_message_has_as_many() -> None:
    but_the_last = frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * (MAX_FRAGMENTS - 2)
    last = frame(CONTINUATION, b"x")
    assert read((but_the_last + last) * 3) == [(TEXT, "x")] * 3
    with pytest.raises(Flooding):
        read(but_the_last + frame(CONTINUATION, b"", fin=False) + last)


def test_fragments_of_binary_need_not_be_text_and_those_of_text_as_a_whole() -> None:
    assert read(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe")) == [(BINARY, b"\xff\xfe")]
    with pytest.raises(NotUtf8):
        read(frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
def test_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    with pytest.raises(ProtocolError):
        read(frame(CLOSE_FRAME, code.to_bytes(2, "big")))


@pytest.mark.parametrize("code", [1002, 1008, 1009, 1010, 1011, 1012, 1013])
def test_codes_that_may_be_sent_are_taken(code: int) -> None:
    assert read(frame(CLOSE_FRAME, code.to_bytes(2, "big"))) == [(CLOSE_FRAME, code.to_bytes(2, "big"))]


def test_a_close_frame_may_be_empty() -> None:
    assert read(frame(CLOSE_FRAME, b"")) == [(CLOSE_FRAME, b"")]


@pytest.mark.parametrize("text", [b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xed\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\x80"])
def test_overlong_forms_surrogates_and_what_is_beyond_unicode_are_no_text(text: bytes) -> None:
    with pytest.raises(NotUtf8):
        read(frame(TEXT, text))


@pytest.mark.parametrize("part", ["bAQ*==", "bA\nQ==", "bAQ==AQ==", "bAQ", "b====", "bé"])
def test_what_is_not_base64_to_the_letter_is_refused(part: str) -> None:
    with pytest.raises(ProtocolError):
        decode_payload(part.encode())


def test_a_sessions_share_ends_where_their_packets_differ() -> None:
    nothing, one, two, three = Batch(), *(EncodedPacket.message(text) for text in "123")
    first = nothing.then(one).then(two)
    second = nothing.then(one).then(three)
    assert first is not second
    assert first.before is second.before
    assert (first.frames, second.frames) == (one.frame + two.frame, one.frame + three.frame)
    assert nothing.then(two) is not nothing.then(one)


def test_one_packet_is_its_own_batch_and_none_is_nothing() -> None:
    packet = EncodedPacket.message("x")
    assert Batch().then(packet).frames is packet.frame
    assert (Batch().frames, Batch().body, Batch().size, list(Batch())) == (b"", b"", 0, [])


def test_bytes_are_joined_once() -> None:
    batch = Batch().then(EncodedPacket.message("a")).then(EncodedPacket.message(b"\x01"))
    assert (batch.frames, batch.body) == (b"\x81\x024a\x82\x01\x01", b"4a\x1ebAQ==")
    assert batch.frames is batch.frames
    assert batch.body is batch.body


class Mark:
    """What can be told to be gone."""


def test_a_chain_of_any_length_is_freed_with_what_it_holds() -> None:
    marks = [Mark() for _ in range(3)]
    left = [weakref.ref(mark) for mark in marks]
    batch = Batch()
    for number in range(200_000):
        batch = batch.then(EncodedPacket(b"4", marks[number // 66_667]))
    del batch, marks
    gc.collect()
    assert [mark() for mark in left] == [None, None, None]
