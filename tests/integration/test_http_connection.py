"""The HTTP/1.1 connection at the wire (RFC 9110, RFC 9112): octets in, octets out, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import tornado.web

from adapters.http.connection import DROPPED_BODY, HttpServerConnection
from adapters.http.exchange import Exchange
from tests.integration.http_wire import Recorder, Seen, Wire, certified, on_both_loops, say_nothing
from tests.listening import Port, on_port
from tests.serving import eventually

HEAD_BYTES = 4096
BODY_BYTES = 1000
MEGABYTE = 1_000_000


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, target: str = "/", *fields: str) -> bytes:
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    head = get("/", "Transfer-Encoding: chunked", method="POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


@asynccontextmanager
async def served(
    route: Recorder | None = None,
    *,
    at_end: Callable[[Recorder], None] = Recorder.assert_each_ended_once,
    **options: Any,
) -> AsyncIterator[tuple[Recorder, Port]]:
    """One route for everything here; in the end each request must have had its one end, and no connection be left."""
    route = route or Recorder()
    defaults = {"head_bytes": HEAD_BYTES, "body_bytes": BODY_BYTES}
    async with on_port({"/": route, "/x": route, "*": route}, **(defaults | options)) as port:
        yield route, port
    await eventually(lambda: not port.listener.connections, within=5)
    for table in (port.listener._stages, port.listener._sending, *port.listener._waiting.values()):
        assert not table
    at_end(route)


# pipelining


@on_both_loops
async def test_pipelined_requests_are_answered_in_order_in_one_segment_or_in_many() -> None:
    async with served() as (route, port):
        requests = [post(b"%d" % number) for number in range(50)]
        for sizes in (1 << 20, 1000, 7):
            wire = await Wire.open(port)
            octets = b"".join(requests)
            for start in range(0, len(octets), sizes):
                wire.send(octets[start : start + sizes])
                if sizes < 100:
                    await asyncio.sleep(0)
            assert [(await wire.answer()).json()["body"] for _ in requests] == [str(number) for number in range(50)]
            wire.close()
        assert len(route.requests) == 150


@on_both_loops
async def test_the_next_request_waits_for_a_slow_answer() -> None:
    release = asyncio.Event()
    order: list[str] = []

    async def wait(seen: Seen) -> None:
        if seen.head.method == "PUT":
            await release.wait()
        order.append(seen.line)
        seen.exchange.respond(200, [], seen.line.encode())

    waiting: set[asyncio.Task[None]] = set()

    def later(seen: Seen) -> None:
        waiting.add(asyncio.ensure_future(wait(seen)))

    async with served(Recorder(later)) as (route, port):
        wire = await Wire.open(port)
        wire.send(get(method="PUT") + get("/x") + get("/")[:20])
        await eventually(lambda: len(route.requests) == 1)
        assert await wire.says_nothing()
        assert route.lines == ["PUT /"]
        release.set()
        assert [(await wire.answer()).body for _ in range(2)] == [b"PUT /", b"GET /x"]
        wire.send(get("/")[20:])
        assert (await wire.answer()).body == b"GET /"
        assert order == route.lines == ["PUT /", "GET /x", "GET /"]


@on_both_loops
async def test_what_comes_behind_a_slow_answer_waits_in_the_client() -> None:
    async with served(Recorder(say_nothing)) as (route, port):
        wire = await Wire.open(port)
        wire.send(get() + b"x" * 50 * MEGABYTE)
        await eventually(lambda: len(route.requests) == 1)
        await asyncio.sleep(0.3)
        (connection,) = port.listener.connections
        assert len(connection._buffer) <= 32_768
        assert wire.writer.transport.get_write_buffer_size() > 10 * MEGABYTE
        wire.writer.transport.abort()
        route.requests[0].exchange.close()


# bodies


@pytest.mark.parametrize("pieces", [1 << 20, 5, 1])
@on_both_loops
async def test_a_chunked_body_is_read_with_its_extensions_and_its_trailers_are_dropped(pieces: int) -> None:
    octets = get("/", "Transfer-Encoding: chunked", method="POST") + (
        b'5;a=b;c="d"\r\nhello\r\n1 ;x\r\n \r\n5\r\nworld\r\n0;last\r\nA: b\r\nContent-Length: 5\r\n\r\n'
    )
    async with served() as (_, port):
        wire = await Wire.open(port)
        for start in range(0, len(octets), pieces):
            wire.send(octets[start : start + pieces])
            await asyncio.sleep(0)
        seen = (await wire.answer()).json()
        assert seen["body"] == "hello world"
        assert "a" not in dict(seen["headers"])
        wire.send(get("/x"))
        assert (await wire.answer()).json()["target"] == "/x"


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"1\r\nx\r\n" * 5000, 400),
        (b"5;" + b"x" * 5000, 400),
        (b"0\r\n" + b"a: b\r\n" * 1000, 431),
        (b"5\r\nhelloX\r\n", 400),
        (b"5\nhello\n", 400),
        (b"nonsense\r\n", 400),
        (b"3e9\r\n" + b"x" * 1001, 413),
        (b"ffffffff\r\n", 413),
        (b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n", 413),
    ],
)
@on_both_loops
async def test_a_chunked_body_that_is_refused(octets: bytes, status: int) -> None:
    async with served() as (route, port):
        wire = await Wire.open(port)
        wire.send(get("/", "Transfer-Encoding: chunked", method="POST") + octets)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert await wire.closes()
        assert [seen.endings for seen in route.requests] == [["closed"]]


@on_both_loops
async def test_a_body_may_be_as_large_as_it_may() -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        for octets in (post(b"x" * BODY_BYTES), chunked(b"x" * BODY_BYTES), chunked(*[b"x" * 20] * 50)):
            wire.send(octets)
            assert len((await wire.answer()).json()["body"]) == BODY_BYTES


@pytest.mark.parametrize("length", [BODY_BYTES + 1, 10**14, 10**30])
@on_both_loops
async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(length: int) -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        wire.send(get("/", f"Content-Length: {length}", method="POST"))
        assert (await wire.answer()).status == 413
        assert await wire.closes()


@on_both_loops
async def test_a_route_sets_its_own_limit_for_bodies() -> None:
    async with served(Recorder(max_body=5)) as (_, port):
        wire = await Wire.open(port)
        wire.send(post(b"hello"))
        assert (await wire.answer()).json()["body"] == "hello"
        wire.send(post(b"hello!"))
        assert (await wire.answer()).status == 413


@on_both_loops
async def test_nothing_of_a_body_comes_before_its_handler_is_there_nor_while_it_takes() -> None:
    release = asyncio.Event()
    taking = 0

    async def take(seen: Seen) -> None:
        nonlocal taking
        taking += 1
        assert taking == 1
        await asyncio.sleep(0.01)
        taking -= 1

    async def begin(seen: Seen) -> None:
        await release.wait()
        assert seen.body == b""

    async with served(Recorder(begin=begin, take=take)) as (route, port):
        wire = await Wire.open(port)
        await wire.send_pieces(post(b"hello")[:-3], b"llo" + chunked(b"one", b"two")[:-10], b"two\r\n0\r\n\r\n")
        assert [seen.body for seen in route.requests] == [b""]
        release.set()
        assert [(await wire.answer()).json()["body"] for _ in range(2)] == ["hello", "onetwo"]


@on_both_loops
async def test_an_upgrade_that_nobody_takes_is_a_request_like_others() -> None:
    async with served() as (route, port):
        wire = await Wire.open(port)
        wire.send(post(b"hello", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"))
        wire.send(get("/x", "Connection: Upgrade", "Upgrade: websocket"))
        assert (await wire.answer()).json()["body"] == "hello"
        assert (await wire.answer()).status == 200
        assert route.lines == ["POST /", "GET /x"]


# Expect: 100-continue


@on_both_loops
async def test_who_expects_it_gets_leave_to_send_a_body() -> None:
    async with served() as (_, port):
        for octets in (
            post(b"hello", "/", "Expect: 100-continue"),
            chunked(b"hello").replace(b"Host: h", b"Host: h\r\nExpect: 100-Continue"),
        ):
            head, body = octets[: octets.index(b"\r\n\r\n") + 4], octets[octets.index(b"\r\n\r\n") + 4 :]
            wire = await Wire.open(port)
            wire.send(head)
            assert (await wire.answer()).status == 100
            wire.send(body)
            assert (await wire.answer()).json()["body"] == "hello"
            # Its body is there already: nobody waits for leave.
            wire.send(octets)
            assert (await wire.answer()).status == 200
            wire.close()


@pytest.mark.parametrize(
    "octets",
    [
        get("/", "Expect: 100-continue"),
        get("/", "Expect: 100-continue", "Content-Length: 0", method="POST"),
        get("/", "Expect: something", "Content-Length: 5", method="POST") + b"hello",
        get("/", "Expect: 100-continue", "Content-Length: 5", method="POST", version="1.0") + b"hello",
    ],
)
@on_both_loops
async def test_nobody_else_gets_an_interim_answer(octets: bytes) -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        wire.send(octets)
        assert (await wire.answer()).status == 200


@on_both_loops
async def test_who_expects_leave_and_is_refused_gets_the_answer_at_once_and_the_connection_ends() -> None:
    def refuse(seen: Seen) -> None:
        seen.exchange.respond(401, [], b"no")

    for route, status in ((Recorder(begin=refuse), 401), (Recorder(max_body=3), 413)):
        async with served(route) as (_, port):
            wire = await Wire.open(port)
            wire.send(get("/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            # Whether its body follows cannot be told: what comes is no request.
            wire.send(get("/x"))
            assert await wire.closes()
            assert route.lines == ["POST /"]


# the head, as it may be


@on_both_loops
async def test_forms_of_targets() -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        for octets, target, host in (
            (get("/?a=b"), "/?a=b", "h"),
            (get("http://e.example:80/x?a"), "/x?a", "e.example:80"),
            (get("http://e.example"), "/", "e.example"),
            (get("*", method="OPTIONS"), "*", "h"),
        ):
            wire.send(octets)
            seen = (await wire.answer()).json()
            assert (seen["target"], seen["host"]) == (target, host)


@on_both_loops
async def test_tornado_s_handlers_see_the_host_of_an_absolute_target() -> None:
    class Hosts(tornado.web.RequestHandler):
        def get(self) -> None:
            self.finish({"host": self.request.host, "path": self.request.path, "uri": self.request.uri})

    async with served(router=tornado.web.Application([("/tornado", Hosts)])) as (_, port):
        wire = await Wire.open(port)
        wire.send(get("http://e.example/tornado?a=b"))
        seen = (await wire.answer()).json()
        assert seen == {"host": "e.example", "path": "/tornado", "uri": "/tornado?a=b"}


@on_both_loops
async def test_tornado_s_handlers_see_one_length_however_it_was_written() -> None:
    class Lengths(tornado.web.RequestHandler):
        def post(self) -> None:
            self.finish(
                {"lengths": self.request.headers.get_list("Content-Length"), "body": self.request.body.decode()}
            )

    async with served(router=tornado.web.Application([("/tornado", Lengths)])) as (_, port):
        wire = await Wire.open(port)
        for lines in (["Content-Length: 5"], ["Content-Length: 0005"], ["Content-Length: " + "0" * 3000 + "5"]):
            wire.send(get("/tornado", *lines, method="POST") + b"hello")
            assert (await wire.answer()).json() == {"lengths": ["5"], "body": "hello"}


@pytest.mark.parametrize("lines", [1, 4])
@on_both_loops
async def test_empty_lines_before_a_request_are_passed_over(lines: int) -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        for _ in range(3):
            await wire.send_pieces(b"\r\n" * (lines - 1) + b"\r", b"\n" + get()[:9], get()[9:])
            assert (await wire.answer()).status == 200


REFUSED: list[tuple[bytes, int]] = [
    (b"GET /\r\n\r\n", 400),
    (get(version="0.9"), 505),
    (get(version="2.0"), 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (get(method="FOO"), 501),
    (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
    (b"\n" + get(), 400),
    (b"\r\n" * 5 + get(), 400),
    (get("/", "A: b\rc"), 400),
    (get("/", "A: b\x00c"), 400),
    (get("/", "A: b\x08c"), 400),
    (get("/", "A\x00b: c"), 400),
    (get("/", "A : b"), 400),
    (get("/", "A: b", " c"), 400),
    (get("/", " A: b"), 400),
    (get("/\x01"), 400),
    (get("h:443", method="CONNECT"), 400),
    (get("/" + "x" * HEAD_BYTES), 414),
    (get("/", "A: " + "x" * HEAD_BYTES), 431),
    (get("/", *["a: b"] * 100), 431),
    (get("/", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST"), 400),
    (get("/", "Content-Length: 5", "Content-Length: 6", method="POST"), 400),
    (get("/", "Content-Length: " + "0" * 3000 + "5000", method="POST"), 413),
    (get("/", "Transfer-Encoding: gzip, chunked", method="POST"), 400),
    (get("/", "Transfer-Encoding: chunked", method="POST", version="1.0"), 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (get("/", "Host: other"), 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
]


@pytest.mark.parametrize("pieces", [1 << 20, 11])
@pytest.mark.parametrize(("octets", "status"), REFUSED)
@on_both_loops
async def test_a_request_that_is_refused_is_answered_and_the_connection_ends(
    octets: bytes, status: int, pieces: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is not looked at: where it begins is not known."""
    async with served() as (route, port):
        wire = await Wire.open(port)
        octets += get("/x")
        for start in range(0, len(octets), pieces):
            wire.send(octets[start : start + pieces])
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        assert {name: answer.json()[name] for name in ("status", "retryable")} == {"status": status, "retryable": False}
        assert await wire.closes()
        assert not any(seen.line == "GET /x" for seen in route.requests)
        records = [record for record in caplog.records if record.name == "synkrone.server"]
        assert [(record.getMessage(), vars(record)["status"]) for record in records] == [("malformed request", status)]


