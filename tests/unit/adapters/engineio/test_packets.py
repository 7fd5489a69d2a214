"""Packets and payloads, by the tables of the Engine.IO document, and what a batch of them shares."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, Packet, decode_packet, decode_payload


@pytest.mark.parametrize(
    ("encoded", "packet"),
    [
        ("0{}", Packet("0", "{}")),
        ("1", Packet("1", "")),
        ("2", Packet("2", "")),
        ("2probe", Packet("2", "probe")),
        ("3", Packet("3", "")),
        ("4hello", Packet("4", "hello")),
        ("4", Packet("4", "")),
        ("4€", Packet("4", "€")),
        ("5", Packet("5", "")),
        ("6", Packet("6", "")),
        (b"\x01\x02\x03\x04", Packet("4", b"\x01\x02\x03\x04")),
        (b"", Packet("4", b"")),
    ],
)
def test_a_websocket_message_is_a_packet(encoded: str | bytes, packet: Packet) -> None:
    assert decode_packet(encoded) == packet


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        (b"4hello\x1e2\x1e4world", [("4", "hello"), ("2", ""), ("4", "world")]),
        (b"4hello\x1ebAQIDBA==", [("4", "hello"), ("4", b"\x01\x02\x03\x04")]),
        (b"b", [("4", b"")]),
        ("4€".encode(), [("4", "€")]),
    ],
)
def test_a_payload_is_packets_between_separators(body: bytes, packets: list[tuple[str, str | bytes]]) -> None:
    assert decode_payload(body) == packets


@pytest.mark.parametrize("body", [b"", b"abc", b"7", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"bA", b"b A==", b"4\xff"])
def test_an_invalid_payload_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_payload(body)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_the_payload_nothing_else_is_raised(body: bytes) -> None:
    try:
        packets = decode_payload(body)
    except ProtocolError:
        return
    assert packets


@given(st.lists(st.text(max_size=20).filter(lambda text: "\x1e" not in text) | st.binary(max_size=20), min_size=1))
def test_what_is_sent_as_a_payload_is_read_as_the_same(messages: list[str | bytes]) -> None:
    batch = Batch()
    for message in messages:
        batch = batch.then(EncodedPacket.message(message))
    assert decode_payload(batch.body) == [("4", message) for message in messages]


def test_sessions_that_are_sent_the_same_share_the_batch_and_its_bytes() -> None:
    nothing = Batch()
    one, two = EncodedPacket.message("one", 1), EncodedPacket.message("two", 2)
    first, second = nothing.then(one).then(two), nothing.then(one).then(two)
    assert first is second
    assert first.frames is second.frames
    assert first.body is second.body
    assert (first.frames, first.body) == (b"\x81\x044one\x81\x044two", b"4one\x1e4two")
    assert (first.size, first.mark, [packet.mark for packet in first]) == (12, 2, [1, 2])


def test_a_mark_is_kept_over_packets_that_have_none() -> None:
    marked = Batch().then(EncodedPacket.message("one", "mark"))
    assert marked.then(EncodedPacket.message("two")).mark == "mark"


def test_one_batch_behind_another_keeps_the_order() -> None:
    one, two, three = (EncodedPacket.message(text) for text in ("1", "2", "3"))
    assert Batch().then(one).then_all(Batch().then(two).then(three)).body == b"41\x1e42\x1e43"


def test_what_is_forgotten_is_made_anew_and_what_was_given_stays() -> None:
    nothing, packet = Batch(), EncodedPacket.message("x")
    given = nothing.then(packet)
    nothing.forget_successors()
    assert nothing.then(packet) is not given
    assert given.frames == packet.frame


def test_what_was_joined_or_forgotten_is_free_without_the_garbage_collector() -> None:
    class Tracked(EncodedPacket):
        __slots__ = ("__weakref__",)

    finishes: list[Callable[[Batch], object]] = [
        lambda batch: batch.frames,
        lambda batch: batch.body,
        Batch.forget_successors,
    ]
    gc.disable()
    try:
        for finish in finishes:
            packet = Tracked(b"4x")
            gone = weakref.ref(packet)
            batch = Batch().then(packet).then(EncodedPacket.message("y"))
            finish(batch)
            del batch, packet
            assert gone() is None
    finally:
        gc.enable()


def test_a_long_chain_is_joined_and_freed() -> None:
    batch = Batch()
    for number in range(200_000):
        batch = batch.then(EncodedPacket.message(str(number)))
    assert batch.size == len(batch.frames)
    del batch
