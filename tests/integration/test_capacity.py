"""How many get in, how much waits for each of them, and that nothing acknowledged is lost at the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import aiohttp
import pytest

from adapters.transport.socketio.transport import SocketIoLimits
from domain.policy import ConnectionPolicy
from domain.services.connections import Connections
from entrypoints.server import Server
from tests.engine_io import (
    Closed,
    HandshakeRefused,
    Peer,
    PollingPeer,
    WebSocketPeer,
    connected,
    event,
    http_session,
    until_closed,
)
from tests.in_time import in_time
from tests.raw_websocket import RawWebSocket
from tests.serving import API_KEY, eventually, publish, serving, token
from tests.tokens import KeyServer, key_for, mint, public_jwk

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
ORIGIN = "https://app.example"
QUEUE_BYTES = 65_536
LIMITS = {"queue_bytes": QUEUE_BYTES, "notification_bytes": 40_000}


def open_connections(server: Server) -> int:
    connections: Connections = server.container.connections()
    return connections.open_connections


async def stays(peer: Peer, session: aiohttp.ClientSession, server: Server, user: str) -> None:
    """It is connected, and hears what is for its user."""
    await publish(session, server.url, {"to": {"user": user}, "type": "still.there"})
    assert event(await peer.next())[1][0]["type"] == "still.there"


@BOTH
@pytest.mark.gen_test
async def test_a_full_server_refuses_the_handshake_until_somebody_leaves(peer_class: Any) -> None:
    async with serving(limits={"connections": 2}, cors_origins=[ORIGIN]) as server, http_session() as session:
        peers = [await peer_class.open(session, server.url) for _ in range(2)]
        for number, peer in enumerate(peers):
            await connected(peer, token(str(number)))
        for headers in ({}, {"Origin": ORIGIN}):
            with pytest.raises(HandshakeRefused) as info:
                await peer_class.open(session, server.url, **headers)
            assert info.value.status == 503
            assert int(info.value.headers["Retry-After"]) > 0
            assert info.value.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")
            # Requests of others may come over the same connection.
            assert info.value.headers.get("Connection") != "close"
        assert info.value.headers["Access-Control-Allow-Credentials"] == "true"
        await peers[0].close()
        await eventually(lambda: open_connections(server) == 1)
        await connected(await peer_class.open(session, server.url, Origin=ORIGIN), token("3"))
        await stays(peers[1], session, server, "1")


@BOTH
@pytest.mark.gen_test(timeout=30)
async def test_a_burst_of_clients_does_not_overrun_the_limit(peer_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.policy.RETURN_DELAY", (0.1, 0.5))
    async with serving(limits={"connections": 5}) as server, http_session() as session:

        async def is_let_in(number: int) -> bool:
            try:
                await connected(await peer_class.open(session, server.url), token(str(number)))
            except (HandshakeRefused, Closed):
                return False
            return True

        outcomes = await asyncio.gather(*(is_let_in(number) for number in range(40)))
        assert outcomes.count(True) == 5
        assert open_connections(server) == 5


@pytest.mark.gen_test
async def test_a_handshake_that_takes_its_time_is_counted_when_it_is_complete() -> None:
    async with serving(limits={"connections": 1}) as server, http_session() as session:
        address, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(
            b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        )
        # The head of the request has been looked at.
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        await connected(await WebSocketPeer.open(session, server.url), token("1"))
        writer.write(b"x")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()


@BOTH
@pytest.mark.gen_test
async def test_with_too_many_silent_sessions_the_oldest_goes_and_a_token_holder_gets_in(peer_class: Any) -> None:
    async with serving(limits={"unauthenticated": 3, "connect_timeout": "60s"}) as server, http_session() as session:
        silent = [await peer_class.open(session, server.url) for _ in range(3)]
        started = time.monotonic()
        await connected(await peer_class.open(session, server.url), token("1"))
        assert await until_closed(silent[0]) == []
        # Long before they would be cut for their silence.
        assert time.monotonic() - started < 15
        for number, peer in enumerate(silent[1:]):
            await connected(peer, token(str(number)))


@BOTH
@pytest.mark.gen_test
async def test_who_has_connected_is_no_silent_session(peer_class: Any) -> None:
    async with serving(limits={"unauthenticated": 1}) as server, http_session() as session:
        first, second = [await connected_peer(peer_class, session, server, user) for user in ("1", "2")]
        # Those who have connected take no place of those who have not.
        silent = await peer_class.open(session, server.url)
        for _ in range(5):
            newer = await peer_class.open(session, server.url)
            assert await until_closed(silent) == []
            silent = newer
        await connected(silent, token("3"))
        for peer, user in ((first, "1"), (second, "2")):
            await stays(peer, session, server, user)


async def connected_peer(peer_class: Any, session: aiohttp.ClientSession, server: Server, user: str) -> Peer:
    peer: Peer = await peer_class.open(session, server.url)
    await connected(peer, token(user))
    return peer


@pytest.mark.gen_test
async def test_whose_token_is_being_verified_is_no_silent_session() -> None:
    async with KeyServer() as keys, http_session() as session:
        keys.publish(public_jwk(key_for("ES256")))
        keys.stuck = True
        issuer = {"issuer": "https://auth.example", "jwks": keys.url(), "algorithms": ["ES256"]}
        async with serving(auth={"issuers": [issuer]}, limits={"unauthenticated": 2}) as server:
            verifying = await WebSocketPeer.open(session, server.url)
            claims = {"iss": "https://auth.example", "sub": "42", "role": "r", "exp": int(time.time()) + 600}
            await verifying.send("40" + json.dumps({"token": mint(claims, "ES256", key_for("ES256"))}))
            await eventually(lambda: keys.asked() == 1)
            silent = [await WebSocketPeer.open(session, server.url) for _ in range(3)]
            assert await until_closed(silent[0]) == []
            keys.release()
            assert (await verifying.next()).startswith("40{")


@BOTH
@pytest.mark.gen_test
async def test_who_comes_while_every_place_is_taken_by_a_token_holder_is_ended_and_left_with_nothing_open(
    peer_class: Any,
) -> None:
    async with KeyServer() as keys, http_session() as session:
        keys.publish(public_jwk(key_for("ES256")))
        keys.stuck = True
        issuer = {"issuer": "https://auth.example", "jwks": keys.url(), "algorithms": ["ES256"]}
        limits = {"unauthenticated": 1, "connect_timeout": "60s"}
        async with serving(auth={"issuers": [issuer]}, limits=limits) as server:
            verifying = await WebSocketPeer.open(session, server.url)
            claims = {"iss": "https://auth.example", "sub": "42", "role": "r", "exp": int(time.time()) + 600}
            await verifying.send("40" + json.dumps({"token": mint(claims, "ES256", key_for("ES256"))}))
            await eventually(lambda: keys.asked() == 1)
            newcomer = await peer_class.open(session, server.url)
            assert await in_time(until_closed(newcomer), 15) == []
            await eventually(lambda: server.container.socketio().open_sockets == 1)
            keys.release()
            assert (await verifying.next()).startswith("40{")


@pytest.mark.gen_test(timeout=60)
async def test_a_slow_reader_gets_its_whole_replay_and_one_that_stops_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    # A page of the replay takes the slow reader longer than the patience, and it never pauses for as long as that, nor
    # on a busy machine. It is smaller than the queue may be, so that the rule for live connections, over queue_bytes
    # for as long as the patience, has no part in this.
    patience, bytes_per_second, page_bytes, item_bytes, items = 2.5, 20_000, 60_000, 4_000, 30
    monkeypatch.setattr("entrypoints.building.limits.SocketIoLimits", partial(SocketIoLimits, slow_seconds=patience))

    def small_pages(**values: Any) -> ConnectionPolicy:
        return ConnectionPolicy(**values | {"replay_bytes": page_bytes})

    monkeypatch.setattr("entrypoints.building.transports.ConnectionPolicy", small_pages)
    async with serving(limits=LIMITS) as server, http_session() as session:
        start = await connected_cursor(session, server)
        for number in range(items):
            body = {"to": {"user": "42"}, "type": "t", "id": str(number), "body": "x" * item_bytes}
            await publish(session, server.url, body)
        async with RawWebSocket.open(server) as stopped, RawWebSocket.open(server) as slow:
            started = time.monotonic()
            for peer in (stopped, slow):
                await peer.connect(token("42"), cursor=start)
            await eventually(lambda: open_connections(server) == 2)
            received: list[str] = []
            while len(received) < items:
                assert await slow.read(int(bytes_per_second / 20)), f"cut after {len(received)}"
                received = [arguments[0]["id"] for name, arguments in slow.events() if name == "notification.new"]
                await asyncio.sleep(1 / 20)
            assert received == [str(number) for number in range(items)]
            assert 2 * patience < time.monotonic() - started
            # Of the two it is the slow one that is still there.
            assert open_connections(server) == 1
            await publish(session, server.url, {"to": {"user": "42"}, "type": "live"})
            while not any(name == "notification.new" and a[0]["type"] == "live" for name, a in slow.events()):
                assert await slow.read(65_536)


async def connected_cursor(session: aiohttp.ClientSession, server: Server) -> str:
    """The cursor at the head of the log."""
    peer = await WebSocketPeer.open(session, server.url)
    _, cursor = await connected(peer, token("42"))
    await peer.close()
    await eventually(lambda: open_connections(server) == 0)
    return cursor


CHARACTERS = 8_000
FOUR_BYTES = "\N{GRINNING FACE}"


@pytest.fixture
def never_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is cut for what waits for some time."""
    monkeypatch.setattr("entrypoints.building.limits.SocketIoLimits", partial(SocketIoLimits, slow_seconds=3600.0))


