"""At random: tabs with views, a server that restarts or is restored from a backup, and a log that others write to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.inbox_stores import Refused, Store, Stores
from tests.e2e.line import line_to
from tests.e2e.test_inbox_store_converges import IS_FULL, TabsWorld
from tests.e2e.world import SETTINGS
from tests.processes import port_to_keep, token

pytestmark = [pytest.mark.check, pytest.mark.campaign]

FILTERS = ({"state": "unread"}, {"state": "archived"}, {"state": "all"})


def _is_of_what_is_lost(error: BaseException | None) -> bool:
    return (
        isinstance(error, Refused)
        and error.problem["code"] == "invalid_argument"
        and "up_to" in error.problem["detail"]
    )


class OthersWorld(TabsWorld):
    """Where most that is published is for somebody else, so that the log grows with nothing for the tabs."""

    views: dict[Store, dict[str, str]]
    backup: Path

    async def _happen(self) -> None:
        if self.random.random() < 0.3:
            await self.server.publish({"user": "7"})
        else:
            await super()._happen()

    async def kill(self, backup: Path | None = None) -> None:
        if self.random.random() < 0.4 and self.backup.exists():
            backup = self.backup
        await super().kill(backup)
        if backup is None:
            self.backup.unlink(missing_ok=True)
            self.server.back_up(self.backup)
        # What others are sent comes first.
        for _ in range(self.random.randrange(3)):
            await self.server.publish({"user": "7"})

    async def quiet(self) -> None:
        # What was asked for up to a place that a backup does not have is refused for good.
        if self._begun:
            await asyncio.wait(self._begun)
        self._begun = [each for each in self._begun if not _is_of_what_is_lost(each.exception())]
        await super().quiet()
        for view, named in self.views.items():
            listed, _ = await self.listed(**named)
            try:
                async with asyncio.timeout(20):
                    await self._view_shows(view, listed)
            except (AssertionError, TimeoutError):
                shown = {item["id"]: item for item in view.now["items"]}
                wanted = {item["id"]: item for item in listed}
                wrong = {id_: (shown.get(id_), wanted.get(id_)) for id_ in shown | wanted}
                wrong = {id_: pair for id_, pair in wrong.items() if pair[0] != pair[1]}
                raise AssertionError(f"{view.name}: {wrong}") from None

    async def _view_shows(self, view: Store, listed: list[dict[str, object]]) -> None:
        while True:
            shown = await view.until(lambda snapshot: snapshot["isListed"])
            if shown["hasMore"]:
                await view.does("loadMore")
            elif shown["items"] == listed:
                return
            else:
                view.changed.clear()
                await view.changed.wait()


@pytest.mark.parametrize("seed", range(500, 540) if IS_FULL else (501, 502, 503))
@pytest.mark.gen_test(timeout=300)
async def test_tabs_converge_where_the_log_is_not_theirs_alone(serve: Serve, tmp_path: Path, seed: int) -> None:
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    async with line_to(server.port) as line, Stores(tmp_path, is_secure=True) as stores:
        tabs = [await stores.stream(name, line.url, token("42"), pageSize=5) for name in "abc"]
        world = OthersWorld(seed, server, tabs, (line,))
        world.backup = tmp_path / "backup.db"
        world.views = {}
        for tab in tabs[:2]:
            for named in FILTERS:
                world.views[await stores.view(f"{tab.name}-{named['state']}", tab, **named)] = named
        for number in range(8):
            await world.stir(30, kill=number % 2 == 1)
            await world.quiet()
            await server.has_connections("42", 1)
