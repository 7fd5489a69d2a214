"""Heads and bodies against RFC 9112, by tables: what is read, and what is refused with which status."""

from __future__ import annotations

import random

import pytest

from adapters.http.chunked_body import FREE_CHUNKS, MAX_CHUNK_LINE, MAX_TRAILER_BYTES, ChunkedBody
from adapters.http.messages import (
    MAX_EMPTY_LINES,
    MAX_HEADER_LINES,
    MAX_QUERY_FIELDS,
    BadRequest,
    HeadReader,
    parse_head,
)

HOST = b"Host: h\r\n"
HEAD_BYTES = 4096


def refusal(octets: bytes) -> int:
    with pytest.raises(BadRequest) as refused:
        parse_head(octets)
    return int(refused.value.status)


def head_of(line: bytes, *fields: bytes) -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *fields, b"Host: h", b""))


# request lines


@pytest.mark.parametrize(
    ("target", "read", "host"),
    [
        (b"/", "/", "h"),
        (b"/a/b?c=d&e", "/a/b?c=d&e", "h"),
        (b"//x", "//x", "h"),
        (b"/?", "/?", "h"),
        (b"/%00%ff", "/%00%ff", "h"),
        (b"http://e.example", "/", "e.example"),
        (b"http://e.example?a", "/?a", "e.example"),
        (b"HTTPS://e.example:8443/a?b", "/a?b", "e.example:8443"),
        (b"http://[::1]:80/a", "/a", "[::1]:80"),
    ],
)
def test_a_target_is_read_in_origin_form(target: bytes, read: str, host: str) -> None:
    head = parse_head(head_of(b"GET " + target + b" HTTP/1.1"))
    assert (head.target, head.host) == (read, host)


def test_the_asterisk_is_for_options_alone() -> None:
    assert parse_head(head_of(b"OPTIONS * HTTP/1.1")).target == "*"
    assert refusal(head_of(b"GET * HTTP/1.1")) == 400


@pytest.mark.parametrize(
    ("version", "read", "keeps_alive"),
    [(b"1.1", "HTTP/1.1", True), (b"1.0", "HTTP/1.0", False), (b"1.2", "HTTP/1.1", True), (b"1.9", "HTTP/1.1", True)],
)
def test_a_later_version_of_http_1_is_read_as_1_1(version: bytes, read: str, *, keeps_alive: bool) -> None:
    head = parse_head(head_of(b"GET / HTTP/" + version))
    assert (head.version, head.keep_alive) == (read, keeps_alive)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /", 400),
        (b"GET", 400),
        (b"", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /  HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / ICE/1.0", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\r HTTP/1.1", 400),
        (b"GET a/b HTTP/1.1", 400),
        (b"GET e.example:80 HTTP/1.1", 400),
        (b"CONNECT e.example:80 HTTP/1.1", 400),
        (b"CONNECT / HTTP/1.1", 400),
        (b"CONNECT http://e.example/ HTTP/1.1", 400),
        (b"GET http:///a HTTP/1.1", 400),
        (b"GET http://user@e.example/ HTTP/1.1", 400),
        (b"GET ftp://e.example/ HTTP/1.1", 400),
        (b"FOO / HTTP/1.1", 501),
        (b"get / HTTP/1.1", 501),
        (b"GET /?" + b"&" * MAX_QUERY_FIELDS + b" HTTP/1.1", 400),
        (b"GET /?" + b"a=b&" * 1000 + b" HTTP/1.1", 400),
    ],
)
def test_a_request_line_that_is_refused(line: bytes, status: int) -> None:
    assert refusal(head_of(line)) == status


def test_as_many_fields_in_a_query_as_there_may_be() -> None:
    line = b"GET /?" + b"&".join(b"a%d=%d" % (number, number) for number in range(MAX_QUERY_FIELDS)) + b" HTTP/1.1"
    assert len(parse_head(head_of(line)).query_values()) == MAX_QUERY_FIELDS


