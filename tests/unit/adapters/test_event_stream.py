"""Server-Sent Events, byte by byte."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.source.event_stream import Event, EventStreamParser
from adapters.source.http_feed import reconnect_delay

LIMIT = 4096


def parse(stream: bytes, *, max_event_bytes: int = LIMIT) -> list[Event]:
    return EventStreamParser(max_event_bytes=max_event_bytes).feed(stream)


def data_of(stream: bytes) -> list[str]:
    return [event.data for event in parse(stream)]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        # The examples of the standard.
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"]),
        (b"data\n\ndata\ndata\n\ndata:", ["", "\n"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
        # A field's value loses one space, and only a space.
        (b"data:  two\n\ndata:\ttab\n\n", [" two", "\ttab"]),
        (b"data: a:b: c\n\n", ["a:b: c"]),
        # Comments, unknown fields and fields with other letters are nothing.
        (b": hello\n\n:\n\ndata: a\n:x\nfoo: b\nDATA: c\n data: d\ndata : e\n\n", ["a"]),
        # What has no data is no event; what no blank line follows is none either.
        (b"id: 1\nevent: x\n\nretry: 1\n\ndata: a\n", []),
        (b"\n\n\n", []),
        (b"", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
        (b"data: \xff\xc3(\xed\xa0\x80\n\n", ["\ufffd\ufffd(\ufffd\ufffd\ufffd"]),
        (b"data: a\0b\n\n", ["a\0b"]),
        ("data: a\u2028b\x0bc\u0085d\n\n".encode(), ["a\u2028b\x0bc\u0085d"]),
    ],
)
def test_data(stream: bytes, data: list[str]) -> None:
    assert data_of(stream) == data


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends(end: bytes) -> None:
    stream = end.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert data_of(stream) == ["a\nb", "c"]


def test_mixed_line_ends() -> None:
    assert data_of(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\rdata: e\n\r") == ["a\nb\nc", "d", "e"]


def test_an_event_is_complete_at_a_carriage_return() -> None:
    parser = EventStreamParser(max_event_bytes=LIMIT)
    assert [event.data for event in parser.feed(b"data: a\r\r")] == ["a"]
    assert parser.feed(b"\n") == []
    assert [event.data for event in parser.feed(b"data: b\n\n")] == ["b"]


def test_a_line_end_cut_in_two_is_one() -> None:
    parser = EventStreamParser(max_event_bytes=LIMIT)
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: b\r") == []
    assert [event.data for event in parser.feed(b"\n\r\n")] == ["a\nb"]


@pytest.mark.parametrize(
    ("stream", "ids"),
    [
        (b"id: 1\ndata: a\n\n", [("1", "1")]),
        (b"data: a\nid: 1\n\n", [("1", "1")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [("1", "1"), (None, "1")]),
        (b"id: 1\n\ndata: b\n\n", [(None, "1")]),
        (b"id: 1\nid: 2\ndata: a\n\n", [("2", "2")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [("1", "1"), ("", "")]),
        (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [("1", "1"), (None, "1")]),
        (b"data: a\n\n", [(None, "")]),
    ],
)
def test_the_own_id_and_the_last_one(stream: bytes, ids: list[tuple[str | None, str]]) -> None:
    assert [(event.own_id, event.last_id) for event in parse(stream)] == ids


def test_the_last_id_can_be_carried_on() -> None:
    (event,) = EventStreamParser(max_event_bytes=LIMIT, last_id="7").feed(b"data: a\n\n")
    assert (event.own_id, event.last_id) == (None, "7")


def test_types() -> None:
    stream = b"event: x\ndata: a\n\ndata: b\n\nevent: y\n\ndata: c\n\n"
    assert [event.type for event in parse(stream)] == ["x", "message", "message"]


@pytest.mark.parametrize(
    ("stream", "retry"),
    [
        (b"retry: 1500\n", 1500),
        (b"retry: 1\nretry: 2\n", 2),
        (b"retry: 5\nretry: -1\nretry: 1.5\nretry:\nretry: 1s\nretry:  7\n", 5),
        ("retry: ٣\n".encode(), None),
        (b"retry: " + b"9" * 4000 + b"\n", None),
        (b"retry: 5", None),
    ],
)
def test_retry(stream: bytes, retry: int | None) -> None:
    parser = EventStreamParser(max_event_bytes=8000)
    parser.feed(stream)
    assert parser.retry == retry


def test_an_event_just_large_enough() -> None:
    (event,) = parse(b"data: " + b"x" * (LIMIT - 6) + b"\n\n")
    assert (len(event.data), event.too_large) == (LIMIT - 6, False)


@pytest.mark.parametrize(
    "lines",
    [
        b"id: 1\ndata: " + b"x" * LIMIT,
        b"data: " + b"x" * LIMIT + b"\nid: 1",
        b"id: 1\n" + b"data: x\n" * LIMIT,
        b"data: " + b"x" * 100 * LIMIT + b"\nid: 1",
        b"id: 1\n" + b"y" * 100 * LIMIT,
        b"data: a\nid: 1\n" + b"unknown: y\n" * LIMIT,
    ],
)
def test_a_larger_event_is_reported_with_its_id_and_the_next_one_is_read(lines: bytes) -> None:
    large, after = parse(lines + b"\n\nid: 2\ndata: b\n\n")
    assert large == Event("message", "", "1", "1", too_large=True)
    assert after == Event("message", "b", "2", "2")


def test_an_overlong_id_is_none() -> None:
    large, after = parse(b"id: 1\ndata: a\n\nid: 2" + b"2" * LIMIT + b"\n\ndata: b\n\n")[0:2]
    assert (large.own_id, large.data) == ("1", "a")
    assert (after.own_id, after.last_id, after.too_large) == (None, "1", True)


def test_comments_do_not_count() -> None:
    assert data_of(b"data: a\n" + b": c\n" * LIMIT + b":" + b"c" * 10 * LIMIT + b"\ndata: b\n\n") == ["a\nb"]


@pytest.mark.parametrize("start", [b"data: ", b"", b": ", b"id: 1\ndata: a\n"])
def test_a_line_without_end_is_not_kept(start: bytes) -> None:
    parser = EventStreamParser(max_event_bytes=LIMIT)
    parser.feed(start)
    chunk = b"x" * 65_536
    tracemalloc.start()
    for _ in range(200):
        assert parser.feed(chunk) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(chunk)


stream_pieces = st.lists(
    st.sampled_from(
        [
            *(b"data", b"id", b"event", b"retry", b"data: a", b"id: 7", b"x" * 50),
            *(b"\r", b"\n", b"\r\n", b"\n\n", b":", b" ", b"\0", b"\xef\xbb\xbf", b"1", b"\xff", "é".encode()),
        ]
    ),
    max_size=60,
).map(b"".join)


@given(stream=stream_pieces, cuts=st.lists(st.integers(0, 400), max_size=8), limit=st.integers(1, 200))
def test_cuts_between_chunks_change_nothing(stream: bytes, cuts: list[int], limit: int) -> None:
    parser = EventStreamParser(max_event_bytes=limit)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events: list[Event] = []
    for low, high in pairwise(bounds):
        events.extend(parser.feed(stream[low:high]))
    assert events == parse(stream, max_event_bytes=limit)


@given(st.binary(max_size=500))
def test_nothing_is_ever_raised(stream: bytes) -> None:
    for event in parse(stream, max_event_bytes=20):
        event.data.encode()


@given(
    data=st.text(st.characters(exclude_characters="\r\n", codec="utf-8")),
    id_=st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True),
)
def test_what_a_feed_writes_is_what_is_read(data: str, id_: str) -> None:
    (event,) = parse(f"id: {id_}\ndata: {data}\n\n".encode(), max_event_bytes=100_000)
    assert (event.own_id, event.data) == (id_, data)


def delays(share: float, *, retry: int | None = None) -> list[float]:
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * share

    return [reconnect_delay(failures, retry, low=1, high=60, uniform=uniform) for failures in range(8)]


def test_delays_double_up_to_a_bound_and_half_of_each_is_chance() -> None:
    assert delays(1.0) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delays(0.0) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert reconnect_delay(10_000, None, low=1, high=60, uniform=max) == 60


def test_delays_honour_the_feeds_wish_within_the_bounds() -> None:
    assert delays(1.0, retry=3000) == [3, 6, 12, 24, 48, 60, 60, 60]
    assert delays(1.0, retry=0) == delays(1.0)
    assert delays(1.0, retry=10**15) == [60] * 8
