"""The sockets that a server listens on."""

from __future__ import annotations

import socket

from adapters.http.listening import bind
from entrypoints.settings import Settings, SettingsError


def open_port(settings: Settings) -> list[socket.socket]:
    """Sockets that listen where the settings say. Raises SettingsError."""
    try:
        return bind(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(settings, error) from None


def cannot_listen(settings: Settings, error: OSError | UnicodeError) -> SettingsError:
    """What to say of an error of ``bind``."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return SettingsError(f"host: {settings.host} is not an address of this machine")
    setting = "host" if settings.is_unix else "port"
    # For a path that is too long there is a text alone.
    reason = error.strerror or str(error)
    return SettingsError(f"{setting}: cannot listen on {settings.address}: {reason}")
