"""Files that settings name: read without waiting for ever, whatever stands in their place."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 4_194_304
"""More than any file of settings, keys or certificates has."""
PIPE_SECONDS: Final = 5.0
"""So long whoever is to write into a pipe may take: one that was read before has nobody any more."""

_LOOK_SECONDS: Final = 0.02


def read_file(path: Path, *, pipe_seconds: float = PIPE_SECONDS) -> bytes:
    """Raises OSError, also for a path that can be none, a file that has no end, and a pipe that brings nothing."""
    try:
        # Whoever opens a pipe without it waits until somebody else has opened its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:
        raise OSError(errno.EINVAL, "is no path") from None
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return _bounded(_read(descriptor))
        return _read_stream(descriptor, time.monotonic() + pipe_seconds)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    octets = bytearray()
    while len(octets) <= MOST_BYTES and (chunk := os.read(descriptor, MOST_BYTES)):
        octets += chunk
    return bytes(octets)


def _read_stream(descriptor: int, until: float) -> bytes:
    """To its end. Of a device an end at once counts, as that of ``/dev/null`` does."""
    octets = bytearray()
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    while len(octets) <= MOST_BYTES:
        try:
            chunk = os.read(descriptor, MOST_BYTES)
        except BlockingIOError:
            chunk = None
        if chunk:
            octets += chunk
        elif chunk is not None and (octets or not is_pipe):
            break
        elif time.monotonic() >= until:
            raise OSError(errno.ETIMEDOUT, "nobody writes into it")
        else:
            time.sleep(_LOOK_SECONDS)
    return _bounded(bytes(octets))


def _bounded(octets: bytes) -> bytes:
    if len(octets) > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return octets
