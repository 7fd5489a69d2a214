"""``inbox.counts`` where nobody did anything: what expires and what grows too old, on every transport."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session
from tests.serving import publish, serving, token
from tests.sse_client import StreamClient

LIFE = 4.0
"""Seconds that a notification is there: enough that its coming was told before it goes."""
WITHIN = 10.0
"""Seconds in which its going is told: one and a little, with slack for a busy machine."""

Next = Callable[[], Awaitable[tuple[str, Any]]]


async def packets_of(peer_class: Any, session: Any, url: str) -> tuple[Next, Callable[[], Awaitable[None]]]:
    peer = await peer_class.open(session, url)
    await connected(peer, token("42"))
    peer.hears_counts = True

    async def following() -> tuple[str, Any]:
        name, (argument, *_) = event(await peer.next())
        return name, argument

    return following, peer.close


async def events_of_stream(url: str) -> tuple[Next, Callable[[], Awaitable[None]]]:
    client = await StreamClient.open(urlsplit(url).port or 0)
    client.ask(authorization=f"Bearer {token('42')}")
    assert await client.answer() == 200
    assert (await client.event()).name == "session.ready"

    async def following() -> tuple[str, Any]:
        event = await client.event()
        return str(event.name), json.loads(event.data or "")

    return following, client.close


@pytest.mark.gen_test
async def test_what_goes_by_itself_is_told_once_about_a_second_later() -> None:
    cases = [(why, store) for why in ("expires", "grows too old") for store in ("memory://", None)]
    # All at once, as nearly all of it is waiting.
    await asyncio.gather(*(assert_told_once(why, store) for why, store in cases))


async def assert_told_once(why: str, store: str | None) -> None:
    settings: dict[str, Any] = {"store": store} if store is not None else {}
    if why == "grows too old":
        settings["retention"] = {"log": f"{LIFE}s", "inbox": f"{LIFE}s"}
    async with serving(**settings) as server, http_session() as session:
        listening = [
            await packets_of(WebSocketPeer, session, server.url),
            await packets_of(PollingPeer, session, server.url),
            await events_of_stream(server.url),
        ]
        goes_at = datetime.now(UTC) + timedelta(seconds=LIFE)
        body: dict[str, object] = {"to": {"user": "42"}, "type": "t", "id": "n-1"}
        if why == "expires":
            body["expires_at"] = goes_at.isoformat()
        assert (await publish(session, server.url, body))[0] == 201

        async def hear(following: Next, *expected: tuple[str, object]) -> float:
            for name, what in expected:
                heard, argument = await following()
                assert (heard, argument["id"] if heard == "notification.new" else argument["unread"]) == (name, what)
            return time.time()

        async with asyncio.timeout(LIFE + WITHIN):
            times = await asyncio.gather(
                *(
                    hear(following, ("notification.new", "n-1"), ("inbox.counts", 1), ("inbox.counts", 0))
                    for following, _ in listening
                )
            )
        assert min(times) >= goes_at.timestamp()
        assert (await publish(session, server.url, {**body, "id": "n-2", "expires_at": None}))[0] == 201
        # Nothing was told a second time in between.
        for following, _ in listening:
            await hear(following, ("notification.new", "n-2"), ("inbox.counts", 1))
        for _, close in listening:
            await close()
