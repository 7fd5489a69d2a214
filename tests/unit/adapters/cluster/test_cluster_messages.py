"""What nodes say to each other comes back as it was said; anything else ends the link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cluster.frames import BrokenLink
from adapters.cluster.messages import (
    Answer,
    AnswerNumber,
    ClientLeft,
    End,
    FromOwner,
    NoAnswer,
    Release,
    Request,
    Seen,
    Spliced,
    Told,
    ToOwner,
    decode_from_owner,
    decode_to_owner,
    encode,
    encode_spliced,
)

SEEN = Seen(
    AnswerNumber(7),
    is_written=True,
    was_followed=True,
    was_cut=False,
    was_cut_short=False,
    was_reset=True,
    is_acknowledged=False,
    is_final=True,
)
REQUEST = Request(
    method="POST",
    target="/socket.io/?sid=x",
    version="HTTP/1.1",
    fields=[("host", "a.example"), ("x-latin", "\xe9")],
    host="a.example",
    content_length=None,
    remote_ip="unix",
    protocol="https",
    address="192.0.2.1",
    may_talk=False,
    body=b"\x00\xff",
    seen=[SEEN],
)


@pytest.mark.parametrize("message", [REQUEST, Told(SEEN), ClientLeft(), Release()], ids=lambda it: type(it).__name__)
def test_what_the_forwarder_says(message: ToOwner) -> None:
    assert decode_to_owner(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Answer(200, [("Content-Type", "text/plain")], b"6", AnswerNumber(2**40)),
        Answer(400, [], b"", None),
        NoAnswer(),
        Spliced(),
        End(),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_the_owner_says(message: FromOwner) -> None:
    assert decode_from_owner(encode(message)) == message


def test_bytes_of_a_spliced_connection_are_no_message() -> None:
    assert decode_to_owner(encode_spliced(b"\x01")) == b"\x01"
    assert decode_from_owner(encode_spliced(b"")) == b""


def test_what_only_the_other_side_says_is_refused() -> None:
    with pytest.raises(BrokenLink):
        decode_from_owner(encode(REQUEST))
    with pytest.raises(BrokenLink):
        decode_to_owner(encode(Spliced()))


@given(st.binary())
def test_anything_else_is_refused(content: bytes) -> None:
    for decode in (decode_to_owner, decode_from_owner):
        try:
            decode(content)
        except BrokenLink:
            continue
