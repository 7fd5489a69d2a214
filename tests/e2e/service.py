"""A server as systemd runs it: sockets that are held for it, and a start that is over once it says so."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.processes import ONE_SECRET, environment

SERVE = (sys.executable, "-m", "entrypoints.cli", "serve")
LAUNCHER = Path(__file__).with_name("activated.py")
START_SECONDS = 60.0
STOP_SECONDS = 40.0
BACKLOG = 4096


class Service:
    """``with Service(folder) as service``: ``public`` is the address of a socket that outlives every process."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, *, internal: bool = False) -> None:
        """``internal``: there is a socket for the internal listener, too."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._settings = ONE_SECRET | dict(settings or {})
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes]
        self._public = self._held()
        self._internal = self._held() if internal else None
        self._manager = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._manager.bind(str(folder / "notify"))
        self._manager.setblocking(False)
        self.told: list[str] = []
        """What each process said of itself, in order."""

    def _held(self) -> socket.socket:
        held = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        return self._stack.enter_context(held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._public.getsockname()[1]}"

    @property
    def internal_url(self) -> str:
        assert self._internal is not None
        return f"http://127.0.0.1:{self._internal.getsockname()[1]}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    async def start(self) -> None:
        """Return once it is ready, as ``Type=notify`` has it."""
        held = {self._public.fileno(): "public"}
        if self._internal is not None:
            held[self._internal.fileno()] = "internal"
        given = ",".join(f"{descriptor}={name}" for descriptor, name in held.items())
        self._launch([sys.executable, str(LAUNCHER), given, *SERVE], tuple(held))
        await self.says("READY=1", START_SECONDS)

    def _launch(self, command: Sequence[str], descriptors: Sequence[int]) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment(self._settings | {"NOTIFY_SOCKET": str(self._folder / "notify")}),
                pass_fds=tuple(descriptors),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def says(self, state: str, within: float) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within):
            while state not in (lines := (await loop.sock_recv(self._manager, 4096)).decode().splitlines()):
                self.told += lines
            self.told += lines

    async def stop(self) -> None:
        """SIGTERM, and wait until it has ended in good order."""
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        assert code == 0, self.log

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        if hasattr(self, "_process") and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
