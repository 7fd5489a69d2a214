"""Telling whoever supervises this process how it fares, as sd_notify(3) has it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Self

_log = logging.getLogger("synkrone.server")

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """``address`` is where it listens, the path of a Unix socket or ``@`` and an abstract name; None: nobody is told.

    It expects a sign of life every ``watchdog`` seconds, where that is given.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = address
        self._watchdog = watchdog
        self._is_heard = True

    @classmethod
    def taken(cls, environ: MutableMapping[str, str], process_id: int) -> Self:
        """The one of ``NOTIFY_SOCKET``. The variables are taken away: what this process starts is not to use them."""
        address, microseconds, watched = (environ.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return cls()
        is_watched = microseconds.isascii() and microseconds.isdigit() and watched in ("", str(process_id))
        return cls(address, int(microseconds) / 1_000_000 if is_watched and int(microseconds) else None)

    def ready(self, status: str) -> None:
        """The start, or a reload, is over. ``status`` is one line, for people."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, status: str) -> None:
        self._tell(f"STOPPING=1\nSTATUS={status}")

    async def watch(self) -> None:
        """Give signs of life, as long as the loop turns; return at once where none is expected."""
        while self._watchdog is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 2)

    def _tell(self, state: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                # A manager that does not read is no reason to stand still.
                line.setblocking(False)
                line.sendto(state.encode(), address)
        except OSError as error:
            if self._is_heard:
                _log.warning("the service manager cannot be told", extra={"error": error.strerror})
            self._is_heard = False
        else:
            self._is_heard = True
