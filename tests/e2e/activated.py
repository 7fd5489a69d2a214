"""Starts a command with sockets as systemd does: ``python activated.py DESCRIPTOR[=NAME],… COMMAND…``."""

from __future__ import annotations

import fcntl
import os
import sys

FIRST_DESCRIPTOR = 3
OUT_OF_THE_WAY = 100


def main() -> None:
    given = [each.partition("=") for each in sys.argv[1].split(",")]
    # None of them is to be overwritten by another before it has come to its place.
    moved = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY) for descriptor, _, _ in given]
    for place, descriptor in enumerate(moved, start=FIRST_DESCRIPTOR):
        os.dup2(descriptor, place)
    environ = os.environ | {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
    if any(name for _, _, name in given):
        environ["LISTEN_FDNAMES"] = ":".join(name or "unknown" for _, _, name in given)
    os.execvpe(sys.argv[2], sys.argv[2:], environ)  # noqa: S606 (a process of its own is what it is for)


if __name__ == "__main__":
    main()
