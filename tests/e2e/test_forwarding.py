"""Stock clients before two nodes, with nothing sticky in between: what they get is as from one server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.cluster import BEHIND_NGINX, Cluster, balanced_line_to, cluster, nginx_to
from tests.e2e import many
from tests.e2e.clients import NODE
from tests.e2e.test_stock_clients import AT_ONCE, IS_FULL, TRANSPORTS, VERSIONS, Many
from tests.postgresql import Servers
from tests.processes import token

NUMBER = 200 if IS_FULL else 60
KILLS = 30 if IS_FULL else 6
PACE_SECONDS = 0.01
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
        for _ in range(min(next(bursts), number - len(ids))):
            answer = await next(turns).process.publish({"user": user})
            ids.append(str(answer["id"]))
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
