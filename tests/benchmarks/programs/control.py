"""What the benchmark tells a server, one JSON object a line on its stdin, each answered by one on its stdout.

``{"do": "usage"}``
    ``{"cpu": seconds of user and system time of this process, "rss_kib": its resident memory}``
``{"do": "collect"}``
    Collect garbage.
``{"do": "send", "streams": [stream, ...]}``
    Emit the notifications of all streams, side by side; answered when the last was emitted. A stream is
    ``{"sends", "per_tick", "interval", "users", "first", "body_bytes"}``: so many notifications in ticks of so many,
    ``interval`` seconds apart, to the rooms of ``users`` users from number ``first`` on in turn, or to everyone where
    ``users`` is 0. ``body_bytes`` other than 0 replaces the body by one of that length.
``{"do": "watch"}``, ``{"do": "stall"}``
    Begin to watch the event loop; ``{"seconds": its longest stall since}``, and no longer watch.

The program's argument is ``{"secret", "api_key", "folder", "ping_interval", "notification"}``; what the server stores
goes to the folder. Every notification carries the time of its
emission in ``data.sent``: 10**15 and the microseconds of the monotonic clock, so that its size is always the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

Emit: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Deliver a notification to the members of a room. It is changed afterwards: it has to be encoded by then."""

LINE_BYTES = 1024 * 1024
WATCH_PERIOD = 0.005
SENT_BASE = 10**15


class Control:
    """Obeys the benchmark until stdin ends."""

    def __init__(self, emit: Emit, notification: dict[str, Any]) -> None:
        self._emit = emit
        self._notification = notification
        self._watching: asyncio.Task[None] | None = None
        self._longest_stall = 0.0

    async def run(self, url: str) -> None:
        """Print the address, then do what is asked."""
        stdin = asyncio.StreamReader(limit=LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        _say({"url": url})
        while line := await stdin.readline():
            command = json.loads(line)
            _say(await getattr(self, f"_do_{command.pop('do')}")(**command))
        if self._watching is not None:
            self._watching.cancel()

    async def _do_usage(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu": usage.ru_utime + usage.ru_stime, "rss_kib": _resident_kib()}

    async def _do_collect(self) -> dict[str, float]:
        gc.collect()
        return {}

    async def _do_send(self, streams: list[dict[str, Any]]) -> dict[str, float]:
        await asyncio.gather(*(self._send(**stream) for stream in streams))
        return {}

    async def _do_watch(self) -> dict[str, float]:
        self._longest_stall = 0.0
        self._watching = asyncio.create_task(self._watch())
        return {}

    async def _do_stall(self) -> dict[str, float]:
        if self._watching is not None:
            self._watching.cancel()
        return {"seconds": self._longest_stall}

    async def _send(
        self, *, sends: int, per_tick: int, interval: float, users: int, first: int, body_bytes: int
    ) -> None:
        content = {**self._notification, "data": dict(self._notification["data"])}
        if body_bytes:
            content["body"] = "x" * body_bytes
        start = time.monotonic()
        for number in range(sends):
            if number and number % per_tick == 0:
                due = start + number // per_tick * interval
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            content["data"]["sent"] = SENT_BASE + time.monotonic_ns() // 1000
            await self._emit(f"user:{first + number % users}" if users else "everyone", content)

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + WATCH_PERIOD
            await asyncio.sleep(WATCH_PERIOD)
            self._longest_stall = max(self._longest_stall, time.monotonic() - due)


def _resident_kib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
