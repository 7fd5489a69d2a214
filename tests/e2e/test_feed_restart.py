"""A server that takes its notifications from a feed is killed and started again: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import JsFollower
from tests.feed_server import FeedServer, event
from tests.processes import ONE_SECRET, port_to_keep, token

KILLS = 3
SECONDS_BETWEEN = 0.005


@pytest.mark.gen_test(timeout=90)
async def test_kills_while_a_feed_gives_events(serve: Serve, clients: Clients) -> None:
    feed = FeedServer()
    await feed.start()
    ids: list[str] = []

    async def give() -> None:
        while True:
            ids.append(f"from-feed-{len(ids)}")
            feed.add(ids[-1], event(ids[-1], {"to": {"user": "42"}, "type": "test"}))
            await asyncio.sleep(SECONDS_BETWEEN)

    settings = {"SYNKRONE_SOURCE__URL": feed.url, "SYNKRONE_PORT": str(port_to_keep())}
    server = serve(ONE_SECRET | settings)
    giving = asyncio.create_task(give())
    client = JsFollower(server.url, token("42"), clients, {"reconnectionDelay": 50, "reconnectionDelayMax": 200})
    try:
        await client.start()
        for _ in range(KILLS):
            # At a random moment, but of a server that is busy taking over.
            given = len(ids)
            await client.has(ids[given - 1])
            await asyncio.sleep(random.uniform(0, 0.3))
            server.kill()
            server.start_again()
            await server.ready()
        giving.cancel()
        await client.has(ids[-1])
    finally:
        giving.cancel()
        await client.stop()
        await feed.stop()
    assert [logged.id for logged in client.diary.logged] == ids
    assert client.diary.recovered == client.connects == [True] * KILLS
    assert (await server.inbox(token("42"), "/count"))["counts"]["total"] == len(ids)
    # Each time it asked for what it did not have yet, and not for all.
    assert len(feed.last_ids) >= KILLS + 1
    assert all(last in ids for last in feed.last_ids[1:])
