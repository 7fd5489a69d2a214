"""What ``<synkrone-inbox>`` shows and does, on a store of the page's own."""

from __future__ import annotations

import os
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.element_pages import ElementBrowser, ElementPages
from tests.e2e.inbox_build import INTERNAL_NAMES

pytestmark = pytest.mark.check

IS_FULL = os.environ.get("CAMPAIGN") == "full"
SCROLLED = 10_000 if IS_FULL else 3_000

ARABIC = {"title": "الإشعارات", "all": "الكل", "unread": "غير مقروء", "archived": "المؤرشفة", "types": "كل الأنواع"}

# While it is scrolled through, its end is reached again and again, and older ones come.
SCROLL = """
const long = [];
const observer = new PerformanceObserver((list) => long.push(...list.getEntries().map(({ duration }) => duration)));
observer.observe({ type: "longtask" });
const frame = () => new Promise(requestAnimationFrame);
inbox.open = true;
let rows = 0;
const reach = async (name, step) => {
  const isThere = () => ["first", "last"].some((which) => one(`li:${which}-child .title`)?.textContent === name);
  for (let frames = 0; !isThere() && frames < 5000; frames++) {
    one("#scroll").scrollBy(0, step);
    await frame();
    rows = Math.max(rows, all("li").length);
  }
  return isThere();
};
await reach("Notification 0", 0);
const isReached = [await reach(`Notification ${number - 1}`, 4000), await reach("Notification 0", -4000)];
await frame();
await frame();
observer.disconnect();
return { isReached, rows, longest: Math.max(0, ...long) };
"""

# What the choice of types needs for its longest one, and what it has.
WIDTHS_OF_TYPES = """
const types = one("#types");
const free = types.cloneNode(true);
free.style = "position: absolute; flex: none; min-inline-size: 0; max-inline-size: none; inline-size: max-content";
types.after(free);
const widths = [free, types].map((select) => select.getBoundingClientRect().width);
free.remove();
return widths;
"""

OF_THE_BROWSER = """
// Of a window with nothing of a page in it.
const { contentWindow: browser } = document.body.appendChild(document.createElement("iframe"));
const own = new Set(Object.getOwnPropertyNames(browser));
for (const name of [...own]) {
  for (const each of [browser[name], browser[name]?.prototype]) {
    const properties = Object(each) === each && each !== parent ? Object.getOwnPropertyNames(each) : [];
    for (const property of properties) own.add(property);
  }
}
return names.filter((name) => own.has(name));
"""


@asynccontextmanager
async def shown(
    node_modules: Path, directory: Path, *, lang: str = "en", direction: str = "ltr"
) -> AsyncIterator[ElementBrowser]:
    """A page whose element has nothing yet. Nothing may have been said on its console in the end."""
    pages = ElementPages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    pages.lang, pages.direction = lang, direction
    await pages.open()
    pages.server = pages.origin
    try:
        async with ElementBrowser("chrome", directory / "profile") as page:
            await page.visit(pages.origin)
            yield page
            assert page.said == []
    finally:
        await pages.close()


async def given(page: ElementBrowser, options: str = "{}", *, is_open: bool = True) -> None:
    """Give the element a new store, ``fakeStore`` of these options, and wait until it has its panel."""
    await page.run(
        f"globalThis.fake = fakeStore({options}); inbox.store = fake.store; inbox.open = isOpen; await 0;",
        isOpen=is_open,
    )
    await page.until("one('#panel')")


async def calls(page: ElementBrowser) -> list[Any]:
    """What was asked of the store."""
    return await page.run("return fake.calls.filter(([name]) => name !== 'seen')")  # type: ignore[no-any-return]


@pytest.mark.gen_test(timeout=120)
async def test_it_says_in_which_state_it_is(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3, isListed: false, status: 'connecting' }")
        await page.shows("#state", ["Loading…"])
        await page.run("fake.lists()")
        await page.shows("li .title", ["Notification 0", "Notification 1", "Notification 2"])
        await page.run("fake.becomes('offline')")
        await page.shows("#note", ["Offline. Reconnecting…"])
        await page.run("fake.becomes('refused', { code: 'invalid_token', title: 'No', retryable: false })")
        await page.shows("#note", ["Notifications are not available. Please sign in again."])
        # Also of a closed one.
        await page.run("inbox.open = false")
        assert await page.run("return one('#bell').ariaDescription") == (
            "Notifications are not available. Please sign in again."
        )
        await page.run("fake.becomes('live')")
        assert await page.run("return one('#bell').ariaDescription") == ""
        assert ["error", {"code": "invalid_token", "title": "No", "retryable": False}] in await page.run("return heard")
        await given(page)
        await page.shows("#state", ["Nothing here yet"])
        await page.run("inbox.lang = 'fr'")
        await page.shows("#state", ["Rien pour le moment"])


