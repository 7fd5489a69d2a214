"""Starts a command with sockets as systemd does: ``python activated.py DESCRIPTOR COMMAND…``."""

from __future__ import annotations

import os
import sys

FIRST_DESCRIPTOR = 3


def main() -> None:
    os.dup2(int(sys.argv[1]), FIRST_DESCRIPTOR)
    environ = os.environ | {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execvpe(sys.argv[2], sys.argv[2:], environ)  # noqa: S606 (a process of its own is what it is for)


if __name__ == "__main__":
    main()
