"""Sockets that listen, and where."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNIX_PREFIX = "unix:"
UNIX_MODE = 0o660
BACKLOG = 4096
"""Connections that wait to be accepted: a mass return must not wait for SYNs to be sent again."""

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen, on TCP or at ``unix:/path``, where the socket of a server that was killed is replaced.

    Raises OSError.
    """
    if not host.startswith(UNIX_PREFIX):
        return _bind_tcp(host, port)
    path = Path(host.removeprefix(UNIX_PREFIX))
    if _is_in_use(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    if path.exists() and not path.is_socket():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(UNIX_MODE)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return [listening]


def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    """At every address of the host that this machine has, on one port.

    Raises OSError, and leaves nothing open then, as Tornado's own function does.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        at = listening[0].getsockname()[1] if listening else port
        try:
            listening.append(_listen(family, (address[0], at, *address[2:])))
        except OSError as error:
            if error.errno not in _NO_SUCH_ADDRESS:
                for sock in listening:
                    sock.close()
                raise
            missing = error
    if not listening and missing is not None:
        raise missing
    return listening


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _is_in_use(path: Path) -> bool:
    """Whether somebody listens there. Raises OSError where that cannot be known, and the file is not ours to remove."""
    with socket.socket(socket.AF_UNIX) as probe:
        # It would wait for a server whose backlog is full.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
    return True


def is_unix(sock: socket.socket) -> bool:
    """Whether its addresses are paths."""
    return sock.family == socket.AF_UNIX


def address_of(sock: socket.socket, *, scheme: str) -> str:
    """The URL of a listening socket, or ``unix:/path``."""
    if is_unix(sock):
        return f"{UNIX_PREFIX}{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def close_bound(sockets: Iterable[socket.socket]) -> None:
    """Close what ``bind`` has opened, and leave no path of a Unix socket behind."""
    for listening in sockets:
        if is_unix(listening):
            # Before it is closed: from then on the next server may put its own there.
            Path(listening.getsockname()).unlink(missing_ok=True)
        listening.close()
