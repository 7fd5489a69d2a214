"""At the forwarder: setting up a link to another node."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from adapters.cluster.frames import NONCE_BYTES, LinkKeys, link_keys, secret_name
from adapters.cluster.members import Member
from adapters.cluster.served import LINK_PATH, NODE_FIELD, NONCE_FIELD, PROTOCOL, SECRETS_FIELD
from adapters.http.socket_stream import SocketStream
from adapters.http.streams import Stream
from adapters.http.tls_stream import TlsStream
from adapters.http.turns import Turns

SILENCE_SECONDS: Final = 10
PROBE_SECONDS: Final = 5
PROBES: Final = 3
"""A node whose machine is gone, and has said nothing of it, is noticed after 25 s."""

_HEAD_BYTES: Final = 4096
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 101 [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?"
    + NONCE_FIELD.encode()
    + rb": ([^\r\n]+)\r\n"
    + SECRETS_FIELD.encode()
    + rb": ([0-9a-f ]+)\r\n"
)
_SIGNING: Final = 2
"""The secret that signs, and the one that does before or after it. Older ones others may have kept."""


class Unreachable(Exception):
    """The other node cannot be reached, or is another by now."""


class NewLink(NamedTuple):
    stream: Stream
    keys: LinkKeys


class LinkMaker:
    """Sets up links to other nodes."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._trust: ssl.SSLContext | None = None

    async def set_up(self, to: Member, secrets: Sequence[bytes]) -> NewLink:
        """Tries twice, but for a node that is gone: nothing has been asked over it yet. Raises Unreachable.

        The first of the secrets signs that the other node has: one that has just come has no former one.

        Whoever waits for it has to bound the time.
        """
        try:
            return await self._try(to, secrets)
        except _Broken:
            try:
                return await self._try(to, secrets)
            except _Broken as error:
                raise Unreachable(str(error)) from None

    async def _try(self, to: Member, secrets: Sequence[bytes]) -> NewLink:
        nonce = os.urandom(NONCE_BYTES)
        try:
            stream, head = await self._upgraded(to, nonce)
        except (ConnectionRefusedError, UnsatisfiableReadError, ValueError) as error:
            raise Unreachable(str(error)) from None
        except (OSError, StreamClosedError) as error:
            raise _Broken(str(error)) from None
        found = _HEAD.match(head)
        if found is None:
            stream.close()
            raise Unreachable("the node at that address is another, or of another version")
        try:
            return NewLink(stream, _keys(to, secrets, nonce, *found.groups()))
        except Unreachable:
            stream.close()
            raise

    async def _upgraded(self, to: Member, nonce: bytes) -> tuple[Stream, bytes]:
        url = urlsplit(to.address)
        host, port = url.hostname or "", url.port or 0
        request = (
            f"GET {LINK_PATH} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n"
            f"{NODE_FIELD}: {to.boot}\r\n{NONCE_FIELD}: {base64.b64encode(nonce).decode()}\r\n\r\n"
        ).encode()
        sock = await _connected(host, port)
        try:
            if url.scheme == "https":
                return await self._over_tls(sock, host, request)
            head = await _exchanged(sock, request)
            return SocketStream(sock, self._turns), head
        except BaseException:
            sock.close()
            raise

    async def _over_tls(self, sock: socket.socket, host: str, request: bytes) -> tuple[Stream, bytes]:
        if self._trust is None:
            self._trust = ssl.create_default_context()
        secured = await IOStream(sock).start_tls(server_side=False, ssl_options=self._trust, server_hostname=host)
        try:
            await secured.write(request)
            head = await secured.read_until(b"\r\n\r\n", max_bytes=_HEAD_BYTES)
        except BaseException:
            secured.close()
            raise
        return TlsStream(secured, self._turns), head


class _Broken(Exception):
    """The connection broke while it was set up."""


def _keys(to: Member, secrets: Sequence[bytes], nonce: bytes, its_nonce: bytes, its_secrets: bytes) -> LinkKeys:
    """Raises Unreachable."""
    names = its_secrets.decode().split()
    secret = next((one for one in secrets[:_SIGNING] if secret_name(one) in names), None)
    if secret is None:
        raise Unreachable("the node at that address has another secret")
    try:
        return link_keys(secret, to.boot, nonce, base64.b64decode(its_nonce))
    except binascii.Error:
        raise Unreachable("the node at that address answers with what is no nonce") from None


async def _connected(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            probe_when_silent(sock)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def probe_when_silent(sock: socket.socket) -> None:
    """Have its end noticed though nobody says so; of one that listens, that of all that it accepts."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENCE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", 1000 * (SILENCE_SECONDS + PROBES * PROBE_SECONDS)),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _exchanged(sock: socket.socket, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Behind the head nothing comes before the first frame of ours.
        octets = await loop.sock_recv(sock, _HEAD_BYTES - len(head))
        if not octets:
            raise ConnectionResetError("it has closed the connection")
        head += octets
    return head
