"""Clients that flood, forge and overlook: what they cost ends with their session, and the log stays readable."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from typing import Any

import aiohttp
import pytest

from adapters.transport.socketio.transport import CUT_AT_QUEUES
from domain.services.connections import Connections
from entrypoints.server import Server
from tests.engine_io import (
    SEPARATOR,
    HandshakeRefused,
    PollingPeer,
    WebSocketPeer,
    connected,
    event,
    http_session,
    refused,
    until_closed,
)
from tests.serving import eventually, publish, serving, token

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
MARKER = "zq-marker-of-a-client"
SHORTEST_RECONNECT_DELAY = 1.0
QUEUE_BYTES = 65_536
ANSWER_BYTES = 115


def open_connections(server: Server) -> int:
    connections: Connections = server.container.connections()
    return connections.open_connections


async def post(session: aiohttp.ClientSession, peer: PollingPeer, *packets: str) -> int:
    async with session.post(peer._url, data=SEPARATOR.join(packets)) as answer:
        return answer.status


async def first_answer(peer: Any, packet: str) -> dict[str, Any]:
    """Send an event that asks for an acknowledgement with the id 7; its one argument."""
    await peer.send(packet)
    answer = await peer.next()
    assert answer.startswith("437["), answer
    (argument,) = json.loads(answer[3:])
    return dict(argument)


@pytest.mark.gen_test
async def test_frames_do_not_pile_up_while_connecting_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client found to be one too many waits for its close; what it sends meanwhile is bounded."""
    burst, shortest = 5, 3.0
    monkeypatch.setattr("domain.policy.RETURN_DELAY", (shortest, shortest + 0.5))
    limits = {"connections": 1, "events_burst": burst, "events_per_second": 1}
    async with serving(limits=limits) as server, http_session() as session:
        first, patient, flooder = [await WebSocketPeer.open(session, server.url) for _ in range(3)]
        await connected(first, token("1"))
        started = time.monotonic()
        for peer, frames in ((patient, burst), (flooder, burst + 1)):
            await peer.send("40" + json.dumps({"token": token("2")}))
            # A round trip of HTTP, after which the server is waiting for nothing but the delay.
            await publish(session, server.url, {"to": {"user": "9"}, "type": "t"})
            for _ in range(frames):
                await peer.send('42["x"]')
        waiting = asyncio.create_task(until_closed(patient))
        assert await until_closed(flooder) == []
        assert time.monotonic() - started < shortest
        assert not waiting.done()
        assert await waiting == []
        assert time.monotonic() - started >= shortest
        await publish(session, server.url, {"to": {"user": "1"}, "type": "t"})
        assert event(await first.next())[0] == "notification.new"


