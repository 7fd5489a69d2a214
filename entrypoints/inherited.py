"""Listening sockets that whoever started this process has opened for it, as sd_listen_fds(3) has it."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from entrypoints.settings import SettingsError

FIRST_DESCRIPTOR = 3
INTERNAL: Final = "internal"
"""The name of a socket (``FileDescriptorName=``) that is for the internal listener. All others are for clients."""

_DIGITS_MAX: Final = 6

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class Inherited:
    """Sockets that go on after this process. Where there are none of a kind, those of the settings are opened."""

    public: Sequence[socket.socket] = ()
    internal: Sequence[socket.socket] = ()


def inherited_sockets(environ: MutableMapping[str, str], process_id: int) -> Inherited:
    """Those of ``LISTEN_FDS``, where ``LISTEN_PID`` is this process; else none. The variables are taken away, and
    no program that this one starts gets the sockets by itself.

    Raises SettingsError for what is no listening socket.
    """
    given = {name: environ.pop(name, "") for name in _VARIABLES}
    if given["LISTEN_PID"] != str(process_id):
        return Inherited()
    number = given["LISTEN_FDS"]
    if not number.isascii() or not number.isdigit():
        raise SettingsError(f"LISTEN_FDS: must be a number, not {number!r}")
    if len(number) > _DIGITS_MAX:
        raise SettingsError("LISTEN_FDS: is more than a process can have open")
    names = given["LISTEN_FDNAMES"].split(":") if given["LISTEN_FDNAMES"] else [""] * int(number)
    if len(names) != int(number):
        raise SettingsError(f"LISTEN_FDNAMES: names {len(names)} sockets, and there are {number}")
    sockets = opened(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(names)))
    return Inherited(
        [sock for sock, name in zip(sockets, names, strict=True) if name != INTERNAL],
        [sock for sock, name in zip(sockets, names, strict=True) if name == INTERNAL],
    )


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
