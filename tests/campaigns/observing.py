"""Starting a server that can be looked into, and looking into it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.campaigns.crowd import abort_all
from tests.in_time import in_time
from tests.processes import API_KEY, REPOSITORY, SECRET, environment

IS_FULL = os.environ.get("CAMPAIGN") == "full"
LINE_BYTES = 1_048_576
BACKEND = {"Authorization": f"Bearer {API_KEY}"}


class Observed:
    """A server process. ``url`` is its address."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, url: str, window: int) -> None:
        self._process = process
        self._log = log
        self._window = window
        self.url = url
        self.is_killed = False

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    async def ask(self, command: str = "holdings") -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._window, limit=LINE_BYTES)
        try:
            writer.write(command.encode() + b"\n")
            answer: dict[str, Any] = json.loads(await in_time(reader.readline(), 60))
        finally:
            writer.close()
        return answer

    def kill(self) -> None:
        """SIGKILL."""
        self.is_killed = True
        self._process.kill()

    async def until(self, condition: Callable[[dict[str, Any]], bool], *, within: float) -> dict[str, Any]:
        """Ask until the condition holds of what the server has. Raises AssertionError with what it has."""
        deadline = time.monotonic() + within
        while not condition(holdings := await self.ask()):
            assert time.monotonic() < deadline, holdings
            await asyncio.sleep(0.05)
        return holdings

    async def publish(self, http: aiohttp.ClientSession, to: dict[str, Any], **members: Any) -> None:
        body = {"to": to, "type": "t", **members}
        async with http.post(f"{self.url}/v1/notifications", json=body, headers=BACKEND) as answer:
            assert answer.status == 201, await answer.text()

    async def publish_batch(self, http: aiohttp.ClientSession, bodies: Sequence[dict[str, Any]]) -> list[str]:
        """Bodies as ``publish`` makes them, in one commit; their ids."""
        async with http.post(f"{self.url}/v1/notifications/batch", json=bodies, headers=BACKEND) as answer:
            assert answer.status == 200, await answer.text()
            return [result["id"] for result in (await answer.json())["results"]]


@asynccontextmanager
async def observed(tmp_path: Path, **settings: Any) -> AsyncIterator[Observed]:
    """Its log must hold no traceback in the end, and it must end in good order unless it was killed."""
    store = f"sqlite:///{tmp_path / 'synkrone.db'}"
    values = {"port": 0, "auth": {"secret": SECRET}, "api": {"key": API_KEY}, "store": store} | settings
    log = tmp_path / "observed.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.campaigns.observed_server",
            json.dumps(values),
            cwd=REPOSITORY,
            env=environment({}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = await in_time(process.stdout.readline(), 20)
        addresses = json.loads(line)
        server = Observed(process, log, addresses["url"], addresses["window"])
        yield server
        if not server.is_killed:
            process.stdin.close()
            assert await in_time(process.wait(), 30) == 0
    finally:
        await abort_all()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()[-4000:]


def report(line: str) -> None:
    print(f"campaign {line}", flush=True)


def assert_within(seconds: float, most: float, what: str) -> None:
    """In full; with smaller counts it is said only: the tests run beside others, on machines of any speed."""
    if seconds > most:
        told = f"{what} took {seconds:.2f} s, and {most} s at most is wanted"
        assert not IS_FULL, told
        report(told)
