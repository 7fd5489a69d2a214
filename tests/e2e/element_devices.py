"""The devices of one user: pages with ``<synkrone-inbox>``, used as a person uses them, and a client without it."""

from __future__ import annotations

import asyncio
import difflib
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tests.e2e.clients import Happening, JsClient
from tests.e2e.element_pages import ElementBrowser, ElementPages
from tests.e2e.line import Line

TABS: Mapping[str, Mapping[str, str]] = {"all": {}, "unread": {"state": "unread"}, "archived": {"state": "archived"}}
"""What of the inbox each tab shows, as the server is asked for it."""
EMPTY = {"all": "Nothing here yet", "unread": "You are all caught up", "archived": "Nothing is archived"}
BADGE_MAX = 99
WAIT_SECONDS = 30.0

STREAM = "inbox.token = () => own; inbox.src = url;"
SOCKET = """
const socket = io(url, { ...options, auth: { token: own } });
const emit = socket.emit;
socket.emit = (event, argument, ...more) => emit.call(socket, event, isWanted(event) ? spoiled : argument, ...more);
inbox.socket = socket;
"""
QUICK = {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
"""Of the stock client: a test waits for it."""

# What the page asks for next can be made such that the server refuses it.
_SPOILING = """
const spoiled = { ids: "none" };
const isWanted = (event) => {
  const isSpoiled = globalThis.spoilsNext && event.startsWith("notification.");
  if (isSpoiled) globalThis.spoilsNext = false;
  return isSpoiled;
};
const { fetch } = globalThis;
globalThis.fetch = (url, init) =>
  fetch(url, init.body && isWanted("notification.") ? { ...init, body: JSON.stringify(spoiled) } : init);
"""
# Tabs from their tops to their ends, where older ones come; where there are fewer than are wanted, they are waited for,
# but not for long. The tab that is selected comes first, as it is: to select it would list it anew.
_SEE = """
const frame = () => new Promise(requestAnimationFrame);
const scroll = one("#scroll");
const textOf = (node) => (node.checkVisibility() ? node.innerText : "");
const see = (row) => {
  const [read, archive] = row.querySelectorAll(".tools button");
  const title = row.querySelector(".title").innerText;
  return [title, `${title}${row.matches(".unread") ? " (unread)" : ""}: ${read.title}, ${archive.title}`];
};
const shown = {};
const isSelected = ([tab]) => one(`#${tab}`).ariaSelected === "true";
tabs.sort((first, second) => isSelected(second) - isSelected(first));
for (const [tab, number] of tabs.slice(0, isStill ? 1 : tabs.length)) {
  if (isSelected([tab])) scroll.scrollTop = 0;
  else one(`#${tab}`).click();
  let rows = [];
  for (let still = 0; still < (rows.length < number ? 30 : 3); ) {
    await frame();
    const before = JSON.stringify(rows);
    const there = all("li").map(see);
    const at = rows.findIndex(([title]) => title === there[0]?.[0]);
    rows = [...rows.slice(0, at < 0 ? rows.length : at), ...there];
    const { scrollTop } = scroll;
    scroll.scrollBy(0, scroll.clientHeight / 2);
    still = scroll.scrollTop > scrollTop || JSON.stringify(rows) !== before ? 0 : still + 1;
  }
  shown[tab] = rows.map(([, text]) => text);
  if (!rows.length) shown[tab].push(textOf(one("#state")));
}
shown.bell = [one("#bell").ariaLabel, ...["#badge", "#readAll", "#note"].map((selector) => textOf(one(selector)))];
shown.counts = Object.entries(inbox.store.counts ?? {}).sort().map(([name, number]) => `${number} ${name}`);
return shown;
"""

Shown: TypeAlias = Mapping[str, Sequence[str]]
"""Lines of text: the rows of each tab in their order, ``counts``, and the ``bell`` with what is around the tabs."""


def expected(lists: Mapping[str, Sequence[Mapping[str, Any]]], counts: Mapping[str, int]) -> Shown:
    """What is to be seen of an inbox with these lists, by tab."""
    unread = counts["unread"]
    badge = f"{BADGE_MAX}+" if unread > BADGE_MAX else f"{unread or ''}"
    bell = (
        [f"Notifications, {badge} unread", badge, "Mark all as read", ""] if unread else ["Notifications", "", "", ""]
    )
    rows = {tab: [_row(item) for item in items] or [EMPTY[tab]] for tab, items in lists.items()}
    return rows | {"bell": bell, "counts": _lines(counts)}


def difference(wanted: Shown, shown: Shown) -> str:
    """What is shown that is not wanted, and the other way round; empty where there is nothing of the kind."""
    lines: list[str] = []
    for name, those in shown.items():
        lines += difflib.unified_diff(wanted[name], those, f"{name}, wanted", f"{name}, shown", n=1, lineterm="")
    return "\n".join(lines)


def _row(item: Mapping[str, Any]) -> str:
    read = "Mark as unread" if item["read_at"] else "Mark as read"
    archive = "Move to inbox" if item["archived_at"] else "Archive"
    return f"{item['title']}{'' if item['read_at'] else ' (unread)'}: {read}, {archive}"


def _lines(counts: Mapping[str, int]) -> list[str]:
    return [f"{number} {name}" for name, number in sorted(counts.items())]


class Device(ABC):
    """``line`` is the one to the server that it has for itself."""

    def __init__(self, name: str, line: Line) -> None:
        self.name = name
        self.line = line

    @abstractmethod
    async def shows(self, numbers: Mapping[str, int], *, is_still: bool) -> Shown:
        """What is to be seen on it; with ``is_still``, in the tab that is selected.

        It waits for no more rows once a tab has as many as ``numbers`` say.
        """


class Page(Device):
    """A page with the element. ``clicks`` is how often something in it was clicked."""

    def __init__(self, name: str, line: Line, browser: ElementBrowser, pages: ElementPages, own: str) -> None:
        """``name`` is ``stream`` or ``socket``, over which the element speaks; ``own`` the token of its user."""
        super().__init__(name, line)
        self.clicks = 0
        self._browser = browser
        self._pages = pages
        self._own = own
        self._is_hidden = False

    async def opens(self) -> None:
        """Load it, or load it anew."""
        await self._browser.visit(self._pages.origin)
        gives = {"stream": STREAM, "socket": SOCKET}[self.name]
        await self._browser.run(
            f"{_SPOILING} {gives} inbox.open = true;", url=self.line.url, own=self._own, options=QUICK
        )

    async def acts(self, chosen: random.Random) -> None:
        """Do something that a person does; what comes of it is not waited for."""
        if self._is_hidden:
            if chosen.random() < 0.3:
                await self.comes_back()
            return
        acts = {
            self._clicks_in_a_row: 30,
            self._clicks_read_all: 1,
            self._takes_a_tab: 2,
            self._scrolls: 6,
            self._clicks_the_bell: 1,
            self._reloads: 1,
            self._hides: 1,
            self._is_offline_for_a_moment: 1,
            self._is_to_be_refused: 1,
        }
        await chosen.choices(list(acts), list(acts.values()))[0](chosen)

    async def comes_back(self) -> None:
        """Look at it again, where something else was looked at."""
        if self._is_hidden:
            await self._browser.does("show")
            self._is_hidden = False

    async def shows(self, numbers: Mapping[str, int], *, is_still: bool) -> Shown:
        await self._opens_the_panel()
        shown: Shown = await self._browser.run(_SEE, tabs=list(numbers.items()), isStill=is_still)
        return shown

    @property
    def broken(self) -> list[str]:
        """What its console says that is no matter of a line that was cut."""
        passing = ("Failed to load resource", "WebSocket connection to")
        return [said for said in self._browser.said if not said.startswith(passing)]

    async def _clicks(self, selector: str) -> None:
        self.clicks += await self._browser.does("tap", f"synkrone-inbox >>> {selector}")

    async def _clicks_in_a_row(self, chosen: random.Random) -> None:
        number = await self._browser.run("return all('li').length")
        if not number:
            await self._opens_the_panel()
            return
        what = chosen.choices((".title", "[data-does=read]", "[data-does=archive]", "[data-does=delete]"), (1, 3, 3, 1))
        # Mostly what is at the top.
        row = min(chosen.randint(1, number), chosen.randint(1, number))
        await self._clicks(f"li:nth-child({row}) {what[0]}")

    async def _opens_the_panel(self) -> None:
        await self._browser.run("if (!inbox.open) one('#bell').click();")

    async def _clicks_read_all(self, _chosen: random.Random) -> None:
        await self._clicks("#readAll")

    async def _takes_a_tab(self, chosen: random.Random) -> None:
        await self._clicks(f"#{chosen.choice(list(TABS))}")

    async def _scrolls(self, chosen: random.Random) -> None:
        await self._browser.run(
            "const scroll = one('#scroll'); scroll.scrollTop = scroll.scrollHeight * share;",
            share=chosen.choice((0, 1, 1, chosen.random())),
        )

    async def _clicks_the_bell(self, _chosen: random.Random) -> None:
        await self._clicks("#bell")

    async def _reloads(self, _chosen: random.Random) -> None:
        await self.opens()

    async def _hides(self, chosen: random.Random) -> None:
        """Another tab of the browser is looked at. What is hidden for long may be frozen."""
        await self._browser.does("hide", chosen.random() < 0.5)
        self._is_hidden = True

    async def _is_offline_for_a_moment(self, chosen: random.Random) -> None:
        await self._browser.does("offline", True)
        await asyncio.sleep(chosen.uniform(0, 0.3))
        await self._browser.does("offline", False)

    async def _is_to_be_refused(self, _chosen: random.Random) -> None:
        await self._browser.run("globalThis.spoilsNext = true;")


class BareClient(Device):
    """The stock client, which knows nothing of inboxes and asks for the lists."""

    def __init__(self, name: str, line: Line, client: JsClient) -> None:
        super().__init__(name, line)
        self._client = client

    async def asks(self, event: str, argument: Mapping[str, object]) -> None:
        """Without an answer; once it is connected again, where it is not."""
        await self._client.send(event, argument)

    async def shows(self, numbers: Mapping[str, int], *, is_still: bool) -> Shown:
        lists: dict[str, list[Any]] = {}
        counts: Mapping[str, int] = {}
        for tab in numbers:
            lists[tab] = []
            page: str | None = ""
            while page is not None:
                named = {**TABS[tab], **({"page": page} if page else {})}
                answer = await self._answer("inbox.list", {"limit": 100, **named})
                lists[tab] += answer["items"]
                counts, page = answer["counts"], answer["next"]
        return {name: lines for name, lines in expected(lists, counts).items() if name != "bell"}

    async def _answer(self, event: str, argument: Mapping[str, object]) -> Any:
        """Asked again where it was just then that it noticed how it had been cut off."""
        async with asyncio.timeout(WAIT_SECONDS):
            while "error" in (acknowledged := await self._acknowledgement(event, argument)):
                pass
        assert acknowledged["answer"]["ok"], acknowledged
        return acknowledged["answer"]

    async def _acknowledgement(self, event: str, argument: Mapping[str, object]) -> Happening:
        self._client.unseen()
        await self._client.emit(event, argument)
        while (happening := await self._client.next())["what"] != "ack":
            pass
        return happening
