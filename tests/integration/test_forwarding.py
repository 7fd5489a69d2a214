"""Requests of one session at several nodes: whichever they come to, the client notices nothing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from adapters.cluster.members import Member
from entrypoints.server import Server
from tests.e2e.certificates import make_certificate
from tests.engine_io import Asking, Peer, WebSocketPeer, connected, event, http_session, until_closed
from tests.raw_websocket import RawWebSocket
from tests.serving import eventually, open_sockets, publish, token
from tests.two_nodes import PATH, FixedMembers, WanderingPeer, forwarding_of, node, two_nodes

SECRET = b"s" * 32
FORMER = b"f" * 32
UNKNOWN = {"code": 1, "message": "Session ID unknown"}


async def publish_to_42(session: aiohttp.ClientSession, server: Server, title: str, **members: Any) -> None:
    body = {"to": {"users": ["42"]}, "type": "mission.assigned", "title": title, **members}
    status, answer = await publish(session, server.url, body)
    assert status in (200, 201), answer


async def titles(peer: Peer, number: int) -> list[str]:
    """Of the next so many notifications."""
    found: list[str] = []
    while len(found) < number:
        name, arguments = event(await peer.next())
        if name == "notification.new":
            found.append(arguments[0]["title"])
    return found


@pytest.mark.gen_test
@pytest.mark.parametrize("stamps", [True, False], ids=["stamped", "all the same"])
async def test_a_client_that_polls_goes_from_node_to_node(stamps: bool) -> None:  # noqa: FBT001 (a column of the table)
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url], stamps=stamps)
        await connected(peer, token("42"))
        for number in itertools.chain.from_iterable((3 * [1], [2, 5, 1])):
            wanted = [f"{number}-{each}" for each in range(number)]
            listening = asyncio.ensure_future(titles(peer, number))
            for title in wanted:
                await publish_to_42(session, one, title)
            assert await listening == wanted


@pytest.mark.gen_test
async def test_a_client_upgrades_at_another_node() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        await connected(peer, token("42"))
        websocket = await session.ws_connect(f"{other.url}{PATH.replace('polling', 'websocket')}&sid={peer.sid}")
        async with websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str(timeout=2) == "3probe"
            await websocket.send_str("5")
            upgraded = WebSocketPeer(websocket)
            await publish_to_42(session, one, "small")
            await publish_to_42(session, one, "large", data={"text": 60_000 * "x"})
            assert await titles(upgraded, 2) == ["small", "large"]
            assert (await Asking(upgraded).ask("inbox.count", {}))["ok"]
            assert open_sockets(one) == 1
        await eventually(lambda: open_sockets(one) == 0)
        assert one.open_connections == 0


@pytest.mark.gen_test
async def test_a_session_that_no_node_has_is_unknown() -> None:
    known: dict[str, Any] = {}
    members = FixedMembers(known, [SECRET])
    async with http_session() as session, node(members) as server:
        async with node(FixedMembers(known, [SECRET])) as gone:
            peer = await WanderingPeer.open(session, [gone.url, server.url])
        sids = {
            "of a node that is gone": peer.sid,
            "forged": peer.sid[:-1] + ("A" if peer.sid[-1] != "A" else "B"),
            "no name": "x",
        }
        for what, sid in sids.items():
            async with session.get(f"{server.url}{PATH}&sid={sid}") as answer:
                assert (answer.status, await answer.json()) == (400, UNKNOWN), what
        assert set(members.looked_for) == {peer.sid[:8]}
        known.clear()
        async with session.post(f"{server.url}{PATH}&sid={peer.sid}", data="3") as answer:
            assert (answer.status, await answer.json()) == (400, UNKNOWN)
        await WebSocketPeer.open(session, server.url)


@pytest.mark.gen_test
async def test_a_node_that_came_after_the_secret_changed_serves_sessions_of_before_and_is_served() -> None:
    known: dict[str, Member] = {}
    # As long as others may not know the new secret, the node that was there before signs with the former one.
    async with (
        http_session() as session,
        node(FixedMembers(known, [FORMER, SECRET])) as before,
        node(FixedMembers(known, [SECRET])) as after,
    ):
        for owner, other in ((before, after), (after, before)):
            peer = await WanderingPeer.open(session, [owner.url, other.url])
            await connected(peer, token("42"))
            await publish_to_42(session, owner, "one")
            assert await titles(peer, 1) == ["one"]
            await peer.close()


@pytest.mark.gen_test
async def test_what_the_owner_knows_of_a_client_the_other_node_has_said() -> None:
    # Of the two only the one that the client comes to trusts the proxy, and knows the page.
    async with (
        http_session() as session,
        two_nodes(trusted_proxies=["127.0.0.1"], cors_origins=["https://app.example"]) as (one, other),
    ):
        peer = await WanderingPeer.open(session, [one.url, other.url])
        for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
            headers = {"Origin": origin}
            async with session.post(f"{other.url}{PATH}&sid={peer.sid}", data="4", headers=headers) as answer:
                assert answer.status == status
                assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)


@pytest.mark.gen_test
async def test_a_body_that_is_too_large_is_refused_as_at_its_own_node() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        async with session.post(f"{other.url}{PATH}&sid={peer.sid}", data=b"4" * 70_000) as answer:
            assert (answer.status, await answer.json()) == (413, {"code": 3, "message": "Payload too large"})


@pytest.mark.gen_test
async def test_a_poll_whose_client_leaves_takes_nothing_with_it() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        await connected(peer, token("42"))
        poll = asyncio.ensure_future(session.get(other.url + peer.target))
        await eventually(lambda: is_polled(one, peer))
        poll.cancel()
        await eventually(lambda: not is_polled(one, peer))
        await publish_to_42(session, one, "one")
        assert await titles(peer, 1) == ["one"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await titles(peer, 1)


def is_polled(server: Server, peer: WanderingPeer) -> bool:
    return bool(server.container.socketio()._engine.sessions[peer.sid].is_polled)


@pytest.mark.gen_test
async def test_a_node_that_is_about_to_stop_sends_polls_elsewhere() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        await connected(peer, token("42"))
        poll = asyncio.ensure_future(session.get(other.url + peer.target))
        await eventually(lambda: is_polled(one, peer))
        await forwarding_of(other).release()
        async with await poll as answer:
            assert (answer.status, await answer.text(), answer.headers["Connection"]) == (200, "6", "close")
        await publish_to_42(session, one, "one")
        async with session.get(one.url + peer.target) as answer:
            assert "mission.assigned" in await answer.text()


@pytest.mark.gen_test
async def test_a_poll_whose_forwarder_is_gone_gives_way_to_the_next() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url])
        await connected(peer, token("42"))
        # What is for browsers sends a poll again by itself.
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(other.url).port)
        writer.write(f"GET {peer.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: is_polled(one, peer))
        await forwarding_of(other).close()
        assert await reader.read() == b""
        writer.close()
        listening = asyncio.ensure_future(titles(peer, 2))
        await publish_to_42(session, one, "one")
        await publish_to_42(session, one, "two")
        assert await listening == ["one", "two"]


@pytest.mark.gen_test
async def test_a_client_that_reads_nothing_behind_another_node_slows_down_nobody_and_is_cut() -> None:
    limits = {"queue_bytes": 262_144, "notification_bytes": 65_536}
    async with two_nodes(limits=limits) as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        await connected(peer, token("42"))
        async with RawWebSocket.open(other, sid=peer.sid) as client:
            await client.send("2probe")
            await client.send("5")
            await eventually(lambda: open_sockets(one) == 1)
            max_waiting = 0
            for number in range(300):
                await publish_to_42(session, one, str(number), data={"text": 60_000 * "x"})
                waiting = [splice._outgoing.unsent for splice in forwarding_of(other).route._splices]
                max_waiting = max(max_waiting, *waiting, 0)
                if not one.open_connections:
                    break
            await eventually(lambda: one.open_connections == 0, within=8)
            assert max_waiting < 100_000
            # What it was sent before the end, it gets in order.
            while await client.read(65_536):
                pass
            found = [arguments[0]["title"] for name, arguments in client.events() if name == "notification.new"]
            assert found == [str(number) for number in range(len(found))]
            assert len(found) > 3


@pytest.mark.gen_test
async def test_a_session_whose_node_drains_is_told_so_behind_another_node() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        peer = await WanderingPeer.open(session, [one.url, other.url])
        await connected(peer, token("42"))
        draining = asyncio.ensure_future(one.drain())
        names = [event(packet)[0] for packet in await until_closed(peer) if packet.startswith("42")]
        assert "session.closing" in names
        await draining


@pytest.mark.gen_test
async def test_a_node_that_drains_ends_what_is_spliced_there_and_nothing_else() -> None:
    async with two_nodes(limits={"drain_time": 0}) as (one, other), http_session() as session:
        peers = [await WanderingPeer.open(session, [one.url]) for _ in range(2)]
        websockets = []
        for peer, by in zip(peers, (one, other), strict=True):
            await connected(peer, token("42"))
            websocket = await session.ws_connect(f"{by.url}{PATH.replace('polling', 'websocket')}&sid={peer.sid}")
            await websocket.send_str("2probe")
            await websocket.receive()
            await websocket.send_str("5")
            websockets.append(websocket)
        await eventually(lambda: open_sockets(one) == 2)
        await other.drain()
        await eventually(lambda: one.open_connections == 1)
        assert open_sockets(one) == 1


@pytest.mark.gen_test
async def test_nodes_reach_each_other_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    internal = {"tls": {"cert": str(certificate.cert), "key": str(certificate.key)}}
    async with two_nodes(internal=internal) as (one, other), http_session() as session:
        assert (one.internal_url or "").startswith("https://")
        peer = await WanderingPeer.open(session, [one.url, other.url])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))
        await connected(peer, token("42"))
        await publish_to_42(session, one, "large", data={"text": 60_000 * "x"})
        assert await titles(peer, 1) == ["large"]
        websocket = await session.ws_connect(f"{other.url}{PATH.replace('polling', 'websocket')}&sid={peer.sid}")
        await websocket.send_str("2probe")
        assert await websocket.receive_str() == "3probe"