@pytest.mark.gen_test(timeout=120)
async def test_what_the_user_does_shows_and_is_told_to_the_store(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3 }")
        await page.click("li:nth-child(1) [data-does=read]")
        await page.click("li:nth-child(2) [data-does=archive]")
        await page.shows("li .title", ["Notification 0", "Notification 2"])
        await page.click("#archived")
        await page.shows("li .title", ["Notification 1"])
        await page.click("li [data-does=archive]")
        await page.shows("#state", ["Nothing is archived"])
        await page.click("#unread")
        await page.shows("li .title", ["Notification 2"])
        await page.click("#readAll")
        await page.shows("#state", ["You are all caught up"])
        await page.click("#all")
        await page.click("li:nth-child(2) [data-does=delete]")
        await page.shows("li .title", ["Notification 0", "Notification 2"])
        assert await calls(page) == [
            ["read", ["n0"]],
            ["archive", ["n1"]],
            ["unarchive", ["n1"]],
            ["readAll", None],
            ["delete", ["n1"]],
        ]
        await page.run("one('#types').value = 'invoice.paid'; one('#types').dispatchEvent(new Event('change'))")
        await page.shows("li .title", ["Notification 0"])


@pytest.mark.gen_test(timeout=120)
@pytest.mark.parametrize("lang", ["en", "fr"])
async def test_the_choice_of_types_shows_the_longest_whole(node_modules: Path, tmp_path: Path, lang: str) -> None:
    async with shown(node_modules, tmp_path, lang=lang) as page:
        await page.does("resize", 1280, 800)
        await given(page, "{ number: 3 }")
        await page.shows("#bar option:first-child", ["Tous les types" if lang == "fr" else "All types"])
        needed, has = await page.run(WIDTHS_OF_TYPES)
        assert needed <= has
        # One that has no place in the panel at all does not widen it.
        await page.run("fake.comes(500, { type: `a.${'very.'.repeat(20)}long.type` })")
        await page.until("one('#types').length === 4")
        assert await page.run("return one('#bar').scrollWidth <= one('#bar').clientWidth")


@pytest.mark.gen_test(timeout=120)
async def test_what_was_refused_is_back_and_said(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 2, refuses: true }")
        await page.click("li:nth-child(1) [data-does=delete]")
        await page.shows(".toast .text", ["That did not work and was undone."])
        await page.shows("li .title", ["Notification 0", "Notification 1"])
        await page.click("li:nth-child(1) [data-does=snooze]")
        await page.click("[role=menuitem]")
        await page.shows(".toast .text", ["That did not work and was undone."] * 2)
        await page.shows("li .title", ["Notification 0", "Notification 1"])


@pytest.mark.gen_test(timeout=120)
async def test_new_ones_are_toasts_while_it_is_closed_and_a_pill_where_it_is_scrolled(
    node_modules: Path, tmp_path: Path
) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 200 }", is_open=False)
        await page.run("fake.comes(500, { title: 'Paid' })")
        await page.shows(".toast .title", ["Paid"])
        await page.shows("#live", ["Paid"])
        await page.click(".toast .title")
        await page.until("inbox.open && !one('.toast')")
        assert await calls(page) == [["read", ["n500"]]]
        await page.run("one('#scroll').scrollTop = 1500; await new Promise(requestAnimationFrame)")
        before = await page.run("return one('#scroll').scrollTop")
        await page.run("fake.comes(501); fake.comes(502)")
        await page.shows("#pill", ["2 new"])
        assert await page.run("return one('#scroll').scrollTop") >= before
        await page.click("#pill")
        await page.until("one('#scroll').scrollTop === 0 && one('#pill').hidden")


