"""Somebody who types what the documents say into terminals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tornado.testing import bind_unused_port

from tests.documents import block
from tests.in_time import in_time
from tests.processes import environment

PATIENCE = 30.0
TUTORIAL = "docs/tutorial/page.md"


def free_port() -> str:
    socket, port = bind_unused_port()
    socket.close()
    return str(port)


class Terminal:
    """A command that is running, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text()

    async def until(self, condition: Callable[[str], bool]) -> str:
        async with asyncio.timeout(PATIENCE):
            while not condition(self.text):
                assert self.process.returncode is None, self.text
                await asyncio.sleep(0.05)
        return self.text


class Newcomer:
    """Types blocks of the documents into terminals, in a folder of their own. Only the ports are others."""

    def __init__(self, folder: Path, resources: AsyncExitStack) -> None:
        self.folder = folder
        self.ports = {"8000": free_port(), "8080": free_port()}
        self._resources = resources
        self._terminals = 0

    def adapted(self, text: str) -> str:
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        # The tests run in an environment that is active already.
        return text.replace(". .venv/bin/activate\n", "")

    async def types(self, text: str) -> Terminal:
        return await self.runs("bash", "-euc", self.adapted(text))

    async def serves(self) -> Terminal:
        """The server of the tutorial, once it is listening."""
        settings = await self.types(block(TUTORIAL, "bash", "cat >"))
        assert await settings.process.wait() == 0, settings.text
        server = await self.types(block(TUTORIAL, "bash", "synkrone-socket serve"))
        await server.until(lambda text: "is listening on" in text)
        return server

    async def runs(self, *command: str) -> Terminal:
        self._terminals += 1
        output = self.folder / f"terminal-{self._terminals}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings: Mapping[str, str] = {"SYNKRONE_PORT": self.ports["8000"], "PATH": path, "PYTHONUNBUFFERED": "1"}
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.folder,
                env=environment(settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        self._resources.push_async_callback(_end, process)
        return Terminal(process, output)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
    await in_time(process.wait(), PATIENCE)


@asynccontextmanager
async def newcomer(folder: Path) -> AsyncIterator[Newcomer]:
    async with AsyncExitStack() as resources:
        yield Newcomer(folder, resources)
