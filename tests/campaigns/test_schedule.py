"""Many notifications for times of their own, over kills of the server: each comes once, and outside of them in time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from entrypoints.supervisor import until
from tests.campaigns.observing import BACKEND, IS_FULL, report
from tests.processes import ONE_SECRET, ServerProcess, token

pytestmark = [pytest.mark.campaign, pytest.mark.check]

NUMBER, A_SECOND, KILLS = (1_000_000, 2000, 200) if IS_FULL else (1200, 100, 2)
USERS = [f"u{number}" for number in range(20)]
AT_ONCE = 5000
LEAD_SECONDS = 2.0
LATE_SECONDS = 1.0
"""The most that the 99th percentile may be, at the full number."""


class Reader:
    """A client of the stream that comes back with its last cursor. ``got`` is when each id came."""

    def __init__(self, user: str) -> None:
        self._headers = {"Authorization": f"Bearer {token(user, ttl=86_400)}"}
        self._cursor = ""
        self.got: dict[str, float] = {}
        self.again: Counter[str] = Counter()

    async def run(self, session: aiohttp.ClientSession, server: ServerProcess) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                await self._read(session, server)
            await asyncio.sleep(0.05)

    async def _read(self, session: aiohttp.ClientSession, server: ServerProcess) -> None:
        headers = self._headers | ({"Last-Event-ID": self._cursor} if self._cursor else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        async with session.get(f"{server.url}/v1/stream", headers=headers, timeout=timeout) as answer:
            name = id_ = ""
            async for octets in answer.content:
                field, _, value = octets.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    id_ = value
                elif field == "data" and name == "notification.new":
                    self._note(json.loads(value)["id"])
                elif not field:
                    # Only now it is whole.
                    self._cursor = id_ or self._cursor

    def _note(self, id_: str) -> None:
        if id_ in self.got:
            self.again[id_] += 1
        self.got.setdefault(id_, time.time())


async def all_came(readers: Sequence[Reader]) -> bool:
    return sum(len(reader.got) for reader in readers) >= NUMBER


async def schedule(session: aiohttp.ClientSession, server: ServerProcess, dues: Sequence[float]) -> None:
    for first in range(0, len(dues), AT_ONCE):
        body: list[dict[str, Any]] = [
            {
                "to": {"user": USERS[number % len(USERS)]},
                "type": "t",
                "id": f"n-{number}",
                "deliver_at": datetime.fromtimestamp(dues[number], UTC).isoformat(),
            }
            for number in range(first, min(first + AT_ONCE, len(dues)))
        ]
        async with session.post(f"{server.url}/v1/notifications/batch", json=body, headers=BACKEND) as answer:
            assert answer.status == 200, await answer.text()


@pytest.mark.gen_test(timeout=1800)
async def test_each_comes_once_and_in_time(tmp_path: Path) -> None:
    rng = random.Random(7)
    server = ServerProcess(tmp_path, ONE_SECRET)
    readers = {user: Reader(user) for user in USERS}
    pauses: list[tuple[float, float]] = []
    try:
        await server.ready()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.create_task(reader.run(session, server)) for reader in readers.values()]
            # Large batches take a while: only what is left of it counts.
            begin = time.time() + LEAD_SECONDS + NUMBER / 8000
            dues = [begin + number / A_SECOND for number in range(NUMBER)]
            await schedule(session, server, dues)
            ends = dues[-1]
            for number in range(KILLS):
                at = begin + (number + rng.uniform(0.2, 0.8)) * (ends - begin) / KILLS
                await asyncio.sleep(max(0.0, at - time.time()))
                killed_at = time.time()
                server.kill()
                server.start_again()
                await server.ready()
                pauses.append((killed_at, time.time() + LATE_SECONDS))
            async with asyncio.timeout(60 + max(0.0, ends - time.time())):
                await until(partial(all_came, list(readers.values())))
            # What would come twice has time to.
            await asyncio.sleep(1.0)
            for task in tasks:
                task.cancel()
    finally:
        server.stop()
    got = {id_: at for reader in readers.values() for id_, at in reader.got.items()}
    assert len(got) == NUMBER
    assert not any(reader.again for reader in readers.values())
    late = sorted(
        got[f"n-{number}"] - due
        for number, due in enumerate(dues)
        if not any(began - LATE_SECONDS <= due <= ended for began, ended in pauses)
    )
    assert late[0] >= -0.001
    half, most = late[len(late) // 2], late[int(len(late) * 0.99)]
    report(
        f"schedule: {NUMBER} of {A_SECOND} a second over {KILLS} kills: each once; due to socket "
        f"p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms of {len(late)} outside restarts"
    )
    if IS_FULL:
        assert most <= LATE_SECONDS