@pytest.mark.gen_test(timeout=120)
async def test_what_its_publisher_changes_or_takes_back_is_shown_so(node_modules: Path, tmp_path: Path) -> None:
    titles = ["Notification 0", "Notification 1", "Notification 2"]
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3 }")
        await page.shows("li .title", titles)
        await page.shows("li .revised:not([hidden])", [])
        await page.run("one('li:nth-child(2) .title').focus()")
        await page.run("fake.revises(1, { title: 'In Bergen', body: 'At ten.', data: { url: '/bergen' } })")
        await page.shows("li .title", [titles[0], "In Bergen", titles[2]])
        await page.shows("li:nth-child(2) .body", ["At ten."])
        await page.shows("li .revised:not([hidden])", ["Edited"])
        assert await page.run("return inbox.shadowRoot.activeElement.pathname") == "/bergen"
        # What goes under the user's hands leaves them where the next one is.
        await page.run("fake.revises(1, null)")
        await page.shows("li .title", [titles[0], titles[2]])
        assert await page.run("return inbox.shadowRoot.activeElement.innerText") == titles[2]
        await page.run("inbox.open = false; fake.comes(500); fake.comes(501);")
        await page.shows(".toast .title", ["Notification 500", "Notification 501"])
        await page.run("fake.revises(500, { title: 'Paid' })")
        await page.shows(".toast .title", ["Paid", "Notification 501"])
        await page.run("fake.revises(501, null)")
        await page.shows(".toast .title", ["Paid"])


@pytest.mark.gen_test(timeout=120)
async def test_it_can_be_used_by_keyboard_alone(node_modules: Path, tmp_path: Path) -> None:
    focused = "return inbox.shadowRoot.activeElement.dataset.does ?? inbox.shadowRoot.activeElement.id"
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3 }", is_open=False)
        await page.press("Tab", "Enter")
        await page.until("one('#bell').ariaExpanded === 'true'")
        assert await page.run(focused) == "panel"
        await page.press("Tab", "Tab", "ArrowRight")
        assert await page.run(focused) == "unread"
        await page.shows("li .title", ["Notification 0", "Notification 2"])
        await page.press("ArrowLeft")
        assert await page.run(focused) == "all"
        await page.press("Tab", "Tab", "Tab", "Tab")
        assert await page.run(focused) == "archive"
        # The row goes, and the focus is where the next one can be archived.
        await page.press("Enter")
        await page.shows("li .title", ["Notification 1", "Notification 2"])
        assert await page.run(focused) == "archive"
        await page.press("ArrowDown")
        assert await page.run("return inbox.shadowRoot.activeElement.innerText.trim()") == "Notification 2"
        await page.press("Escape")
        assert await page.run(focused) == "bell"
        assert await page.run("return [inbox.open, heard.filter(([name]) => name === 'open')]") == [
            False,
            [["open", {"open": True}], ["open", {"open": False}]],
        ]


@pytest.mark.gen_test(timeout=120)
async def test_one_is_put_off_by_a_menu_that_keys_can_use_and_is_new_again(node_modules: Path, tmp_path: Path) -> None:
    focused = "return inbox.shadowRoot.activeElement.innerText || inbox.shadowRoot.activeElement.dataset.does"
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3 }")
        await page.run("fake.comes(500)")
        await page.run("one('[data-does=snooze]').focus()")
        await page.press("Enter")
        assert (await page.run(focused)).startswith("In an hour")
        await page.press("ArrowUp")
        assert (await page.run(focused)).startswith("Next week")
        await page.press("Escape")
        assert await page.run(focused) == "snooze"
        assert await page.run("return [inbox.open, one('[role=menu]'), one('[data-does=snooze]').ariaExpanded]") == [
            True,
            None,
            "false",
        ]
        await page.press("Enter", "ArrowDown", "ArrowDown", "ArrowDown", "Enter")
        await page.shows("li .title", [f"Notification {number}" for number in range(3)])
        assert await page.run("return inbox.shadowRoot.activeElement.closest('li').item.id") == "n0"
        assert await page.run(focused) == "snooze"
        [[name, ids, until]] = await calls(page)
        assert (name, ids) == ("snooze", ["n500"])
        assert 3590 < (datetime.fromisoformat(until) - datetime.now(UTC)).total_seconds() <= 3600
        # It comes while the panel is open, as it was before: the user sees it a second time.
        await page.run("fake.comes(500)")
        await page.until("fake.calls.filter(([name, ids]) => name === 'seen' && ids[0] === 'n500').length === 2")
        await page.click("li:nth-child(2) [data-does=snooze]")
        await page.click("#unread")
        await page.until("one('[aria-selected=true]').id === 'unread' && !one('[role=menu]')")


