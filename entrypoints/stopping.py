"""What ends a server: signals, and whoever supervises it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

_log = logging.getLogger("synkrone.server")


class StopSignals:
    """SIGTERM and SIGINT ask for an orderly end; a second one for one at once.

    SIGHUP asks for one too where its terminal has gone. Else it ``reloads``: has the settings read again. One that was
    ignored from the start, as ``nohup`` has it, stays ignored. SIGUSR2, which has the workers of a server started anew,
    does nothing to a server without any. Others are as the system has them: SIGQUIT ends the process where it stands,
    SIGPIPE is ignored.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, reloads: bool = False) -> None:
        """From here on they do not end the process. Where it does not ``reload``, SIGHUP is an end in any case."""
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reload = asyncio.Event()
        """Whoever reads the settings again clears it first."""
        self._reloads = reloads
        self._had_terminal = _has_terminal()
        self.first: signal.Signals | None = None
        self.others_go_on = False
        """Whether the end is of this process alone, and others serve its port."""
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_request, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR2, _log.warning, "SIGUSR2 is for a server with workers, and ignored")

    def ask(self) -> None:
        """For an orderly end, without a signal. Asked again, it does not hurry."""
        self.stop.set()

    def ask_to_reload(self) -> None:
        """The settings, without a signal."""
        self.reload.set()

    def leave_to_others(self) -> None:
        """The same, where others serve the port meanwhile."""
        self.others_go_on = not self.stop.is_set()
        self.stop.set()

    def ask_at_once(self) -> None:
        """For an end without a drain."""
        self.stop.set()
        self.hurry.set()

    def _on_hangup(self) -> None:
        if self._reloads and not (self._had_terminal and not _has_terminal()):
            self.reload.set()
        else:
            self._stop_for(signal.SIGHUP)

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


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal: it loses it when that is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
