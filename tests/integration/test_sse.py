"""Streams of Server-Sent Events at the wire: what they carry, who is cut, and how they end."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import ssl
from pathlib import Path

import aiohttp
import pytest

from adapters.transport.sse.transport import SseLimits
from domain.errors import ConnectionGone, ShuttingDown, TooManyConnections
from domain.model import CountsChanged, Expiring, ResumeRequest
from domain.ports import Outlet
from domain.requests import Credentials
from tests.contract.transport_harness import COUNTS, EXPIRES_AT, Gate, ScriptedEvents, eventually, reply
from tests.doubles import ManualClock
from tests.e2e.certificates import make_certificate
from tests.in_time import in_time
from tests.integration.sse_wire import BEARER, refusal, wire
from tests.requirements import require

pytestmark = pytest.mark.gen_test


# a stream


async def test_a_stream_begins_with_the_welcome_and_says_when_to_return() -> None:
    async with wire() as server:
        server.events.delay = 2.5
        server.events.script("ann", reply=reply("ann", offset=7))
        client = await server.ask()
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store, no-transform"
        assert client.headers["x-accel-buffering"] == "no"
        ready = await client.event()
        assert (ready.name, ready.id, ready.retry) == ("session.ready", "e:7", "2500")
        assert json.loads(ready.data or "")["user"] == {"id": "ann", "role": "freelance"}


async def test_only_entries_of_the_log_have_an_id_so_that_clients_come_back_with_a_cursor() -> None:
    async with wire() as server:
        client, connection = await server.live()
        server.events.send(CountsChanged(COUNTS), connection)
        server.broadcast(1)
        server.events.send(Expiring(EXPIRES_AT), connection)
        server.events.disconnect(connection, refusal(ShuttingDown()))
        events = [await client.event() for _ in range(4)]
        assert [(event.name, event.id) for event in events] == [
            ("inbox.counts", None),
            ("notification.new", "e:1"),
            ("session.expiring", None),
            ("session.closing", None),
        ]
        assert await client.ended()


async def test_broken_lines_in_a_payload_break_no_event() -> None:
    async with wire() as server:
        client, _ = await server.live()
        server.broadcast(1, '{"data":{\n"a":1,\r\n\n"b":\r"x"}}')
        server.broadcast(2)
        first, second = await client.event(), await client.event()
        assert json.loads(first.data or "") == {"data": {"a": 1, "b": "x"}}
        assert (first.id, second.id) == ("e:1", "e:2")


async def test_a_silent_stream_gets_a_comment_and_a_busy_one_does_not() -> None:
    clock = ManualClock()
    async with wire(clock=clock, limits=SseLimits(ping_interval=15.0)) as server:
        client, _ = await server.live()
        clock.advance(14.0)
        server.transport.sweep()
        server.broadcast(1)
        first = await client.next()
        assert first is not None
        assert (first.name, first.comment) == ("notification.new", None)
        clock.advance(14.0)
        server.transport.sweep()
        clock.advance(1.0)
        server.transport.sweep()
        server.broadcast(2)
        comment, second = await client.next(), await client.next()
        assert comment is not None
        assert second is not None
        assert (comment.comment, comment.name, second.name) == ("", None, "notification.new")


async def test_what_a_client_brings_reaches_the_domain() -> None:
    async with wire() as server:
        client = await server.ask("/v1/stream?cursor=e:3&device=my%20phone")
        assert client.status == 200
        (request,) = server.events.connect_requests
        assert request.credentials == Credentials("ann", ResumeRequest(cursor="e:3"), "my phone")
        assert (request.remote_address, request.transport) == ("127.0.0.1", "sse")


@pytest.mark.parametrize(
    ("path", "header", "cursor"),
    [
        ("/v1/stream?cursor=e:3", "e:9", "e:9"),
        ("/v1/stream", "e:9", "e:9"),
        ("/v1/stream?cursor=e:3", "", "e:3"),
        ("/v1/stream?cursor=", None, None),
        ("/v1/stream", None, None),
        ("/v1/stream", "no cursor at all, é", "no cursor at all, é"),
        ("/v1/stream?lastEventId=e:5", None, "e:5"),
        ("/v1/stream?lastEventID=e:5", None, "e:5"),
        ("/v1/stream?lastEventId=e%3A5", None, "e:5"),
        ("/v1/stream?lastEventId=e:5&cursor=e:3", None, "e:5"),
        ("/v1/stream?cursor=e:3&lastEventId=e:5", None, "e:5"),
        ("/v1/stream?cursor=e:3&lastEventId=e:5", "e:9", "e:9"),
        ("/v1/stream?lastEventId=e:5", "", "e:5"),
        ("/v1/stream?cursor=e:3&lastEventId=", "", "e:3"),
        ("/v1/stream?lastEventId=", None, None),
        # The last one is what a client appended that resumed.
        ("/v1/stream?lastEventId=e:5&lastEventId=e:6", None, "e:6"),
        ("/v1/stream?lastEventId=e:5&lastEventId=", None, "e:5"),
    ],
)
async def test_what_a_client_got_last_comes_before_its_cursor(
    path: str, header: str | None, cursor: str | None
) -> None:
    async with wire() as server:
        client = await server.ask(path, last_event_id=header)
        assert client.status == 200
        assert server.events.connect_requests[0].credentials == Credentials("ann", ResumeRequest(cursor=cursor), None)


async def test_a_client_that_is_cut_returns_with_the_last_id_it_got() -> None:
    async with wire() as server:
        client, _ = await server.live()
        for offset in (1, 2):
            server.broadcast(offset)
        last = [await client.event() for _ in range(2)][-1]
        await client.close()
        again = await server.ask(last_event_id=last.id)
        assert again.status == 200
        assert server.events.connect_requests[-1].credentials == Credentials("ann", ResumeRequest(cursor="e:2"), None)


@pytest.mark.gen_test(timeout=30)
async def test_over_tls_a_long_replay_arrives_whole(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificate.cert, certificate.key)
    async with wire(tls=(ours, ssl.create_default_context(cafile=certificate.cert))) as server:
        client = await server.ask()
        connection = server.events.connections["ann"]
        payload = json.dumps({"text": "x" * 50_000})

        async def replay() -> None:
            for first in range(1, 41, 4):
                await server.events.has_room(connection)
                for offset in range(first, first + 4):
                    server.broadcast(offset, payload)
            server.events.disconnect(connection, refusal(ShuttingDown()))

        replaying = asyncio.ensure_future(replay())
        events = [await client.event() for _ in range(42)]
        await replaying
        assert [event.id for event in events[1:-1]] == [f"e:{offset}" for offset in range(1, 41)]
        assert all(event.data == payload for event in events[1:-1])
        assert events[-1].name == "session.closing"


# slow readers


async def test_a_reader_for_whom_too_much_waits_too_long_is_cut_and_nobody_else() -> None:
    clock = ManualClock()
    async with wire(clock=clock, limits=SseLimits(queue_bytes=200_000, slow_seconds=5.0)) as server:
        _, slow = await server.live("slow", buffer_bytes=4096)
        reader, _ = await server.live()
        payload = json.dumps("x" * 100_000)
        for offset in range(1, 6):
            server.broadcast(offset, payload)
            assert (await reader.event()).id == f"e:{offset}"
        server.transport.sweep()
        clock.advance(5.0)
        server.transport.sweep()
        assert slow not in server.events.reasons
        clock.advance(0.1)
        server.transport.sweep()
        await eventually(lambda: server.events.reasons.get(slow) == "slow_consumer")
        server.broadcast(6)
        assert (await reader.event()).id == "e:6"
        with pytest.raises(ConnectionGone):
            await server.events.has_room(slow)


async def test_a_reader_that_catches_up_is_not_cut() -> None:
    clock = ManualClock()
    async with wire(clock=clock, limits=SseLimits(queue_bytes=200_000, slow_seconds=5.0)) as server:
        late, connection = await server.live(buffer_bytes=4096)
        payload = json.dumps("x" * 100_000)
        for first in (1, 6):
            for offset in range(first, first + 5):
                server.broadcast(offset, payload)
            server.transport.sweep()
            ids = [(await late.event()).id for _ in range(5)]
            assert ids == [f"e:{offset}" for offset in range(first, first + 5)]
            clock.advance(6.0)
        server.transport.sweep()
        server.broadcast(11)
        assert (await late.event()).id == "e:11"
        assert connection not in server.events.reasons


async def test_a_reader_for_whom_eight_times_as_much_waits_is_cut_at_once() -> None:
    clock = ManualClock()
    async with wire(clock=clock, limits=SseLimits(queue_bytes=50_000)) as server:
        _, connection = await server.live(buffer_bytes=4096)
        other, _ = await server.live("bob")
        payload = json.dumps("x" * 50_000)
        for offsets in (range(1, 6), range(6, 12)):
            assert connection not in server.events.reasons
            for offset in offsets:
                server.broadcast(offset, payload)
            assert [(await other.event()).id for _ in offsets] == [f"e:{offset}" for offset in offsets]
        # No time has passed, and nothing was swept.
        await eventually(lambda: server.events.reasons.get(connection) == "slow_consumer")
        assert server.transport.open_sockets == 1


# the end


async def test_who_leaves_is_noticed_and_frees_the_socket() -> None:
    async with wire() as server:
        client, connection = await server.live()
        assert server.transport.open_sockets == 1
        await client.close()
        await eventually(lambda: server.events.count("disconnected", connection) == 1)
        assert server.events.reasons[connection] == "transport_close"
        assert server.transport.open_sockets == 0


async def test_a_client_is_told_when_to_return_in_words_that_every_library_understands() -> None:
    async with wire() as server:
        client, connection = await server.live()
        server.events.disconnect(connection, refusal(ShuttingDown()))
        closing = await client.event()
        assert (closing.name, closing.retry) == ("session.closing", "1500")
        assert json.loads(closing.data or "")["retry_after_ms"] == 1500
        assert await client.ended()


async def test_a_client_that_should_stay_away_is_told_so_in_the_event_alone() -> None:
    async with wire() as server:
        client, connection = await server.live()
        server.events.disconnect(connection, refusal(TooManyConnections(), reconnect=False))
        closing = await client.event()
        assert closing.retry is None
        assert json.loads(closing.data or "")["reconnect"] is False
        assert await client.ended()


async def test_a_client_that_takes_nothing_is_closed_a_second_after_it_should_have_been() -> None:
    async with wire() as server:
        _, connection = await server.live(buffer_bytes=4096)
        server.broadcast(1, json.dumps("x" * 200_000))
        server.events.disconnect(connection, refusal(ShuttingDown()))
        began = asyncio.get_running_loop().time()
        await eventually(lambda: connection in server.events.reasons)
        assert server.events.reasons[connection] == "shutting_down"
        assert 0.5 < asyncio.get_running_loop().time() - began < 2.0


async def test_closing_the_transport_ends_streams_and_answers_who_waits() -> None:
    gate = Gate()
    async with wire() as server:
        client, connection = await server.live()
        server.events.script("bob", before_reply=gate)
        waiting = await server.client()
        waiting.ask(authorization="Bearer bob")
        await gate.reached()
        await server.transport.close()
        assert await client.ended()
        assert await waiting.answer() == 503
        assert server.events.reasons == {
            connection: "server_closed",
            server.events.connections["bob"]: "server_closed",
        }
        await eventually(lambda: server.transport.open_sockets == 0)


class BrokenEvents(ScriptedEvents):
    async def opened(self, outlet: Outlet) -> None:
        await super().opened(outlet)
        raise ZeroDivisionError


async def test_a_defect_in_the_opening_ends_the_stream_so_that_the_client_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    async with wire() as server:
        server.transport.bind(events := BrokenEvents(server.transport))
        events.script("ann", in_opened=gate)
        client = await server.ask()
        assert (await client.event()).name == "session.ready"
        gate.open()
        assert await client.ended()
        assert list(events.reasons.values()) == ["defect"]
        assert server.transport.open_sockets == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "what was done for a client ended by a defect"
    ]


async def test_a_defect_in_connecting_is_500_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with wire() as server:
        server.events.script("ann", error=ZeroDivisionError())
        client = await server.ask()
        assert (client.status, (await client.problem())["code"]) == (500, "internal_server_error")
        with pytest.raises(ConnectionGone):
            await server.events.has_room(server.events.connections["ann"])
        assert "retry-after" in client.headers
    assert "what was done for a client ended by a defect" in caplog.text


# clients that others wrote


async def test_with_aiohttp() -> None:
    async with wire() as server, aiohttp.ClientSession() as session:
        async with session.get(server.url, headers={"Authorization": BEARER}) as answer:
            assert answer.status == 200
            await eventually(lambda: "ann" in server.events.connections)
            connection = server.events.connections["ann"]
            await eventually(lambda: server.events.count("live", connection) == 1)
            server.broadcast(1)
            server.events.disconnect(connection, refusal(ShuttingDown()))
            text = await answer.text()
        names = [line.removeprefix("event: ") for line in text.split("\n") if line.startswith("event: ")]
        assert names == ["session.ready", "notification.new", "session.closing"]


async def test_with_curl() -> None:
    curl = shutil.which("curl")
    require(curl, "curl is not installed: apt-get install curl")
    assert curl is not None
    async with wire() as server:
        process = await asyncio.create_subprocess_exec(
            curl, "-sSN", "--max-time", "10", "-H", f"Authorization: {BEARER}", server.url,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await eventually(lambda: "ann" in server.events.connections)
        connection = server.events.connections["ann"]
        await eventually(lambda: server.events.count("live", connection) == 1)
        server.broadcast(1)
        server.events.disconnect(connection, refusal(ShuttingDown()))
        output, _ = await in_time(process.communicate(), 10)
        assert process.returncode == 0
        assert b'event: notification.new\nid: e:1\ndata: {"n":1}\n\n' in output
        assert output.startswith(b"retry: ")
