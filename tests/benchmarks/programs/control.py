"""What the benchmark tells a server, one JSON object a line on its stdin, each answered by one on its stdout.

``{"do": "usage"}``
    ``{"cpu": seconds of user and system time of this process, "rss_kib": its resident memory}``
``{"do": "collect"}``
    Collect garbage.
``{"do": "watch"}``, ``{"do": "stall"}``
    Begin to watch the event loop; ``{"seconds": its longest stall since}``, and no longer watch.

The program's argument is ``{"secret", "api_key", "folder", "ping_interval", "durable"}``: a durable server stores what
it is posted in the folder before it answers. The program says first where it listens: ``{"url"}``, and ``publish_url``
where backends post elsewhere. Every notification carries the time of its making in ``data.sent``: 10**15 and the
microseconds of the monotonic clock, so that its size is always the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

LINE_BYTES = 1024 * 1024
WATCH_PERIOD = 0.001
SENT_BASE = 10**15


class Control:
    """Obeys the benchmark until stdin ends."""

    def __init__(self) -> None:
        self._watching: asyncio.Task[None] | None = None
        self._longest_stall = 0.0

    async def run(self, **addresses: str) -> None:
        """Print where the server listens, then do what is asked."""
        stdin = asyncio.StreamReader(limit=LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        _say(addresses)
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

    async def _do_watch(self) -> dict[str, float]:
        self._longest_stall = 0.0
        self._watching = asyncio.create_task(self._watch())
        return {}

    async def _do_stall(self) -> dict[str, float]:
        if self._watching is not None:
            self._watching.cancel()
        return {"seconds": self._longest_stall}

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
