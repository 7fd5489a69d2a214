"""Frames between two nodes: whatever was not sent exactly so, there and then, is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cluster.frames import NONCE_BYTES, BrokenLink, FrameReader, FrameWriter, link_keys

SECRET = b"s" * 32
NONCES = b"a" * NONCE_BYTES, b"b" * NONCE_BYTES
KEYS = link_keys(SECRET, "bootboot", *NONCES)
CONTENTS = [b"one", b"", b"three" * 100]


def written(*contents: bytes, key: bytes = KEYS.to_owner) -> list[bytes]:
    writer = FrameWriter(key)
    return [writer.frame(content) for content in contents]


def read(octets: bytes, *, keys: tuple[bytes, ...] = (KEYS.to_owner,), max_bytes: int = 1_000) -> list[bytes]:
    return list(FrameReader(keys, max_bytes).feed(octets))


@given(st.lists(st.integers(1, 60)))
def test_what_was_written_is_read_in_whatever_pieces_it_comes(sizes: list[int]) -> None:
    octets = b"".join(written(*CONTENTS))
    reader = FrameReader((KEYS.to_owner,), 1_000)
    found: list[bytes] = []
    for size in sizes:
        found += reader.feed(octets[:size])
        octets = octets[size:]
    found += reader.feed(octets)
    assert found == CONTENTS


def test_every_octet_that_is_changed_is_noticed() -> None:
    octets = written(b"content")[0]
    for at in range(len(octets)):
        for bit in range(8):
            changed = bytearray(octets)
            changed[at] ^= 1 << bit
            # A length that grew is noticed once so much has come.
            with pytest.raises(BrokenLink):
                read(bytes(changed) + bytes(70_000), max_bytes=60_000)


def test_a_frame_that_is_cut_is_not_given() -> None:
    first, second = written(b"one", b"two")
    for length in range(len(second)):
        assert read(first + second[:length]) == [b"one"]


def test_frames_in_another_order_are_noticed() -> None:
    first, second, third = written(*CONTENTS)
    for octets in (second, first + third, first + first, first + second + second, second + first):
        with pytest.raises(BrokenLink):
            read(octets + third)


@pytest.mark.parametrize(
    "keys",
    [
        link_keys(b"t" * 32, "bootboot", *NONCES),
        link_keys(SECRET, "bootboos", *NONCES),
        link_keys(SECRET, "bootboot", b"c" * NONCE_BYTES, NONCES[1]),
        link_keys(SECRET, "bootboot", NONCES[0], b"c" * NONCE_BYTES),
        link_keys(SECRET, "bootboot", *reversed(NONCES)),
    ],
    ids=["another secret", "another node", "another nonce", "another nonce of the owner", "the nonces exchanged"],
)
def test_a_frame_of_another_link_is_noticed(keys: tuple[bytes, bytes]) -> None:
    for key in keys:
        with pytest.raises(BrokenLink):
            read(b"".join(written(b"one", key=key)))


def test_a_frame_does_not_come_back_as_one_of_the_other_side() -> None:
    with pytest.raises(BrokenLink):
        read(written(b"one", key=KEYS.from_owner)[0])


def test_a_frame_that_is_too_long_is_noticed_by_its_length_alone() -> None:
    octets = written(bytes(1_001))[0]
    assert read(octets[:3]) == []
    with pytest.raises(BrokenLink):
        read(octets[:20])


def test_the_first_frame_says_which_of_several_keys_it_is() -> None:
    reader = FrameReader((KEYS.from_owner, KEYS.to_owner), 1_000)
    first, second = written(b"one", b"two")
    assert list(reader.feed(first)) == [b"one"]
    assert reader.key_number == 1
    assert list(reader.feed(second)) == [b"two"]


def test_only_the_first_frame_may_say_so() -> None:
    reader = FrameReader((KEYS.from_owner, KEYS.to_owner), 1_000)
    list(reader.feed(written(b"one")[0]))
    with pytest.raises(BrokenLink):
        list(reader.feed(written(b"one", b"two", key=KEYS.from_owner)[1]))
