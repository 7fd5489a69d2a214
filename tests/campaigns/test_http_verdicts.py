"""Generated requests, valid, nearly valid and hostile: what Tornado's own connection makes of them, and what ours does.

The verdict is the requests that the application saw, the statuses answered, and whether the connection stays. It is the
same, or falls under a reason that is named here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tornado.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from tornado.iostream import IOStream

from tests.campaigns.observing import IS_FULL, report
from tests.fuzz.http_peer import HttpPeer

pytestmark = pytest.mark.campaign

REQUESTS = 100_000 if IS_FULL else 3_000
SEED = 20_260_101
HEAD_BYTES = 2_000
BODY_BYTES = 500
SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: h\r\n\r\n"
"""Sent behind everything: a connection that stays sees it."""

IDLE_TURNS = 12


class Seen(NamedTuple):
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Verdict(NamedTuple):
    requests: tuple[Seen, ...]
    statuses: tuple[int, ...]
    stays: bool


def _verdict(requests: list[Seen], written: bytes) -> Verdict:
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", written)]
    stays = bool(requests) and requests[-1].target == "/sentinel"
    if stays:
        requests, statuses = requests[:-1], statuses[:-1]
    return Verdict(tuple(requests), tuple(status for status in statuses if status != 100), stays)


# what is sent

METHODS = (
    (b"GET",) * 6 + (b"POST",) * 8 + (b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"FOO", b"get", b"CONNECT")
)
TARGETS = (b"/",) * 6 + (
    b"/a/b?c=d&e",
    b"/%00",
    b"//",
    b"http://e.example/x?y",
    b"http://e.example",
    b"*",
    b"a",
    b"/\xe9",
)
VERSIONS = (b"HTTP/1.1",) * 20 + (b"HTTP/1.0",) * 4 + (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10")
HOSTS = (b"Host: h",) * 24 + (
    b"",
    b"Host: h\r\nHost: h",
    b"Host: a b",
    b"Host:",
    b"Host: [::1]:8",
    b"Host: u@h",
    b"Host : h",
)
FIELDS = (
    b"A: b", b"Accept: */*", b"Cookie: a=b; c=d", b"User-Agent: x/1 (y)", b"X-Empty:", b"X: \xe9", b"X:y", b"X: a\tb  ",
    b"Connection: close", b"Connection: keep-alive", b"Connection: x, close", b"Connection: Keep-Alive, x",
    b"Expect: 100-continue", b"Upgrade: h2c\r\nConnection: Upgrade", b"A: b\r\n c", b"A : b", b"A", b": b", b"A: b\x00",
    b"A: b\x01", b"A: b\rc", b"A(: b", b"X: " + b"y" * 300, b"A: 1\r\nA: 2", b"Connection: close\r\nConnection: x",
)  # fmt: skip
LENGTHS = (b"%d",) * 12 + (
    b"%d ",
    b"0%d",
    b"+%d",
    b"%d, %d",
    b"-%d",
    b"0x%x",
    b"%d\r\nContent-Length: %d",
    b"999%d",
    b"9" * 30,
)
CODINGS = (b"chunked",) * 12 + (
    b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"gzip", b"", b"chunked ", b"xchunked",
    b"chunked\r\nTransfer-Encoding: chunked", b"chunked\r\nContent-Length: 5",
)  # fmt: skip
EXTENSIONS = (b"",) * 12 + (b";a=b", b" ", b";", b";" + b"x" * 300, b"\x00", b" a")
TRAILERS = (b"",) * 12 + (b"A: b\r\n", b"A\r\n", b"A: b\r\n c\r\n", b"Content-Length: 5\r\n")
INSERTED = (b"\r", b"\n", b"\x00", b" ", b"\t", b":", b",", b"\r\n", b"\xff", b"x", b"0", b"\r\n\r\n", b"/", b";")


def request(rng: random.Random) -> bytes:
    lines = [b" ".join((rng.choice(METHODS), rng.choice(TARGETS), rng.choice(VERSIONS))), rng.choice(HOSTS)]
    lines += rng.choices(FIELDS, k=rng.choice((0, 0, 0, 1, 1, 2, 3)))
    body = bytes(rng.choices(b"abc\r\n{}", k=rng.choice((0, 1, 5, 5, 40, 300, BODY_BYTES, BODY_BYTES + 1))))
    kind = rng.randrange(10)
    if kind < 3:
        body = b""
    elif kind < 7:
        pattern = rng.choice(LENGTHS)
        lines.append(b"Content-Length: " + (pattern % ((len(body),) * pattern.count(b"%"))))
    else:
        lines.append(b"Transfer-Encoding: " + rng.choice(CODINGS))
        body = chunks(rng, body)
    if rng.random() < 0.01:
        lines += [b"L: m"] * rng.choice((99, 101, 120))
    rng.shuffle(lines[1:])
    return b"\r\n".join([line for line in lines if line] + [b"", b""]) + body


def chunks(rng: random.Random, body: bytes) -> bytes:
    size = rng.choice((1, 3, 20, 200, 1000))
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    written = b"".join(b"%x%b\r\n%b\r\n" % (len(part), rng.choice(EXTENSIONS), part) for part in parts)
    return written + b"0\r\n" + rng.choice(TRAILERS) + b"\r\n"


def mutated(rng: random.Random, octets: bytes) -> bytes:
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2))):
        at = rng.randrange(len(octets) + 1)
        match rng.randrange(6):
            case 0:
                octets = octets[:at] + rng.choice(INSERTED) + octets[at:]
            case 1:
                octets = octets[:at] + octets[at + 1 :]
            case 2:
                octets = octets.replace(b"\r\n", b"\n", rng.choice((1, 1, 2, 50)))
            case 3:
                octets = octets[:at] + bytes((rng.randrange(256),)) + octets[at + 1 :]
            case 4:
                octets = octets[:at]
            case _:
                octets = b"\r\n" * rng.choice((1, 2, 4, 6)) + octets
    return octets


def conversation(rng: random.Random) -> bytes:
    return b"".join(mutated(rng, request(rng)) for _ in range(rng.choice((1, 1, 1, 2, 3))))


def pieces(rng: random.Random, octets: bytes) -> list[bytes]:
    size = rng.choice((len(octets) or 1, len(octets) or 1, 700, 50, 7))
    return [octets[start : start + size] for start in range(0, len(octets), size)]


# who judges


def ours(parts: list[bytes]) -> tuple[Verdict, str]:
    """And why the last request was refused."""
    peer = HttpPeer(head_bytes=HEAD_BYTES, body_bytes=BODY_BYTES)
    for part in parts:
        peer.stream.feed(part)
    seen = []
    for told in peer.requests:
        if told.is_complete:
            headers = tuple(sorted((name, value) for name, value in told.head.headers.get_all()))
            seen.append(Seen(told.head.method, told.head.target, headers, told.body))
    reason = peer.refusals[-1].reason if peer.refusals else ""
    return _verdict(seen, bytes(peer.stream.written)), reason


class _Application(HTTPMessageDelegate):
    """What Tornado's server does for any application: it makes a request of the head, and answers."""

    def __init__(self, connection: Any, seen: list[Seen]) -> None:
        self._connection = connection
        self._seen = seen
        self._body = b""
        self._head: Any = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        HTTPServerRequest(connection=self._connection, start_line=start_line, headers=headers)
        self._head = (start_line, headers)

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        line, headers = self._head
        pairs = tuple(sorted((name.lower(), value) for name, value in headers.get_all()))
        self._seen.append(Seen(line.method, line.path, pairs, self._body))
        body = b"" if line.method == "HEAD" else b"ok"
        self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "2"}), body
        )
        self._connection.finish()


