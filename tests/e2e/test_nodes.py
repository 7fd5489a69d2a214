"""Nodes that stand still, and a database that is away, as their clients see it."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster import QUICK_PINGS, Cluster, Node, balanced_line_to, cluster
from tests.e2e.clients import Clients
from tests.e2e.followers import CurlFollower, Follower, JsFollower
from tests.processes import token

pytestmark = pytest.mark.check

OWN = token("42")
QUICK = {"reconnectionDelay": 50, "reconnectionDelayMax": 500, "transports": ["websocket"]}


def boots(nodes: Cluster) -> list[str]:
    """Of those that hold a lease, the longest there first."""
    rows = nodes.server.execute("SELECT boot FROM synkrone.nodes ORDER BY since", nodes.database)
    return [boot for (boot,) in rows]


async def until(nodes: Cluster, expected: int, within: float = 60.0) -> list[str]:
    """Wait until so many hold one; who they are."""
    async with asyncio.timeout(within):
        while len(found := boots(nodes)) != expected:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.1)
    return found


@asynccontextmanager
async def publishing(node: Node) -> AsyncIterator[list[str]]:
    """All the while, a few a second; the ids of what is stored, in order."""
    ids: list[str] = []

    async def publish() -> None:
        for number in itertools.count():
            ids.append(str((await node.process.publish({"user": "42"}, title=str(number)))["id"]))
            await asyncio.sleep(0.2)

    task = asyncio.create_task(publish())
    try:
        yield ids
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled(), task.exception()


def assert_whole(follower: Follower, ids: list[str]) -> None:
    assert [logged.id for logged in follower.diary.logged] == ids
    assert all(follower.diary.recovered)


@pytest.mark.gen_test(timeout=180)
async def test_a_node_that_stands_still_is_another_one_when_it_goes_on(clients: Clients, tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, nodes=2, settings=QUICK_PINGS) as two,
        balanced_line_to(two.ports) as one_line,
        balanced_line_to(two.ports) as other_line,
    ):
        paused, lively = two.nodes
        # The one notices that nothing comes and goes to the other node; the other never would.
        notices, waits = JsFollower(one_line.url, OWN, clients, QUICK), CurlFollower(other_line.url, OWN)
        for follower in (notices, waits):
            await follower.start()
        await paused.process.has_connections("42", 2)
        before = await until(two, 2)
        async with publishing(lively) as ids:
            await notices.has(await first_of(ids))
            paused.pause()
            (left,) = await until(two, 1)
            assert left in before
            await lively.process.has_connections("42", 1)
            paused.go_on()
            after = await until(two, 2)
            assert after[0] == left
            assert after[1] not in before
            await waits.welcomed(2)
        for follower in (notices, waits):
            await follower.has(ids[-1])
            await follower.stop()
            assert_whole(follower, ids)
        assert "the lease is lost" in paused.process.log
        assert "the lease is lost" not in lively.process.log


async def first_of(ids: list[str]) -> str:
    async with asyncio.timeout(20):
        while not ids:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.05)
    return ids[0]


@pytest.mark.gen_test(timeout=180)
async def test_a_database_that_is_away_for_longer_than_a_lease_cuts_nobody(clients: Clients, tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2) as two:
        followers = [JsFollower(node.url, OWN, clients, QUICK) for node in two.nodes]
        for follower in followers:
            await follower.start()
        before = await until(two, 2)
        two.server.stop(how=signal.SIGQUIT)
        # Longer than a lease, and than it takes to count as cut off.
        await asyncio.sleep(25)
        two.server.start()
        assert await until(two, 2) == before
        answer = await two.nodes[0].process.publish({"user": "42"}, title="it is back")
        for node, follower in zip(two.nodes, followers, strict=True):
            await follower.has(str(answer["id"]))
            assert follower.diary.welcomes == 1
            assert "sent to others" not in node.process.log
            await follower.stop()


@pytest.mark.gen_test(timeout=180)
async def test_a_node_whose_words_to_the_database_vanish_sends_its_clients_to_others(tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2) as two, balanced_line_to(two.ports) as line:
        cut, lively = two.nodes
        follower = CurlFollower(line.url, OWN)
        await follower.start()
        await cut.process.has_connections("42", 1)
        before = cut.process.records("serving")[0]["boot"]
        assert before in await until(two, 2)
        async with publishing(lively) as ids:
            await follower.has(await first_of(ids))
            cut.line.swallow()
            since = time.monotonic()
            await follower.welcomed(2)
            # Its lease is over after 15 s, and a try at the database and at the other node takes a while.
            assert 14 < time.monotonic() - since < 30
            assert before not in await until(two, 1)
            cut.line.mend()
            assert before not in await until(two, 2)
        await follower.has(ids[-1])
        await follower.stop()
        assert_whole(follower, ids)
        assert "cut off from the store" in cut.process.log