@BOTH
@pytest.mark.gen_test
async def test_a_defect_while_connecting_leaves_nothing_behind(
    peer_class: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_token: str) -> object:
        raise RuntimeError("a defect")

    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        started = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr(server.container.verifier(), "verify", broken)
            await peer.send("40" + json.dumps({"token": token("42")}))
            assert await until_closed(peer) == []
        assert SHORTEST_RECONNECT_DELAY <= time.monotonic() - started <= 7
        assert open_connections(server) == 0
        transport = server.container.socketio()
        await eventually(lambda: not transport._engine.sessions)
        assert not transport._connections.library.manager.rooms.get("/")
        (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert error.exc_info is not None
        assert isinstance(error.exc_info[1], RuntimeError)
        await connected(await peer_class.open(session, server.url), token("42"))


@BOTH
@pytest.mark.parametrize(
    "packet",
    [
        f'42/{MARKER},["e","{MARKER}"]',
        f'42/{MARKER},1["e"]',
        f"41/{MARKER},",
        f'43/{MARKER},1["{MARKER}"]',
        f'430["{MARKER}"]',
        '4399999999["x"]',
        "430[]",
    ],
)
@pytest.mark.gen_test
async def test_what_belongs_to_no_connection_ends_the_session_and_is_not_logged(
    peer_class: Any, packet: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(packet)
        assert await until_closed(peer) == []
        await eventually(lambda: open_connections(server) == 0)
    # A task that failed unnoticed is reported when it is collected.
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert MARKER not in caplog.text


@pytest.mark.gen_test
async def test_one_request_may_hold_many_packets_and_counts_as_all_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    burst = 40
    async with serving(limits={"events_per_second": 0.1, "events_burst": burst}) as server, http_session() as session:
        peer = await PollingPeer.open(session, server.url)
        await connected(peer, token("42"))
        assert await post(session, peer, *[f'427["{MARKER}"]'] * burst) == 200
        assert [(await peer.next())[:3] for _ in range(burst)] == ["437"] * burst
        assert await post(session, peer, f'42["{MARKER}"]') == 200
        (closing,) = await until_closed(peer)
        assert event(closing)[1][0]["code"] == "rate_limited"
    gc.collect()
    assert caplog.records == []


@pytest.mark.gen_test
async def test_answers_to_clients_that_left_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serving() as server, http_session() as session:
        for _ in range(5):
            peer = await PollingPeer.open(session, server.url)
            await connected(peer, token("42"))
            await post(session, peer, *[f'42{number}["{MARKER}"]' for number in range(10)], "1")
            await eventually(lambda: open_connections(server) == 0)
        assert caplog.records == []
        # What is meant to be logged is seen by this test, and says nothing of what the client sent.
        peer = await PollingPeer.open(session, server.url)
        await refused(peer, json.dumps({"token": MARKER, "device": MARKER}))
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == ["refused"]
    assert MARKER not in str([vars(record) for record in caplog.records])


@BOTH
@pytest.mark.parametrize("arguments", ['["*"]', '["*","x"]', '["*",{"a":1},[]]'])
@pytest.mark.gen_test
async def test_an_event_named_like_the_wildcard_is_unknown_as_any_other(peer_class: Any, arguments: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        answer = await first_answer(peer, "427" + arguments)
        assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_event")
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        assert event(await peer.next())[0] == "notification.new"


@BOTH
@pytest.mark.gen_test
async def test_a_second_connect_is_told_what_is_wrong(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        problem = await refused(peer, json.dumps({"token": token("43")}))
        assert (problem["code"], problem["retryable"]) == ("already_connected", False)
        assert open_connections(server) == 1


@pytest.mark.gen_test
async def test_who_posts_and_never_polls_is_cut() -> None:
    """Its answers wait in bounded memory, while who does poll is answered as often as they ask."""
    limits = {
        "events_per_second": 1_000_000,
        "events_burst": 10_000,
        "queue_bytes": QUEUE_BYTES,
        "notification_bytes": 40_000,
    }
    async with serving(limits=limits) as server, http_session() as session:
        reader, deaf = [await PollingPeer.open(session, server.url) for _ in range(2)]
        for peer in (reader, deaf):
            await connected(peer, token("42"))
        events = ['427["x"]'] * (CUT_AT_QUEUES * QUEUE_BYTES // ANSWER_BYTES // 10)
        for _ in range(8):
            assert await post(session, reader, *events) == 200
            assert await post(session, deaf, *events) == 200
            for _ in events:
                assert (await reader.next()).startswith("437")
        assert open_connections(server) == 2
        statuses = [await post(session, deaf, *events) for _ in range(5)]
        assert statuses[-1] == 400
        assert open_connections(server) == 1
        assert (await first_answer(reader, '427["x"]'))["ok"] is False


@pytest.mark.gen_test
async def test_no_answer_names_the_software() -> None:
    async with serving(cors_origins=["https://app.example"]) as server, http_session() as session:
        peer = await PollingPeer.open(session, server.url)
        base = f"{server.url}/socket.io/?EIO=4&transport="
        origin = {"Origin": "https://app.example"}
        for method, url, headers, status in (
            ("GET", base + "polling", {}, 200),
            ("POST", peer._url, {}, 200),
            ("GET", peer._url, {}, 200),
            ("OPTIONS", base + "polling", origin, 200),
            ("GET", base + "polling", {"Origin": "https://evil.example"}, 403),
            ("GET", base + "polling&sid=unknown", {}, 400),
            ("PUT", base + "polling", {}, 400),
            ("GET", base + "websocket", {"Upgrade": "websocket", "Connection": "Upgrade"}, 426),
        ):
            data = "40{}" if method == "POST" else None
            async with session.request(method, url, headers=headers, data=data) as answer:
                assert (method, url, answer.status) == (method, url, status)
                assert "Server" not in answer.headers, (method, url)
        socket = await session.ws_connect(base + "websocket")
        assert "Server" not in socket._response.headers
        await socket.close()
        server.container.socketio().stop_accepting()
        with pytest.raises(HandshakeRefused) as info:
            await PollingPeer.open(session, server.url)
        assert info.value.status == 503
        assert "Server" not in info.value.headers
