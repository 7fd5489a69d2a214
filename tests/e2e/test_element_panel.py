"""The panel of ``<synkrone-inbox>``, which is loaded later than its bell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.e2e.element_pages import ElementBrowser, ElementPages

pytestmark = pytest.mark.check

BROWSERS = pytest.mark.parametrize("browser", ["chrome", "firefox"])
FOCUSED = "return document.activeElement === inbox ? inbox.shadowRoot.activeElement.id : document.activeElement.id"
UNCAUGHT = """
globalThis.uncaught = [];
for (const name of ["error", "unhandledrejection"]) addEventListener(name, (event) => uncaught.push(event.type));
"""
TITLES = ["Notification 0", "Notification 1"]


@pytest.fixture
def pages(node_modules: Path, io_loop: IOLoop) -> Iterator[ElementPages]:
    pages = ElementPages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    io_loop.run_sync(pages.open)
    pages.server = pages.origin
    yield pages
    io_loop.run_sync(pages.close, timeout=20)


@asynccontextmanager
async def shown(pages: ElementPages, directory: Path, browser: str = "chrome") -> AsyncIterator[ElementBrowser]:
    """The page, whose element has an inbox of two, of which one is unread."""
    async with ElementBrowser(browser, directory / "profile") as page:
        await page.visit(pages.origin)
        await page.run("globalThis.fake = fakeStore({ number: 2 }); inbox.store = fake.store;")
        await page.shows("#badge", ["1"])
        yield page


@BROWSERS
@pytest.mark.gen_test(timeout=120)
async def test_a_click_before_it_is_loaded_opens_it(pages: ElementPages, tmp_path: Path, browser: str) -> None:
    pages.lets_load.clear()
    async with shown(pages, tmp_path, browser) as page:
        await page.click("#bell")
        await page.until("inbox.open && one('#bell').ariaBusy === 'true'")
        assert await page.run("return [one('#bell').ariaExpanded, one('#panel')]") == ["false", None]
        pages.lets_load.set()
        await page.shows("li .title", TITLES)
        assert await page.run(FOCUSED) == "panel"
        assert await page.run("return [one('#bell').ariaExpanded, one('#bell').ariaBusy]") == ["true", "false"]
        await page.press("Escape")
        assert await page.run(FOCUSED) == "bell"
        assert await page.run("return heard.filter(([name]) => name === 'open')") == [
            ["open", {"open": True}],
            ["open", {"open": False}],
        ]
        assert page.said == []


@pytest.mark.gen_test(timeout=120)
async def test_who_went_elsewhere_meanwhile_stays_there(pages: ElementPages, tmp_path: Path) -> None:
    pages.lets_load.clear()
    async with shown(pages, tmp_path) as page:
        await page.click("#bell")
        await page.run("document.body.insertAdjacentHTML('beforeend', '<input id=search>'); search.focus()")
        pages.lets_load.set()
        await page.shows("li .title", TITLES)
        assert await page.run(FOCUSED) == "search"


@pytest.mark.gen_test(timeout=120)
async def test_a_click_that_was_taken_back_opens_nothing(pages: ElementPages, tmp_path: Path) -> None:
    pages.lets_load.clear()
    async with shown(pages, tmp_path) as page:
        await page.click("#bell")
        await page.click("#bell")
        pages.lets_load.set()
        await page.until("one('#panel')")
        assert await page.run("return [one('#panel').hidden, one('#bell').ariaExpanded]") == [True, "false"]


@pytest.mark.gen_test(timeout=120)
async def test_what_comes_before_it_is_loaded_is_a_toast(pages: ElementPages, tmp_path: Path) -> None:
    pages.lets_load.clear()
    async with shown(pages, tmp_path) as page:
        await page.run("fake.comes(2)")
        await page.shows("#badge", ["2"])
        pages.lets_load.set()
        await page.shows(".toast .title", ["Notification 2"])
        await page.shows("#live", ["Notification 2"])


@BROWSERS
@pytest.mark.gen_test(timeout=120)
async def test_where_it_cannot_be_loaded_the_next_click_tries_again(
    pages: ElementPages, tmp_path: Path, browser: str
) -> None:
    pages.is_failing = True
    async with shown(pages, tmp_path, browser) as page:
        await page.run(UNCAUGHT)
        for times in (1, 2):
            await page.click("#bell")
            await page.until(f"heard.filter(([name]) => name === 'error').length === {times}")
            _, problem = await page.run("return heard.findLast(([name]) => name === 'error')")
            assert (problem["code"], problem["retryable"]) == ("panel_not_loaded", True)
            assert await page.run("return [inbox.open, one('#badge').innerText]") == [False, "1"]
        pages.is_failing = False
        await page.click("#bell")
        await page.shows("li .title", TITLES)
        assert await page.run("return uncaught") == []


@pytest.mark.gen_test(timeout=120)
async def test_a_page_that_was_idle_opens_it_without_a_network(pages: ElementPages, tmp_path: Path) -> None:
    async with shown(pages, tmp_path) as page:
        await page.until("one('#panel')")
        await page.does("offline", True)
        await page.click("#bell")
        await page.shows("li .title", TITLES)


@pytest.mark.gen_test(timeout=120)
async def test_another_language_comes_also_to_a_panel_that_is_open(pages: ElementPages, tmp_path: Path) -> None:
    async with shown(pages, tmp_path) as page:
        await page.click("#bell")
        await page.click("#archived")
        await page.run("inbox.lang = 'fr'")
        await page.shows("#state", ["Rien d’archivé"])
        await page.shows("[aria-selected=true]", ["Archivées"])
        assert await page.run("return one('#bell').ariaExpanded") == "true"
