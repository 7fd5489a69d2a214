"""A server that runs out of descriptors: it answers, idles, and recovers."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Serve
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.in_time import in_time
from tests.processes import ONE_SECRET, ServerProcess, token

HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
WATCHED_SECONDS = 3.0
MOST_CPU = 0.2
LOW_LIMIT = 300


def descriptors(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def limit_descriptors(server: ServerProcess, soft: int) -> None:
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def soft_limit(descriptors: int) -> Iterator[None]:
    """A limit for the processes that are started meanwhile, which they may raise."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def cpu_seconds(server: ServerProcess) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def share_of_a_core(server: ServerProcess) -> float:
    before = cpu_seconds(server)
    # The time over which it is measured.
    await asyncio.sleep(WATCHED_SECONDS)
    return (cpu_seconds(server) - before) / WATCHED_SECONDS


async def is_served(server: ServerProcess) -> None:
    async with http_session() as session:
        await connected(await WebSocketPeer.open(session, server.url), token("42"))


async def is_healthy(server: ServerProcess) -> bool:
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{server.url}/health/live") as answer:
        return answer.status == 200


@pytest.mark.gen_test(timeout=60)
async def test_a_server_takes_all_the_descriptors_that_it_may_have(serve: Serve) -> None:
    with soft_limit(LOW_LIMIT):
        limits = {"SYNKRONE_LIMITS__CONNECTIONS": "500", "SYNKRONE_LIMITS__UNAUTHENTICATED": "100"}
        server = serve(ONE_SECRET | limits, anew=True)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == hard > LOW_LIMIT
    assert server.records("too few descriptors") == []
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(LOW_LIMIT + 50)]
    assert await is_healthy(server)
    assert not any(reader.at_eof() for reader, _ in held)
    for _, writer in held:
        writer.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_server_whose_places_are_all_held_by_half_requests_still_answers(serve: Serve) -> None:
    server = serve(descriptors=LOW_LIMIT)
    (warning,) = server.records("too few descriptors")
    assert (warning["limit"], warning["wanted"]) == (LOW_LIMIT, 12_000)
    assert 200 < warning["connections"] < LOW_LIMIT
    port = server.port
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LOW_LIMIT)]
    for _, writer in held:
        writer.write(HALF_A_HEAD)
    lines = len(server.log.splitlines())
    for _ in range(10):
        assert await is_healthy(server)
    await is_served(server)
    assert await share_of_a_core(server) < MOST_CPU
    assert len(server.log.splitlines()) - lines < 10
    assert [record["limit"] for record in server.records("too many connections")] == [warning["connections"]]
    for _, writer in held:
        writer.close()
    await is_served(server)


@pytest.mark.gen_test(timeout=60)
async def test_a_server_whose_places_are_all_held_by_websockets_of_nobody_still_serves(serve: Serve) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__CONNECT_TIMEOUT": "60s"}, descriptors=LOW_LIMIT)
    async with http_session(aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(LOW_LIMIT + 20):
            await WebSocketPeer.open(session, server.url)
        assert await is_healthy(server)
        await is_served(server)


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_finds_no_descriptor_idles_until_there_is_one(serve: Serve) -> None:
    server = serve(anew=True)
    async with http_session() as session:
        live = await WebSocketPeer.open(session, server.url)
        await connected(live, token("42"))
        limit_descriptors(server, descriptors(server))
        waiting = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        for _, writer in waiting:
            writer.write(HALF_A_HEAD + b"Connection: close\r\n\r\n")
        assert await share_of_a_core(server) < MOST_CPU
        assert len(server.records("cannot accept connections")) == 1
        limit_descriptors(server, 1000)
        for reader, writer in waiting:
            assert (await in_time(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
            writer.close()
        await is_served(server)
        assert len(server.records("cannot accept connections")) == 1
