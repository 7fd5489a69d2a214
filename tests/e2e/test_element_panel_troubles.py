"""``<synkrone-inbox>`` is taken out, doubled and switched to another language while its panel is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.element_pages import ElementPages
from tests.e2e.test_element_panel import TITLES, UNCAUGHT, pages, shown

__all__ = ["pages"]
pytestmark = pytest.mark.check


@pytest.mark.gen_test(timeout=120)
async def test_what_happens_to_elements_while_the_panel_is_loaded(pages: ElementPages, tmp_path: Path) -> None:
    pages.lets_load.clear()
    async with shown(pages, tmp_path) as page:
        await page.run(
            f"""{UNCAUGHT}
            globalThis.first = inbox;
            inbox.open = true;
            globalThis.second = document.createElement("synkrone-inbox");
            second.store = fake.store;
            document.querySelector("main").append(second);
            second.lang = "fr";
            for (let clicks = 0; clicks < 5; clicks++) second.shadowRoot.querySelector("#bell").click();
            first.remove();"""
        )
        pages.lets_load.set()
        await page.until("second.shadowRoot.querySelectorAll('li').length === 2")
        lang = await page.run("return [second.open, second.shadowRoot.querySelector('#archived').innerText]")
        assert lang == [True, "Archivées"]
        await page.run("document.querySelector('main').append(first)")
        await page.shows("li .title", TITLES)
        await page.run(
            "for (let times = 0; times < 20; times++) { first.remove(); document.querySelector('main').append(first); }"
        )
        await page.shows("li .title", TITLES)
        await page.run("first.remove()")
        await page.run("second.remove()")
        assert await page.run("return [uncaught, fake.store.listeners ?? 0]") == [[], 0]
        assert page.said == []
