"""Pages with ``<synkrone-inbox>`` in them, in a real browser that a test drives."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.e2e.clients import NODE
from tests.processes import REPOSITORY
from tests.requirements import require

CLIENT = REPOSITORY / "adapters" / "client"
SCRIPTS = Path(__file__).parent / "js"
WAIT_SECONDS = 15.0
START_SECONDS = 60.0

EXECUTABLES = {
    "chrome": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}
MISSING = {
    "chrome": "no Chromium is installed: apt-get install chromium",
    "firefox": "no Firefox is installed: apt-get install firefox-esr",
}

_PAGE = """<!doctype html>
<html lang="%(lang)s" dir="%(dir)s">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A product</title>
<link rel="stylesheet" href="/page.css">
<script src="/socket.io.min.js"></script>
<script type="module" src="/page.js"></script>
<main><h1>A product</h1><synkrone-inbox></synkrone-inbox></main>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px system-ui; margin: 0; }
main { display: flex; justify-content: space-between; align-items: center; padding: 8px 24px; }
h1 { font-size: 20px; }
"""
_SCRIPT = """
import "%(modules)s/client/synkrone-inbox.js";
import { fakeStore } from "/element_store.js";
const inbox = document.querySelector("synkrone-inbox");
Object.assign(globalThis, { inbox, fakeStore, heard: [] });
globalThis.one = (selector) => inbox.shadowRoot.querySelector(selector);
globalThis.all = (selector) => [...inbox.shadowRoot.querySelectorAll(selector)];
globalThis.texts = (selector) => all(selector).map((node) => node.innerText.trim());
for (const name of ["open", "counts", "error", "action"]) {
  inbox.addEventListener(`synkrone-${name}`, ({ detail }) => heard.push([name, detail]));
}
globalThis.isReady = true;
"""


class ElementPages:
    """A server of one page, on an origin of its own, with a policy that lets nothing in but its own files.

    ``server`` is what the element talks to, and has its module, too, unless ``modules`` is who has it. Where this one
    serves the element as well, what that loads later waits for ``lets_load``, and fails while ``is_failing``. Tabs that
    hang do so until ``lets_go``.
    """

    def __init__(self, client_library: Path) -> None:
        self.lets_load = asyncio.Event()
        self.lets_load.set()
        self.lets_go = asyncio.Event()
        self.is_failing = False
        self.server = self.modules = ""
        self.lang, self.direction = "en", "ltr"
        self._runner: web.AppRunner
        self._library = client_library
        self.origin = ""

    async def open(self) -> None:
        application = web.Application()
        application.router.add_get("/", self._page)
        application.router.add_get("/page.js", self._script)
        application.router.add_get("/page.css", self._style)
        application.router.add_get("/favicon.ico", self._style)
        application.router.add_get("/hang", self._hang)
        application.router.add_get("/element_store.js", self._store)
        application.router.add_get("/socket.io.min.js", self._client_library)
        application.router.add_get(r"/client/{name:synkrone-inbox-.+\.js}", self._loaded_later)
        application.router.add_static("/client", CLIENT)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{port}"

    async def close(self) -> None:
        self.lets_go.set()
        await self._runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        policy = (
            f"default-src 'self'; script-src 'self' {self.server}; "
            f"connect-src 'self' {self.server} {self.server.replace('http', 'ws', 1)}"
        )
        text = _PAGE % {"lang": self.lang, "dir": self.direction}
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _script(self, _request: web.Request) -> web.Response:
        return web.Response(text=_SCRIPT % {"modules": self.modules or self.server}, content_type="text/javascript")

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(text=_STYLE, content_type="text/css")

    async def _hang(self, _request: web.Request) -> web.Response:
        await self.lets_go.wait()
        return web.Response()

    async def _store(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(SCRIPTS / "element_store.js", headers={"Content-Type": "text/javascript"})

    async def _loaded_later(self, request: web.Request) -> web.FileResponse:
        await self.lets_load.wait()
        if self.is_failing:
            raise web.HTTPServiceUnavailable
        return web.FileResponse(CLIENT / request.match_info["name"])

    async def _client_library(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._library, headers={"Content-Type": "text/javascript"})


@asynccontextmanager
async def opened_pages(node_modules: Path) -> AsyncIterator[ElementPages]:
    """An open server of the page, with the stock client from there."""
    pages = ElementPages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    await pages.open()
    try:
        yield pages
    finally:
        await pages.close()


class ElementBrowser:
    """A browser with one page. ``said`` are the errors on its console."""

    def __init__(self, name: str, profile: Path) -> None:
        executable = next(filter(None, map(shutil.which, EXECUTABLES[name])), None)
        require(executable, MISSING[name])
        self._arguments = {"browser": name, "executable": executable, "profile": str(profile)}
        self._numbers = count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]
        self.said: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            SCRIPTS / "element.mjs",
            json.dumps(self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._reading

    async def does(self, what: str, *given: object, within: float = 90.0) -> Any:
        """What it gives in the end. Raises AssertionError where the page cannot do it."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, "does": what, "with": given}).encode() + b"\n")
        async with asyncio.timeout(within):
            return await answer

    async def visit(self, address: str) -> None:
        """Open the page, and wait until its element is there."""
        await self.does("open", address)
        await self.until("globalThis.isReady")

    async def run(self, script: str, **values: object) -> Any:
        """What the script, the body of an async function, returns; ``values`` are constants of it."""
        constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in values.items())
        return await self.does("evaluate", f"(async () => {{ {constants} {script} }})()")

    async def until(self, expression: str, within: float = WAIT_SECONDS) -> None:
        """Wait until it holds in the page."""
        try:
            await self.does("until", expression, int(within * 1000))
        except AssertionError as error:
            shown = await self.run("return inbox.shadowRoot.querySelector('#root')?.innerText ?? document.title")
            raise AssertionError(f"{error}, {expression}: it shows {shown!r}; {self.said}") from None

    async def shows(self, selector: str, texts: list[str]) -> None:
        """Wait until what is selected in the element reads like this."""
        await self.until(f"JSON.stringify(texts({json.dumps(selector)})) === JSON.stringify({json.dumps(texts)})")

    async def click(self, selector: str) -> None:
        """Click in the element like a user, where it can be seen."""
        await self.does("click", f"synkrone-inbox >>> {selector}")

    async def hover(self, selector: str) -> None:
        await self.does("hover", f"synkrone-inbox >>> {selector}")

    async def press(self, *keys: str) -> None:
        await self.does("press", *keys)

    async def prefer(self, features: Mapping[str, str]) -> None:
        """Media features, such as ``prefers-color-scheme``."""
        await self.does("prefer", *({"name": name, "value": value} for name, value in features.items()))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "console" in said:
                self.said.append(said["console"])
            elif "error" in said:
                self._answers.pop(said["number"]).set_exception(AssertionError(said["error"]))
            else:
                self._answers.pop(said["number"]).set_result(said["answer"])
