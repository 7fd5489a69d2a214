"""``<synkrone-inbox>`` in real browsers on a page of another origin, from a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.e2e.conftest import Serve
from tests.e2e.element_pages import ElementBrowser, ElementPages
from tests.processes import ONE_SECRET, ServerProcess, token

pytestmark = pytest.mark.check

STREAM = "inbox.token = () => own; inbox.src = url;"
SOCKET = "inbox.socket = io(url, { auth: { token: own } });"
BOTH = pytest.mark.parametrize("over", [STREAM, SOCKET], ids=["stream", "socket"])
BROWSERS = pytest.mark.parametrize("browser", ["chrome", "firefox"])


@pytest.fixture
def pages(node_modules: Path, io_loop: IOLoop) -> Iterator[ElementPages]:
    pages = ElementPages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    io_loop.run_sync(pages.open)
    yield pages
    io_loop.run_sync(pages.close, timeout=20)


@asynccontextmanager
async def shown(
    browser: str, pages: ElementPages, server: ServerProcess, directory: Path, script: str, **values: object
) -> AsyncIterator[ElementBrowser]:
    """The page, with its element given what ``script`` says."""
    pages.server = server.url
    async with ElementBrowser(browser, directory / "profile") as page:
        await page.visit(pages.origin)
        await page.run(script, url=server.url, **values)
        yield page


def served(serve: Serve, pages: ElementPages) -> ServerProcess:
    return serve(ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps([pages.origin])})


@BROWSERS
@BOTH
@pytest.mark.gen_test(timeout=180)
async def test_it_lists_hears_and_marks_read(
    serve: Serve, pages: ElementPages, tmp_path: Path, browser: str, over: str
) -> None:
    server = served(serve, pages)
    for name in ("one", "two"):
        await server.publish({"user": "42"}, id=name, type="mission.assigned", title=f"Mission {name}")
    async with shown(browser, pages, server, tmp_path, over, own=token("42")) as page:
        await page.shows("#badge", ["2"])
        await page.click("#bell")
        await page.shows("li .title", ["Mission two", "Mission one"])

        await server.publish({"user": "42"}, id="three", type="mission.assigned", title="Mission three")
        await page.shows("li .title", ["Mission three", "Mission two", "Mission one"])
        await page.shows("#badge", ["3"])

        await page.click("li:nth-child(3) .title")
        await page.shows("#badge", ["2"])
        await page.shows("li.unread .title", ["Mission three", "Mission two"])
        assert await page.run("return one('#bell').ariaLabel") == "Notifications, 2 unread"
        assert page.said == []
    read = [item["id"] for item in (await server.inbox(token("42"), "?state=read"))["items"]]
    assert read == ["one"]