@pytest.mark.parametrize(
    ("octets", "stays"),
    [
        (get(), True),
        (get("/", "Connection: close"), False),
        (get("/", "Connection: x, Close"), False),
        (get(version="1.0"), False),
        (get("/", "Connection: keep-alive", version="1.0"), True),
        (get("/", "Connection: keep-alive", version="1.2"), True),
        (get(version="1.2"), True),
    ],
)
@on_both_loops
async def test_who_stays_connected(octets: bytes, *, stays: bool) -> None:
    async with served() as (_, port):
        wire = await Wire.open(port)
        wire.send(octets)
        answer = await wire.answer()
        is_old = b"HTTP/1.0" in octets
        assert answer.headers.get("connection") == ("close" if not stays else "keep-alive" if is_old else None)
        if stays:
            wire.send(get("/x"))
            assert (await wire.answer()).json()["target"] == "/x"
        else:
            assert await wire.closes()


# answers


@on_both_loops
async def test_head_is_answered_as_get_without_a_body() -> None:
    class Page(tornado.web.RequestHandler):
        def get(self) -> None:
            self.write("page")

        head = get

    async with served(router=tornado.web.Application([("/tornado", Page)])) as (_, port):
        wire = await Wire.open(port)
        for target in ("/", "/tornado"):
            answers = []
            for method in ("GET", "HEAD", "GET"):
                wire.send(get(target, method=method))
                answers.append(await wire.answer(method))
            assert answers[1].body == b""
            headers = [{**answer.headers, "date": "", "content-length": ""} for answer in answers]
            assert headers[0] == headers[1] == headers[2]
        assert answers[0].headers["content-length"] == answers[1].headers["content-length"] == "4"


