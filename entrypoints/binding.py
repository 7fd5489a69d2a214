"""The sockets that a server listens on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from adapters.http.binding import UNIX_PREFIX, bind
from entrypoints.settings import Settings, SettingsError

_TCP_MENDS: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "stop what listens there, or choose another port",
    errno.EACCES: "only root has ports below 1024: choose a higher one",
}
_UNIX_MENDS: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "stop what listens there, or name another path",
    errno.EACCES: f"let the user of this process ({os.geteuid()}) write its folder",
    errno.ENOENT: "make its folder first, or name another path",
    errno.EEXIST: "a file is in the way: move it, or name another path",
}


def open_port(settings: Settings) -> list[socket.socket]:
    """Sockets that listen where the settings say. Raises SettingsError."""
    try:
        return bind(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(settings.host, settings.port, error) from None


def cannot_listen(host: str, port: int, error: OSError | UnicodeError, section: str = "") -> SettingsError:
    """What to say of an error of ``bind``. ``section`` is that of the two settings, with a dot at its end."""
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
        mend = "name one that it has, or 0.0.0.0 for all of them"
        return SettingsError(f"{section}host: {host} is not an address of this machine: {mend}")
    is_unix = host.startswith(UNIX_PREFIX)
    setting = "host" if is_unix else "port"
    address = host if is_unix else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    number = error.errno or 0
    mend = _UNIX_MENDS.get(number, "name another path") if is_unix else _TCP_MENDS.get(number, "choose another port")
    # For a path that is too long there is a text alone.
    reason = error.strerror or str(error)
    return SettingsError(f"{section}{setting}: cannot listen on {address}: {reason}: {mend}")
