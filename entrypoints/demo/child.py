"""The demo's server: ``serve`` in a process of its own, which is started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
AWAY_SECONDS: Final = 1.5
LOG_LINES: Final = 20
LINE_LENGTH: Final = 500

_LISTENING: Final = re.compile(r"synkrone-socket is listening on http://127\.0\.0\.1:(\d+)")


class State(Enum):
    STARTING = "starting"
    UP = "up"
    AWAY = "away"


class CannotStart(Exception):
    """The server does not start. The message says why, in the server's own words where it had any."""


class ServerChild:
    """``port`` stays the same over restarts. ``fault`` is why the last start failed, or None."""

    def __init__(self, settings: Mapping[str, str], *, port: int = 0) -> None:
        """``settings`` are ``SYNKRONE_…`` variables; those of this process do not count. Port 0: any free one."""
        self.port = port
        self.state = State.STARTING
        self.fault: str | None = None
        self.starts = 0
        self._settings = dict(settings)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def open_port(self) -> int | None:
        """Where it takes connections, or None while it takes none."""
        return self.port if self.state is State.UP else None

    def set(self, name: str, value: str) -> None:
        """Of the settings, from the next start on."""
        self._settings[name] = value

    async def start(self) -> None:
        """Return when it listens. Raises CannotStart."""
        self.state = State.STARTING
        self._log.clear()
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "entrypoints.demo.server"),
            env=self._environment(),
            # By its end the server notices that the demo has gone.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the demo, which ends its server itself.
            start_new_session=True,
        )
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(process, listening))
        await asyncio.wait((listening, self._reading), timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await self.stop()
            self.state = State.AWAY
            raise CannotStart("\n".join(self._log) or f"it did not listen within {START_SECONDS:.0f} s")
        self.port = listening.result()
        self.state = State.UP
        self.fault = None
        self.starts += 1

    async def keep_running(self) -> None:
        """Start it again whenever it has ended, until cancelled. It has to have been started once."""
        while True:
            if self._process is not None:
                await self._process.wait()
            self.state = State.AWAY
            # So long that one can see it.
            await asyncio.sleep(AWAY_SECONDS)
            try:
                await self.start()
            except CannotStart as error:
                self.fault = str(error)

    def kill(self) -> bool:
        """With SIGKILL, as a crash would; whether there was something to kill."""
        if self.state is not State.UP or self._process is None or self._process.returncode is not None:
            return False
        self.state = State.AWAY
        self._process.kill()
        return True

    async def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        process, reading = self._process, self._reading
        if process is None:
            return
        self.state = State.AWAY
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading is not None:
            await asyncio.wait((reading,))

    async def _read(self, process: asyncio.subprocess.Process, listening: asyncio.Future[int]) -> None:
        """What it prints: the port where it listens, and the newest lines, in case it ends."""
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        rest = b""
        while octets := await process.stdout.read(4096):
            *lines, rest = (rest + octets).split(b"\n")
            rest = rest[:LINE_LENGTH]
            for line in lines:
                text = line.decode(errors="replace")[:LINE_LENGTH]
                self._log.append(text)
                found = _LISTENING.search(text)
                if found is not None and not listening.done():
                    listening.set_result(int(found[1]))

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNKRONE_")}
        return inherited | self._settings | {"SYNKRONE_HOST": "127.0.0.1", "SYNKRONE_PORT": str(self.port)}
