"""What ends a server: signals, and whoever supervises it."""

from __future__ import annotations

import asyncio
import logging
import signal

_log = logging.getLogger("synkrone.server")


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP ask for an orderly end; a second SIGTERM or SIGINT for one at once.

    A SIGHUP that was ignored from the start, as ``nohup`` has it, stays ignored. SIGUSR2, which has the workers of a
    server started anew, does nothing to a server without any. Others are as the system has them: SIGQUIT ends the
    process where it stands, SIGPIPE is ignored.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """From here on they do not end the process."""
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.first: signal.Signals | None = None
        self.others_go_on = False
        """Whether the end is of this process alone, and others serve its port."""
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_request, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._stop_for, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR2, _log.warning, "SIGUSR2 is for a server with workers, and ignored")

    def ask(self) -> None:
        """For an orderly end, without a signal. Asked again, it does not hurry."""
        self.stop.set()

    def leave_to_others(self) -> None:
        """The same, where others serve the port meanwhile."""
        self.others_go_on = not self.stop.is_set()
        self.stop.set()

    def ask_at_once(self) -> None:
        """For an end without a drain."""
        self.stop.set()
        self.hurry.set()

    def _on_request(self, number: signal.Signals) -> None:
        if self._asked:
            self.hurry.set()
        self._asked = True
        self._stop_for(number)

    def _stop_for(self, number: signal.Signals) -> None:
        # SIGHUP never hurries, nor is it the first of two: a terminal that goes sends several, and systemd
        # (SendSIGHUP=) one beside its SIGTERM, in any order.
        if self.first is None:
            self.first = number
        self.stop.set()