# header fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"A: b", "b"),
        (b"A:b", "b"),
        (b"a:\t b \t", "b"),
        (b"A:", ""),
        (b"A:   ", ""),
        (b"A: b\tc", "b\tc"),
        (b"A: \xe9\xff", "\xe9\xff"),
        (b"A:\x85b\xa0", "\x85b\xa0"),
    ],
)
def test_a_field_that_is_read(field: bytes, value: str) -> None:
    headers = parse_head(head_of(b"GET / HTTP/1.1", field, b"Next: 1")).headers
    assert list(headers.get_all()) == [("a", value), ("next", "1"), ("host", "h")]
    assert headers["A"] == value


@pytest.mark.parametrize(
    "field",
    [
        b"A : b",
        b"A\t: b",
        b" A: b",
        b"A",
        b": b",
        b"A(: b",
        b"A\x00: b",
        b"A\xe9: b",
        b"A: b\x00",
        b"A: b\x01c",
        b"A: b\x7fc",
        b"A: b\x0bc",
        b"A: b\rc",
        b"A: b\r",
        b"A: b\r\n c",
        b"A: b\r\n\tc",
        b"A:\r\n b",
    ],
)
def test_a_field_that_is_refused(field: bytes) -> None:
    assert refusal(b"GET / HTTP/1.1\r\nFirst: 1\r\n" + field + b"\r\n" + HOST + b"\r\n") == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 400),
        ([b"Host: a", b"Host: a"], 400),
        ([b"Host: a", b"host: b"], 400),
        ([b"Host: a, b"], 400),
        ([b"Host: a b"], 400),
        ([b"Host: a/b"], 400),
        ([b"Host: user@a"], 400),
        ([b"Host: a:b"], 400),
        ([b"Host: \xe9"], 400),
        ([b"Host: [::1"], 400),
        ([b"Host: a?b"], 400),
    ],
)
def test_a_host_that_is_refused(fields: list[bytes], status: int) -> None:
    lines = [b"GET / HTTP/1.1", *fields, b"", b""]
    assert refusal(b"\r\n".join(lines)) == status
    absolute = [b"GET http://good.example/ HTTP/1.1", *fields, b"", b""]
    assert refusal(b"\r\n".join(absolute)) == status


@pytest.mark.parametrize("host", [b"h", b"h:80", b"[::1]:80", b"", b"a-b_c.d~e%20", b"127.0.0.1:"])
def test_a_host_that_is_read(host: bytes) -> None:
    assert parse_head(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").host == host.decode()


def test_http_1_0_needs_no_host() -> None:
    assert parse_head(b"GET / HTTP/1.0\r\n\r\n").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("version", "fields", "keeps_alive"),
    [
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: CLOSE"], False),
        (b"1.1", [b"Connection: keep-alive , close"], False),
        (b"1.1", [b"Connection: x", b"Connection: close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.1", [b"Connection: upgrade", b"Upgrade: h2c"], True),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: Keep-Alive, x"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
        (b"1.0", [b"Connection: x"], False),
    ],
)
def test_connection_is_a_list(version: bytes, fields: list[bytes], *, keeps_alive: bool) -> None:
    assert parse_head(head_of(b"GET / HTTP/" + version, *fields)).keep_alive is keeps_alive


@pytest.mark.parametrize(
    ("version", "value", "expects"),
    [(b"1.1", b"100-continue", True), (b"1.1", b"100-Continue", True), (b"1.0", b"100-continue", False)],
)
def test_who_waits_for_leave(version: bytes, value: bytes, *, expects: bool) -> None:
    head = parse_head(head_of(b"POST / HTTP/" + version, b"Expect: " + value, b"Content-Length: 5"))
    assert head.expects_continue is expects


# where a body ends


@pytest.mark.parametrize(
    ("field", "length"),
    [
        (b"Content-Length: 5", 5),
        (b"Content-Length: 0", 0),
        (b"Content-Length: 5 \t", 5),
        (b"Content-Length: 000", 0),
        (b"Content-Length: " + b"0" * 6000 + b"5", 5),
        (b"Transfer-Encoding: chunked", None),
        (b"Transfer-Encoding: cHuNkEd", None),
        (b"X: y", 0),
    ],
)
def test_a_length_that_is_read(field: bytes, length: int | None) -> None:
    assert parse_head(head_of(b"POST / HTTP/1.1", field)).content_length == length


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], 400),
        ([b"Content-Length: 5", b"Content-Length: 6"], 400),
        ([b"Content-Length: 5", b"Content-Length: 5"], 400),
        ([b"Content-Length: 5, 5"], 400),
        ([b"Content-Length: 5,"], 400),
        ([b"Content-Length: +5"], 400),
        ([b"Content-Length: -5"], 400),
        ([b"Content-Length: 0x5"], 400),
        ([b"Content-Length: 1_0"], 400),
        ([b"Content-Length: 5.0"], 400),
        ([b"Content-Length: 5 5"], 400),
        ([b"Content-Length: \xb2"], 400),
        ([b"Content-Length:"], 400),
        ([b"Content-Length: 1000000000000000"], 413),
        ([b"Content-Length: 99999999999999999999999"], 413),
        ([b"Transfer-Encoding:"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], 400),
        ([b"Transfer-Encoding: gzip, chunked"], 400),
        ([b"Transfer-Encoding: chunked, gzip"], 400),
        ([b"Transfer-Encoding: gzip"], 400),
        ([b"Transfer-Encoding: identity"], 400),
        ([b"Transfer-Encoding: chunked;q=1"], 400),
        ([b"Transfer-Encoding: ,chunked"], 400),
        ([b"Transfer-Encoding: xchunked"], 400),
        ([b"Transfer-Encoding: \x0bchunked"], 400),
        ([b"Transfer-Encoding:\r\n chunked"], 400),
        ([b"Transfer-Encoding : chunked"], 400),
    ],
)
def test_a_length_that_could_be_told_in_two_ways_is_refused(fields: list[bytes], status: int) -> None:
    for method in (b"POST", b"GET"):
        assert refusal(head_of(method + b" / HTTP/1.1", *fields)) == status


