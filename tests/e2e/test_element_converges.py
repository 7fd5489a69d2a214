"""Two pages with ``<synkrone-inbox>`` and a bare client of one user are used at random, cut off again and again, their
server killed: whenever it is quiet, each shows just what the server lists and counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.element_devices import QUICK, TABS, BareClient, Device, Page, difference, expected
from tests.e2e.element_pages import ElementBrowser, ElementPages
from tests.e2e.line import Cut, line_to
from tests.e2e.world import ACTIONS, SETTINGS, World
from tests.processes import ServerProcess, port_to_keep, token

pytestmark = [pytest.mark.campaign, pytest.mark.check]

IS_FULL = os.environ.get("CAMPAIGN") == "full"
SECONDS = 600 if IS_FULL else 8
CUTS = 100 if IS_FULL else 2
KILLS = 10 if IS_FULL else 1
STEPS = 80
KEPT_MAX = 150
"""Of more notifications than these only half as many are kept."""
AGREE_SECONDS = 30.0
LATER_SECONDS = 3.5
"""A store puts right what it counts within 3 s, and has nothing to put right then."""
SHORT_LOG = {"SYNKRONE_RETENTION__LOG": "3s"}
"""Who is away for longer cannot go on where they were."""


@dataclass
class Tally:
    """What there was of it all."""

    began: float = field(default_factory=time.monotonic)
    cuts: int = 0
    kills: int = 0
    quiet: int = 0
    compared: int = 0
    slowest: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s: {self.cuts} cuts, {self.kills} kills, {self.compared} comparisons of 3 devices at "
            f"{self.quiet} quiet moments, 0 differences; they agreed within {self.slowest:.1f} s"
        )

    @property
    def is_enough(self) -> bool:
        return self.seconds >= SECONDS and self.cuts >= CUTS and self.kills >= KILLS


class DevicesWorld(World):
    """With the devices of the user, behind a line each."""

    def __init__(self, seed: int, server: ServerProcess, pages: Sequence[Page], bare: BareClient) -> None:
        self.devices: Sequence[Device] = (*pages, bare)
        super().__init__(seed, server, [device.line for device in self.devices])
        self.tally = Tally()
        self._seed = seed
        self.pages = pages
        self._bare = bare
        self._kept: list[str] = []
        self._backup = server.directory / "backup.db"

    async def stir(self, *, kill: bool) -> None:
        """Have things happen, none of which waits for another to be done, and then no more."""
        at = self.random.randrange(STEPS) if kill else -1
        backed_up_at = self.random.randrange(at) if at > 0 else -1
        for step in range(STEPS):
            if step == backed_up_at:
                self._back_up()
            if step == at:
                await self._kill()
            await self._happen()
        for line in self._lines:
            line.mend()
        for page in self.pages:
            await page.comes_back()

    def _back_up(self) -> None:
        self._backup.unlink(missing_ok=True)
        self.server.back_up(self._backup)

    async def _happen(self) -> None:
        chosen = self.random
        kinds = {"page": 16, "publish": 4, "many": 0.3, "bare": 5, "cut": 0.6, "sever": 0.4, "mend": 1, "pause": 2}
        kind = chosen.choices(list(kinds), list(kinds.values()))[0]
        if kind == "page":
            await chosen.choice(self.pages).acts(chosen)
        elif kind == "publish":
            await self.publish()
        elif kind == "many":
            for _ in range(25):
                await self.publish()
        elif kind == "bare":
            action = chosen.choice((*ACTIONS, "read_all"))
            ids = self.some(self.published[-KEPT_MAX:])
            if action == "read_all" or ids:
                await self._bare.asks(f"notification.{action}", {} if action == "read_all" else {"ids": ids})
        elif kind == "cut":
            self.tally.cuts += self.cut() > 0
        elif kind == "sever":
            line = chosen.choice(self._lines)
            self.tally.cuts += line.calls > 0
            line.sever(chosen.choice(list(Cut)))
        elif kind == "mend":
            chosen.choice(self._lines).mend()
        else:
            await asyncio.sleep(chosen.uniform(0, 0.2))

    async def _kill(self) -> None:
        """The pages are used on while it is away. It may have lost what came last."""
        self.tally.kills += 1
        is_restored = self._backup.exists() and self.random.random() < 0.5
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self.kill(self._backup if is_restored else None))
            while not killing.done():
                await self.random.choice(self.pages).acts(self.random)

    async def quiet(self) -> None:
        """Return when all devices show the same as the server lists. Raises AssertionError where they never do."""
        self.tally.quiet += 1
        began = time.monotonic()
        for is_still in (True, False):
            while differences := await self._differences(is_still=is_still):
                assert time.monotonic() < began + AGREE_SECONDS, "\n".join(differences)
            self.tally.compared += len(self.devices)
        self.tally.slowest = max(self.tally.slowest, time.monotonic() - began)

    async def stays_quiet(self) -> None:
        """They still show it a while later."""
        await asyncio.sleep(LATER_SECONDS)
        differences = await self._differences(is_still=True)
        assert not differences, "\n".join(differences)
        self.tally.compared += len(self.devices)

    async def bound(self) -> None:
        """Delete all but the newest where there are many."""
        if len(self._kept) > KEPT_MAX:
            await self._bare.asks("notification.delete", {"ids": self._kept[KEPT_MAX // 2 :]})

    async def _differences(self, *, is_still: bool) -> list[str]:
        """Of each device that shows something else."""
        lists = {}
        for tab, named in TABS.items():
            lists[tab], counts = await self.listed(**named)
        self._kept = [item["id"] for item in lists["all"] + lists["archived"]]
        # In the last of them the page is used on.
        tabs = self.random.sample(list(TABS), len(TABS))
        numbers = {tab: len(lists[tab]) for tab in tabs}
        wanted = expected(lists, counts)
        shown = await asyncio.gather(*(device.shows(numbers, is_still=is_still) for device in self.devices))
        return [
            f"seed {self._seed}, quiet moment {self.tally.quiet}, {device.name}:\n{differs}"
            for device, shows in zip(self.devices, shown, strict=True)
            if (differs := difference(wanted, shows))
        ]


@contextlib.asynccontextmanager
async def world_of(
    seed: int, serve: Serve, clients: Clients, directory: Path, library: Path
) -> AsyncIterator[DevicesWorld]:
    own = token("42")
    async with AsyncExitStack() as stack:
        sites = [ElementPages(library) for _ in range(2)]
        for site in sites:
            await site.open()
            stack.push_async_callback(site.close)
        origins = json.dumps([site.origin for site in sites])
        server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep()), "SYNKRONE_CORS_ORIGINS": origins} | SHORT_LOG)
        lines = [await stack.enter_async_context(line_to(server.port)) for _ in range(3)]
        pages = []
        for name, line, site in zip(("stream", "socket"), lines, sites, strict=False):
            site.server, site.modules = line.url, site.origin
            browser = await stack.enter_async_context(ElementBrowser("chrome", directory / name))
            pages.append(Page(name, line, browser, site, own))
        bare = BareClient("bare", lines[-1], await clients.js(lines[-1].url, {"token": own}, QUICK))
        await asyncio.gather(*(page.opens() for page in pages))
        yield DevicesWorld(seed, server, pages, bare)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.gen_test(timeout=1500)
async def test_devices_converge(serve: Serve, clients: Clients, tmp_path: Path, node_modules: Path, seed: int) -> None:
    library = node_modules / "socket.io-client" / "dist" / "socket.io.min.js"
    async with world_of(seed, serve, clients, tmp_path, library) as world:
        tally = world.tally
        while not tally.is_enough:
            await world.stir(kill=tally.seconds >= (tally.kills + 1) * SECONDS / (KILLS + 1))
            await world.quiet()
            if tally.quiet % 10 == 1:
                await world.stays_quiet()
            await world.bound()
        for page in world.pages:
            assert not page.broken, f"{page.name}: {page.broken}"
        clicks = sum(page.clicks for page in world.pages)
    print(f"\n{tally}; {clicks} clicks")
    assert clicks > 2 * tally.quiet
