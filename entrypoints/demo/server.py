"""The process of the demo's server: ``serve``, which ends when the demo has gone, however that ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from entrypoints import cli
from entrypoints.demo.child import STOP_SECONDS


def main() -> int:
    """The exit code of ``serve``. The settings file of this folder, if there is one, is another server's."""
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    return cli.main(["serve", "--config", os.devnull])


def _end_with_the_demo() -> None:
    """The demo holds the other end of standard input and writes nothing: the system closes it, also after a kill."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
