"""Tokens that are revoked and users who are blocked: on every node of several, over restarts, and as documented."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.cluster import Cluster, Node, cluster
from tests.documents import block
from tests.e2e.conftest import Serve
from tests.engine_io import Closed, Peer, PollingPeer, WebSocketPeer, connected, event, http_session, refused
from tests.processes import API_KEY, token
from tests.sse_client import StreamClient

WITHIN = 1.0
PAGE = "docs/how-to/revoke.md"
ADDRESS = "http://127.0.0.1:8000"
KEY = {"Authorization": f"Bearer {API_KEY}"}


async def asked(session: aiohttp.ClientSession, node: Node, method: str, path: str, body: object = None) -> Any:
    async with session.request(method, f"{node.url}/v1/users/42/{path}", json=body, headers=KEY) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def ended(peer: Peer) -> tuple[float, list[str], dict[str, Any]]:
    """When it was told why it ends, what it had been sent before, and why."""
    before: list[str] = []
    while True:
        packet = await peer.next()
        if packet.startswith("42") and event(packet)[0] == "session.closing":
            at, (problem, *_) = time.monotonic(), event(packet)[1]
            break
        before.append(packet)
    try:
        while True:
            packet = await peer.next()
            assert "notification" not in packet
            if packet == "41":
                await peer.close()
    except Closed:
        return at, before, problem


async def all_ended(peers: Sequence[Peer], code: str) -> float:
    """When the last of them was told this."""
    outcomes = await asyncio.gather(*map(ended, peers))
    for _, before, problem in outcomes:
        assert problem["code"] == code
        assert "after-" not in str(before)
    return max(at for at, _, _ in outcomes)


async def answers(session: aiohttp.ClientSession, node: Node, own: str) -> list[str]:
    """What a token is told at a node: over Socket.IO, the stream and the inbox; ``ok`` where it is let in."""
    peer = await WebSocketPeer.open(session, node.url)
    await peer.send("40" + json.dumps({"token": own}))
    packet = await peer.next()
    over_socket = json.loads(packet[2:])["data"]["code"] if packet.startswith("44") else "ok"
    await peer.close()
    client = await StreamClient.open(urlsplit(node.url).port or 0)
    client.ask("/v1/stream", authorization=f"Bearer {own}")
    over_stream = "ok" if await client.answer() == 200 else str((await client.problem())["code"])
    await client.close()
    async with session.get(f"{node.url}/v1/inbox", headers={"Authorization": f"Bearer {own}"}) as answer:
        over_http = "ok" if answer.status == 200 else (await answer.json(content_type=None))["code"]
    return [over_socket, over_stream, over_http]


async def everywhere(session: aiohttp.ClientSession, nodes: Cluster, own: str) -> set[str]:
    return {said for node in nodes.nodes for said in await answers(session, node, own)}


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_three_nodes_close_and_refuse_within_a_second_and_over_restarts(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        three = await stack.enter_async_context(cluster(tmp_path, nodes=3))
        session = await stack.enter_async_context(http_session())
        first, second, third = three.nodes
        own, newer = token("42"), token("42", iat=int(time.time()) + 5)
        old: list[Peer] = []
        new: list[Peer] = []
        for node in three.nodes:
            for peer_class in (WebSocketPeer, PollingPeer):
                old.append(await peer_class.open(session, node.url))
                await connected(old[-1], own)
            new.append(await WebSocketPeer.open(session, node.url))
            await connected(new[-1], newer)

        closing = asyncio.create_task(all_ended(old, "token_revoked"))
        since = time.monotonic()
        await asked(session, first, "POST", "revoke")
        await second.process.publish({"user": "42"}, id="after-the-revocation")
        took = await closing - since
        assert took < WITHIN
        assert await everywhere(session, three, own) == {"invalid_token"}
        for peer in new:
            assert event(await peer.next())[1][0]["id"] == "after-the-revocation"
        assert await everywhere(session, three, newer) == {"ok"}

        closing = asyncio.create_task(all_ended(new, "blocked"))
        since = time.monotonic()
        await asked(session, third, "POST", "block", {"reason": "of the test"})
        await first.process.publish({"user": "42"}, id="after-the-block")
        blocked_took = await closing - since
        assert blocked_took < WITHIN
        print(f"revoked on all nodes within {took * 1000:.0f} ms, blocked within {blocked_took * 1000:.0f} ms")
        for own_token in (own, newer):
            assert await everywhere(session, three, own_token) == {"blocked"}

        await first.restart()
        second.kill()
        second.start_again()
        await second.ready()
        for own_token in (own, newer):
            assert await everywhere(session, three, own_token) == {"blocked"}
        assert (await asked(session, second, "GET", "block"))["reason"] == "of the test"

        await asked(session, second, "DELETE", "block")
        async with asyncio.timeout(WITHIN):
            while (await answers(session, third, newer))[-1] != "ok":  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.05)
        assert await everywhere(session, three, newer) == {"ok"}
        assert await everywhere(session, three, own) == {"invalid_token"}
        peer = await WebSocketPeer.open(session, third.url)
        await connected(peer, newer)
        # What was published meanwhile is there; before it what its connections had, unless they had said so by then.
        missed = event(await peer.next())[1][0]["id"]
        if missed == "after-the-revocation":
            missed = event(await peer.next())[1][0]["id"]
        assert missed == "after-the-block"


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_who_comes_while_it_is_said_elsewhere_is_sent_nothing_of_after_it(tmp_path: Path) -> None:
    """Whoever connects anew, again and again, at the node that learns of it last."""
    async with AsyncExitStack() as stack:
        two = await stack.enter_async_context(cluster(tmp_path, nodes=2))
        session = await stack.enter_async_context(http_session())
        near, far = two.nodes
        for number in range(10):
            user = f"user-{number}"
            own = token(user)
            coming = [asyncio.create_task(comes(session, far, own)) for _ in range(8)]
            await asyncio.sleep(0.02 * (number % 5))
            async with session.post(f"{near.url}/v1/users/{user}/revoke", headers=KEY) as answer:
                assert answer.status == 200
            await near.process.publish({"user": user}, id=f"after-{number}")
            for seen in await asyncio.gather(*coming):
                assert f"after-{number}" not in str(seen)


async def comes(session: aiohttp.ClientSession, node: Node, own: str) -> list[str]:
    """Connect until it is refused; all that was sent."""
    seen: list[str] = []
    async with asyncio.timeout(20):
        while True:
            peer = await WebSocketPeer.open(session, node.url)
            await peer.send("40" + json.dumps({"token": own}))
            packet = await peer.next()
            if packet.startswith("44"):
                assert json.loads(packet[2:])["data"]["code"] == "invalid_token"
                await peer.close()
                return seen
            try:
                async with asyncio.timeout(0.05):
                    while True:
                        seen.append(await peer.next())
            except TimeoutError:
                await peer.close()
            except Closed:
                pass


@pytest.mark.gen_test(timeout=60)
async def test_what_the_document_says_to_type_revokes_and_blocks(serve: Serve) -> None:
    server = serve()

    async def types(containing: str) -> list[dict[str, Any]]:
        text = block(PAGE, "bash", containing).replace(ADDRESS, server.url).replace("curl ", "curl -sS ")
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-ec", text.replace("\ncurl", "; echo\ncurl")],
            env={**os.environ, "SYNKRONE_API__KEY": API_KEY},
            capture_output=True,
            check=True,
            text=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    async with http_session() as session:
        own = token("42")
        (revoked,) = await types("/revoke")
        assert set(revoked) == {"issued_before", "disconnected"}
        problem = await refused(await WebSocketPeer.open(session, server.url), json.dumps({"token": own}))
        assert problem["code"] == "invalid_token"
        blocked, found, gone = await types("/block")
        assert blocked["until"] == found["until"] == "2130-01-31T12:00:00.000Z"
        assert (found["reason"], gone["blocked"]) == ("abuse, ticket 4711", False)
