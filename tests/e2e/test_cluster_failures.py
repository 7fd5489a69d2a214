"""Nodes are killed, restarted and cut off from the database while notifications come in: nothing is lost or doubled.

Three nodes behind nginx, which sends each request to the next one. All clients are one user's: the stock JavaScript
client as it comes, on polling and on WebSocket alone, the stock Python client, and curl on the stream. ``make
campaign`` runs them in full.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.cluster import BEHIND_NGINX, QUICK_PINGS, Cluster, Node, cluster, nginx_to
from tests.e2e.clients import Clients
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.publishing import Backend
from tests.e2e.staying import check_all_came_once, check_all_got_the_same, following, reading, report_on
from tests.processes import token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
KILLS = 200 if IS_FULL else 4
ROLLING_RESTARTS = 50 if IS_FULL else 1
PARTITIONS = 50 if IS_FULL else 4
PER_SECOND = 100.0
RETURNS_SOON = {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
PARTITION_SECONDS = (0.5, 4.0)

USER, ROLE = "42", "freelance"

Trouble: TypeAlias = Callable[[Cluster, Sequence[Follower]], Awaitable[str]]
"""Makes it, and says how much of it there was."""

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class AnyNode:
    """A backend's view: it posts to whichever node answers, another one each time."""

    def __init__(self, nodes: Cluster) -> None:
        self._nodes = nodes

    @property
    def url(self) -> str:
        return random.choice(self._nodes.answering).url

    async def post(self, session: aiohttp.ClientSession, body: Mapping[str, object]) -> tuple[int, dict[str, Any]]:
        return await random.choice(self._nodes.answering).process.post(session, body)


class JsPolling(JsFollower):
    name = "js, polling"


class JsWebSocket(JsFollower):
    name = "js, WebSocket"


@pytest.mark.gen_test(timeout=3000)
async def test_kills_of_nodes(clients: Clients, tmp_path: Path) -> None:
    await stays_up(clients, tmp_path, kill, "kill -9")


@pytest.mark.gen_test(timeout=3000)
async def test_rolling_restarts(clients: Clients, tmp_path: Path) -> None:
    await stays_up(clients, tmp_path, restart_one_after_another, "rolling restarts")


@pytest.mark.gen_test(timeout=3000)
async def test_partitions_between_a_node_and_the_database(clients: Clients, tmp_path: Path) -> None:
    await stays_up(clients, tmp_path, cut_off, "partitions")


async def kill(nodes: Cluster, followers: Sequence[Follower]) -> str:
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.3, 1.5))
        node = random.choice(nodes.answering)
        node.kill()
        # Sometimes the next one dies while this one is away, and clients are only just coming back.
        if random.random() < 0.7:
            node.start_again()
            await node.ready()
        for other in nodes.nodes:
            if not other.is_running and other is not node:
                other.start_again()
                await other.ready()
    for node in nodes.nodes:
        if not node.is_running:
            node.start_again()
            await node.ready()
    return f"{KILLS} kills"


async def restart_one_after_another(nodes: Cluster, followers: Sequence[Follower]) -> str:
    for _ in range(ROLLING_RESTARTS):
        for node in nodes.nodes:
            await asyncio.sleep(random.uniform(0.1, 0.5))
            await node.restart()
    return f"{ROLLING_RESTARTS} times all nodes"


async def cut_off(nodes: Cluster, followers: Sequence[Follower]) -> str:
    for number in range(PARTITIONS):
        node: Node = random.choice(nodes.nodes)
        fail = (node.line.cut, node.line.sever, node.line.swallow, node.line.hold)[number % 4]
        fail()
        await asyncio.sleep(random.uniform(*PARTITION_SECONDS))
        node.line.mend()
        await asyncio.sleep(random.uniform(0.2, 1.0))
    return f"{PARTITIONS} partitions"


async def stays_up(clients: Clients, folder: Path, trouble: Trouble, name: str) -> None:
    own = token(USER, ROLE, ttl=4 * 3600)
    options: dict[str, object] = {} if IS_FULL else dict(RETURNS_SOON)
    settings = QUICK_PINGS | BEHIND_NGINX | {"SYNKRONE_LIMITS__DRAIN_TIME": "1s"}
    async with cluster(folder, nodes=3, settings=settings) as nodes, nginx_to(nodes.ports, folder / "nginx") as nginx:
        followers: list[Follower] = [
            JsFollower(nginx.url, own, clients, options),
            JsPolling(nginx.url, own, clients, options | {"transports": ["polling"]}),
            JsWebSocket(nginx.url, own, clients, options | {"transports": ["websocket"]}),
            PythonFollower(nginx.url, own),
            CurlFollower(nginx.url, own),
        ]
        any_node = AnyNode(nodes)
        backend = Backend(any_node, USER, ROLE, PER_SECOND)
        # They are there from the first notification on: what was for all before a user came is not theirs.
        async with following(followers), backend:
            async with reading(lambda: any_node.url, backend, own):
                amount = await trouble(nodes, followers)
            await backend.stop()
            backend.acknowledged["last"] = await backend.say("last", {"user": USER})
            await asyncio.gather(*(follower.has("last") for follower in followers))
            # A lease outlives its node.
            living = [node.process.records("serving")[-1]["boot"] for node in nodes.nodes]
            assert all(living)
        sids = {parse_qs(urlsplit(target).query).get("sid", [""])[0] for target in nginx.answered(400)}
        refused = [sid for sid in sids if sid.startswith(tuple(living))]
        uncertain = sum(
            record["reason"] == "answer_uncertain"
            for node in nodes.nodes
            for record in node.process.records("disconnected")
        )
        report_on(f"{name}: {amount}; {backend}; {uncertain} sessions ended in doubt", followers)
        assert len(refused) <= uncertain, f"400 for {refused}, whose nodes live"
        for follower in followers:
            check_all_came_once(follower, backend)
        if IS_FULL and trouble is not cut_off:
            assert all(follower.diary.recovered for follower in followers), "some were never cut"
        check_all_got_the_same(followers)
