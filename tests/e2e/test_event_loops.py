"""A server on uvloop, and on asyncio's own loop where there is no uvloop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.expectations import assert_notification
from tests.processes import ONE_SECRET, REPOSITORY, ServerProcess, token
from tests.requirements import require


async def assert_serves(server: ServerProcess, clients: Clients, loop: str) -> None:
    assert [record["loop"] for record in server.records("serving")] == [loop]
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    await client.uses("websocket")
    published = await server.publish({"user": "42"}, title="hello")
    assert_notification(
        await client.event("notification.new"), published, audience="user", type="mission.assigned", title="hello"
    )
    assert server.stop() == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_client_is_served_on_uvloop(serve: Serve, clients: Clients) -> None:
    try:
        import uvloop  # noqa: F401, PLC0415
    except ImportError:
        require(False, "uvloop is not installed: pip install synkrone-socket brings it where it exists")
    await assert_serves(serve(), clients, "uvloop")


@pytest.mark.gen_test(timeout=60)
async def test_a_client_is_served_without_uvloop(serve: Serve, clients: Clients, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    without = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    await assert_serves(serve(ONE_SECRET | without, anew=True), clients, "asyncio")
