"""``demo`` with a page: a real server behind lines that are cut, killed and started again, in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.clients import NODE
from tests.e2e.conftest import JAVASCRIPT
from tests.processes import environment
from tests.requirements import require

pytestmark = pytest.mark.check

START_SECONDS = 30.0
END_SECONDS = 5.0
STORY_SECONDS = 120.0


class Demo:
    """A running one. ``link`` is what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.exit_code = 0
        self.link = ""

    def kill(self) -> None:
        self.process.kill()
        self.exit_code = -signal.SIGKILL

    async def read_link(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while (found := re.search(rb"http://\S+#\S+", await self.process.stdout.readline())) is None:
                assert not self.process.stdout.at_eof(), "the demo ended by itself"
        self.link = found[0].decode()

    async def ask(self, path: str, body: object = None) -> Any:
        """As the page does."""
        parts = urlsplit(self.link)
        headers = {"Authorization": f"Bearer {parts.fragment}", "Content-Type": "application/json"}
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        url = f"http://{parts.netloc}/control/{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, data=data, headers=headers) as got:
            return await got.json(content_type=None)

    async def server(self, *, starts: int) -> int:
        """Wait until the server is up for the nth time; its process id."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                server = (await self.ask("state"))["server"]
                if server["state"] == "up" and server["starts"] == starts:
                    return int(server["pid"])
                await asyncio.sleep(0.05)


@asynccontextmanager
async def demo(directory: Path, *options: str) -> AsyncIterator[Demo]:
    """On leaving it is asked to end, where it has not ended, and has to have nothing to complain of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "entrypoints.cli", "demo", "--no-open", *options),
        cwd=directory,
        env=environment({}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = Demo(process)
    try:
        await running.read_link()
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(START_SECONDS):
            _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (running.exit_code, "")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.gen_test(timeout=90)
async def test_a_killed_server_comes_back_where_it_was_and_nothing_outlives_the_demo(tmp_path: Path) -> None:
    # What stands here is another server's.
    (tmp_path / "synkrone.toml").write_text("this is no TOML")
    for number in (signal.SIGTERM, signal.SIGINT):
        async with demo(tmp_path) as running:
            first = await running.server(starts=1)
            setup = await running.ask("setup")
            url = setup["server"]["url"]
            assert await running.ask("kill", {}) == {"killed": True}
            second = await running.server(starts=2)
            assert not is_running(first)
            assert await is_listening(url)
            # Somebody else's kill is no other.
            os.kill(second, signal.SIGKILL)
            third = await running.server(starts=3)
            running.process.send_signal(number)
            await running.process.wait()
            assert not is_running(third)
            addresses = [running.link, url, *(person["url"] for person in setup["people"])]
            assert not any([await is_listening(address) for address in addresses])


@pytest.mark.gen_test(timeout=60)
async def test_a_demo_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    async with demo(tmp_path) as running:
        first = await running.server(starts=1)
        url = (await running.ask("setup"))["server"]["url"]
        os.kill(first, signal.SIGKILL)
        second = await running.server(starts=2)
        running.kill()
        try:
            async with asyncio.timeout(END_SECONDS):
                while await is_listening(url):  # noqa: ASYNC110, nothing tells of it
                    await asyncio.sleep(0.05)
        except TimeoutError:
            os.kill(second, signal.SIGKILL)
            raise


@pytest.mark.gen_test(timeout=60)
async def test_what_is_published_while_the_server_is_away_is_taken_when_it_is_back(tmp_path: Path) -> None:
    async with demo(tmp_path) as running:
        await running.ask("kill", {})
        answer = await running.ask("publish", {"to": {"everyone": True}, "title": "While it was away"})
        state = await running.ask("state")
        assert [one["id"] for one in state["published"]] == [answer["id"]]
        assert state["published"][0]["recipients"] == ["42", "43"]
        assert (state["unanswered"], state["givenUp"]) == (0, 0)


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "synkrone-demo.db").write_text("no database")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "entrypoints.cli", "demo", "--no-open"),
        cwd=tmp_path,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(START_SECONDS):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert "the demo's server cannot start" in errors.decode()
    assert "synkrone-demo.db" in errors.decode()
    assert "Traceback" not in errors.decode()


