"""Real nodes whose database fails over, one of them standing still meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.cluster import Node, cluster
from tests.e2e.followers import CurlFollower
from tests.integration.postgresql_failover import Primary
from tests.postgresql import running_server
from tests.processes import token

pytestmark = pytest.mark.check


async def published(node: Node, title: str, id_: str) -> str:
    """Under an id, again until it is answered; the id."""
    while True:
        async with aiohttp.ClientSession() as session:
            body = {"to": {"user": "42"}, "type": "test", "title": title, "id": id_}
            status, answer = await node.process.post(session, body)
        if status in (200, 201):
            return str(answer["id"])
        assert status == 503, answer
        await asyncio.sleep(0.1)


@pytest.mark.gen_test(timeout=120)
async def test_a_node_that_stood_still_over_a_failover_does_not_go_on_into_the_gap(tmp_path: Path) -> None:
    with running_server(18) as server, Primary(server, sync=False) as primary:
        async with cluster(tmp_path, nodes=2, server=server) as two:
            awake, still = two.nodes
            follower = CurlFollower(still.url, token("42"))
            await follower.start()
            await follower.has(await published(awake, "kept", "n-1"))
            await asyncio.to_thread(primary.hold_standby_back)
            lost = await published(awake, "lost", "n-2")
            await follower.has(lost)
            still.pause()
            await asyncio.to_thread(primary.fail_over)
            two.lead_to(primary.server)
            # It stands where the other one was, and behind it.
            for id_ in ("n-3", "n-4"):
                last = await published(awake, "another", id_)
            still.go_on()
            await follower.has(last)
            assert await published(awake, "lost", "n-2") == lost
            await follower.stop()
    stood = [(one.cursor, one.id) for one in follower.diary.logged]
    assert len(dict(stood)) == len(set(stood))
    assert False in follower.diary.recovered
    assert "it has lost entries" in still.process.log
    ids = [id_ for _, id_ in stood]
    assert (ids.count("n-3"), ids.count("n-4")) == (1, 1)
