"""event-source-polyfill in Node: what pages use that need headers, which a browser's own EventSource cannot send."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.clients import NODE, WAIT_SECONDS


class Polyfill:
    """One client, which stays up over cuts."""

    def __init__(self, script: Path, url: str, token: str) -> None:
        self._arguments = (NODE, script, json.dumps({"url": f"{url}/v1/stream", "token": token}))
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=1 << 22
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def hears(self, name: str) -> Any:
        """The data of the next event, which has to be that one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "it has ended"
        event = json.loads(line)
        assert event["name"] == name, event
        return event["data"]
