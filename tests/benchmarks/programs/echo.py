"""The floor of the method: a server that hands on what it is posted, and checks, stores and knows nothing.

Clients speak to it as to a Socket.IO server over WebSocket; it believes whatever their tokens say. Backends post to
another address of it, one notification to one user a request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from typing import cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from entrypoints.event_loop import run
from tests.benchmarks.programs.control import Control

HOST = "127.0.0.1"

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USER = re.compile(rb'"user":"([^"]*)"')
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_HANDSHAKE = b'0{"sid":"0","upgrades":[],"pingInterval":3600000,"pingTimeout":20000,"maxPayload":65536}'

_clients: dict[bytes, WSTransport] = {}


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, _HANDSHAKE)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if payload.startswith(b"40"):
            _clients[_user_of(json.loads(payload[2:])["token"])] = transport
            transport.send(WSMsgType.TEXT, b'40{"sid":"0","pid":"0"}')
            transport.send(WSMsgType.TEXT, b'42["session.ready",{},"0"]')
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class Backend(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_HEAD_END)
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        user = _USER.search(body)
        assert user is not None
        _clients[user[1]].send(WSMsgType.TEXT, b'42["notification.new",%b,"0"]' % body)
        self._transport.write(_ANSWER)


def _user_of(token: str) -> bytes:
    claims = token.split(".")[1]
    subject: str = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    return subject.encode()


def _accept(_request: WSUpgradeRequest) -> WSListener:
    return Client()


async def main(**_unused: object) -> None:
    clients = await ws_create_server(_accept, HOST, 0, backlog=4096)
    backends = await asyncio.get_running_loop().create_server(Backend, HOST, 0)
    urls = [f"http://{HOST}:{server.sockets[0].getsockname()[1]}" for server in (clients, backends)]
    await Control().run(url=urls[0], publish_url=urls[1])


if __name__ == "__main__":
    run(main(**json.loads(sys.argv[1])))