@pytest.mark.usefixtures("never_slow")
@pytest.mark.gen_test
async def test_what_waits_for_a_poll_is_counted_in_bytes() -> None:
    async with serving(limits=LIMITS) as server, http_session() as session:
        await connected(await PollingPeer.open(session, server.url), token("42"))
        await fill(session, server)


@pytest.mark.usefixtures("never_slow")
@pytest.mark.gen_test
async def test_what_waits_in_a_websocket_is_counted_in_bytes() -> None:
    async with serving(limits=LIMITS) as server, http_session() as session, RawWebSocket.open(server) as peer:
        await peer.connect(token("42"))
        await eventually(lambda: open_connections(server) == 1)
        await fill(session, server)


async def fill(session: aiohttp.ClientSession, server: Server) -> None:
    """Publish just below, and then just above, eight times the queue, to a client that takes next to nothing."""
    limit = 8 * QUEUE_BYTES // (4 * CHARACTERS)
    for _ in range(limit - 1):
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "body": FOUR_BYTES * CHARACTERS})
    assert open_connections(server) == 1
    for _ in range(3):
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "body": FOUR_BYTES * CHARACTERS})
    # Not by the rule for what waits for some time: that would take much longer.
    await eventually(lambda: open_connections(server) == 0)


@BOTH
@pytest.mark.gen_test
async def test_a_batch_being_stored_when_the_drain_begins_is_delivered(
    peer_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server, http_session() as session:
        peer = await connected_peer(peer_class, session, server, "42")
        inbox, storing = server.container.store(), asyncio.Event()
        append = inbox.append

        async def told(*arguments: Any, **options: Any) -> Any:
            storing.set()
            return await append(*arguments, **options)

        monkeypatch.setattr(inbox, "append", told)
        batch = [{"to": {"user": "42"}, "type": "t", "id": str(number)} for number in range(1000)]
        posting = asyncio.create_task(post_batch(session, server, batch))
        await storing.wait()
        _, packets = await asyncio.gather(server.drain(), until_closed(peer))
        assert await posting == {"accepted": len(batch), "duplicates": 0}
        *news, (last, (closing,)) = [event(packet) for packet in packets]
        assert [arguments[0]["id"] for _, arguments in news] == [item["id"] for item in batch]
        assert (last, closing["code"]) == ("session.closing", "shutting_down")


async def post_batch(session: aiohttp.ClientSession, server: Server, batch: Sequence[object]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with session.post(f"{server.url}/v1/notifications/batch", json=batch, headers=headers) as answer:
        assert answer.status == 200
        return {name: value for name, value in (await answer.json()).items() if name != "results"}
