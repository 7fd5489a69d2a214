"""The answer to a handshake that is known without Tornado."""

from __future__ import annotations

import json

import pytest

from adapters.transport.socketio.engineio.routes import not_ready

HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_new_session_on_websocket_is_told_to_come_back() -> None:
    answer = not_ready(HEAD)
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert headers["Connection"] == "close"
    assert int(headers["Retry-After"]) > 0
    assert int(headers["Content-Length"]) == len(body)
    assert json.loads(body)["code"] == 3


@pytest.mark.parametrize(
    "head",
    [
        b"",
        HEAD[:-1],
        HEAD + b"G",
        HEAD.replace(b"GET", b"POST"),
        HEAD.replace(b"websocket HTTP", b"polling HTTP"),
        HEAD.replace(b"websocket HTTP", b"websocket&sid=abc HTTP"),
        HEAD.replace(b"EIO=4", b"EIO=3"),
        HEAD.replace(b"/socket.io/", b"/health/ready"),
        HEAD.replace(b"/socket.io/", b"/other/socket.io/"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
def test_anything_else_is_left_to_the_server(head: bytes) -> None:
    assert not_ready(head) is None
