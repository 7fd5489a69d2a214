"""Many clients as their node dies, and as the database is away; ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.campaigns.crowd import Client, connect_all, stay_connected, tokens
from tests.campaigns.observing import BACKEND, IS_FULL, Observed, observed, report
from tests.postgresql import PostgresqlServer, running_server
from tests.serving import eventually

VERSION = 18
NODES = 3
SIZE = 5000 if IS_FULL else 300
BACK_WITHIN = 30.0
DOWN_SECONDS = 60.0 if IS_FULL else 10.0
CPU_SHARE_WHILE_DOWN = 0.1
LONGEST_WORK = 0.05
# A machine that does other things lets a loop wait for longer than it works.
LONGEST_STALL = 1.0
EVERYONE = {"to": {"everyone": True}, "type": "t"}

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    with running_server(VERSION) as server:
        yield server


@asynccontextmanager
async def nodes_of(server: PostgresqlServer, folder: Path) -> AsyncIterator[Sequence[Observed]]:
    url = server.url(server.new_store())
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(NODES):
            own = folder / str(number)
            own.mkdir()
            settings: dict[str, Any] = {"store": url, "internal": {"port": 0}, "log": {"level": "error"}}
            nodes.append(await stack.enter_async_context(observed(own, **settings)))
        yield nodes


async def connect_to(nodes: Sequence[Observed], jwts: Sequence[str]) -> list[Client]:
    """To each node as many."""
    parts = [connect_all(node.port, list(jwts[number :: len(nodes)])) for number, node in enumerate(nodes)]
    return [client for part in await asyncio.gather(*parts) for client in part]


@pytest.mark.gen_test(timeout=500)
async def test_the_crowd_of_a_node_that_dies_is_back_on_the_others_which_do_not_stall(
    server: PostgresqlServer, tmp_path: Path
) -> None:
    jwts = tokens(SIZE + SIZE // 10)
    async with nodes_of(server, tmp_path) as (dying, *others), aiohttp.ClientSession() as http:
        crowd = await connect_all(dying.port, jwts[:SIZE])
        staying = await connect_to(others, jwts[SIZE:])
        for node in others:
            await node.ask("stall")
        dying.kill()
        died = time.monotonic()
        missed = await others[0].publish_batch(http, [EVERYONE])
        await asyncio.gather(*(client.is_closed for client in crowd))
        got: list[bytes] = []
        attempts = await asyncio.gather(
            *(
                stay_connected(
                    others[number % len(others)].port,
                    jwts[number],
                    died + BACK_WITHIN,
                    earlier=client,
                    on_notification=got.append,
                )
                for number, client in enumerate(crowd)
            )
        )
        await eventually(lambda: len(got) >= SIZE, within=died + BACK_WITHIN - time.monotonic())
        seconds = time.monotonic() - died
        stalls = [await node.ask("stall") for node in others]
        assert len(got) == SIZE
        assert all(missed[0].encode() in payload for payload in got)
        assert [client for client in staying if client.is_closed.done() or client.received != 1] == []
        stall, worked = (max(each[name] for each in stalls) for name in ("stall", "worked"))
        report(
            f"a node dies: its {SIZE} clients are back on {len(others)} others, with what they missed, after "
            f"{seconds:.1f} s in {sum(attempts)} attempts; longest stall there {stall * 1000:.0f} ms, "
            f"{worked * 1000:.0f} ms of it work"
        )
        assert worked < LONGEST_WORK
        assert stall < LONGEST_STALL


@pytest.mark.gen_test(timeout=500)
async def test_a_crowd_stays_while_the_database_is_away_and_the_nodes_idle(
    server: PostgresqlServer, tmp_path: Path
) -> None:
    async with nodes_of(server, tmp_path) as nodes, aiohttp.ClientSession() as http:
        crowd = await connect_to(nodes, tokens(SIZE))
        await nodes[0].publish_batch(http, [EVERYONE])
        await eventually(lambda: all(client.received == 1 for client in crowd), within=BACK_WITHIN)
        await asyncio.to_thread(server.stop)
        before, since = [await node.ask() for node in nodes], time.monotonic()
        await asyncio.sleep(DOWN_SECONDS)
        after = [await node.ask() for node in nodes]
        seconds = time.monotonic() - since
        assert [client for client in crowd if client.is_closed.done()] == []
        await asyncio.to_thread(server.start)
        returned = time.monotonic()
        attempts = await asyncio.gather(*(published(node, http, returned + BACK_WITHIN) for node in nodes))
        await eventually(
            lambda: all(client.received == 1 + NODES for client in crowd),
            within=returned + BACK_WITHIN - time.monotonic(),
        )
        well = time.monotonic() - returned
        shares = [(late["cpu"] - early["cpu"]) / seconds for early, late in zip(before, after, strict=True)]
        report(
            f"the database away for {seconds:.0f} s: {SIZE} clients stay, {max(shares):.1%} of a core a node at most, "
            f"all well {well:.1f} s after its return ({sum(attempts)} publishes until each node had stored one)"
        )
        assert [client for client in crowd if client.is_closed.done()] == []
        assert max(shares) < CPU_SHARE_WHILE_DOWN


async def published(node: Observed, http: aiohttp.ClientSession, deadline: float) -> int:
    """Try until it is stored; how often. What was not acknowledged is not published twice."""
    headers = {**BACKEND, "Idempotency-Key": str(node.port)}
    attempts = 0
    while True:
        attempts += 1
        async with http.post(f"{node.url}/v1/notifications", json=EVERYONE, headers=headers) as answer:
            if answer.status == 201:
                return attempts
            assert answer.status == 503, await answer.text()
        assert time.monotonic() < deadline, "the store is not well again"
        await asyncio.sleep(0.1)
