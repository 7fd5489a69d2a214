"""``<synkrone-inbox>`` in several tabs of a real browser, which share one stream, whatever becomes of any of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.element_pages import ElementBrowser, ElementPages, opened_pages
from tests.processes import ONE_SECRET, ServerProcess, token

pytestmark = pytest.mark.check

TABS = 4
SHOWN = "all('li').map((row) => [row.querySelector('.title').innerText, row.classList.contains('unread')])"
BROWSERS = pytest.mark.parametrize("browser", ["chrome", "firefox"])


class Tabs:
    """The tabs of a browser with the page of one user in each."""

    def __init__(self, browser: ElementBrowser, server: ServerProcess, pages: ElementPages) -> None:
        self._browser = browser
        self.server = server
        self.pages = pages
        self.origin = pages.origin
        self._published = 0
        self.open: list[int] = []

    async def add(self) -> None:
        number = max(self.open, default=-1) + 1
        await self.turn_to(number)
        await self._browser.visit(self.origin)
        await self._browser.run(
            "inbox.token = () => own; inbox.src = url; inbox.open = true;", url=self.server.url, own=token("42")
        )
        self.open.append(number)

    async def turn_to(self, number: int) -> ElementBrowser:
        await self._browser.does("tab", number)
        return self._browser

    async def hear(self) -> None:
        """What is published shows in all that are open."""
        title = f"Number {self._published}"
        self._published += 1
        await self.server.publish({"user": "42"}, title=title)
        for number in self.open:
            page = await self.turn_to(number)
            await page.until(f"texts('li .title')[0] === {json.dumps(title)}", within=50)
            await page.shows("#badge", [str(self._published)])

    async def share_one_stream(self) -> None:
        await self.server.has_connections("42", 1)


@asynccontextmanager
async def opened(
    browser: str, serve: Serve, node_modules: Path, directory: Path
) -> AsyncIterator[tuple[Tabs, ElementBrowser]]:
    async with opened_pages(node_modules) as pages:
        server = serve(ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps([pages.origin])})
        pages.server = server.url
        async with ElementBrowser(browser, directory / "profile") as page:
            tabs = Tabs(page, server, pages)
            for _ in range(TABS):
                await tabs.add()
            yield tabs, page


@BROWSERS
@pytest.mark.gen_test(timeout=180)
async def test_what_is_snoozed_in_one_tab_is_brought_back_in_another(
    serve: Serve, node_modules: Path, tmp_path: Path, browser: str
) -> None:
    async with opened(browser, serve, node_modules, tmp_path) as (tabs, page):
        await tabs.hear()
        for number in tabs.open[1:]:
            await tabs.turn_to(number)
            await page.run("one('#snoozed').click()")
            await page.shows("#state", ["Nothing is snoozed"])
        await tabs.turn_to(0)
        await page.run("one('[data-does=snooze]').click(); one('[role=menuitem]').click();")
        await page.shows("#state", ["Nothing here yet"])
        for number in tabs.open[:0:-1]:
            await tabs.turn_to(number)
            await page.shows("li .title", ["Number 0"])
        await page.run("one('[data-does=unsnooze]').click()")
        for number in tabs.open[1:]:
            await tabs.turn_to(number)
            await page.shows("#state", ["Nothing is snoozed"])
            await page.run("one('#all').click()")
        for number in tabs.open:
            await tabs.turn_to(number)
            await page.shows("li.unread .title", ["Number 0"])


@BROWSERS
@pytest.mark.gen_test(timeout=180)
async def test_whichever_tab_is_closed_the_others_go_on(
    serve: Serve, node_modules: Path, tmp_path: Path, browser: str
) -> None:
    async with opened(browser, serve, node_modules, tmp_path) as (tabs, page):
        await tabs.share_one_stream()
        await tabs.hear()
        for closed in (0, 2):
            await tabs.turn_to(closed)
            await page.does("close")
            tabs.open.remove(closed)
            await tabs.hear()
            await tabs.share_one_stream()
        await tabs.add()
        await tabs.hear()
        await tabs.share_one_stream()
        assert page.said == []


@pytest.mark.gen_test(timeout=180)
async def test_where_the_tab_with_the_stream_crashes_or_freezes_another_takes_it(
    serve: Serve, node_modules: Path, tmp_path: Path
) -> None:
    async with opened("chrome", serve, node_modules, tmp_path) as (tabs, page):
        await tabs.hear()
        await tabs.turn_to(0)
        await page.does("crash")
        tabs.open.remove(0)
        await tabs.hear()
        await tabs.share_one_stream()

        await tabs.turn_to(1)
        await page.does("hide", True)
        tabs.open.remove(1)
        await tabs.hear()
        await tabs.share_one_stream()
        await tabs.turn_to(1)
        await page.does("show")
        tabs.open.insert(0, 1)
        await tabs.hear()
        await tabs.share_one_stream()


@pytest.mark.gen_test(timeout=180)
async def test_a_stream_is_taken_from_a_tab_that_does_nothing_any_more(
    serve: Serve, node_modules: Path, tmp_path: Path
) -> None:
    async with opened("chrome", serve, node_modules, tmp_path) as (tabs, page):
        await tabs.hear()
        await tabs.turn_to(0)
        await page.does("hang")
        tabs.open.remove(0)
        # A tab that comes now has nobody to ask.
        await tabs.add()
        await tabs.hear()
        tabs.pages.lets_go.set()
        tabs.open.insert(0, 0)
        await tabs.hear()
        await tabs.share_one_stream()


@pytest.mark.gen_test(timeout=180)
async def test_a_page_that_was_left_and_comes_back_shares_it_again(
    serve: Serve, node_modules: Path, tmp_path: Path
) -> None:
    async with opened("chrome", serve, node_modules, tmp_path) as (tabs, page):
        await tabs.hear()
        await tabs.turn_to(0)
        await page.run("globalThis.isSame = true;")
        await page.does("open", f"{tabs.origin}/page.css")
        tabs.open.remove(0)
        await tabs.hear()
        await tabs.share_one_stream()
        await tabs.turn_to(0)
        await page.does("back")
        assert await page.run("return globalThis.isSame") is True, "it was not kept for a return"
        tabs.open.insert(0, 0)
        await tabs.hear()
        await tabs.share_one_stream()


@pytest.mark.gen_test(timeout=180)
async def test_what_a_tab_tells_late_changes_nothing(serve: Serve, node_modules: Path, tmp_path: Path) -> None:
    async with opened("chrome", serve, node_modules, tmp_path) as (tabs, page):
        server = tabs.server
        await tabs.hear()
        await tabs.turn_to(0)
        await page.does("hang")
        tabs.open.remove(0)
        # It stands still by then, and its stream goes on.
        await asyncio.sleep(1)
        await server.inbox(token("42"), "/read_all", {})
        await server.publish({"user": "42"}, id="later", title="Later")
        expected = '[["Later",true],["Number 0",false]]'
        for number in tabs.open:
            await tabs.turn_to(number)
            await page.until(f"JSON.stringify({SHOWN}) === {expected!r}", within=25)
        tabs.pages.lets_go.set()
        await tabs.turn_to(0)
        await page.until(f"JSON.stringify({SHOWN}) === {expected!r}", within=50)
        await server.has_connections("42", 1)
        for number in tabs.open:
            await tabs.turn_to(number)
            # All that was told has been heard once this has.
            await server.publish({"user": "42"}, id=f"last-{number}", title="Last")
            await page.until("texts('li .title')[0] === 'Last'")
            later = await page.run(f"return {SHOWN}.find(([title]) => title === 'Later')")
            assert later == ["Later", True], f"tab {number} shows {later}"
