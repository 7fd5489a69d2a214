"""The disk of the store is full: publishers are told, nothing unstored goes out, and service resumes by itself."""

from __future__ import annotations

import asyncio
import resource
import time

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.processes import token

ROOM_BYTES = 1_000_000
BODY = "x" * 20_000


@pytest.mark.gen_test(timeout=90)
async def test_a_full_disk_refuses_publishers_and_loses_nothing(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    # No file of the process can grow beyond this, as on a disk that is full.
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, limits[1]))
    stored: list[str] = []
    async with aiohttp.ClientSession() as session:
        for number in range(200):
            body = {"to": {"user": "42"}, "type": "t", "id": f"n-{number}", "body": BODY}
            status, answer = await server.post(session, body)
            if status == 503:
                break
            assert status == 201, answer
            stored.append(f"n-{number}")
        assert status == 503
        assert (answer["code"], answer["retryable"]) == ("store_unavailable", True)
        assert len(stored) > 3
        async with session.get(f"{server.url}/health/ready") as health:
            assert health.status == 503
            assert (await health.json())["failures"]["store"] == "store_unavailable"
        # As long as it is full it stays so, whatever still fits in; the store is tried once a second.
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert (await server.post(session, body))[0] == 503
            async with session.get(f"{server.url}/health/ready") as health:
                assert health.status == 503
            await asyncio.sleep(0.1)
        assert "can be written again" not in server.log
        assert server.log.count("a write to the store failed") == 1

        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
        deadline = time.monotonic() + 15
        while True:
            async with session.get(f"{server.url}/health/ready") as health:
                if health.status == 200:
                    break
            assert time.monotonic() < deadline, server.log
            await asyncio.sleep(0.1)
        # The publisher's retry: what was refused was not stored.
        status, answer = await server.post(session, body)
        assert (status, answer["duplicate"]) == (201, False)
        stored.append(answer["id"])

    assert server.log.count("the store can be written again") == 1
    received: list[str] = []
    while len(received) < len(stored):
        happening = await client.next()
        if happening["what"] == "event" and happening["name"] == "notification.new":
            received.append(happening["args"][0]["id"])
        else:
            assert (happening["what"], happening.get("name")) == ("event", "inbox.counts"), happening
    assert received == stored
