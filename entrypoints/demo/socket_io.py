"""Where the demo's page gets the stock Socket.IO client."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from entrypoints.settings import SettingsError

OWN_PATH: Final = "/socket.io.js"


@dataclass(frozen=True, slots=True)
class SocketIoClient:
    """A script that defines ``io``. ``integrity`` is what it has to match (W3C SRI); ``file``: its octets, if ours."""

    url: str
    integrity: str | None
    file: bytes | None = None


PINNED: Final = SocketIoClient(
    "https://cdn.socket.io/4.8.1/socket.io.min.js",
    # Of dist/socket.io.min.js in the package socket.io-client 4.8.1 of npm, which is the same file.
    "sha384-mkQ3/7FUtcGyoppY6bz/PORYoGqOl7/aSUMn2ymDOJcapfS6PHqxhRTMh1RR0Q6+",
)


def socket_io_client(where: str | None) -> SocketIoClient:
    """The pinned one, or that at a URL or in a file. Raises SettingsError."""
    if where is None:
        return PINNED
    parts = urlsplit(where)
    if parts.scheme in ("http", "https"):
        # It becomes part of a Content-Security-Policy, in which these would begin something else.
        if not parts.netloc or any(character in where for character in " ;,\t\r\n"):
            raise SettingsError(f"--socket-io-client: {where!r} is no address of a script")
        return SocketIoClient(where, integrity=None)
    try:
        octets = Path(where).read_bytes()
    except OSError as error:
        raise SettingsError(f"--socket-io-client: cannot read {where}: {error.strerror}") from None
    digest = base64.b64encode(hashlib.sha384(octets).digest()).decode()
    return SocketIoClient(OWN_PATH, f"sha384-{digest}", octets)
