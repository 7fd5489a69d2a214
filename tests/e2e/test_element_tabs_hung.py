"""``<synkrone-inbox>`` in tabs of a real browser of which one stands still for a while, as during an ``alert()``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.test_element_tabs import opened
from tests.processes import token

pytestmark = pytest.mark.check

SHOWN = "all('li').map((row) => [row.querySelector('.title').innerText, row.classList.contains('unread')])"


@pytest.mark.gen_test(timeout=180)
async def test_what_a_tab_tells_late_changes_nothing(serve: Serve, node_modules: Path, tmp_path: Path) -> None:
    async with opened("chrome", serve, node_modules, tmp_path) as (tabs, page):
        server = tabs._server
        await tabs.hear()
        await tabs.turn_to(0)
        await page.does("hang", 30_000)
        tabs.open.remove(0)
        # It stands still by then, and its stream goes on.
        await asyncio.sleep(1)
        await server.inbox(token("42"), "/read_all", {})
        await server.publish({"user": "42"}, id="later", title="Later")
        expected = '[["Later",true],["Number 0",false]]'
        for number in tabs.open:
            await tabs.turn_to(number)
            await page.until(f"JSON.stringify({SHOWN}) === {expected!r}", within=25)
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
