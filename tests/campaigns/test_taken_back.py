"""Notifications are taken back and changed while devices come, go and ask; ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.campaigns.observing import BACKEND, IS_FULL, report
from tests.campaigns.race_devices import VISITS, Device, Story, Visit
from tests.campaigns.servers import servers_of
from tests.engine_io import http_session
from tests.postgresql import running_server
from tests.processes import ServerProcess
from tests.serving import eventually

pytestmark = [pytest.mark.campaign, pytest.mark.check]

VERSION = 18
NODES = 3
TRIES = 10_000 if IS_FULL else 80
AT_ONCE = 6
CONNECT_TRIES = 5
LONGEST_PAUSE = 0.012
SETTLED_WITHIN = 60.0


class Race:
    """One notification, from its publication to the end of all that is done to it, and the devices that it is for.

    Each device has a user, so that none is told less because another one was told. It ends with one more list.
    """

    def __init__(
        self, number: int, servers: Sequence[ServerProcess], http: aiohttp.ClientSession, *, recalls: bool
    ) -> None:
        self._choice = random.Random(number)
        self._servers = servers
        self._http = http
        self._recalls = recalls
        self._story = Story(f"n-{number}")
        self._revisions = self._choice.choice((0, 0, 1, 2)) if recalls else self._choice.randint(1, 3)
        self._kind = self._choice.choice(("users", "users", "users", "topic", "role"))
        # Whoever comes first to a role has nothing of before.
        self._role = f"r{number}" if self._kind == "role" else "freelance"
        self.devices = [Device(f"u{number}.{which}", self._role, self._story, self._choice) for which in range(2)]
        self.listings = 0
        self.unanswered = 0

    async def run(self) -> None:
        if self._kind == "topic":
            for device in self.devices:
                await self._ask("PUT", f"/v1/topics/{self._story.id}/members/{device.user}", 204)
        visits = [await self._first_visit(device) for device in self.devices]
        to = {
            "users": {"users": [device.user for device in self.devices]},
            "topic": {"topic": self._story.id},
            "role": {"role": self._role},
        }[self._kind]
        publication = {"to": to, "type": "t", "title": "0", "id": self._story.id}
        await asyncio.gather(
            self._publish_and_edit(publication),
            *(self._come_and_go(device, visit) for device, visit in zip(self.devices, visits, strict=True)),
        )

    def _server(self) -> ServerProcess:
        return self._choice.choice(self._servers)

    async def _pause(self) -> None:
        await asyncio.sleep(self._choice.uniform(0.0, LONGEST_PAUSE))

    async def _visit(self, device: Device) -> Visit:
        for _ in range(CONNECT_TRIES):
            visit = self._choice.choice(VISITS)(device, self._server(), self._http)
            try:
                await visit.begin()
            except (TimeoutError, ConnectionError):
                # A machine that does other things answers late.
                self.unanswered += 1
                await visit.cut()
            else:
                return visit
        raise AssertionError(f"{device.user} does not get in")

    async def _first_visit(self, device: Device) -> Visit | None:
        """Before there is anything. Some come only then, and some are away then."""
        if self._kind != "role" and self._choice.random() < 0.5:
            return None
        visit = await self._visit(device)
        if self._choice.random() < 0.5:
            return visit
        await visit.cut()
        return None

    async def _publish_and_edit(self, publication: dict[str, Any]) -> None:
        path = f"/v1/notifications/{self._story.id}"
        await self._ask("POST", "/v1/notifications", 201, publication)
        for version in range(1, self._revisions + 1):
            await self._pause()
            await self._ask("PATCH", path, 200, {"title": str(version)})
            self._story.version = version
        if self._recalls:
            await asyncio.sleep(self._choice.uniform(0.0, LONGEST_PAUSE / 4))
            await self._ask("DELETE", path, 200)
            self._story.is_recalled = True

    async def _ask(self, method: str, path: str, status: int, body: dict[str, Any] | None = None) -> None:
        async with self._http.request(method, self._server().url + path, json=body, headers=BACKEND) as answer:
            assert answer.status == status, await answer.text()

    async def _come_and_go(self, device: Device, visit: Visit | None) -> None:
        for _ in range(self._choice.choice((0, 1, 1, 2))):
            await self._pause()
            if self._choice.random() < 0.3:
                await self._list(device)
            if visit is not None:
                await visit.cut()
            await self._pause()
            visit = await self._visit(device)
            if self._choice.random() < 0.3:
                await visit.ask()
        visit = visit or await self._visit(device)
        await eventually(lambda: bool(device.memory.wrong) or self._is_settled(device), within=SETTLED_WITHIN)
        await self._list(device)
        await visit.cut()

    async def _list(self, device: Device) -> None:
        self.listings += 1
        await device.list(self._http, self._server())

    def _is_settled(self, device: Device) -> bool:
        return device.memory.is_deleted if self._recalls else device.memory.last == self._revisions


async def race(kind: str, servers: Sequence[ServerProcess], *, recalls: bool) -> None:
    left = iter(range(TRIES))
    races: list[Race] = []
    began = time.monotonic()

    async def run_some(http: aiohttp.ClientSession) -> None:
        for number in left:
            races.append(Race(number + TRIES * recalls, servers, http, recalls=recalls))
            await races[-1].run()

    async with http_session(aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(run_some(http) for _ in range(AT_ONCE)))
    devices = [device for one in races for device in one.devices]
    wrong = [told for device in devices for told in device.memory.wrong]
    shown = sum(device.memory.shown for device in devices)
    became = f"{shown} were shown it before, {len(devices) - shown} never" if recalls else "all have the last content"
    report(
        f"{'taken back' if recalls else 'changed'}, {kind}: {len(races)} tries in {time.monotonic() - began:.0f} s, "
        f"{len(devices)} devices with {sum(device.visits for device in devices)} connections and "
        f"{sum(one.listings for one in races)} lists, {sum(one.unanswered for one in races)} not answered: {became}; "
        f"wrong: {len(wrong)}"
    )
    assert not wrong, wrong[:5]
    assert len(races) == TRIES


@pytest.mark.parametrize("recalls", [True, False], ids=["taken_back", "changed"])
@pytest.mark.gen_test(timeout=3600)
async def test_nobody_is_shown_what_is_gone_of_a_file(tmp_path: Path, *, recalls: bool) -> None:
    async with servers_of(tmp_path, 1) as servers:
        await race("SQLite", servers, recalls=recalls)


@pytest.mark.gen_test(timeout=3600)
async def test_nobody_is_shown_what_is_gone_of_nodes_with_a_database(tmp_path: Path) -> None:
    with running_server(VERSION) as server:
        async with servers_of(tmp_path, NODES, store=server.url(server.new_store())) as servers:
            for recalls in (True, False):
                await race(f"{NODES} nodes with PostgreSQL", servers, recalls=recalls)
