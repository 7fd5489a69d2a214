"""A client of plain blocking sockets, for a thread of its own: it sends any octets, and keeps none of them."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PATIENCE = 10.0
NO_MASK = bytes(4)
"""With it, what is sent over a WebSocket is on the wire as it is."""

TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89


def frame(data: bytes, first: int = TEXT) -> bytes:
    """A frame of a WebSocket's client; ``first`` is its first octet."""
    if len(data) < 126:
        header = bytes((first, 0x80 | len(data)))
    elif len(data) < 65_536:
        header = bytes((first, 0xFE)) + len(data).to_bytes(2, "big")
    else:
        header = bytes((first, 0xFF)) + len(data).to_bytes(8, "big")
    return header + NO_MASK + data


class Line:
    """A connection to a server."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def send(self, octets: bytes) -> None:
        """As far as the server takes it."""
        try:
            self._sock.sendall(octets)
        except OSError:
            return

    def read(self) -> bytes:
        """Some octets; none at the end, however it came."""
        try:
            return self._sock.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return b""

    def read_to(self, *marks: bytes) -> bytes:
        """Everything up to and with the first of the marks that comes, or up to the end."""
        while not any(mark in self._buffer for mark in marks):
            octets = self.read()
            if not octets:
                whole, self._buffer = self._buffer, b""
                return whole
            self._buffer += octets
        end = min(self._buffer.index(mark) + len(mark) for mark in marks if mark in self._buffer)
        found, self._buffer = self._buffer[:end], self._buffer[end:]
        return found

    def read_to_end(self) -> bytes:
        received, self._buffer = self._buffer, b""
        while octets := self.read():
            received += octets
        return received

    def finish(self) -> None:
        """FIN: nothing more is sent. Under TLS too nothing is said before it."""
        socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class RawClient:
    """Opens lines to the server at ``url``, whoever it says it is."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context()
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    @contextmanager
    def line(self, first: bytes = b"") -> Iterator[Line]:
        with socket.create_connection(self._address, PATIENCE) as bare:
            sock = self._tls.wrap_socket(bare) if self._tls is not None else bare
            with sock:
                line = Line(sock)
                line.send(first)
                yield line

    @contextmanager
    def websocket(self, sid: str | None = None) -> Iterator[Line]:
        """Opened, with the first packet read where the session is new."""
        query = "/socket.io/?EIO=4&transport=websocket" + (f"&sid={sid}" if sid is not None else "")
        handshake = (
            f"GET {query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        with self.line(handshake.encode()) as line:
            line.read_to(b"\r\n\r\n")
            if sid is None:
                line.read_to(b"}")
            yield line

    @contextmanager
    def connected(self, token: str) -> Iterator[Line]:
        """A WebSocket whose client has its ``session.ready``."""
        with self.websocket() as line:
            line.send(frame(b"40" + json.dumps({"token": token}).encode()))
            line.read_to(b'"session.ready"')
            yield line

    def request(self, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
        """The whole answer to one request on a line of its own."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "Connection: close"]
        with self.line("\r\n".join([*lines, "\r\n"]).encode() + body) as line:
            return line.read_to_end()

    def polling(self) -> str:
        """The path of a new session that polls."""
        path = "/socket.io/?EIO=4&transport=polling"
        answer = self.request("GET", path)
        return f"{path}&sid={json.loads(answer[answer.index(b'{') :])['sid']}"

    def connected_polling(self, token: str) -> str:
        """The path of a session whose client has its ``session.ready``."""
        path = self.polling()
        self.request("POST", path, b"40" + json.dumps({"token": token}).encode())
        while b'"session.ready"' not in self.request("GET", path):
            pass
        return path
