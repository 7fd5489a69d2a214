"""A real browser: Chromium without a window, and the small server whose pages it opens."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.in_time import in_time

REPORT_SECONDS = 30.0

_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>notifications</title>
<script src="/socket.io.min.js"></script>
<script>
  const report = (what) => fetch("/report", { method: "POST", body: JSON.stringify(what) });
</script>
<script>
%s
</script>
"""


class Pages:
    """One page on an origin of its own, and what its script reported. ``origin`` is where it is."""

    def __init__(self, client_library: Path) -> None:
        self._script = ""
        self._client_library = client_library
        self._reports: asyncio.Queue[Any] = asyncio.Queue()
        application = web.Application()
        application.router.add_get("/", self._page)
        application.router.add_get("/socket.io.min.js", self._library)
        application.router.add_post("/report", self._report)
        self._runner = web.AppRunner(application, access_log=None)
        self.origin = ""

    async def open(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{port}"

    async def close(self) -> None:
        await self._runner.cleanup()

    def show(self, script: str, **values: object) -> None:
        """The page's own script, with constants of these names before it."""
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
        self._script = constants + script

    async def report(self) -> Any:
        """The next thing that the page reported."""
        try:
            return await in_time(self._reports.get(), REPORT_SECONDS)
        except TimeoutError:
            raise AssertionError(f"the page at {self.origin} reported nothing") from None

    def reported(self) -> list[Any]:
        """What else it has reported by now."""
        return [self._reports.get_nowait() for _ in range(self._reports.qsize())]

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE % self._script, content_type="text/html")

    async def _library(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._client_library, headers={"Content-Type": "text/javascript"})

    async def _report(self, request: web.Request) -> web.Response:
        self._reports.put_nowait(json.loads(await request.text()))
        return web.Response(status=204)


class Browser:
    """Chromium, with a fresh profile, on the page at that address."""

    def __init__(self, chromium: str, directory: Path, address: str) -> None:
        directory.mkdir()
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    chromium,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--disable-quic",
                    "--no-first-run",
                    "--no-proxy-server",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    f"--user-data-dir={directory / 'profile'}",
                    address,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(15)
