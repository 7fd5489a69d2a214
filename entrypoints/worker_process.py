"""A worker as the supervising process has it: a process, and the line to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from entrypoints.worker import RELOADED, VARIABLE, Place

_log = logging.getLogger("synkrone.workers")


class WorkerEnded(Exception):
    """It has ended before it served."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """One process. ``number`` names it in the log. To be made in a running loop."""

    def __init__(self, number: int, sockets: Sequence[socket.socket], reloaded: Callable[[Worker], None]) -> None:
        """``reloaded`` is called where it was had to read the settings again."""
        self.number = number
        self._reloaded = reloaded
        self.started_at = time.monotonic()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        place = Place(number, theirs.fileno(), [sock.fileno() for sock in sockets])
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (it is this process's own command)
                _own_command(),
                env=os.environ | {VARIABLE: place.written()},
                stdin=subprocess.DEVNULL,
                pass_fds=(place.line, *place.sockets),
            )
        loop = asyncio.get_running_loop()
        self._serving: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        """Its exit code, once it has one; below 0 for a signal."""
        self._listening = loop.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_serving(self) -> bool:
        return self._serving.done() and not self.ended.done()

    async def serves(self) -> None:
        """Wait until it does. Raises WorkerEnded."""
        await asyncio.wait((self._serving, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if self.ended.done():
            raise WorkerEnded(self.ended.result())

    def tell(self, order: bytes) -> None:
        # One that has ended is told in vain.
        with contextlib.suppress(OSError):
            self._line.send(order)

    async def ends(self, seconds: float) -> None:
        """Wait until it has ended, and have it killed where it has not after that time."""
        await asyncio.wait((self.ended,), timeout=seconds)
        if not self.ended.done():
            _log.error("worker does not end, and is killed", extra={"worker": self.number})
            self._process.kill()
            await asyncio.wait((self.ended,))

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        # Nothing but its end breaks the line.
        with contextlib.suppress(OSError):
            while said := await loop.sock_recv(self._line, 1):
                if said == RELOADED:
                    self._reloaded(self)
                elif not self._serving.done():
                    self._serving.set_result(None)
        self._line.close()
        self.ended.set_result(await asyncio.to_thread(self._process.wait))


def _own_command() -> list[str]:
    """What this process was started with: whoever has added adapters has them in the workers too."""
    return [sys.executable, *sys.orig_argv[1:]]