@pytest.mark.gen_test(timeout=120)
async def test_what_is_snoozed_has_a_tab_and_is_brought_back_by_keys_alone(node_modules: Path, tmp_path: Path) -> None:
    focused = "return inbox.shadowRoot.activeElement.dataset.does ?? inbox.shadowRoot.activeElement.id"
    until = datetime(datetime.now(UTC).year + 1, 3, 9, 12, tzinfo=UTC).isoformat()
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 4 }")
        await page.run("for (const n of [0, 2, 3]) fake.store.snooze([`n${n}`], until);", until=until)
        await page.shows("li .title", ["Notification 1"])
        await page.run("one('#all').focus()")
        await page.press("ArrowRight", "ArrowRight")
        assert await page.run(focused) == "snoozed"
        await page.shows("[aria-selected=true]", ["Snoozed"])
        await page.shows("li .title", [f"Notification {number}" for number in (0, 2, 3)])
        [first, *_] = await page.run("return texts('li .until')")
        assert first.startswith("Until Mar 9")
        names = "all('li:first-child :is(.head > *, .tools button)').filter((node) => node.checkVisibility())"
        assert await page.run(f"return {names}.map((node) => node.ariaLabel ?? node.className)") == [
            "title",
            "until",
            "Bring back",
            "Snooze",
            "Delete",
        ]
        # To look at them, and to choose one, marks nothing that the server would not.
        await page.click("li:nth-child(1) .title")
        assert [name for name, *_ in await page.run("return fake.calls")] == ["snooze"] * 3
        await page.run("fake.calls.length = 0; one('li:nth-child(2) .title').focus();")
        await page.press("Tab")
        assert await page.run(focused) == "unsnooze"
        await page.press("Enter")
        await page.shows("li .title", ["Notification 0", "Notification 3"])
        # The focus is where the next one can be brought back, and after the last in the panel.
        assert await page.run(focused) == "unsnooze"
        await page.press("Enter", "Enter")
        await page.shows("#state", ["Nothing is snoozed"])
        assert await page.run(focused) == "panel"
        assert await page.run("return fake.calls") == [["unsnooze", ["n2"]], ["unsnooze", ["n3"]], ["unsnooze", ["n0"]]]
        await page.click("#all")
        await page.shows("li .title", [f"Notification {number}" for number in (0, 3, 2, 1)])
        await page.shows("li.snoozed, li .until:not([hidden])", [])
        await page.run("inbox.lang = 'fr'")
        await page.click("#snoozed")
        await page.shows("#state", ["Rien de reporté"])