async def told(node_modules: Path, link: str, story: str) -> dict[str, Any]:
    """What a story of demo.mjs saw in the browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require(chromium, "no Chromium is installed: apt-get install chromium")
    require((node_modules / "puppeteer-core").exists(), "puppeteer-core is not installed")
    process = await asyncio.create_subprocess_exec(
        *(NODE, JAVASCRIPT / "demo.mjs", json.dumps({"chromium": chromium, "link": link, "story": story})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(STORY_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(output)
    return seen


def client_file(node_modules: Path) -> str:
    return str(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")


@pytest.mark.gen_test(timeout=180)
async def test_the_strip_settles_after_cuts_and_kills_while_publishing_goes_on(
    node_modules: Path, tmp_path: Path
) -> None:
    async with demo(tmp_path, "--socket-io-client", client_file(node_modules)) as running:
        seen = await told(node_modules, running.link, "whole")
    assert seen["errors"] == []
    assert seen["transports"] == ["Socket.IO", "stream"]
    assert seen["tour"] == 7
    # Of the form: on the phone it was for, and on no other.
    assert seen["form"] == [True, False]
    assert seen["curl"]["status"] == 0
    assert seen["curl"]["shown"]
    assert seen["cut"]["onItsWay"] > 0
    assert seen["cut"]["lost"] == 0
    assert seen["killed"]["starts"] == 2
    assert seen["badges"] == ["99+", "99+"]
    end = seen["end"]
    assert end["published"] == end["received"] > 20
    assert (end["onItsWay"], end["lost"], end["doubled"]) == (0, 0, 0)
    assert seen["axe"] == {"light": [], "dark": []}


@pytest.mark.gen_test(timeout=120)
@pytest.mark.parametrize("fault", ["drops", "doubles"])
async def test_the_strip_shows_what_is_lost_and_what_comes_twice(
    node_modules: Path, tmp_path: Path, fault: str
) -> None:
    async with demo(tmp_path, "--socket-io-client", client_file(node_modules)) as running:
        end = (await told(node_modules, running.link, fault))["end"]
    if fault == "drops":
        assert end["lost"] > 0
        assert end["received"] == end["published"] - end["lost"] - end["onItsWay"]
    else:
        assert end["doubled"] > 0
        assert end["lost"] == 0
    assert end["state"] == "broken"


@pytest.mark.gen_test(timeout=120)
async def test_what_is_published_can_be_changed_put_off_and_taken_back(node_modules: Path, tmp_path: Path) -> None:
    async with demo(tmp_path, "--socket-io-client", client_file(node_modules)) as running:
        refused = await running.ask("try", {"method": "DELETE", "path": "/v1/users/42"})
        seen = await told(node_modules, running.link, "tries")
    assert refused["code"] == "bad_request"
    assert seen["errors"] == []
    assert seen["isOver"]
    assert seen["early"] == ["||false"] * 2
    # The strip keeps no account of them, and one that comes again is no mistake.
    assert (seen["end"]["published"], seen["end"]["lost"], seen["end"]["doubled"]) == (0, 0, 0)
    assert seen["axe"] == {"light": [], "dark": []}


@pytest.mark.gen_test(timeout=120)
async def test_without_the_socket_io_client_both_phones_use_the_stream_and_the_page_says_so(
    node_modules: Path, tmp_path: Path
) -> None:
    async with demo(tmp_path, "--socket-io-client", "http://127.0.0.1:9/socket.io.js") as running:
        seen = await told(node_modules, running.link, "stream")
    assert seen["transports"] == ["stream", "stream"]
    assert "could not be loaded" in seen["notice"]
    assert seen["end"]["published"] == seen["end"]["received"] > 0
