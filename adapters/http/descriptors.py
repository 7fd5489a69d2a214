"""How many connections the system lets a process have."""

from __future__ import annotations

import contextlib
import logging
import resource
import sys

RESERVED_DESCRIPTORS = 64
"""For files, the store, outgoing requests and the loop itself."""

_log = logging.getLogger("synkrone.server")


def raise_descriptor_limit() -> None:
    """As far as the system allows without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems say that there is no limit, and refuse to set that.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def affordable_connections(*, wanted: int) -> int:
    """How many connections the limit of descriptors has room for; warns where they are fewer than wanted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    affordable = max(1, soft - RESERVED_DESCRIPTORS) if soft != resource.RLIM_INFINITY else sys.maxsize
    if affordable < wanted:
        _log.warning("too few descriptors", extra={"connections": affordable, "wanted": wanted, "limit": soft})
    return affordable