def test_http_1_0_knows_no_chunks() -> None:
    assert refusal(head_of(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")) == 400


def test_an_upgrade_that_is_not_taken_leaves_the_body_as_it_is() -> None:
    h2c = head_of(
        b"POST / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk",
        b"Content-Length: 7",
    )  # fmt: skip
    assert parse_head(h2c).content_length == 7


# where a head ends


def read_heads(octets: bytes, sizes: list[int]) -> list[tuple[int, str]]:
    """What becomes of octets that come in pieces of these sizes, again and again: lengths of heads, or the refusal."""
    reader = HeadReader(HEAD_BYTES)
    found: list[tuple[int, str]] = []
    buffer, start, number = b"", 0, 0
    try:
        while start < len(octets):
            size = sizes[number % len(sizes)]
            number += 1
            buffer += octets[start : start + size]
            start += size
            while buffer:
                if buffer.startswith(b"\r\n"):
                    buffer = buffer[reader.skip_empty_lines(buffer) :]
                end = reader.end_of_head(buffer) if buffer else 0
                if not end:
                    break
                found.append((end, ""))
                buffer = buffer[end:]
            assert len(buffer) < HEAD_BYTES
    except BadRequest as error:
        found.append((int(error.status), error.reason))
    return found


GOOD = head_of(b"GET / HTTP/1.1", b"A: b")
LONG_LINE = b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n"
LARGE = b"GET / HTTP/1.1\r\nA: " + b"x" * HEAD_BYTES + b"\r\n\r\n"
LINES = b"a:\r\n" * MAX_HEADER_LINES
EXACT = b"GET / HTTP/1.1\r\nA: " + b"x" * (HEAD_BYTES - 23) + b"\r\n\r\n"

STREAMS: list[tuple[bytes, list[int]]] = [
    (GOOD, [len(GOOD)]),
    (GOOD * 3, [len(GOOD)] * 3),
    (b"\r\n" * MAX_EMPTY_LINES + GOOD + b"\r\n" * MAX_EMPTY_LINES + GOOD, [len(GOOD)] * 2),
    (b"\r\n" * (MAX_EMPTY_LINES + 1) + GOOD, [400]),
    (b"\r\n" * 5000, [400]),
    (b"\n" + GOOD, [400]),
    (b"\r\r\n" + GOOD, [len(GOOD) + 3]),
    (LONG_LINE, [414]),
    (LONG_LINE[:HEAD_BYTES], [414]),
    (b"\r\n" + LONG_LINE, [414]),
    (LARGE, [431]),
    (LARGE[: HEAD_BYTES + 1], [431]),
    (EXACT, [HEAD_BYTES]),
    (EXACT.replace(b"A:", b"AA:"), [431]),
    (b"GET / HTTP/1.1\r\n" + LINES + b"\r\n", [16 + len(LINES) + 2]),
    (b"GET / HTTP/1.1\r\na:\r\n" + LINES + b"\r\n", [431]),
    (b"GET / HTTP/1.1\r\na:\r\n" + LINES + b"\n", [431]),
    (b"GET / HTTP/1.1\r\na:\n" + LINES * 9, [400]),
    (b"GET / HTTP/1.1\r\n" + LINES + b"a:\n", [400]),
    (b"GET / HTTP/1.1\na: b\r\n\r\n", [400]),
    (b"GET / HTTP/1.1\r\na: b\n\r\n", [400]),
    (b"GET / HTTP/1.1\r\na: b\r\n\n", [400]),
    (b"GET / HTTP/1.1\n\n" + GOOD, [400]),
    (b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", [400]),
    (b"GET / HTTP/1.1\r\na: b\n" + b"x" * HEAD_BYTES + b"\r\n\r\n", [400]),
    (b"GET / HTTP/1.1\r\n" + b"x" * HEAD_BYTES + b"a: b\n\r\n\r\n", [431]),
]


@pytest.mark.parametrize(("octets", "outcome"), STREAMS)
def test_where_a_head_ends_and_in_however_many_pieces(octets: bytes, outcome: list[int]) -> None:
    whole = read_heads(octets, [len(octets)])
    assert [number for number, _ in whole] == outcome
    rng = random.Random(len(octets))
    for sizes in ([1], [2, 1], [3], [1000], [rng.randrange(1, 40) for _ in range(20)]):
        assert read_heads(octets, sizes) == whole, sizes


# chunks


def read_chunks(octets: bytes, size: int) -> tuple[bytes, bytes] | int:
    body, content = ChunkedBody(), b""
    try:
        for start in range(0, len(octets), size):
            piece, rest = body.feed(octets[start : start + size])
            content += piece
            if body.is_complete:
                return content, rest + octets[start + size :]
    except BadRequest as error:
        return int(error.status)
    return content, b"incomplete"


EXTENSION = b";" + b"x" * (MAX_CHUNK_LINE - 4)
TRAILERS = b"a:" + b"x" * (MAX_TRAILER_BYTES - 6) + b"\r\n"

BODIES: list[tuple[bytes, tuple[bytes, bytes] | int]] = [
    (b"0\r\n\r\n", (b"", b"")),
    (b"5\r\nhello\r\n0\r\n\r\nGET /", (b"hello", b"GET /")),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", (b"hello world", b"")),
    (b"a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", (b"0123456789" * 2, b"")),
    (b"0005\r\nhello\r\n0\r\n\r\n", (b"hello", b"")),
    (b"2\r\n\r\n\r\n0\r\n\r\n", (b"\r\n", b"")),
    (b'5;a=b;c="d\te"\r\nhello\r\n0;x\r\n\r\n', (b"hello", b"")),
    (b"5 \t;a\r\nhello\r\n0 \r\n\r\n", (b"hello", b"")),
    (b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\nrest", (b"hello", b"rest")),
    (b"1" + EXTENSION + b"\r\nx\r\n0\r\n\r\n", (b"x", b"")),
    (b"1" + EXTENSION + b"xx\r\nx\r\n0\r\n\r\n", 400),
    (b"0" * MAX_CHUNK_LINE + b"\r\n\r\n", 400),
    (b"0\r\n" + TRAILERS + b"\r\n", (b"", b"")),
    (b"0\r\n" + b"x" + TRAILERS + b"a:\r\n\r\n", 431),
    (b"0\r\n" + b"a:\r\n" * MAX_TRAILER_BYTES, 431),
    (b"0\r\n" + b"a:" + b"x" * MAX_TRAILER_BYTES, 431),
    (b"5\r\nhello0\r\n\r\n", 400),
    (b"5\r\nhello\n0\r\n\r\n", 400),
    (b"5\r\nhello\rx", 400),
    (b"5\nhello\r\n0\r\n\r\n", 400),
    (b"5\r\nhell\r\n0\r\n\r\n", 400),
    (b"x\r\nhello\r\n0\r\n\r\n", 400),
    (b"\r\nhello\r\n0\r\n\r\n", 400),
    (b" 5\r\nhello\r\n0\r\n\r\n", 400),
    (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    (b"+5\r\nhello\r\n0\r\n\r\n", 400),
    (b"-5\r\nhello\r\n0\r\n\r\n", 400),
    (b"5_0\r\nhello\r\n0\r\n\r\n", 400),
    (b"5;a\x00\r\nhello\r\n0\r\n\r\n", 400),
    (b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    (b"5\n", 400),
    (b"0\r\nA: b\n", 400),
    (b"5 a\r\nhello\r\n0\r\n\r\n", 400),
    (b"fffffffffffff\r\nhello", 400),
    (b"0\r\nA b\r\n\r\n", 400),
    (b"0\r\n: b\r\n\r\n", 400),
    (b"0\r\nA : b\r\n\r\n", 400),
    (b"0\r\n A: b\r\n\r\n", 400),
    (b"0\r\nA: b\n\r\n\r\n", 400),
    (b"0\r\nA: b\x00\r\n\r\n", 400),
    (b"0\r\nA: b\r\n c\r\n\r\n", 400),
    (b"0\r\nA: b\r\n\n" + b"x" * MAX_TRAILER_BYTES, 400),
    (b"0\r\n" + b"x" * (MAX_TRAILER_BYTES - 1) + b"\nx", 400),
    (b"0\r\n" + b"x" * MAX_TRAILER_BYTES + b"\nx", 431),
    (b"1\r\nx\r\n" * FREE_CHUNKS + b"0\r\n\r\n", (b"x" * FREE_CHUNKS, b"")),
    (b"1\r\nx\r\n" * FREE_CHUNKS * 2, 400),
    (b"40\r\n" + b"x" * 64 + b"\r\n" + b"1\r\nx\r\n" * FREE_CHUNKS * 2, 400),
    (b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n", (b"x" * 1024, b"")),
]


@pytest.mark.parametrize(("octets", "outcome"), BODIES)
def test_a_chunked_body_in_however_many_pieces(octets: bytes, outcome: tuple[bytes, bytes] | int) -> None:
    for size in (len(octets), 1, 2, 3, 7, 1000):
        assert read_chunks(octets, size) == outcome, size


def some_body(rng: random.Random) -> bytes:
    """Of what bodies are made of, and of runs as long as a line may be, or a little longer or shorter."""
    parts = [b"0\r\n", b"5\r\nhello\r\n", b"a:", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b";x", b"\x00"]
    weights = [4, 2, 3, 6, 1, 2, 1, 1, 1]
    octets = bytearray()
    for _ in range(rng.randrange(2, 12)):
        if rng.random() < 0.3:
            octets += b"x" * (rng.choice([0, MAX_CHUNK_LINE, MAX_TRAILER_BYTES]) + rng.randrange(-4, 5))
        else:
            octets += rng.choices(parts, weights)[0]
    return bytes(octets)


def test_what_becomes_of_any_chunked_body_does_not_depend_on_its_pieces() -> None:
    rng = random.Random(9112)
    for _ in range(600):
        octets = b"0\r\n" * rng.randrange(2) + some_body(rng)
        whole = read_chunks(octets, len(octets) or 1)
        for size in (1, rng.randrange(2, 300)):
            assert read_chunks(octets, size) == whole, (octets, size)


def test_no_more_is_kept_of_a_chunked_body_than_a_line() -> None:
    for octets in (b"1;" + b"x" * 200, b"5\r\nhello\r", b"0\r\na:" + b"x" * 4000, b"400000\r\n" + b"x" * 100_000):
        body = ChunkedBody()
        body.feed(octets)
        assert len(body._pending) <= max(MAX_CHUNK_LINE, MAX_TRAILER_BYTES)


def test_what_a_chunk_announces_is_known_before_it_has_come() -> None:
    body = ChunkedBody()
    body.feed(b"5\r\nhello\r\nffffff\r\n")
    assert body.announced_bytes == 5 + 0xFFFFFF
