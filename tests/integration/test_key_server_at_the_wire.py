"""A key server that is down, slow or asked for by a flood, as connecting clients notice it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from entrypoints.server import Server
from tests.engine_io import Peer, PollingPeer, WebSocketPeer, connected, http_session, refused, until_closed
from tests.serving import eventually, serving
from tests.serving import token as minted
from tests.tokens import KeyServer, key_for, mint, public_jwk

STAFF_SECRET = "the secret of the staff, just long enough"
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


@asynccontextmanager
async def house(**settings: Any) -> AsyncIterator[tuple[KeyServer, Server, aiohttp.ClientSession]]:
    # As many connections at once as a test opens.
    async with KeyServer() as keys, http_session(aiohttp.TCPConnector(limit=0)) as session:
        keys.publish(public_jwk(key_for("ES256")))
        issuer = {"issuer": "https://auth.example", "jwks": keys.url(), "algorithms": ["ES256"]}
        staff = {"issuer": "https://staff.example", "secret": STAFF_SECRET, "user_prefix": "staff-"}
        async with serving(auth={"issuers": [issuer | {"user_prefix": "app-"}, staff]}, **settings) as server:
            yield keys, server, session


def token(kid: str = "k1", header: dict[str, Any] | None = None, owner: str = "issuer") -> str:
    claims = {"iss": "https://auth.example", "sub": "42", "role": "freelance", "exp": int(time.time()) + 600}
    return mint(claims, "ES256", key_for("ES256", owner), kid=kid, header=header)


async def connect(peer_class: Any, session: aiohttp.ClientSession, server: Server) -> Peer:
    peer: Peer = await peer_class.open(session, server.url)
    await connected(peer, token())
    return peer


@BOTH
@pytest.mark.gen_test
async def test_without_keys_a_client_is_cut_without_a_word_and_not_at_once(peer_class: Any) -> None:
    async with house() as (keys, server, session):
        keys.documents.clear()
        peer = await peer_class.open(session, server.url)
        started = time.monotonic()
        await peer.send("40" + json.dumps({"token": token()}))
        # A CONNECT_ERROR would make the stock client give up for ever; an immediate close, return at once for ever.
        assert await until_closed(peer) == []
        assert 1 <= time.monotonic() - started <= 7
        assert server.container.connections().open_connections == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_flood_of_unknown_keys_is_one_fetch_and_known_tokens_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.policy.RETURN_DELAY", (0.1, 0.5))
    async with house() as (keys, server, session):
        await connect(WebSocketPeer, session, server)
        assert keys.asked() == 1

        async def attack(number: int) -> list[str]:
            peer = await WebSocketPeer.open(session, server.url)
            await peer.send("40" + json.dumps({"token": token(f"unknown-{number}")}))
            return await until_closed(peer)

        attacks = []
        for first in range(0, 300, 50):
            attacks += [asyncio.create_task(attack(first + number)) for number in range(50)]
            await (await connect(WebSocketPeer, session, server)).close()
        assert await asyncio.gather(*attacks) == [[]] * 300
        assert keys.asked() == 1
        assert server.container.issuers().fault is None
        await eventually(lambda: server.container.connections().open_connections == 1)


@BOTH
@pytest.mark.gen_test
async def test_a_key_rotated_just_after_a_fetch_is_a_fault_that_passes(peer_class: Any) -> None:
    async with house() as (keys, server, session):
        await connect(WebSocketPeer, session, server)
        keys.publish(public_jwk(key_for("ES256")), public_jwk(key_for("ES256", "new"), "k2"))
        rotated = token("k2", owner="new")
        peer = await peer_class.open(session, server.url)
        started = time.monotonic()
        # Whatever comes behind it, within the limits, is neither answered nor a reason to close at once.
        for message in (
            "40" + json.dumps({"token": rotated}),
            '421["inbox.list",{}]',
            "40" + json.dumps({"token": token()}),
        ):
            await peer.send(message)
        for _ in range(35 if peer_class is WebSocketPeer else 0):
            await peer.send('42["inbox.count",{}]')
        assert await until_closed(peer) == []
        assert 1 <= time.monotonic() - started <= 7
        for path in ("/v1/inbox", "/v1/stream"):
            async with session.get(server.url + path, headers={"Authorization": f"Bearer {rotated}"}) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "keys_unavailable")
                assert 1 <= int(answer.headers["Retry-After"]) <= 5
        async with session.get(f"{server.url}/health/ready") as answer:
            assert answer.status == 200
        assert keys.asked() == 1


@pytest.mark.gen_test
async def test_those_who_are_to_come_back_keep_nobody_out() -> None:
    async with house(limits={"unauthenticated": 20}) as (_, server, session):
        await connect(WebSocketPeer, session, server)
        told: list[Peer] = []
        for number in range(60):
            peer = await WebSocketPeer.open(session, server.url)
            await peer.send("40" + json.dumps({"token": token(f"unknown-{number}")}))
            told.append(peer)
            # Each is being served when the next one comes.
            await eventually(lambda: server.container.connections().open_connections == 1)
        for peer_class in (WebSocketPeer, PollingPeer):
            await connect(peer_class, session, server)
        assert len(server.container.socketio()._waiting) <= 20
        # No task waits with them, and so nothing holds what they sent.
        assert not [task for task in asyncio.all_tasks() if "SocketIoTransport._handle " in repr(task)]
        assert [await until_closed(peer) for peer in told] == [[]] * 60


@pytest.mark.gen_test
async def test_a_key_server_that_hangs_holds_up_no_other_user() -> None:
    async with house() as (keys, server, session):
        keys.stuck = True
        waiting = await WebSocketPeer.open(session, server.url)
        await waiting.send("40" + json.dumps({"token": token()}))
        await eventually(lambda: keys.asked() == 1)
        started = time.monotonic()
        for _ in range(5):
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, minted("7", "admin", secret=STAFF_SECRET, iss="https://staff.example"))
        assert time.monotonic() - started < 4
        keys.release()
        assert (await waiting.next()).startswith("40{")


@pytest.mark.gen_test
async def test_nothing_a_token_says_causes_a_request() -> None:
    async with house() as (keys, server, session):
        await connect(WebSocketPeer, session, server)
        asked = len(keys.requests)
        for header in (
            {"jku": keys.url("/evil.json")},
            {"x5u": keys.url("/evil.pem")},
            {"jwk": public_jwk(key_for("ES256", "attacker"))},
        ):
            peer = await WebSocketPeer.open(session, server.url)
            forged = json.dumps({"token": token(header=header, owner="attacker")})
            assert (await refused(peer, forged))["code"] == "invalid_token"
            await connected(await WebSocketPeer.open(session, server.url), token(header=header))
        assert len(keys.requests) == asked
