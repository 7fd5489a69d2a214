"""Stock clients before two nodes, with nothing sticky in between: what they get is as from one server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest

from tests.cluster import BEHIND_NGINX, QUICK_PINGS, Cluster, balanced_line_to, cluster, nginx_to
from tests.e2e import many
from tests.e2e.clients import NODE, Clients
from tests.e2e.followers import Follower, JsFollower, PythonFollower
from tests.e2e.test_stock_clients import AT_ONCE, IS_FULL, TRANSPORTS, VERSIONS, Many
from tests.postgresql import Servers
from tests.processes import token

NUMBER = 200 if IS_FULL else 60
KILLS = 30 if IS_FULL else 6
PACE_SECONDS = 0.01
RETURNING: dict[str, object] = {} if IS_FULL else {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
BALANCERS = ("line", "nginx")
"""A line takes each connection to the next node, nginx each request."""


@asynccontextmanager
async def balanced(nodes: Cluster, folder: Path, balancer: str) -> AsyncIterator[str]:
    """The address of what is in front of the nodes."""
    if balancer == "line":
        async with balanced_line_to(nodes.ports) as line:
            yield line.url
    else:
        async with nginx_to(nodes.ports, folder / "nginx") as nginx:
            yield nginx.url


async def publish_by_turns(nodes: Cluster, user: str, number: int) -> list[str]:
    """In bursts, each notification by the next node; their ids, in the order of the log."""
    ids: list[str] = []
    bursts, turns = cycle(AT_ONCE), cycle(nodes.nodes)
    while len(ids) < number:
        burst = min(next(bursts), number - len(ids))
        ids += [str((await next(turns).process.publish({"user": user}))["id"]) for _ in range(burst)]
        await asyncio.sleep(PACE_SECONDS)
    return ids


async def each_gets_everything_once(
    nodes: Cluster, url: str, command: Sequence[str | Path], modules: Mapping[str, str], number: int
) -> None:
    """None is disconnected, and so none of their requests was refused."""
    configurations = [
        {
            "name": f"{version}, {transport}",
            "module": module,
            "url": url,
            "auth": {"token": token("42")},
            "options": options,
        }
        for version, module in modules.items()
        for transport, options in TRANSPORTS.items()
    ]
    async with Many(command, configurations) as clients:
        await clients.are_ready()
        published = await publish_by_turns(nodes, "42", number)
        await clients.have(len(published))
        clients.assert_each_had(published)
    for name, transport in clients.over.items():
        assert transport == ("polling" if name.endswith(" polling") else "websocket"), name


@pytest.mark.gen_test(timeout=60)
async def test_a_client_polls_and_upgrades_at_whichever_node(
    postgresql: Servers, tmp_path: Path, node_modules: Path
) -> None:
    command = (NODE, node_modules.parent / "many.mjs")
    async with cluster(tmp_path, nodes=2, server=postgresql.of(18)) as two, balanced(two, tmp_path, "line") as url:
        await each_gets_everything_once(two, url, command, {"4.8": VERSIONS["4.8"]}, 20)


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.gen_test(timeout=600 if IS_FULL else 120)
async def test_javascript_clients_old_and_new(
    postgresql: Servers, tmp_path: Path, node_modules: Path, balancer: str
) -> None:
    command = (NODE, node_modules.parent / "many.mjs")
    async with (
        cluster(tmp_path, nodes=3, server=postgresql.of(18), settings=BEHIND_NGINX) as three,
        balanced(three, tmp_path, balancer) as url,
    ):
        await each_gets_everything_once(three, url, command, VERSIONS, NUMBER)


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("module", ["sync", "async"])
@pytest.mark.gen_test(timeout=600 if IS_FULL else 120)
async def test_python_clients(postgresql: Servers, tmp_path: Path, module: str, balancer: str) -> None:
    async with (
        cluster(tmp_path, nodes=3, server=postgresql.of(18), settings=BEHIND_NGINX) as three,
        balanced(three, tmp_path, balancer) as url,
    ):
        await each_gets_everything_once(three, url, (sys.executable, many.__file__), {module: module}, NUMBER)


class Publishing:
    """Publishes to one user without a pause, each notification by a node that answers, until it is told to stop."""

    def __init__(self, nodes: Cluster, user: str) -> None:
        self._nodes = nodes
        self._user = user
        self._is_over = False
        self.ids: list[str] = []

    async def run(self) -> None:
        number = 0
        while not self._is_over:
            number += 1
            await self.publish(f"{self._user}-{number}")
            await asyncio.sleep(PACE_SECONDS)

    async def publish(self, identifier: str) -> None:
        """With the same id as often as it takes: it is stored once."""
        body = {"to": {"user": self._user}, "type": "mission.assigned", "id": identifier}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                node = random.choice(self._nodes.answering or self._nodes.nodes)
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    status, _ = await node.process.post(session, body)
                    if status in (200, 201):
                        self.ids.append(identifier)
                        return
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        self._is_over = True


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.gen_test(timeout=900 if IS_FULL else 180)
async def test_nodes_are_killed_while_clients_poll_and_upgrade_behind_others(
    postgresql: Servers, tmp_path: Path, clients: Clients, balancer: str
) -> None:
    own = token("42")
    async with (
        cluster(tmp_path, nodes=3, server=postgresql.of(18), settings=BEHIND_NGINX | QUICK_PINGS) as three,
        balanced(three, tmp_path, balancer) as url,
    ):
        followers: list[Follower] = [
            JsFollower(url, own, clients, RETURNING),
            JsFollower(url, own, clients, RETURNING | {"transports": ["polling"]}),
            PythonFollower(url, own, ["polling"]),
            PythonFollower(url, own),
        ]
        for follower in followers:
            await follower.start()
        publishing = Publishing(three, "42")
        running = asyncio.create_task(publishing.run())
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.5, 2))
            killed = random.choice(three.nodes)
            killed.kill()
            await asyncio.sleep(random.uniform(0, 1))
            killed.start_again()
            await killed.ready()
        publishing.stop()
        await running
        await publishing.publish("last")
        for follower in followers:
            await follower.has("last")
            offsets = [logged.offset for logged in follower.diary.logged]
            got = [logged.id for logged in follower.diary.logged if logged.id is not None]
            print(f"{follower.name}: {follower.diary}, of {len(publishing.ids)} published")
            assert offsets == sorted(set(offsets))
            assert got == publishing.ids
            await follower.stop()
