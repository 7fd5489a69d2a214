"""The harness of several nodes: what tests build on has to fail as they say, and to come back."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.cluster import BEHIND_NGINX, Cluster, balanced_line_to, cluster, nginx_to
from tests.e2e.followers import CurlFollower, Follower
from tests.in_time import in_time
from tests.postgresql import Servers
from tests.processes import token

OWN = token("42")


async def published(nodes: Cluster, title: str) -> str:
    """By whichever node; its id."""
    answer = await nodes.answering[0].process.publish({"user": "42"}, title=title)
    return str(answer["id"])


@pytest.mark.gen_test(timeout=60)
async def test_what_one_node_stores_another_delivers(postgresql: Servers, tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2, server=postgresql.of(18)) as two:
        follower = CurlFollower(two.nodes[1].url, OWN)
        await follower.start()
        await follower.has(await published(two, "hello"))
        await follower.stop()


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_nodes_that_are_killed_paused_and_cut_off_come_back(tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2) as two, balanced_line_to(two.ports) as line:
        first, second = two.nodes
        follower = CurlFollower(line.url, OWN)
        await follower.start()
        first.kill()
        await follower.has(await published(two, "one is dead"))
        first.start_again()
        await first.ready()
        second.pause()
        identifier = await published(two, "the other stands still")
        second.go_on()
        await follower.has(identifier)
        for fail in (second.line.cut, second.line.sever, second.line.swallow, second.line.hold):
            fail()
            identifier = await published(two, f"the other cannot {fail.__name__}")
            second.line.mend()
            await follower.has(identifier)
        await second.restart()
        await follower.has(await published(two, "the other is new"))
        await follower.stop()


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_nginx_sends_each_request_to_the_next_node(postgresql: Servers, tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, nodes=2, server=postgresql.of(18), settings=BEHIND_NGINX) as two,
        nginx_to(two.ports, tmp_path / "nginx") as nginx,
    ):
        followers: list[Follower] = [CurlFollower(nginx.url, OWN) for _ in range(2)]
        for follower in followers:
            await follower.start()
        for node in two.nodes:
            assert len((await node.process.connections("42"))["connections"]) >= 1
        identifier = await published(two, "for both")
        for follower in followers:
            await follower.has(identifier)
            await follower.stop()


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_a_line_that_holds_what_is_sent_carries_it_on_once_mended_and_one_that_swallows_never(
    postgresql: Servers, tmp_path: Path
) -> None:
    async with cluster(tmp_path, nodes=1, server=postgresql.of(18)) as one:
        line = one.nodes[0].line
        for fail, arrives in ((line.hold, True), (line.swallow, False)):
            with closing(psycopg.connect(line.url(one.database), autocommit=True)) as connection:
                connection.execute("SELECT 1")
                fail()
                asking = asyncio.create_task(asyncio.to_thread(connection.execute, "SELECT 2"))
                with pytest.raises(TimeoutError):
                    await in_time(asyncio.shield(asking), 0.3)
                line.mend()
                if arrives:
                    await asking
                else:
                    with pytest.raises(psycopg.OperationalError):
                        await asking
