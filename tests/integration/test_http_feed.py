"""A feed, taken over into the log: whatever happens to the connection, each id is stored once, in order."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tornado.ioloop import IOLoop

from adapters.source.http_feed import HttpFeed
from adapters.store.memory import MemoryStore
from adapters.system.clock import SystemClock
from domain.delivery.hub import Hub
from domain.errors import StoreUnavailable
from domain.model import Appended, Checkpoint, Draft, Position, Room, Subscriber, UserId
from domain.policy import ConnectionPolicy
from domain.services.due import DueService
from domain.services.publishing import PublishingService
from tests.doubles import FixedRandomness, ManualClock, RecordingTelemetry
from tests.feed_server import Answer, FeedServer, event, event_stream, eventually, notification

pytestmark = pytest.mark.gen_test

ANN = Subscriber(UserId("ann"), "freelance", {Room.of_user("ann"): 0})
TOKEN = "the-token-of-the-feed"


@pytest.fixture
def server(io_loop: IOLoop) -> Iterator[FeedServer]:
    server = FeedServer()
    io_loop.run_sync(server.start)
    yield server
    io_loop.run_sync(server.stop)


class Log:
    """A log and the service that takes a feed over into it, as one process would have them."""

    def __init__(self, inbox: MemoryStore | None = None) -> None:
        self.inbox = inbox if inbox is not None else MemoryStore(clock=SystemClock())
        self.telemetry = RecordingTelemetry()
        clock, policy = SystemClock(), ConnectionPolicy()
        self.service = PublishingService(
            log=self.inbox,
            checkpoints=self.inbox,
            hub=Hub(log=self.inbox, policy=policy, clock=clock, telemetry=self.telemetry),
            due=DueService(schedule=self.inbox, clock=clock, telemetry=self.telemetry),
            policy=policy,
            clock=clock,
            randomness=FixedRandomness(),
            telemetry=self.telemetry,
        )

    async def ids(self) -> list[str]:
        start = Position((await self.inbox.head()).epoch, 0)
        page = await self.inbox.read(ANN, start, max_entries=100_000, max_bytes=1 << 30)
        return [msgspec.json.decode(entry.payload)["id"] for entry in page.entries]

    @asynccontextmanager
    async def consuming(self, feed: HttpFeed) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.service.consume(feed))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def stored(self, count: int) -> list[str]:
        start = Position((await self.inbox.head()).epoch, 0)
        async with asyncio.timeout(10):
            async for entries in self.inbox.tail(start):
                if entries[-1].position.offset >= count:
                    break
        return await self.ids()


def feed_of(server: FeedServer, **settings: Any) -> HttpFeed:
    defaults: dict[str, Any] = {
        "url": server.url,
        "clock": SystemClock(),
        "randomness": FixedRandomness(1.0),
        "token": TOKEN,
        "backoff_min": 0.001,
        "backoff_max": 0.02,
    }
    return HttpFeed(**{**defaults, **settings})


def sends(raw: bytes, *, then: str = "end") -> Answer:
    """An answer of these bytes, which then ends as it should, or is cut off."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await event_stream(request)
        if raw:
            await response.write(raw)
        if then == "cut" and request.transport is not None:
            request.transport.close()
        elif then == "reset" and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def answers(status: int, text: str = "", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return answer


def raw_bytes(raw: bytes) -> Answer:
    """An answer that need not be HTTP."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(raw)
        request.transport.close()
        return web.Response()

    return answer


@pytest.mark.parametrize("then", ["end", "cut", "reset"])
@pytest.mark.gen_test(timeout=60)
async def test_a_feed_cut_at_every_byte_is_stored_once_and_in_order(server: FeedServer, then: str) -> None:
    ids = ["a", "b", "c"]
    for id_ in ids:
        server.add(id_, b": hi\r\n" + notification(id_, title="Grüße"))
    whole = server.after(None)
    for cut in range(len(whole) + 1):
        log = Log()
        server.answers.append(sends(whole[:cut], then=then))
        requests = len(server.requests)
        async with log.consuming(feed_of(server)):
            assert await log.stored(3) == ids
        assert len(server.requests) >= requests + 1
        # Only what is stored is acknowledged, and a clean end loses nothing that came before it.
        complete = whole[:cut].count(b"\n\n")
        second = server.last_ids[requests + 1 :][:1]
        if then == "end":
            assert second in ([[None, *ids][complete]], [])
        else:
            assert second in ([last] for last in [None, *ids][: complete + 1]) or not second


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.gen_test(timeout=60)
async def test_a_feed_that_breaks_off_again_and_again_gets_through(server: FeedServer, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"n-{number}" for number in range(60)]
    for id_ in ids:
        server.add(id_, notification(id_, body="x" * chance.randint(0, 300)))

    def cut_somewhere() -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            rest = server.after(request.headers.get("Last-Event-ID"))
            server.answers.append(cut_somewhere())
            how = chance.choice(["end", "cut", "reset"])
            return await sends(rest[: chance.randint(0, 1500)], then=how)(request)

        return answer

    server.answers.append(cut_somewhere())
    log = Log()
    async with log.consuming(feed_of(server)):
        assert await log.stored(len(ids)) == ids


async def test_a_feed_that_comes_byte_by_byte_is_read(server: FeedServer) -> None:
    raw = b"".join(notification(id_) for id_ in ("a", "b"))

    async def dribble(request: web.Request) -> web.StreamResponse:
        response = await event_stream(request)
        for number in range(len(raw)):
            await response.write(raw[number : number + 1])
            await asyncio.sleep(0)
        await asyncio.Event().wait()
        return response

    server.answers.append(dribble)
    log = Log()
    async with log.consuming(feed_of(server)):
        assert await log.stored(2) == ["a", "b"]
    assert len(server.requests) == 1


async def test_comments_keep_a_connection_alive(server: FeedServer) -> None:
    async def comment(request: web.Request) -> web.StreamResponse:
        response = await event_stream(request)
        for _ in range(30):
            await response.write(b":\n")
            await asyncio.sleep(0.05)
        await response.write(notification("a"))
        await asyncio.Event().wait()
        return response

    server.answers.append(comment)
    log = Log()
    async with log.consuming(feed_of(server, idle_timeout=1.0)):
        assert await log.stored(1) == ["a"]
    assert len(server.requests) == 1


async def test_a_feed_without_a_byte_is_asked_again(server: FeedServer, caplog: pytest.LogCaptureFixture) -> None:
    server.add("a", notification("a"))
    log = Log()
    async with log.consuming(feed_of(server, idle_timeout=0.2)):
        await server.requested(3)
        assert await log.ids() == ["a"]
    assert server.last_ids[:3] == [None, "a", "a"]
    assert "timed out" in caplog.text


async def test_a_feed_that_never_answers_is_asked_again(server: FeedServer) -> None:
    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    server.answers.append(silence)
    server.add("a", notification("a"))
    log = Log()
    async with log.consuming(feed_of(server, idle_timeout=0.2)):
        assert await log.stored(1) == ["a"]


FAILURES: list[tuple[Answer, str]] = [
    (answers(500, notification("wrong").decode(), Content_Type="text/event-stream"), "status 500"),
    (answers(401), "status 401"),
    (answers(403), "status 403"),
    (answers(204), "status 204"),
    (answers(200, notification("wrong").decode(), Content_Type="application/json"), "content type"),
    (answers(200, "x", Content_Type="text/event-stream", Content_Encoding="br"), "encoded"),
    (raw_bytes(b"\x00\xff\x16\x03\x01 what is this\r\n\r\n"), "ClientResponseError"),
    (raw_bytes(b""), "ServerDisconnectedError"),
    (raw_bytes(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), "ClientResponseError"),
    (
        raw_bytes(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "Error",
    ),
]


@pytest.mark.parametrize(
    ("answer", "reason"), FAILURES, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(FAILURES)]
)
async def test_a_failed_attempt_is_logged_once_and_not_the_end(
    server: FeedServer, caplog: pytest.LogCaptureFixture, answer: Answer, reason: str
) -> None:
    # The client library asks a second time by itself where a connection ends without a word.
    server.answers.extend([answer] * (2 if reason == "ServerDisconnectedError" else 1))
    server.add("a", notification("a", title="the-title"))
    log = Log()
    async with log.consuming(feed_of(server, url=f"{server.url}?key=the-key-of-the-feed")):
        assert await log.stored(1) == ["a"]
    (record,) = [record for record in caplog.records if record.name == "synkrone.source"]
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    for secret in (TOKEN, "the-key-of-the-feed", "the-title", "what is this"):
        assert secret not in caplog.text


async def test_a_redirect_is_not_followed_and_gets_no_token(server: FeedServer) -> None:
    elsewhere = FeedServer()
    await elsewhere.start()
    elsewhere.add("wrong", notification("wrong"))
    try:
        server.answers.append(answers(307, Location=elsewhere.url))
        server.add("a", notification("a"))
        log = Log()
        async with log.consuming(feed_of(server)):
            assert await log.stored(1) == ["a"]
    finally:
        await elsewhere.stop()
    assert elsewhere.requests == []


async def test_the_request_is_one_for_an_event_stream(server: FeedServer) -> None:
    log = Log()
    async with log.consuming(feed_of(server)):
        await server.requested(1)
    (headers,) = server.requests
    assert headers["Accept"] == "text/event-stream"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Last-Event-ID" not in headers


@pytest.mark.parametrize(
    "garbage",
    [
        random.Random(1).randbytes(300_000),
        b"data: x\n\n" * 5000,
        b"\n" * 300_000,
        b"data: " + b"[" * 60_000 + b"\nid: g\n\n",
        b"data: " + b"x" * 3_000_000 + b"\n\n",
        gzip.compress(b"data: x\n\n" * 1000),
        notification("g", data={"a": 1}).replace(b"1", b"\\ud800"),
        event("g", {"to": {"user": ""}, "type": "\0"}),
    ],
    ids=["random", "no ids", "blank lines", "nested", "large", "gzip", "not JSON", "refused by the policy"],
)
async def test_garbage_between_events_is_skipped(server: FeedServer, garbage: bytes) -> None:
    server.answers.append(sends(notification("a") + b"\n\n" + garbage + b"\n\n" + notification("b")))
    server.add("b", b"")
    server.add("c", notification("c"))
    log = Log()
    async with log.consuming(feed_of(server)):
        assert await log.stored(3) == ["a", "b", "c"]
    assert all(source == "feed" for source, *_ in log.telemetry.named("skipped"))


async def test_what_is_skipped_is_said(server: FeedServer) -> None:
    server.add("a", notification("a"))
    server.add("bad", event("bad", {"to": {"user": "ann"}}))
    server.add("a", notification("a", title="other"))
    server.add("b", notification("b"))
    log = Log()
    async with log.consuming(feed_of(server)):
        assert await log.stored(2) == ["a", "b"]
    assert log.telemetry.named("skipped") == [
        ("feed", "bad", "type: is required"),
        ("feed", "a", "a was published before with other content"),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_restarts_continue_at_the_checkpoint(server: FeedServer, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"n-{number}" for number in range(300)]
    log = Log()
    for id_ in ids:
        server.add(id_, notification(id_))
    while len(await log.ids()) < len(ids):
        before = await log.inbox.checkpoint("feed")
        requests = len(server.requests)
        async with log.consuming(feed_of(server)):
            await server.requested(requests + 1)
            for _ in range(chance.randint(0, 20)):
                await asyncio.sleep(0)
        assert server.last_ids[requests] == before
    assert await log.ids() == ids
    # A log that is gone begins anew, with all that the feed still has.
    anew = Log()
    async with anew.consuming(feed_of(server)):
        assert await anew.stored(len(ids)) == ids


class FailingInbox(MemoryStore):
    """Fails every other commit."""

    def __init__(self) -> None:
        super().__init__(clock=SystemClock())
        self.commits = 0

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        self.commits += 1
        await asyncio.sleep(0)
        if self.commits % 2:
            raise StoreUnavailable
        return await super().append(batch, checkpoint=checkpoint, all_or_nothing=all_or_nothing)


async def test_only_what_is_stored_is_acknowledged(server: FeedServer) -> None:
    ids = [f"n-{number}" for number in range(500)]
    for id_ in ids:
        server.add(id_, notification(id_))
    log = Log(FailingInbox())
    everything = asyncio.create_task(log.stored(len(ids)))
    failures = 0
    while not everything.done():
        before = await log.inbox.checkpoint("feed")
        requests = len(server.requests)
        async with log.consuming(feed_of(server)) as consuming:
            await asyncio.wait((consuming, everything), return_when=asyncio.FIRST_COMPLETED)
            failures += consuming.done() and isinstance(consuming.exception(), StoreUnavailable)
        assert server.last_ids[requests] == before
        # Nobody closed the stream that was left in the middle; its connection goes all the same.
        await eventually(lambda: server.open == 0)
    assert await everything == ids
    assert failures > 1


async def test_a_feed_is_not_read_faster_than_it_is_stored(server: FeedServer) -> None:
    for number in range(800):
        server.add(f"n-{number}", notification(f"n-{number}", body="x" * 60_000))
    stream = feed_of(server).stream(None)
    async with aclosing(stream):
        (first, *_) = await anext(stream)
        assert first.resume_id == "n-0"
        sent = -1
        while sent != server.sent:
            sent = server.sent
            await asyncio.sleep(0.3)
        # What the sockets of both sides hold, and no more; there are 48 MB.
        assert sent < 16_000_000


def next_attempts(caplog: pytest.LogCaptureFixture) -> list[float]:
    """The delays that were logged, in seconds."""
    records = [record for record in caplog.records if record.name == "synkrone.source"]
    return [cast("tuple[str, str, float]", record.args)[2] for record in records]


async def test_delays_grow_with_failures_and_begin_anew_after_a_success(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers.extend([answers(503)] * 4)
    server.answers.append(sends(notification("a")))
    server.answers.extend([answers(503)] * 2)
    server.answers.append(sends(event(None, {})))
    server.add("a", notification("a"))
    server.add("b", notification("b"))
    log = Log()
    async with log.consuming(feed_of(server, backoff_min=0.01, backoff_max=0.05)):
        assert await log.stored(2) == ["a", "b"]
    assert next_attempts(caplog) == [0.01, 0.02, 0.04, 0.05, 0.01, 0.02, 0.04, 0.05]


async def test_the_feed_says_how_long_to_wait(server: FeedServer, caplog: pytest.LogCaptureFixture) -> None:
    server.answers.extend([sends(b"retry: 30\n\n"), sends(b"retry: 99999999\n\n"), answers(204)])
    server.add("a", notification("a"))
    log = Log()
    async with log.consuming(feed_of(server, backoff_min=0.01, backoff_max=0.2)):
        assert await log.stored(1) == ["a"]
    assert next_attempts(caplog) == [0.03, 0.2, 0.2]


async def test_a_feed_that_asks_not_to_be_asked_waits_longest(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers.append(answers(204))
    server.add("a", notification("a"))
    log = Log()
    async with log.consuming(feed_of(server, backoff_min=0.01, backoff_max=0.2)):
        assert await log.stored(1) == ["a"]
    assert next_attempts(caplog) == [0.2]


async def test_a_feed_that_is_not_there_is_found_when_it_comes(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url
    await server.stop()
    log = Log()
    async with log.consuming(feed_of(server, url=url)):
        await eventually(lambda: len(next_attempts(caplog)) >= 2)
        assert "nothing listens there (connection refused)" in caplog.text


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for 127.0.0.1, and the file of the authority that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "feed.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, key_file = folder / "ca.pem", folder / "key.pem"
    ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca_file, key_file)
    return context, ca_file


async def test_tls_is_verified_against_the_given_authority(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context, ca_file = certificate(tmp_path)
    server = FeedServer()
    await server.start(context)
    try:
        server.add("a", notification("a"))
        url = server.url.replace("http:", "https:")
        log = Log()
        async with log.consuming(feed_of(server, url=url)):
            await eventually(lambda: "its certificate cannot be verified" in caplog.text)
        assert server.requests == []
        async with log.consuming(feed_of(server, url=url, ca_file=ca_file)):
            assert await log.stored(1) == ["a"]
    finally:
        await server.stop()


def test_a_bad_ca_file_is_told_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    for path, error in ((bad, ssl.SSLError), (tmp_path / "missing.pem", FileNotFoundError)):
        with pytest.raises(error):
            HttpFeed(url="https://feed.example", clock=SystemClock(), randomness=FixedRandomness(), ca_file=path)


@pytest.mark.gen_test
async def test_a_feed_says_since_when_it_may_be_behind(server: FeedServer) -> None:
    clock, log = ManualClock(), Log()
    feed = feed_of(server, clock=clock, backoff_min=0.01, backoff_max=0.01)
    assert feed.lag_seconds == 0
    server.answers += [answers(503)] * 3
    server.add("a", notification("a"))
    async with log.consuming(feed):
        await eventually(lambda: len(server.requests) >= 2)
        clock.advance(7)
        # It is refused, and nobody knows what there would be.
        assert feed.lag_seconds == 7
        assert await log.stored(1) == ["a"]
        await eventually(lambda: feed.lag_seconds == 0)
        clock.advance(7)
        assert feed.lag_seconds == 0
