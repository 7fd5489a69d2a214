"""The demo in a page: a server that may be killed, two users whose lines may be cut, and a backend that goes on."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp

from entrypoints.demo.child import CannotStart, ServerChild
from entrypoints.demo.control import Control
from entrypoints.demo.line import Line
from entrypoints.demo.people import PEOPLE
from entrypoints.demo.publisher import Publisher
from entrypoints.demo.socket_io import SocketIoClient, socket_io_client
from entrypoints.event_loop import run
from entrypoints.settings import SettingsError, validate_settings
from entrypoints.stopping import StopSignals
from entrypoints.tokens import mint

TOKEN_TTL: Final = timedelta(days=1)
DATABASE: Final = "synkrone-demo.db"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Ports of 0 are any free ones. ``socket_io_client`` is a URL or a file, None for the pinned one."""

    opens_browser: bool = True
    port: int = 0
    server_port: int = 0
    socket_io_client: str | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """A running one."""

    child: ServerChild
    control: Control


def main(options: DemoOptions) -> int:
    """Exit code 0, 1 where the server cannot start. Raises SettingsError."""
    client = socket_io_client(options.socket_io_client)
    try:
        run(_run(options, client))
    except CannotStart as error:
        print(f"synkrone-socket: the demo's server cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: DemoOptions, client: SocketIoClient) -> None:
    signals = StopSignals(asyncio.get_running_loop())
    stopped = asyncio.ensure_future(signals.stop.wait())
    shown = asyncio.ensure_future(_show(options, client))
    await asyncio.wait((stopped, shown), return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, shown):
        task.cancel()
    await asyncio.wait((stopped, shown))
    if not shown.cancelled():
        shown.result()
    print("\nThe demo has ended.", flush=True)


async def _show(options: DemoOptions, client: SocketIoClient) -> None:
    """Until it is cancelled."""
    async with open_demo(options, client) as demo:
        print(f"The demo is at\n\n  {demo.control.link}\n")
        print(f"The link is for this machine alone. The inbox is kept in {DATABASE}, in this folder. Ctrl-C ends it.")
        sys.stdout.flush()
        if options.opens_browser and _has_display():
            await asyncio.to_thread(webbrowser.open, demo.control.link)
        await demo.child.keep_running()


@asynccontextmanager
async def open_demo(options: DemoOptions, client: SocketIoClient) -> AsyncIterator[Demo]:
    """Everything but what keeps the server running. Raises CannotStart, and SettingsError for a port that is taken."""
    api_key, secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    settings = validate_settings({"auth": {"secret": secret}, "api": {"key": api_key}})
    tokens = {person.id: mint(settings.auth, user=person.id, role=person.role, ttl=TOKEN_TTL) for person in PEOPLE}
    async with AsyncExitStack() as stack:
        child = ServerChild(_variables(api_key, secret), port=options.server_port)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        publisher = Publisher(session, lambda: child.open_port, api_key)
        lines = {person.id: Line(lambda: child.open_port) for person in PEOPLE}
        control = Control(child, lines, publisher, client, secrets.token_urlsafe(32))
        stack.push_async_callback(control.close)
        try:
            await control.open(options.port)
        except OSError as error:
            raise SettingsError(f"--port: {error.strerror or error}") from None
        child.set("SYNKRONE_CORS_ORIGINS", f'["{control.origin}"]')
        stack.push_async_callback(child.stop)
        await child.start()
        for line in lines.values():
            await line.open()
            stack.push_async_callback(line.close)
        control.introduce(tokens, api_key)
        automatic = asyncio.create_task(publisher.publish_automatically())
        stack.push_async_callback(_end, automatic)
        yield Demo(child, control)


def _variables(api_key: str, secret: str) -> dict[str, str]:
    return {
        "SYNKRONE_AUTH__SECRET": secret,
        "SYNKRONE_API__KEY": api_key,
        "SYNKRONE_STORE": f"sqlite:///{Path(DATABASE).absolute()}",
        "SYNKRONE_LOG__LEVEL": "warning",
    }


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
