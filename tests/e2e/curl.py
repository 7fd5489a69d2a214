"""``curl -N`` on ``GET /v1/stream``, as somebody at a terminal reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self

from tests.in_time import in_time

EXIT_SECONDS = 10.0


class Curl:
    """One request, from the last event id that its user has, if any."""

    def __init__(
        self, url: str, token: str, last_event_id: str | None = None, *, query: str = "", options: Sequence[str] = ()
    ) -> None:
        """``options`` are more of curl's own."""
        resume = ("-H", f"Last-Event-ID: {last_event_id}") if last_event_id is not None else ()
        own = ("-N", "-s", "-f", "-H", f"Authorization: Bearer {token}")
        self._arguments = (*own, *resume, *options, f"{url}/v1/stream{query}")
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "curl", *self._arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=1 << 22
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdout is not None
        # One that has come to its end by itself is not to be killed: that would take its exit code away.
        if not self._process.stdout.at_eof():
            self._process.kill()
        await self._process.communicate()

    async def exit_code(self) -> int:
        return await in_time(self._process.wait(), EXIT_SECONDS)

    async def events(self) -> AsyncGenerator[tuple[str, list[Any]], None]:
        """Names and arguments, as the other clients get them: the id is the last argument of an event that has one.

        By the rules of HTML, section 9.2.6: an event counts once its empty line is there.
        """
        assert self._process.stdout is not None
        fields: dict[str, str] = {}
        async for raw in self._process.stdout:
            if not raw.endswith(b"\n"):
                # The last line of all, cut in the middle.
                continue
            line = raw.decode().removesuffix("\n")
            if line:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
                continue
            if "data" in fields:
                yield fields["event"], [json.loads(fields["data"]), *([fields["id"]] if "id" in fields else [])]
            fields = {}
