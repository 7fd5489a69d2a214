"""The operator's page in a real browser: what it shows, says and asks, and how it looks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from adapters.cluster.membership import Membership
from entrypoints.container import Container
from entrypoints.server import Server, open_server
from entrypoints.settings import validate_settings
from tests.e2e.clients import NODE
from tests.e2e.conftest import JAVASCRIPT
from tests.e2e.ops_hour import an_hour
from tests.engine_io import Closed, WebSocketPeer, connected, event, http_session, refused
from tests.requirements import require
from tests.serving import API_KEY, SECRET, publish, serving, token

if TYPE_CHECKING:
    from tests.postgresql import Servers

pytestmark = pytest.mark.check

ADMIN_KEY = "a key of operators, of at least 32 characters"
SETTINGS = {
    "auth": {"secret": SECRET},
    "api": {"key": API_KEY, "keys": [{"name": "night-shift", "key": ADMIN_KEY, "scopes": ["admin"]}]},
    "internal": {"port": 0, "ops": True},
}
STORY_SECONDS = 120.0
SHOTS = "SYNKRONE_TEST_SHOTS"
"""A folder to keep the pictures in, for whoever wants to look at them."""


@asynccontextmanager
async def serving_an_hour(directory: Path) -> AsyncIterator[Server]:
    """A server that was busy for an hour."""
    Container.history.override(an_hour())
    try:
        server = open_server(
            validate_settings(SETTINGS | {"port": 0, "store": f"sqlite:///{directory / 'synkrone.db'}"})
        )
    finally:
        Container.history.reset_last_overriding()
    async with server.running():
        yield server


class Device:
    """A connection of a user, which stays until the server ends it."""

    def __init__(self, peer: WebSocketPeer) -> None:
        self._staying = asyncio.create_task(self._stay(peer))

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, server: Server, own: str) -> Self:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, own)
        return cls(peer)

    async def _stay(self, peer: WebSocketPeer) -> list[str]:
        packets: list[str] = []
        while True:
            with suppress(TimeoutError):
                try:
                    packets.append(await peer.next())
                except Closed:
                    return packets
                if packets[-1] == "41":
                    await peer.close()

    async def end(self) -> tuple[str, bool]:
        """With which code it was closed, and whether its client is to come back."""
        async with asyncio.timeout(10):
            packets = await self._staying
        name, (problem,) = event([packet for packet in packets if packet.startswith("42")][-1])
        assert name == "session.closing"
        return problem["code"], problem["reconnect"]

    def leave(self) -> None:
        self._staying.cancel()


async def with_an_inbox(session: aiohttp.ClientSession, server: Server, user: str) -> Device:
    """A connection of the user, to whom some was sent; one title would be a picture where it was no text."""
    device = await Device.open(session, server, token(user))
    for number in range(23):
        title = "<img src=x onerror=alert(1)>" if number == 22 else f"Mission {number} is yours"
        body = {"to": {"user": user}, "type": "mission.assigned", "title": title, "id": f"mission-{number}"}
        assert (await publish(session, server.url, body))[0] == 201
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = {"to": {"user": user}, "type": "shift.begins", "id": "shift-7", "deliver_at": tomorrow}
    status, answer = await publish(session, server.url, later)
    assert status == 201, answer
    return device


async def refusal(session: aiohttp.ClientSession, server: Server, own: str) -> str:
    """The code with which the token is refused."""
    peer = await WebSocketPeer.open(session, server.url)
    return str((await refused(peer, json.dumps({"token": own})))["code"])


@asynccontextmanager
async def looking(node_modules: Path, server: Server, **story: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A browser with the page of that server, which says what it saw."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require(chromium, "no Chromium is installed: apt-get install chromium")
    require((node_modules / "puppeteer-core").exists(), "puppeteer-core is not installed")
    given = {"chromium": chromium, "url": server.internal_url, "key": ADMIN_KEY, **story}
    browser = await asyncio.create_subprocess_exec(
        *(NODE, JAVASCRIPT / "ops.mjs", json.dumps(given)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield browser
    except BaseException:
        if browser.returncode is None:
            browser.terminate()
        raise
    assert browser.stdin is not None
    # It waits for no more than this.
    browser.stdin.close()
    assert await browser.wait() == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.gen_test(timeout=300)
async def test_an_operator_looks_and_acts(node_modules: Path, tmp_path: Path, width: int, scheme: str) -> None:
    shots = os.environ.get(SHOTS)
    user = "anna / <b>42</b>"
    async with AsyncExitStack() as stack, http_session() as session:
        server = await stack.enter_async_context(serving_an_hour(tmp_path))
        own = token(user)
        device = await with_an_inbox(session, server, user)
        async with looking(node_modules, server, user=user, width=width, scheme=scheme, shots=shots) as browser:
            async with stopped(browser, "closed"):
                assert await device.end() == ("disconnected_by_operator", False)
                device = await Device.open(session, server, own)
            async with stopped(browser, "blocked"):
                assert await device.end() == ("blocked", False)
                assert await refusal(session, server, own) == "blocked"
            async with stopped(browser, "unblocked"):
                device = await Device.open(session, server, own)
            async with stopped(browser, "revoked"):
                assert await device.end() == ("token_revoked", True)
                assert await refusal(session, server, own) == "invalid_token"
                newer = token(user, iat=int(time.time()) + 2)
                device = await Device.open(session, server, newer)
            async with stopped(browser, "stop"):
                device.leave()
                await stack.aclose()
            seen = (await said(browser))["seen"]
    pictures = ("login", "console", "user", "narrowed", "question-block", "question", "blocked", "lost")
    assert seen["axe"] == {name: [] for name in pictures}
    assert seen["errors"] == []
    assert [address for address in seen["asked"] if not address.startswith(f"{server.internal_url}/ops")] == []
    assert "no credential that is known" in seen["refused"]
    assert seen["cookies"] == "", "no script can read the session"
    by_title = {chart.split("\n")[0]: chart for chart in seen["charts"]}
    assert "no data" not in by_title["Deliveries"]
    assert len(seen["tableRows"]) == 12
    assert "Mission" not in seen["found"], "titles are shown where they are asked for"
    assert "websocket" in seen["found"]
    assert "Not blocked." in seen["found"]
    assert "It was sent to" in seen["found"] or "received" in seen["found"]
    assert "<img src=x onerror=alert(1)>" in seen["titled"]
    assert f"Close all connections of {user}?" in seen["question"]
    assert seen["focused"] == "confirm-no"
    assert "Not connected" not in seen["afterEscape"]
    assert [row.split()[0] for row in seen["narrowed"]] == ["mission-7"]
    assert seen["stayed"] == "deliveries-id", "whoever types goes on typing"
    assert seen["done"] == {
        "closed": f"{user}: 1 connection was closed.",
        "blocked": f"{user} is blocked. 1 connection was closed.",
        "unblocked": f"{user} is not blocked any more.",
        "revoked": f"{user}: the tokens of before are refused. 1 connection was closed.",
    }
    assert seen["banner"].startswith("No answer from the server since")
    assert seen["health"] == "No answer"


@pytest.mark.gen_test(timeout=180)
async def test_the_nodes_of_a_cluster_are_in_a_table(node_modules: Path, postgresql: Servers) -> None:
    shots = os.environ.get(SHOTS)
    server = postgresql.of(18)
    database = server.new_store()
    own = SETTINGS | {"store": server.url(database)}
    async with serving(**own) as one, serving(**own) as other:
        async with looking(node_modules, one, width=1280, scheme="dark", shots=shots) as browser:
            assert browser.stdin is not None
            browser.stdin.close()
            seen = (await said(browser))["seen"]
        memberships: list[Membership | None] = [each.container.membership() for each in (one, other)]
        boots = [membership.boot for membership in memberships if membership is not None]
    server.drop_databases([database])
    assert seen["axe"] == {"login": [], "nodes": []}
    assert seen["errors"] == []
    assert [row.split()[0] for row in seen["nodes"]] == boots
    assert ["(this one)" in row for row in seen["nodes"]] == [True, False]
    assert "No data in the last hour" in seen["charts"], "no sample was taken yet"


@asynccontextmanager
async def stopped(browser: asyncio.subprocess.Process, at: str) -> AsyncIterator[None]:
    """When the browser waits there; afterwards it goes on."""
    assert await said(browser) == {"at": at}
    yield
    assert browser.stdin is not None
    browser.stdin.write(b"\n")


async def said(browser: asyncio.subprocess.Process) -> Any:
    assert browser.stdout is not None
    async with asyncio.timeout(STORY_SECONDS):
        return json.loads(await browser.stdout.readline())
