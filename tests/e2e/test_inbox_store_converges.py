"""Inbox stores and a bare client of one user act at random, cut off now and then: whenever it is quiet, all stores show
just what the server lists."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.inbox_stores import Refused, Store, Stores
from tests.e2e.line import Line, line_to
from tests.e2e.world import ACTIONS, SETTINGS, World
from tests.processes import ServerProcess, port_to_keep, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
ROUNDS = 12 if IS_FULL else 6
"""In every third the server is killed."""


class StoresWorld(World):
    """With the stores, and the lines that lead to them."""

    def __init__(self, seed: int, server: ServerProcess, stores: Sequence[Store], lines: Sequence[Line]) -> None:
        super().__init__(seed, server, lines)
        self._stores = stores
        self._begun: list[asyncio.Future[Any]] = []

    async def stir(self, steps: int, *, kill: bool) -> None:
        """Have things happen, none of which waits for another to be done."""
        at = self.random.randrange(steps) if kill else -1
        for step in range(steps):
            await self._happen()
            if step == at:
                await self.kill()

    async def _happen(self) -> None:
        chosen = self.random
        kind = chosen.choices(("publish", "store", "bare", "more", "cut", "pause"), (6, 10, 6, 2, 2, 3))[0]
        if kind == "publish":
            await self.publish()
        elif kind == "store":
            store = chosen.choice(self._stores)
            action = chosen.choice((*ACTIONS, "readAll"))
            arguments = () if action == "readAll" else (self._ids(store),)
            self._begun.append(await store.begins(action, *arguments))
        elif kind == "bare":
            action = chosen.choice((*ACTIONS, "read_all"))
            ids = self._ids(None)
            if action == "read_all" or ids:
                await self.server.inbox(self.own, f"/{action}", {} if action == "read_all" else {"ids": ids})
        elif kind == "more":
            self._begun.append(await chosen.choice(self._stores).begins("loadMore"))
        elif kind == "cut":
            self.cut()
        else:
            await asyncio.sleep(chosen.uniform(0, 0.1))

    def _ids(self, store: Store | None) -> list[str]:
        """Some of what a store shows, or of all there ever were."""
        return self.some(store.ids if store is not None and self.random.random() < 0.8 else self.published)

    async def quiet(self) -> None:
        """Nothing happens any more: all that was begun is done, and everybody agrees."""
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*self._begun, return_exceptions=True)
        self._begun.clear()
        refused = [each for each in outcomes if isinstance(each, BaseException)]
        # Of pages that were asked for while there was nobody to ask.
        assert all(isinstance(each, Refused) and each.problem["retryable"] for each in refused), refused
        listed, counts = await self.listed()
        for store in self._stores:
            try:
                async with asyncio.timeout(20):
                    await self._shows(store, listed, counts)
            except (AssertionError, TimeoutError):
                raise AssertionError(self._difference(store, listed, counts)) from None

    async def _shows(self, store: Store, listed: list[dict[str, Any]], counts: dict[str, int]) -> None:
        """Return when it shows just that. It may list anew at any time, and then has more to load again."""
        while True:
            shown = await store.live()
            if shown["hasMore"]:
                # It may be cut just then.
                with contextlib.suppress(Refused):
                    await store.does("loadMore")
            elif (shown["items"], shown["counts"]) == (listed, counts):
                return
            else:
                store.changed.clear()
                await store.changed.wait()

    def _difference(self, store: Store, listed: list[dict[str, Any]], counts: dict[str, int]) -> str:
        shown = {item["id"]: item for item in store.now["items"]}
        wanted = {item["id"]: item for item in listed}
        names = {name: index for index, name in enumerate(self.published)}
        wrong = {names[id_]: (shown.get(id_), wanted.get(id_)) for id_ in shown | wanted}
        differ = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
        return f"{store.name}: {differ}; {store.now['counts']}, the server counts {counts}; {store.ids}"


class TabsWorld(StoresWorld):
    """With stores that share a stream, and come and go like tabs."""

    async def _happen(self) -> None:
        if self.random.random() > 0.06:
            await super()._happen()
            return
        # Whoever leaves lets go of what was begun.
        await asyncio.gather(*self._begun, return_exceptions=True)
        store = self.random.choice(self._stores)
        await store.does("stop")
        await store.does("start")


async def tabs_converge(serve: Serve, tmp_path: Path, seed: int, rounds: int, steps: int, *, kills: bool) -> None:
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    async with line_to(server.port) as line, Stores(tmp_path, is_secure=True) as stores:
        tabs = [await stores.stream(name, line.url, token("42"), pageSize=5) for name in "abc"]
        world = TabsWorld(seed, server, tabs, (line,))
        for number in range(rounds):
            await world.stir(steps, kill=kills and number % 3 == 2)
            await world.quiet()
            await server.has_connections("42", 1)


async def converge(serve: Serve, tmp_path: Path, seed: int, rounds: int, steps: int, *, kills: bool) -> None:
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    own = token("42")
    async with line_to(server.port) as first, line_to(server.port) as second, Stores(tmp_path) as stores:
        pages = (
            await stores.stream("stream", first.url, own, pageSize=5),
            await stores.socket("socket", second.url, own, pageSize=5),
        )
        world = StoresWorld(seed, server, pages, (first, second))
        for number in range(rounds):
            await world.stir(steps, kill=kills and number % 3 == 2)
            await world.quiet()


@pytest.mark.gen_test(timeout=60)
async def test_stores_converge(serve: Serve, tmp_path: Path, node_modules: Path) -> None:
    await converge(serve, tmp_path, seed=1, rounds=4, steps=30, kills=False)


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(2, 60) if IS_FULL else (2, 3, 26))
@pytest.mark.gen_test(timeout=300)
async def test_stores_converge_over_cuts_and_kills(serve: Serve, tmp_path: Path, node_modules: Path, seed: int) -> None:
    await converge(serve, tmp_path, seed, ROUNDS, steps=60, kills=True)


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 140) if IS_FULL else (101, 102))
@pytest.mark.gen_test(timeout=300)
async def test_tabs_that_share_a_stream_converge(serve: Serve, tmp_path: Path, seed: int) -> None:
    await tabs_converge(serve, tmp_path, seed, ROUNDS, steps=60, kills=True)
