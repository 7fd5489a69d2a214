"""Listening sockets that whoever started this process has opened for it, as sd_listen_fds(3) has it."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping, Sequence

from entrypoints.settings import SettingsError

FIRST_DESCRIPTOR = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited_sockets(environ: MutableMapping[str, str], process_id: int) -> list[socket.socket]:
    """Those of ``LISTEN_FDS``, where ``LISTEN_PID`` is this process; else none. The variables are taken away, and
    no program that this one starts gets the sockets by itself.

    Raises SettingsError for what is no listening socket.
    """
    given = {name: environ.pop(name, "") for name in _VARIABLES}
    if given["LISTEN_PID"] != str(process_id):
        return []
    number = given["LISTEN_FDS"]
    if not number.isascii() or not number.isdigit():
        raise SettingsError(f"LISTEN_FDS: must be a number, not {number!r}")
    return opened(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(number)))


def opened(descriptors: Sequence[int]) -> list[socket.socket]:
    """The sockets behind descriptors of this process. Raises SettingsError for what is no listening socket."""
    return [_listening(descriptor) for descriptor in descriptors]


def _listening(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise SettingsError(f"LISTEN_FDS: descriptor {descriptor} does not listen for connections")
    sock.set_inheritable(False)
    return sock
