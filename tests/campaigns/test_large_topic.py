"""A topic with very many members costs what a user costs to publish to, and what a role costs to deliver to; ``make
campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.campaigns.crowd import abort_all, connect_all, tokens
from tests.campaigns.observing import BACKEND, IS_FULL, report
from tests.campaigns.servers import servers_of
from tests.postgresql import running_server
from tests.processes import ServerProcess

VERSION = 18
MEMBERS, CONNECTED, TIMES = (100_000, 1000, 200) if IS_FULL else (20_000, 100, 20)
AT_ONCE = 10_000
DELIVERED_WITHIN = 10.0
APPEND_AT_MOST = 1.1
DELIVERY_AT_MOST = 1.1
TOPIC, ROLE, NOBODY_S_TOPIC = {"topic": "large"}, {"role": "freelance"}, {"topic": "away"}
USER = {"user": "of no topic"}

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class Backend:
    def __init__(self, http: aiohttp.ClientSession, server: ServerProcess) -> None:
        self._http = http
        self._server = server

    async def add(self, topic: str, users: Sequence[str]) -> None:
        for first in range(0, len(users), AT_ONCE):
            body = {"add": users[first : first + AT_ONCE]}
            path = f"/v1/topics/{topic}/members"
            async with self._http.post(f"{self._server.url}{path}", json=body, headers=BACKEND) as answer:
                assert answer.status == 204, await answer.text()

    async def publish(self, to: dict[str, Any]) -> float:
        """How long it takes, in milliseconds."""
        began = time.perf_counter()
        body = {"to": to, "type": "t", "title": "x" * 50}
        async with self._http.post(f"{self._server.url}/v1/notifications", json=body, headers=BACKEND) as answer:
            assert answer.status == 201, await answer.text()
        return (time.perf_counter() - began) * 1000


class Arrivals:
    """Of one notification for all who are connected."""

    def __init__(self) -> None:
        self.all_have_it = asyncio.Event()
        self._number = 0

    def note(self, _payload: bytes) -> None:
        self._number += 1
        if self._number == CONNECTED:
            self._number = 0
            self.all_have_it.set()

    async def delivered(self, backend: Backend, to: dict[str, Any]) -> float:
        """How long it takes until all have it, in milliseconds."""
        self.all_have_it.clear()
        began = time.perf_counter()
        await backend.publish(to)
        async with asyncio.timeout(DELIVERED_WITHIN):
            await self.all_have_it.wait()
        return (time.perf_counter() - began) * 1000


async def measured(kind: str, server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as http:
        backend = Backend(http, server)
        # Those who are connected are no members of this one: what is appended is not delivered as well.
        await backend.add("away", [f"away-{number}" for number in range(MEMBERS)])
        await backend.add("large", [str(number) for number in range(MEMBERS)])
        appends: dict[str, list[float]] = {"topic": [], "user": []}
        for _ in range(TIMES):
            # In turn: the machine does other things, too.
            appends["topic"].append(await backend.publish(NOBODY_S_TOPIC))
            appends["user"].append(await backend.publish(USER))
        arrivals = Arrivals()
        try:
            await connect_all(server.port, tokens(CONNECTED), arrivals.note)
            deliveries: dict[str, list[float]] = {"topic": [], "role": []}
            for _ in range(TIMES):
                deliveries["topic"].append(await arrivals.delivered(backend, TOPIC))
                deliveries["role"].append(await arrivals.delivered(backend, ROLE))
        finally:
            await abort_all()
    topic, user = (statistics.median(appends[name]) for name in ("topic", "user"))
    to_topic, to_role = (statistics.median(deliveries[name]) for name in ("topic", "role"))
    report(
        f"to a topic of {MEMBERS}, {kind}: {topic:.2f} ms, to a user {user:.2f} ms ({topic / user:.2f} times), "
        f"until the last of {CONNECTED} has it {to_topic:.1f} ms, of a role {to_role:.1f} ms "
        f"({to_topic / to_role:.2f} times); medians of {TIMES}"
    )
    if IS_FULL:
        assert topic <= APPEND_AT_MOST * user
        assert to_topic <= DELIVERY_AT_MOST * to_role


@pytest.mark.gen_test(timeout=900)
async def test_a_large_topic_is_no_dearer_in_a_file(tmp_path: Path) -> None:
    async with servers_of(tmp_path, 1) as (server,):
        await measured("SQLite", server)


@pytest.mark.gen_test(timeout=900)
async def test_a_large_topic_is_no_dearer_in_a_database(tmp_path: Path) -> None:
    with running_server(VERSION) as database:
        async with servers_of(tmp_path, 1, store=database.url(database.new_store())) as (server,):
            await measured("PostgreSQL", server)