class Streams(tornado.web.RequestHandler):
    """Writes what the test says, piece by piece, and lets nothing be reset."""

    pieces: tuple[bytes, ...] = (b"one", b"two", b"")
    status = 200
    length: int | None = None

    async def get(self) -> None:
        self.set_status(self.status)
        if self.length is not None:
            self.set_header("Content-Length", str(self.length))
        for piece in self.pieces:
            self.write(piece)
            await self.flush()

    post = get


@asynccontextmanager
async def streaming(**members: Any) -> AsyncIterator[Port]:
    handler = type("Handler", (Streams,), members)
    async with served(router=tornado.web.Application([("/tornado", handler)])) as (_, port):
        yield port


@on_both_loops
async def test_an_answer_of_unknown_length_is_chunked_or_ends_with_the_connection() -> None:
    async with streaming() as port:
        wire = await Wire.open(port)
        wire.send(get("/tornado"))
        answer = await wire.answer()
        assert (answer.body, answer.headers["transfer-encoding"]) == (b"onetwo", "chunked")
        wire.send(get("/tornado", "Connection: keep-alive", version="1.0"))
        answer = await wire.answer()
        assert (answer.body, answer.headers["connection"]) == (b"onetwo", "close")
        assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("status", [204, 304])
@on_both_loops
async def test_answers_that_have_no_body(status: int) -> None:
    def answer(seen: Seen) -> None:
        seen.exchange.respond(status, [("X", "y")], b"never")

    async with served(Recorder(answer)) as (_, port):
        wire = await Wire.open(port)
        wire.send(get() * 2)
        for _ in range(2):
            got = await wire.answer()
            assert (got.status, got.headers["x"]) == (status, "y")
            assert not {"content-length", "transfer-encoding"} & got.headers.keys()
    async with streaming(pieces=(), status=status) as port:
        wire = await Wire.open(port)
        wire.send(get("/tornado") * 2)
        for _ in range(2):
            got = await wire.answer()
            assert got.status == status
            assert not {"content-length", "transfer-encoding"} & got.headers.keys()