class _Server(HTTPServerConnectionDelegate):
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.is_closed = False

    def start_request(self, server_conn: object, request_conn: Any) -> _Application:
        return _Application(request_conn, self.seen)

    def on_close(self, server_conn: object) -> None:
        self.is_closed = True


class _Context:
    remote_ip = "198.51.100.1"
    protocol = "http"


_PARAMETERS = HTTP1ConnectionParameters(max_header_size=HEAD_BYTES, max_body_size=BODY_BYTES)


async def tornados(parts: list[bytes]) -> Verdict:
    here, there = socket.socketpair()
    here.setblocking(False)
    server: Any = _Server()
    connection = HTTP1ServerConnection(IOStream(there), _PARAMETERS, _Context())
    connection.start_serving(server)
    written = b""
    waiting, idle = list(parts), 0
    while idle < IDLE_TURNS and not server.is_closed:
        before = (len(server.seen), len(written))
        if waiting:
            try:
                here.sendall(waiting.pop(0))
            except OSError:
                waiting.clear()
        await asyncio.sleep(0)
        written += _received(here)
        if server.seen and server.seen[-1].target == "/sentinel" and b"ok" in written[-2:]:
            break
        idle = 0 if waiting or before != (len(server.seen), len(written)) else idle + 1
    written += _received(here)
    here.close()
    await connection.close()
    return _verdict(server.seen, written)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except OSError:
        return b""


