"""While it is known that no client can be served, clients are told so at their handshake, and come back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from adapters.auth.jwks import CacheTimes
from domain.errors import StoreUnavailable
from domain.model import Position
from entrypoints.server import TICK_SECONDS, Server, open_server
from entrypoints.settings import SettingsError, validate_settings
from tests.engine_io import (
    HandshakeRefused,
    Peer,
    PollingPeer,
    WebSocketPeer,
    connected,
    event,
    http_session,
    until_closed,
)
from tests.serving import SECRET, publish, serving
from tests.serving import token as secret_token
from tests.tokens import KeyServer, key_for, mint, public_jwk

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
ORIGIN = "https://app.example"
ISSUER = "https://auth.example"
STAFF = {
    "issuer": "https://staff.example",
    "secret": "the secret of the staff, just long enough",
    "user_prefix": "staff-",
}
MIN_INTERVAL = timedelta(seconds=4)
SLACK = 5.0
"""For a busy machine, in seconds."""


def token() -> str:
    claims = {"iss": ISSUER, "sub": "42", "role": "freelance", "exp": int(time.time()) + 600}
    return mint(claims, "ES256", key_for("ES256"))


@asynccontextmanager
async def house(*other_issuers: dict[str, str]) -> AsyncIterator[tuple[KeyServer, Server, aiohttp.ClientSession]]:
    """A server whose users' keys come from a key server that is down."""
    async with KeyServer() as keys, http_session() as session:
        keys.publish(public_jwk(key_for("ES256")))
        keys.broken = True
        users = {"issuer": ISSUER, "jwks": keys.url(), "algorithms": ["ES256"], "user_prefix": "app-"}
        async with serving(auth={"issuers": [users, *other_issuers]}, cors_origins=[ORIGIN]) as server:
            yield keys, server, session


async def until_refused(peer_class: Any, session: aiohttp.ClientSession, server: Server) -> HandshakeRefused:
    """Try until a handshake is refused; how that was."""
    async with asyncio.timeout(10):
        while True:
            try:
                peer: Peer = await peer_class.open(session, server.url, Origin=ORIGIN)
            except HandshakeRefused as refusal:
                return refusal
            await peer.close()
            await asyncio.sleep(0.05)


async def until_let_in(peer_class: Any, session: aiohttp.ClientSession, server: Server) -> Peer:
    """Come back until a handshake succeeds, as a client does."""
    async with asyncio.timeout(10):
        while True:
            try:
                peer: Peer = await peer_class.open(session, server.url, Origin=ORIGIN)
            except HandshakeRefused as refusal:
                assert_puts_off(refusal)
                await asyncio.sleep(0.05)
            else:
                return peer


def assert_puts_off(refusal: HandshakeRefused) -> None:
    """That a browser's page may read it, and knows when to come back."""
    assert refusal.status == 503
    assert int(refusal.headers["Retry-After"]) > 0
    assert refusal.headers["Access-Control-Allow-Origin"] == ORIGIN


async def failures(session: aiohttp.ClientSession, server: Server) -> dict[str, str]:
    """What the server says is not ready, if anything."""
    async with session.get(f"{server.url}/health/ready") as answer:
        content = await answer.json(content_type=None)
        assert (answer.status == 503) == ("failures" in content)
        return dict(content.get("failures", {}))


@BOTH
@pytest.mark.gen_test
async def test_while_the_store_is_down(peer_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> object:
        raise StoreUnavailable

    async with serving(cors_origins=[ORIGIN]) as server, http_session() as session:
        stays = await peer_class.open(session, server.url)
        await connected(stays, secret_token("1"))
        with monkeypatch.context() as patch:
            for method in ("ensure_writable", "append"):
                patch.setattr(server.container.store(), method, down)
            started = time.monotonic()
            assert_puts_off(await until_refused(peer_class, session, server))
            assert time.monotonic() - started < TICK_SECONDS + SLACK
        started = time.monotonic()
        peer = await until_let_in(peer_class, session, server)
        assert time.monotonic() - started < TICK_SECONDS + SLACK
        await connected(peer, secret_token("2"))
        await publish(session, server.url, {"to": {"user": "1"}, "type": "t"})
        assert event(await stays.next())[0] == "notification.new"


@BOTH
@pytest.mark.gen_test
async def test_while_there_are_no_keys(peer_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.auth.jwks.CacheTimes", lambda: CacheTimes(min_interval=MIN_INTERVAL))
    async with house() as (keys, server, session):
        # Nobody has asked for them yet: that they are missing is not known.
        first = await peer_class.open(session, server.url, Origin=ORIGIN)
        assert await failures(session, server) == {}
        started = time.monotonic()
        await first.send("40" + json.dumps({"token": token()}))
        assert_puts_off(await until_refused(peer_class, session, server))
        assert time.monotonic() - started < TICK_SECONDS + SLACK
        assert await failures(session, server) == {"keys": "keys_unavailable"}
        assert await until_closed(first) == []
        keys.broken = False
        peer = await until_let_in(peer_class, session, server)
        assert time.monotonic() - started < MIN_INTERVAL.total_seconds() + TICK_SECONDS + SLACK
        await connected(peer, token())
        assert keys.asked() == 2
        assert await failures(session, server) == {}


@pytest.mark.gen_test
async def test_one_issuer_without_keys_locks_nobody_else_out() -> None:
    async with house(STAFF) as (keys, server, session):
        peer = await WebSocketPeer.open(session, server.url)
        await peer.send("40" + json.dumps({"token": token()}))
        assert await until_closed(peer) == []
        assert keys.asked() == 1
        # Longer than it takes to notice.
        deadline = time.monotonic() + 2 * TICK_SECONDS
        while time.monotonic() < deadline:
            staff = await WebSocketPeer.open(session, server.url)
            await connected(staff, secret_token("7", "admin", secret=STAFF["secret"], iss=STAFF["issuer"]))
            await staff.close()
            await asyncio.sleep(0.1)
        assert await failures(session, server) == {}


@pytest.mark.gen_test
async def test_a_source_that_fails_locks_nobody_out() -> None:
    async with serving() as server, http_session() as session:
        (source,) = (supervisor for supervisor in server._sources.supervisors if supervisor.name.startswith("source "))
        assert await failures(session, server) == {}
        source.fault = "source_unavailable"
        assert await failures(session, server) == {source.name: source.fault}
        # Longer than it takes to notice.
        deadline = time.monotonic() + 2 * TICK_SECONDS
        while time.monotonic() < deadline:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, secret_token("42"))
            await peer.close()
            await asyncio.sleep(0.1)


@pytest.mark.gen_test
async def test_while_nothing_is_delivered() -> None:
    async with serving(cors_origins=[ORIGIN]) as server, http_session() as session:
        assert await failures(session, server) == {}
        server._readiness._delivery.fault = "store_unavailable"
        assert_puts_off(await until_refused(WebSocketPeer, session, server))
        server._readiness._delivery.fault = None
        await connected(await until_let_in(WebSocketPeer, session, server), secret_token("42"))


@pytest.mark.gen_test
async def test_no_client_is_taken_before_it_is_known_where_the_tail_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    server = open_server(validate_settings({"port": 0, "auth": {"secret": SECRET}, "store": "memory://"}))

    async def head() -> Position:
        raise StoreUnavailable("the disk is away")

    monkeypatch.setattr(server.container.store(), "head", head)
    with pytest.raises(SettingsError, match="the disk is away"):
        async with server.running():
            pass
