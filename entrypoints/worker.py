"""One of several workers: a server on sockets of the process that supervises it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Self

from entrypoints.inherited import Inherited, opened
from entrypoints.reloading import Reloading
from entrypoints.server import Server, open_server
from entrypoints.serving import serve_until_stopped
from entrypoints.settings import Settings
from entrypoints.settings_sources import Sources
from entrypoints.stopping import StopSignals

VARIABLE = "WORKER_OF_SYNKRONE_SOCKET"
"""Of the environment of a worker: what it is given."""

SERVING = b"v"
"""What a worker says once it serves."""

RELOADED = b"r"
"""What it says where somebody has had it read the settings again, and the others are to do so too."""

STOP, LEAVE, HURRY, RELOAD = b"s", b"l", b"h", b"r"
"""What it is told: to drain with all others, to drain while others go on, to end at once, and to read the settings
again."""

READY_LOOK_SECONDS = 0.05
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given: its number, and the descriptors of its line to the supervising process and of the
    listening sockets."""

    number: int
    line: int
    sockets: Sequence[int]

    def written(self) -> str:
        return ",".join(map(str, (self.number, self.line, *self.sockets)))

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self | None:
        """Out of the environment; None where this process is no worker."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        number, line, *sockets = map(int, text.split(","))
        return cls(number, line, sockets)


def settings_of(settings: Settings, number: int) -> Settings:
    """Those of one worker, whose internal listener has a port of its own.

    Without a port in the settings it is a free one, which this machine alone reaches. Else the first worker has that
    port, and each other one the next.
    """
    if settings.internal.port is None:
        internal = settings.internal.model_copy(update={"host": "127.0.0.1", "port": 0})
        return settings.model_copy(update={"internal": internal})
    if settings.internal.port == 0:
        return settings
    internal = settings.internal.model_copy(update={"port": settings.internal.port + number - 1})
    node = settings.node
    if node.address is not None:
        host, _, port = node.address.rpartition(":")
        node = node.model_copy(update={"address": f"{host}:{int(port) + number - 1}"})
    return settings.model_copy(update={"internal": internal, "node": node})


class SupervisorLine:
    """To the process that started this one. It breaks when that ends, also by a kill, and this one ends too."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)

    def obey(self, loop: asyncio.AbstractEventLoop, signals: StopSignals) -> None:
        """From here on. In a thread, as it has to end a process whose loop hangs."""
        orders = {
            STOP: signals.ask,
            LEAVE: signals.leave_to_others,
            HURRY: signals.ask_at_once,
            RELOAD: signals.ask_to_reload,
        }
        threading.Thread(target=self._listen, args=(loop, orders), daemon=True).start()

    def say(self, what: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(what)

    def _listen(self, loop: asyncio.AbstractEventLoop, orders: Mapping[bytes, Callable[[], None]]) -> None:
        # The loop is closed once the server has ended, and the process is about to.
        with contextlib.suppress(RuntimeError):
            while order := self._next_order():
                loop.call_soon_threadsafe(orders[order])
            loop.call_soon_threadsafe(orders[HURRY])
        time.sleep(END_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    def _next_order(self) -> bytes:
        try:
            return self._socket.recv(1)
        except OSError:
            return b""


async def work(place: Place, settings: Settings, sources: Sources) -> int:
    """Serve until told to end, or until the supervising process is gone. Returns the exit code."""
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop, reloads=True)
    line = SupervisorLine(place.line)
    line.obey(loop, signals)

    async def say_when_ready(server: Server) -> None:
        while not await server.is_ready():  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(READY_LOOK_SECONDS)
        line.say(SERVING)

    server = open_server(settings, Inherited(opened(place.sockets)))
    reloading = Reloading(
        server,
        sources,
        adjust=lambda settings: settings_of(settings, place.number),
        pass_on=lambda: line.say(RELOADED),
    )
    return await serve_until_stopped(
        server, sources, signals, reloading, lambda server: server.run_beside(say_when_ready(server))
    )