# the reasons


class Case(NamedTuple):
    octets: bytes
    parts: list[bytes]
    tornado: Verdict
    ours: Verdict
    refusal: str


class Reason(NamedTuple):
    sentence: str
    applies: Callable[[Case], object]


def refused_for(*texts: str) -> Callable[[Case], bool]:
    """Up to a request that is refused here, the same was seen."""

    def applies(case: Case) -> bool:
        seen = case.ours.requests
        return any(text in case.refusal for text in texts) and seen == case.tornado.requests[: len(seen)]

    return applies


def taken_with(pattern: bytes) -> Callable[[Case], bool]:
    """Up to a request that is taken here for what it holds, the same was seen."""
    found = re.compile(pattern, re.IGNORECASE)

    def applies(case: Case) -> bool:
        seen = case.tornado.requests
        return seen == case.ours.requests[: len(seen)] and found.search(case.octets) is not None

    return applies


def _says_more(case: Case) -> bool:
    told, tells = case.tornado.statuses, case.ours.statuses
    return (
        case.tornado.requests == case.ours.requests
        and not case.tornado.stays
        and not case.ours.stays
        and len(tells) == len(case.ours.requests) + 1
        and told[: len(tells) - 1] == tells[:-1]
        and told[len(tells) - 1 :] in ((), (400,))
    )


def _ends_here(case: Case) -> bool:
    seen = case.ours.requests
    if case.refusal or case.ours.stays or not seen or seen != case.tornado.requests[: len(seen)]:
        return False
    options = [
        word.strip().lower() for name, value in seen[-1].headers if name == "connection" for word in value.split(",")
    ]
    return "close" in options or ("keep-alive" not in options and b"HTTP/1.0" in case.octets)


