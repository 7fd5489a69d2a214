"""Tokens as long as ``auth.token_bytes`` allows, brought to a server in every way in which clients bring them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrypoints.server import Server
from tests.engine_io import PollingPeer, WebSocketPeer, connected, http_session, refused
from tests.serving import SECRET, serving, token

SIZES = pytest.mark.parametrize("token_bytes", [1_024, 16_384, 65_536])
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
BESIDE_A_TOKEN = 8_192
ROUTES = ["/v1/inbox", "/v1/inbox/count", "/v1/stream"]


def longest(token_bytes: int) -> str:
    """A good token of as many bytes, or a few less: three octets are four characters of it."""
    room = token_bytes - len(token("42", padding=""))
    made = token("42", padding="x" * (room * 3 // 4 - 2))
    assert token_bytes - 8 < len(made) <= token_bytes
    return made


@asynccontextmanager
async def server_for(token_bytes: int) -> AsyncIterator[Server]:
    auth = {"secret": SECRET, "token_bytes": token_bytes}
    async with serving(auth=auth, limits={"message_bytes": token_bytes + 2_048}) as server:
        yield server


def head(path: str, bearer: str, size: int | None = None) -> bytes:
    """The head of a request, of exactly so many bytes where they are given."""
    lines = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nCookie: "
    return f"{lines}{'x' * (1 if size is None else size - len(lines) - 4)}\r\n\r\n".encode()


async def status(server: Server, request: bytes) -> int:
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()


@SIZES
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.gen_test
async def test_the_longest_token_is_taken_as_a_header_beside_much_else(path: str, token_bytes: int) -> None:
    bearer = longest(token_bytes)
    async with server_for(token_bytes) as server:
        assert await status(server, head(path, bearer)) == 200
        assert await status(server, head(path, bearer, token_bytes + BESIDE_A_TOKEN)) == 200
        assert await status(server, head(path, bearer, token_bytes + BESIDE_A_TOKEN + 1)) == 431
        assert await status(server, head(path, f"{bearer}{'x' * 8}")) == 401


@SIZES
@BOTH
@pytest.mark.gen_test
async def test_the_longest_token_is_taken_in_connect_and_in_a_refresh(peer_class: Any, token_bytes: int) -> None:
    bearer = longest(token_bytes)
    async with server_for(token_bytes) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, bearer, device="é" * 64, cursor="e" * 100)
        await peer.send("420" + json.dumps(["auth.refresh", {"token": bearer}]))
        assert (await peer.next()).startswith('430[{"ok":true,')
        late = await peer_class.open(session, server.url)
        problem = await refused(late, json.dumps({"token": f"{bearer}{'x' * 8}"}))
        assert problem["code"] == "invalid_token"