@pytest.mark.gen_test(timeout=120)
async def test_nothing_of_a_notification_is_more_than_text(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await page.run(
            "globalThis.hostile = '<img src=x onerror=\"globalThis.broken = 1\"><script>broken = 1</script>'"
        )
        await given(
            page,
            """{ number: 4, make: (n) => ({
              title: hostile, body: hostile + "\\u202e" + "x".repeat(65536), type: hostile,
              data: [
                { url: "javascript:broken=1", image: "javascript:broken=1", actions: hostile },
                { url: " java\\tscript:broken=1", image: { toString: () => "/a" },
                  actions: [null, 1, { label: hostile, url: "data:text/html,x" }] },
                { url: "/inside",
                  actions: [1, 2, 3, 4].map((id) => ({ id, label: `${id}`, url: "https://elsewhere.test/" })) },
                "text",
              ][n],
            }) }""",
        )
        await page.until("all('li').length === 4")
        assert await page.run("return all('li img, li script').length + (globalThis.broken ?? 0)") == 0
        assert await page.run("return all('li a').map((link) => [link.getAttribute('href'), link.rel])") == [
            [await page.run("return location.origin + '/inside'"), "noopener"],
            *[["https://elsewhere.test/", "noopener"]] * 3,
        ]
        sizes = await page.run(
            "const s = one('#scroll'); return [s.scrollWidth, s.clientWidth, one('li').offsetHeight]"
        )
        assert sizes[0] == sizes[1]
        assert sizes[2] < 300
        await page.run("one('li [data-does=more]').click()")
        assert await page.run("return one('.body').textContent.length") > 65536


@pytest.mark.gen_test(timeout=120)
async def test_an_action_is_told_to_the_page_which_may_keep_it_to_itself(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(
            page,
            """{ number: 1, make: () => ({ data: { url: "/left",
              actions: [{ id: "yes", label: "Accept" }, { id: "no", label: "No", url: "/left" }] } }) }""",
        )
        await page.run("inbox.addEventListener('synkrone-action', (event) => event.preventDefault())")
        await page.click("li .action:nth-child(1)")
        await page.click("li .action:nth-child(2)")
        await page.click("li .title")
        told = await page.run("return heard.filter(([name]) => name === 'action').map(([, detail]) => detail)")
        assert [each["notification"]["id"] for each in told] == ["n0"] * 3
        assert [each["action"] for each in told] == [
            {"id": "yes", "label": "Accept"},
            {"id": "no", "label": "No", "url": "/left"},
            None,
        ]
        assert await page.run("return location.pathname") == "/"


@pytest.mark.gen_test(timeout=120)
async def test_it_is_as_light_or_dark_as_its_page(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await page.prefer({"prefers-color-scheme": "dark"})
        await given(page, "{ number: 3 }")
        colors = """
          const of = (selector, name) => getComputedStyle(one(selector))[name];
          return [of("#bell", "color"), of("#panel", "backgroundColor"), of("li .title", "color")];
        """
        black, dark, pale = "rgb(0, 0, 0)", "rgb(23, 25, 30)", "rgb(236, 238, 242)"
        assert (await page.run(colors))[1:] == [dark, pale]
        # A page that knows of no dark, whatever the system prefers.
        await page.run("document.documentElement.style.colorScheme = 'light'")
        assert await page.run(colors) == [black, "rgb(255, 255, 255)", "rgb(22, 24, 29)"]
        await page.run("inbox.theme = 'dark'")
        assert (await page.run(colors))[1:] == [dark, pale]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("lang", "direction"), [("en", "ltr"), ("ar", "rtl")])
@pytest.mark.gen_test(timeout=120)
async def test_axe_finds_nothing(node_modules: Path, tmp_path: Path, lang: str, direction: str, scheme: str) -> None:
    async with shown(node_modules, tmp_path, lang=lang, direction=direction) as page:
        await page.prefer({"prefers-color-scheme": scheme})
        await page.run("inbox.messages = texts", texts=ARABIC if lang == "ar" else {})
        actions = "{ data: { url: '/a', actions: [{ id: 'a', label: 'Accept' }] } }"
        await given(page, f"{{ number: 250, make: () => ({actions}) }}", is_open=False)
        await page.run("fake.comes(100); await 0;")
        await page.does("load", str(node_modules / "axe-core" / "axe.min.js"))
        look = """
          await Promise.all(inbox.shadowRoot.getAnimations().map(({ finished }) => finished));
          const { violations } = await axe.run();
          return violations.map(({ id, nodes }) => [id, nodes.map((node) => [node.html, node.failureSummary])]);
        """
        assert await page.run(look) == []
        assert await page.run("return one('#badge').textContent") == "99+"
        await page.run("inbox.open = true; one('[data-does=read]').focus(); one('[data-does=snooze]').click();")
        assert await page.run(look) == []
        await page.run("fake.store.snooze(['n3', 'n4'], new Date(Date.now() + 864e5).toISOString());")
        await page.click("#snoozed")
        await page.run("one('[data-does=unsnooze]').focus();")
        assert await page.run(look) == []


@pytest.mark.gen_test(timeout=120)
async def test_its_removal_ends_all_and_a_move_ends_nothing(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        await given(page, "{ number: 3 }")
        await page.click("#unread")
        await page.run("document.body.append(inbox); await 0;")
        await page.shows("li .title", ["Notification 0", "Notification 2"])
        assert await page.run("return [fake.listeners.size, fake.views.size]") == [1, 2]
        await page.run("inbox.remove(); await 0; await 0;")
        assert await page.run("return [fake.listeners.size, fake.views.size]") == [0, 1]
        await page.run("document.body.append(inbox); await 0; await 0;")
        await page.shows("li .title", ["Notification 0", "Notification 2"])


@pytest.mark.campaign
@pytest.mark.gen_test(timeout=300)
async def test_thousands_are_scrolled_through(node_modules: Path, tmp_path: Path) -> None:
    longest, most, grown = [], [], []
    async with shown(node_modules, tmp_path) as page:
        for _ in range(5 if IS_FULL else 1):
            await given(page, f"{{ number: {SCROLLED}, pageSize: 100 }}", is_open=False)
            before = await page.does("memory")
            run = await page.run(SCROLL, number=SCROLLED)
            grown.append(await page.does("memory") - before)
            longest.append(run["longest"])
            most.append(run["rows"])
            assert run["isReached"] == [True, True]
            await page.run("inbox.open = false; inbox.store = null; await 0;")
    print(f"longest tasks: {longest} ms; most rows: {most}; the heap grew by {grown} octets")
    # What else runs on the machine is in it: it is judged where the campaign has the machine for itself.
    assert not IS_FULL or statistics.median(longest) <= 50
    assert max(most) <= 60
    assert max(grown) < SCROLLED * 1600


@pytest.mark.gen_test(timeout=60)
async def test_no_property_of_the_browser_s_own_is_shortened(node_modules: Path, tmp_path: Path) -> None:
    async with shown(node_modules, tmp_path) as page:
        assert await page.run(OF_THE_BROWSER, names=["dispatchEvent"]) == ["dispatchEvent"]
        assert await page.run(OF_THE_BROWSER, names=INTERNAL_NAMES) == []