@pytest.mark.parametrize(("length", "arrives"), [(7, b"onetwo"), (5, b"one"), (2, b"")])
@on_both_loops
async def test_an_answer_that_is_not_as_long_as_it_says_ends_the_connection(
    length: int, arrives: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with streaming(length=length) as port:
        wire = await Wire.open(port)
        wire.send(get("/tornado") * 2)
        rest = await wire.rest()
        assert rest.count(b"HTTP/1.1 ") <= 1
        assert rest.partition(b"\r\n\r\n")[2] == arrives
        assert any(record.exc_info for record in caplog.records)


@on_both_loops
async def test_date_is_on_every_answer() -> None:
    async with streaming() as port:
        for octets in (
            get(),
            get("/tornado"),
            get("/nowhere"),
            b"nonsense\r\n\r\n",
            get(method="FOO"),
            post(b"x" * 1001),
        ):
            wire = await Wire.open(port)
            wire.send(octets)
            date = parsedate_to_datetime((await wire.answer()).headers["date"])
            assert abs(date.timestamp() - time.time()) < 5
            wire.close()


INJECTED = ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\x00"]


@pytest.mark.parametrize("value", INJECTED)
@on_both_loops
async def test_no_line_break_gets_into_a_head(value: str, caplog: pytest.LogCaptureFixture) -> None:
    def inject(seen: Seen) -> None:
        fields = [("X-Good", value)] if seen.head.method == "GET" else [(f"X-{value}", "good")]
        seen.exchange.respond(200, fields, b"")

    class Injecting(tornado.web.RequestHandler):
        def get(self) -> None:
            self._headers._as_list["X-Good"] = [value]

        def post(self) -> None:
            self._status_code, self._reason = 200, value

    router = tornado.web.Application([("/tornado", Injecting)])
    async with served(Recorder(inject), router=router) as (_, port):
        for octets in (get(), post(b""), get("/tornado"), post(b"", "/tornado")):
            wire = await Wire.open(port)
            wire.send(octets)
            rest = await wire.rest()
            assert b"X: y" not in rest
            assert not rest.startswith(b"HTTP/1.1 200")


@on_both_loops
async def test_nothing_is_written_into_an_answer_that_has_begun() -> None:
    """A body that turns out malformed is no reason for a second answer within the first."""

    def begin(seen: Seen) -> None:
        start = tornado.httputil.ResponseStartLine("HTTP/1.1", 200, "OK")
        seen.exchange.write_headers(start, tornado.httputil.HTTPHeaders({"Content-Length": "100"}), b"begun")

    async with served(Recorder(begin=begin)) as (_, port):
        wire = await Wire.open(port)
        wire.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        await wire.reader.readuntil(b"\r\n\r\nbegun")
        wire.send(b"nonsense\r\n")
        assert await wire.rest() in (b"", b"(reset)")


@on_both_loops
async def test_a_defect_of_a_handler_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(seen: Seen) -> None:
        raise ArithmeticError

    async def fail_later(seen: Seen) -> None:
        await asyncio.sleep(0)
        raise ArithmeticError

    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    failures: list[dict[str, Any]] = []
    for route in (
        Recorder(fail),
        Recorder(begin=fail),
        Recorder(begin=fail_later),
        Recorder(take=fail),
        Recorder(take=fail_later),
    ):

        def ended_once(route: Recorder) -> None:
            assert all(len(seen.endings) <= 1 for seen in route.requests)

        async with served(route, at_end=ended_once) as (_, port):
            wire, other = await Wire.open(port), await Wire.open(port)
            other.send(get("/nowhere"))
            assert (await other.answer()).status == 404
            wire.send(post(b"hello") + get("/x"))
            assert await wire.closes()
            assert len(route.requests) == 1
            other.send(get("/nowhere"))
            assert (await other.answer()).status == 404
            told = [record for record in caplog.records if record.exc_info] + failures
            assert len(told) == 1
            caplog.clear()
            failures.clear()


# an answer before the end of the request


@on_both_loops
async def test_a_body_behind_its_answer_is_dropped_and_the_connection_stays() -> None:
    def refuse(seen: Seen) -> None:
        seen.exchange.respond(401, [], b"no")

    async with served(Recorder(begin=refuse), body_bytes=10 * MEGABYTE) as (route, port):
        wire = await Wire.open(port)
        for size in (5, DROPPED_BODY):
            octets = post(b"x" * size)
            await wire.send_pieces(octets[:60])
            answer = await wire.answer()
            assert (answer.status, answer.headers.get("connection")) == (401, None)
            wire.send(octets[60:])
        assert [seen.body for seen in route.requests] == [b"", b""]


@on_both_loops
async def test_a_request_that_is_answered_in_the_middle_of_its_body_has_one_end() -> None:
    def refuse(seen: Seen) -> None:
        seen.exchange.respond(403, [], b"no")

    async with served(Recorder(take=refuse)) as (route, port):
        wire = await Wire.open(port)
        await wire.send_pieces(post(b"hello")[:-4])
        assert (await wire.answer()).status == 403
        wire.send(b"ello" + get("/x"))
        await eventually(lambda: len(route.requests) == 2)
        assert [(seen.body, seen.endings) for seen in route.requests] == [(b"h", ["closed"]), (b"", ["finished"])]


LARGE = 20 * MEGABYTE


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", ["length", "chunks", "too large"])
@on_both_loops
async def test_an_early_answer_arrives_whole_at_a_client_that_is_still_sending(
    kind: str, tmp_path: Path, *, secured: bool
) -> None:
    """Closed with something unread, the connection would be reset, and the answer lost."""

    def refuse(seen: Seen) -> None:
        if kind != "too large":
            seen.exchange.respond(403, [], b"x" * 50_000)

    tls = certified(tmp_path) if secured else None
    limit = BODY_BYTES if kind == "too large" else LARGE
    async with served(Recorder(begin=refuse), body_bytes=limit, tls=tls and tls.server) as (_, port):
        wire = await Wire.open(port, tls and tls.client)
        if kind == "chunks":
            piece = b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
            wire.send(get("/", "Transfer-Encoding: chunked", method="POST") + piece * (LARGE // 50_000))
        else:
            wire.send(post(b"x" * LARGE))
        answer = await wire.answer()
        assert answer.status == (413 if kind == "too large" else 403)
        assert answer.headers["connection"] == "close"
        assert kind == "too large" or answer.body == b"x" * 50_000
        assert await wire.closes()


@on_both_loops
async def test_what_comes_behind_the_end_is_dropped_at_its_pace() -> None:
    """25 MB/s at most, also where a turn was awaited in between."""
    async with served() as (_, port):
        wire = await Wire.open(port)
        wire.send(get("/", "Connection: close"))
        await wire.answer()
        wire.send(b"x" * LARGE)
        started = time.monotonic()
        await eventually(lambda: not wire.writer.transport.get_write_buffer_size(), within=5)
        assert time.monotonic() - started > 0.3


@on_both_loops
async def test_who_never_closes_is_closed_some_time_after_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.http.connection.LINGER_SECONDS", 0.2)
    async with served() as (_, port):
        wire = await Wire.open(port)
        wire.send(get("/", "Connection: close"))
        await wire.answer()
        assert await wire.closes()
        assert len(port.listener.connections) == 1
        await eventually(lambda: not port.listener.connections)


# clients that leave


@on_both_loops
async def test_a_request_before_the_end_of_the_client_s_side_is_answered() -> None:
    async with served() as (_, port):
        for octets in (get(), post(b"hello"), chunked(b"hello")):
            wire = await Wire.open(port)
            wire.send(octets)
            wire.finish()
            assert (await wire.answer()).status == 200
            assert await wire.closes()


@pytest.mark.parametrize("octets", [get()[:-2], post(b"hello")[:-1], chunked(b"hello")[:-2], b"", b"\r\n", get()[:3]])
@on_both_loops
async def test_half_a_request_before_the_end_is_none(octets: bytes) -> None:
    async with served() as (route, port):
        wire = await Wire.open(port)
        wire.send(octets)
        wire.finish()
        assert await wire.closes()
        assert all(seen.endings == ["closed"] for seen in route.requests)


def slowly(answered: list[str], release: asyncio.Event) -> Recorder:
    async def answer(seen: Seen) -> None:
        await release.wait()
        answered.append(seen.body.decode())
        seen.exchange.respond(200, [], seen.body)

    tasks: list[asyncio.Task[None]] = []
    return Recorder(lambda seen: tasks.append(asyncio.ensure_future(answer(seen))))


MANY = 1500
"""More than one read gives."""


# A half-closed connection of TLS is a closed one here.
@pytest.mark.parametrize(
    ("secured", "ending"),
    [(False, "end"), (False, "close"), (False, "reset"), (True, "close"), (True, "reset")],
)
@on_both_loops
async def test_requests_that_came_whole_before_their_client_left_are_carried_out_in_order(
    ending: str, tmp_path: Path, *, secured: bool
) -> None:
    tls = certified(tmp_path) if secured else None
    answered: list[str] = []
    release = asyncio.Event()
    # Over TLS, what was not read when an answer fails is lost.
    many = MANY // 4 if secured else MANY
    async with served(slowly(answered, release), tls=tls and tls.server) as (route, port):
        wire = await Wire.open(port, tls and tls.client)
        wire.send(b"".join(post(b"%04d" % number) for number in range(many)) + post(b"half")[:-1])
        await wire.writer.drain()
        await eventually(lambda: len(route.requests) == 1)
        if ending == "end":
            wire.finish()
        elif ending == "close":
            wire.close()
        else:
            await wire.reset()
        await asyncio.sleep(0.05)
        release.set()
        if ending == "end":
            assert [(await wire.answer()).body for _ in range(many)] == [b"%04d" % number for number in range(many)]
            assert await wire.closes()
        await eventually(lambda: len(answered) == many, within=10)
        assert answered == [f"{number:04}" for number in range(many)]
        await eventually(lambda: not port.listener.connections, within=5)


@on_both_loops
async def test_requests_that_came_whole_are_carried_out_also_where_a_handler_never_answers_who_has_left() -> None:
    """A poll ends with its client; what was asked behind it does not."""

    def poll(seen: Seen) -> None:
        if seen.head.method == "GET":
            seen.exchange.set_close_callback(seen.exchange.close)
        else:
            seen.exchange.respond(200, [], b"")

    for ending in (Wire.finish, Wire.close, Wire.reset):
        async with served(Recorder(poll)) as (route, port):
            wire = await Wire.open(port)
            wire.send(get() + post(b"1"))
            await eventually(lambda route=route: len(route.requests) == 1)  # type: ignore[misc]
            wire.send(post(b"2"))
            await wire.writer.drain()
            ended = ending(wire)
            if ended is not None:
                await ended
            if ending is Wire.finish:
                # With something behind it that waits, the end is seen behind that.
                wire.close()
            route.requests[0].exchange.close()
            await eventually(lambda route=route: len(route.requests) >= 2)  # type: ignore[misc]
            assert route.requests[1].body == b"1"


@on_both_loops
async def test_a_connection_is_forgotten_though_its_handler_never_answers() -> None:
    for octets in (get(), get() + b"\r\n", get() + get("/x"), post(b"hello") * 100):
        async with served(Recorder(say_nothing)) as (route, port):
            wire = await Wire.open(port)
            wire.send(octets)
            await eventually(lambda route=route: len(route.requests) == 1)  # type: ignore[misc]
            await wire.reset()
            await eventually(lambda port=port: not port.listener.connections)  # type: ignore[misc]


# time-outs


@pytest.mark.parametrize(
    ("octets", "setting"),
    [
        (b"", "request_timeout"),
        (get()[:20], "request_timeout"),
        (post(b"hello")[:-1], "request_timeout"),
        (chunked(b"hello")[:-2], "request_timeout"),
        (get() + get()[:20], "request_timeout"),
        (get(), "keepalive_timeout"),
        (get() + b"\r\n", "keepalive_timeout"),
    ],
)
@on_both_loops
async def test_who_sends_nothing_more_is_closed_after_its_time(octets: bytes, setting: str) -> None:
    times: dict[str, Any] = {"request_timeout": 30.0, "keepalive_timeout": 30.0, setting: 0.4}
    async with served(**times) as (_, port):
        wire = await Wire.open(port)
        wire.send(octets)
        if octets.startswith(get()):
            assert (await wire.answer()).status == 200
        started = time.monotonic()
        assert await wire.closes()
        assert 0.3 < time.monotonic() - started < 10


@pytest.mark.parametrize(
    "octets", [get("/", "A: " + "b" * 100), post(b"x" * 100), chunked(*[b"x"] * 100), b"\r\n" * 99]
)
@on_both_loops
async def test_octet_by_octet_has_the_same_time(octets: bytes) -> None:
    async with served(request_timeout=0.4, keepalive_timeout=0.4) as (_, port):
        wire = await Wire.open(port)
        started = time.monotonic()
        ended = asyncio.ensure_future(wire.rest())
        for position in range(len(octets) - 1):
            wire.send(octets[position : position + 1])
            await asyncio.wait((ended,), timeout=0.1)
            if ended.done():
                break
        await ended
        assert time.monotonic() - started < 7


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("target", ["/", "/unfinished"])
@on_both_loops
async def test_who_takes_nothing_of_an_answer_is_closed_after_its_time(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, secured: bool
) -> None:
    # Linux would close it too, over TCP.
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    answer = b"x" * 20 * MEGABYTE

    class Unfinished(tornado.web.RequestHandler):
        async def get(self) -> None:
            self.write(answer)
            with contextlib.suppress(tornado.iostream.StreamClosedError):
                await self.flush()

    def respond(seen: Seen) -> None:
        seen.exchange.respond(200, [], answer)

    tls = certified(tmp_path) if secured else None
    router = tornado.web.Application([("/unfinished", Unfinished)])
    options: dict[str, Any] = {"send_timeout": 0.5, "send_buffer": 20_000, "router": router, "tls": tls and tls.server}
    async with served(Recorder(respond), **options) as (_, port):
        wire = await Wire.open(port, tls and tls.client, receive_buffer=20_000)
        wire.pause()
        wire.send(get(target))
        await eventually(lambda: len(port.listener._sending) == 1)
        await eventually(lambda: not port.listener.connections)


@on_both_loops
async def test_who_takes_an_answer_slowly_gets_all_of_it() -> None:
    def respond(seen: Seen) -> None:
        seen.exchange.respond(200, [], b"x" * 3_000_000)

    async with served(Recorder(respond), send_timeout=0.5, send_buffer=20_000) as (_, port):
        wire = await Wire.open(port, receive_buffer=20_000)
        wire.pause()
        wire.send(get() + get("/x"))
        for _ in range(10):
            await asyncio.sleep(0.2)
            wire.go_on()
            await asyncio.sleep(0.002)
            wire.pause()
        wire.go_on()
        assert [len((await wire.answer()).body) for _ in range(2)] == [3_000_000] * 2


@on_both_loops
async def test_the_next_request_waits_until_the_answer_is_taken() -> None:
    """Else answers would gather in the server for whoever asks and reads nothing."""

    def respond(seen: Seen) -> None:
        seen.exchange.respond(200, [], b"x" * MEGABYTE)

    async with served(Recorder(respond), send_buffer=20_000) as (route, port):
        wire = await Wire.open(port, receive_buffer=20_000)
        wire.pause()
        wire.send(get() * 100)
        await asyncio.sleep(0.3)
        assert len(route.requests) == 1
        wire.go_on()
        for _ in range(100):
            assert len((await wire.answer()).body) == MEGABYTE


# what stays behind


ENDINGS: list[tuple[str, bytes]] = [
    ("answered", get()),
    ("close", get("/", "Connection: close")),
    ("malformed", b"nonsense\r\n\r\n"),
    ("half a head", get()[:20]),
    ("half a body", post(b"x" * 900)[:-5]),
    ("bad chunks", get("/", "Transfer-Encoding: chunked", method="POST") + b"z\r\n"),
    ("too large", post(b"x" * 2000)),
    ("tornado", get("/tornado")),
    ("half for tornado", post(b"x" * 900, "/tornado")[:-5]),
    ("chunks for tornado", get("/tornado", "Transfer-Encoding: chunked", method="POST") + b"z\r\n"),
    ("pipelined", get() * 3 + get()[:9]),
]


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("kind", "octets"), ENDINGS)
@on_both_loops
async def test_nothing_of_a_connection_waits_for_the_collector(
    kind: str, octets: bytes, tmp_path: Path, *, secured: bool
) -> None:
    """However it ends: no cycle holds what its client sent."""

    def behave(seen: Seen) -> None:
        seen.exchange.respond(200, [], b"")

    @tornado.web.stream_request_body
    class Taking(tornado.web.RequestHandler):
        def data_received(self, chunk: bytes) -> None:
            """Dropped."""

        def get(self) -> None:
            self.write("page")

        post = get

    class Forgetful(Recorder):
        def open(self, head: Any, exchange: Exchange) -> Any:
            handler = super().open(head, exchange)
            self.requests.clear()
            return handler

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    tls = certified(tmp_path) if secured else None
    router = tornado.web.Application([("/tornado", Taking)])
    async with served(Forgetful(behave), router=router, tls=tls and tls.server) as (_, port):

        def left() -> list[object]:
            return [found for found in gc.get_objects() if isinstance(found, HttpServerConnection | Exchange)]

        async def visit() -> None:
            for ending in (Wire.close, Wire.reset):
                wire = await Wire.open(port, tls and tls.client)
                wire.send(octets)
                await wire.says_nothing(0.03)
                ended = ending(wire)
                if ended is not None:
                    await ended
            await Wire.close_all()
            await eventually(lambda: not port.listener.connections, within=5)

        await visit()
        gc.disable()
        # Only what comes from here on is looked at: the thousands of objects of all other tests would take longer.
        gc.freeze()
        try:
            await visit()
            with contextlib.suppress(TimeoutError):
                await eventually(lambda: not left(), within=5)
            assert left() == []
        finally:
            gc.enable()
