"""The whole server in a process of its own, with a window for tests: what it holds, and how long its loop stalled.

``python -m tests.campaigns.observed_server SETTINGS``, the settings in JSON. It prints the address of the server and
that of the window. Every line to the window is a command, every line from it an answer in JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.http.descriptors import raise_descriptor_limit
from adapters.telemetry.logs import configure_logging
from domain.errors import StoreUnavailable
from entrypoints.event_loop import run
from entrypoints.garbage import Garbage
from entrypoints.server import Server, open_server
from entrypoints.settings import validate_settings

WATCH_SECONDS = 0.005
ELSEWHERE = "no file here"
STORE_METHODS = (
    "append", "arrive", "read", "register", "acknowledge", "count", "list_items",
    "change", "read_all", "checkpoint", "tidy", "ensure_writable",
)  # fmt: skip


class Window:
    def __init__(self, server: Server, store: str) -> None:
        self._server = server
        self._longest_stall = self._longest_work = 0.0
        inbox: Any = server.container.store()
        self._inbox = inbox
        # The name of its file, if it has one: its threads open it when they first have to.
        self._store = store
        self._working = {name: getattr(inbox, name) for name in STORE_METHODS}

    async def watch(self) -> None:
        while True:
            due, used = time.monotonic() + WATCH_SECONDS, time.thread_time()
            await asyncio.sleep(WATCH_SECONDS)
            late, worked = time.monotonic() - due, time.thread_time() - used
            self._longest_stall = max(self._longest_stall, late)
            # Of what it was late, the rest may be what others did with the machine.
            self._longest_work = max(self._longest_work, min(late, worked))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(self._do(line.decode().strip())).encode() + b"\n")
            await writer.drain()
        writer.close()

    def _do(self, command: str) -> dict[str, Any]:
        if command == "stall":
            stall = {"stall": self._longest_stall, "worked": self._longest_work}
            self._longest_stall = self._longest_work = 0.0
            return stall
        if command in ("break store", "mend store"):
            for name, working in self._working.items():
                setattr(self._inbox, name, _unavailable if command == "break store" else working)
            return {}
        return self._holdings()

    def _holdings(self) -> dict[str, Any]:
        gc.collect()
        transport: Any = self._server.container.socketio()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {
            "connections": self._server.container.connections().open_connections,
            "sessions": len(transport._engine.sessions),
            "sockets": transport.open_sockets,
            "rooms": len(self._server.container.application().hub.rooms)
            + len(transport._connections.library.manager.rooms.get("/", {})),
            "environs": len(transport._connections.library.environ),
            "tasks": len(asyncio.all_tasks()),
            "waiting_bytes": sum(session.waiting_bytes for session in transport._engine.sessions.values()),
            "descriptors": sum(not name.startswith(self._store) for name in _open_files()),
            "rss_kib": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            "cpu": usage.ru_utime + usage.ru_stime,
        }


def _open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        # That of the directory itself may be gone by now.
        with contextlib.suppress(FileNotFoundError):
            yield str(descriptor.readlink())


async def _unavailable(*_arguments: object, **_options: object) -> object:
    raise StoreUnavailable


async def main(values: dict[str, Any]) -> None:
    settings = validate_settings(values)
    configure_logging(settings.log.level, "json")
    async with open_server(settings).running() as server:
        window = Window(server, str(settings.store.path) if settings.store.scheme == "sqlite" else ELSEWHERE)
        listening = await asyncio.start_server(window.answer, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        print(json.dumps({"url": server.url, "window": port}), flush=True)
        Garbage().start()
        watching = asyncio.create_task(window.watch())
        await asyncio.to_thread(sys.stdin.read)
        watching.cancel()
        listening.close()


if __name__ == "__main__":
    raise_descriptor_limit()
    run(main(json.loads(sys.argv[1])))
