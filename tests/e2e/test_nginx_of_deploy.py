"""``deploy/nginx.conf`` in front of two nodes: any request to any node, and restarts that nobody is refused by."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from tests.cluster import cluster
from tests.documents import ROOT
from tests.e2e.clients import Clients
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.newcomer import free_port
from tests.e2e.proxy import find_nginx
from tests.processes import API_KEY, token

USER = "42"
QUICK: dict[str, object] = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
PAUSE = 0.02
TRUSTED = {"SYNKRONE_TRUSTED_PROXIES": '["127.0.0.1"]', "SYNKRONE_LIMITS__DRAIN_TIME": "2s"}


def configured(ports: Sequence[int], own: str, folder: Path) -> list[str]:
    """The command of an nginx with the file, of which only the addresses are others."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for number, port in enumerate(ports, start=1):
        text, replaced = re.subn(rf"\bnode-{number}:8000\b", f"127.0.0.1:{port}", text)
        assert replaced == 1
    text, replaced = re.subn(r"\blisten 8000;", f"listen 127.0.0.1:{own};", text)
    assert replaced == 1
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    command = [find_nginx(), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=10, check=False)
    assert tested.returncode == 0, tested.stderr
    return command


@asynccontextmanager
async def nginx_of_deploy(ports: Sequence[int], folder: Path) -> AsyncIterator[str]:
    """Its URL."""
    own = free_port()
    command = configured(ports, own, folder)
    process = await asyncio.create_subprocess_exec(*command, "-g", "daemon off;", stderr=asyncio.subprocess.DEVNULL)
    try:
        await answers(f"http://127.0.0.1:{own}/health/ready")
        yield f"http://127.0.0.1:{own}"
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


class Publisher:
    """Who publishes again what was not acknowledged. ``cursors`` are those of what was, by their ids."""

    def __init__(self, url: str) -> None:
        self.cursors: dict[str, str] = {}
        self._url = url
        self._going = True
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def run(self) -> None:
        while self._going:
            await self.publish(f"n-{len(self.cursors)}")
            await asyncio.sleep(PAUSE)

    def stop(self) -> None:
        """Begin nothing new."""
        self._going = False

    async def publish(self, identifier: str) -> None:
        body = {"to": {"user": USER}, "type": "test", "id": identifier}
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.post(f"{self._url}/v1/notifications", json=body) as answer:
                    if answer.status == 201:
                        self.cursors[identifier] = (await answer.json())["cursor"]
                        return
            await asyncio.sleep(PAUSE)

    @property
    def in_order(self) -> list[str]:
        return sorted(self.cursors, key=lambda identifier: int(self.cursors[identifier].rpartition(":")[2]))


async def knock(url: str, refused: list[str]) -> None:
    """Come as new clients do, again and again."""
    while True:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer,
            ):
                if answer.status != 200:
                    refused.append(f"{answer.status}")
        except aiohttp.ClientError as error:
            refused.append(repr(error))
        await asyncio.sleep(PAUSE)


@pytest.mark.check
@pytest.mark.gen_test(timeout=240)
async def test_nodes_are_restarted_and_nobody_is_refused_or_misses_anything(clients: Clients, tmp_path: Path) -> None:
    own = token(USER)
    async with (
        cluster(tmp_path, nodes=2, settings=TRUSTED) as two,
        nginx_of_deploy(two.ports, tmp_path / "nginx") as url,
        Publisher(url) as publisher,
    ):
        followers: list[Follower] = [
            JsFollower(url, own, clients, QUICK),
            JsFollower(url, own, clients, QUICK | {"transports": ["polling"]}),
            JsFollower(url, own, clients, QUICK | {"transports": ["websocket"]}),
            PythonFollower(url, own, ["polling"]),
            CurlFollower(url, own),
        ]
        for follower in followers:
            await follower.start()
        refused: list[str] = []
        publishing = asyncio.create_task(publisher.run())
        knocking = asyncio.create_task(knock(url, refused))
        for node in two.nodes:
            await node.restart()
        publisher.stop()
        await publishing
        knocking.cancel()
        await asyncio.wait((knocking,))
        await publisher.publish("last")
        for follower in followers:
            await follower.has("last")
            await follower.stop()
            assert [logged.id for logged in follower.diary.logged] == publisher.in_order, follower.name
            assert all(follower.diary.recovered), follower.name
        assert refused == []
        # Both nodes have served some of them.
        for node in two.nodes:
            assert node.process.records("connected")