def _holds_empty_lines(case: Case) -> bool:
    """Up to where Tornado stops at them, the same was seen. Before its first request it passes over them too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adapters.http.messages.MAX_EMPTY_LINES", 0)
        stopped, refusal = ours(case.parts)
    seen, told = stopped.requests, case.tornado.requests
    same = seen == told[: len(seen)] and told == case.ours.requests[: len(told)]
    return same and refusal == "nothing but empty lines"


REASONS: dict[str, Reason] = {
    "status": Reason("The refusal has the status that says why, where there was 400 or none.", _says_more),
    "bare LF": Reason(
        "Lines end with CRLF: what takes LF for an end too may see other requests than the proxy before it "
        "(RFC 9112, section 2.2, allows either).",
        refused_for("a line that ends with LF alone"),
    ),
    "target": Reason(
        "A target is in origin or absolute form, or the asterisk of OPTIONS (section 3.2), in ASCII.",
        refused_for("a target that is none", " in url", "a malformed request line", "a malformed host in the target"),
    ),
    "method": Reason(
        "A method that nobody knows is 501 before it gets to an application (RFC 9110, section 9.1).",
        refused_for("an unknown method"),
    ),
    "one length": Reason(
        "One number, once: equal lengths that are repeated are allowed to be refused (RFC 9112, section 6.3).",
        refused_for("Duplicate Content-Length", "Content-Length"),
    ),
    "one coding": Reason(
        "Chunked and nothing else, in HTTP/1.1 (sections 6.1 and 6.3).", refused_for("Transfer-Encoding")
    ),
    "header lines": Reason("At most 100, each costing as much as hundreds of octets.", refused_for("too many header")),
    "host": Reason("One Host, of the characters that a host has (section 3.2).", refused_for("Host")),
    "last answer": Reason(
        "Close, in a list too, ends a connection: nothing behind it is looked at, as HTTP/1.0 without keep-alive "
        "(section 9.3, 9.6).",
        _ends_here,
    ),
    "kept alive": Reason(
        "Keep-alive, in a list too, keeps a connection of HTTP/1.0 (RFC 9112, section 9.3).",
        taken_with(rb"HTTP/1\.0\r\n(?:.*\r\n)*?connection:(?:.*\r\n(?:.*\r\n)*?connection:)?.*keep-alive"),
    ),
    "extensions": Reason(
        "Extensions of chunks are passed over (section 7.1.1), where Tornado refuses them.",
        taken_with(rb"\r\n[0-9a-f]+[ \t]*(;|[ \t]+\r\n)"),
    ),
    "trailers": Reason(
        "Trailers are dropped (section 7.1.2), where Tornado refuses them.", taken_with(rb"\r\n0+\r\n[^\r\n]+:")
    ),
    "empty lines": Reason("Some before a request are passed over (section 2.2).", _holds_empty_lines),
    "a later version": Reason("HTTP/1.2 is read as 1.1 (RFC 9110, section 2.5).", taken_with(rb"HTTP/1\.[2-9]")),
}


def _in_origin_form(verdict: Verdict) -> Verdict:
    """What handlers see of an absolute target (RFC 9112, section 3.2.2) is its path."""
    return verdict._replace(
        requests=tuple(
            seen._replace(target=re.sub(r"^https?://[^/?]*/?", "/", seen.target, flags=re.IGNORECASE))
            for seen in verdict.requests
        )
    )


async def compared(number: int) -> tuple[Counter[str], list[Case]]:
    rng = random.Random(SEED)
    counts: Counter[str] = Counter()
    unexplained = []
    requests = 0
    while requests < number:
        octets = conversation(rng)
        requests += max(1, len(re.findall(rb" HTTP/", octets)))
        parts = [*pieces(rng, octets), SENTINEL]
        of_tornado, (of_ours, refusal) = await tornados(parts), ours(parts)
        case = Case(octets, parts, _in_origin_form(of_tornado), of_ours, refusal)
        if of_tornado == of_ours:
            counts["the same"] += 1
        elif case.tornado == of_ours:
            counts["absolute target"] += 1
        else:
            name = next((name for name, reason in REASONS.items() if reason.applies(case)), "unexplained")
            counts[name] += 1
            if name == "unexplained":
                unexplained.append(case)
    return counts, unexplained


@pytest.mark.gen_test(timeout=900)
async def test_the_verdict_is_tornado_s_or_differs_for_a_reason() -> None:
    logging.disable(logging.CRITICAL)
    try:
        counts, unexplained = await compared(REQUESTS)
    finally:
        logging.disable(logging.NOTSET)
    report(f"verdicts on {REQUESTS} requests: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
    assert unexplained == []
    assert counts["the same"] > counts.total() / 3
    assert not IS_FULL or counts.keys() == {"the same", "absolute target", *REASONS}


@pytest.mark.gen_test(timeout=60)
async def test_a_verdict_that_differs_without_a_reason_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.disable(logging.CRITICAL)
    try:
        monkeypatch.setattr("adapters.http.messages._keeps_alive", lambda *_: True)
        _, unexplained = await compared(300)
        assert unexplained
        monkeypatch.undo()
        monkeypatch.setattr("adapters.http.chunked_body.ChunkedBody._keep", lambda *_: None)
        monkeypatch.setattr("adapters.http.messages._content_length", lambda *_: 0)
        _, unexplained = await compared(300)
        assert unexplained
    finally:
        logging.disable(logging.NOTSET)
