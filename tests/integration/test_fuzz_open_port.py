"""Bytes at random, and good ones changed at random, at the open port of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.crowd import HANDSHAKE, frame
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.processes import ONE_SECRET, ServerProcess, token
from tests.serving import eventually

SECONDS = 300.0 if os.environ.get("CAMPAIGN") == "full" else 4.0
AT_ONCE = 20
ANSWER_SECONDS = 0.05

PACKETS = [
    "2",
    "3",
    "2probe",
    "5",
    "6",
    "1",
    "40",
    '42["x"]',
    '427["inbox.list",{"limit":1}]',
    "41",
    '43["x"]',
    "4",
    "0",
]
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n3\r\n40x\r\n0\r\n\r\n"
REQUESTS = [
    "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n40x",
    "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n" + CHUNKED,
    "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n",
]


class Fuzzer:
    """Makes up conversations from a seed."""

    def __init__(self, seed: int, jwt: str) -> None:
        self._random = random.Random(seed)
        self._jwt = jwt

    def conversation(self) -> list[bytes]:
        """What to send, piece by piece."""
        makers: list[Callable[[], list[bytes]]] = [self._rubbish, self._request, self._websocket, self._websocket]
        pieces = self._random.choice(makers)()
        if self._random.random() < 0.3:
            whole = b"".join(pieces)
            cut = self._random.randrange(len(whole) + 1)
            pieces = [whole[:cut], whole[cut:]] if self._random.random() < 0.5 else [whole[:cut]]
        return pieces

    def _rubbish(self) -> list[bytes]:
        return [self._random.randbytes(self._random.choice([1, 10, 100, 5000]))]

    def _request(self) -> list[bytes]:
        return [self._changed(self._random.choice(REQUESTS).encode())]

    def _websocket(self) -> list[bytes]:
        pieces = [HANDSHAKE if self._random.random() < 0.9 else self._changed(HANDSHAKE)]
        if self._random.random() < 0.6:
            pieces.append(frame("40" + json.dumps({"token": self._jwt})))
        for _ in range(self._random.randrange(6)):
            packet = self._random.choice(PACKETS).encode()
            if self._random.random() < 0.5:
                packet = self._changed(packet)
            framed = frame(packet[:120], self._random.choice([1, 1, 1, 1, 2, 8, 9, 10, 0, 3]))
            pieces.append(framed if self._random.random() < 0.7 else self._changed(framed))
        return pieces

    def _changed(self, octets: bytes) -> bytes:
        changed = bytearray(octets)
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(changed) + 1)
            kind = self._random.randrange(4)
            if kind == 0 and at < len(changed):
                changed[at] = self._random.randrange(256)
            elif kind == 1:
                changed[at:at] = self._random.randbytes(self._random.choice([1, 2, 8, 300]))
            elif kind == 2:
                del changed[at : at + self._random.randrange(1, 5)]
            else:
                changed[at:at] = changed[self._random.randrange(len(changed) + 1) :]
        return bytes(changed)


async def converse(port: int, pieces: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await reader.read(65_536)
            except TimeoutError:
                pass
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


def descriptors(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def resident_kib(server: ServerProcess) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.campaign
@pytest.mark.gen_test(timeout=SECONDS + 60)
async def test_whatever_comes_at_the_port_the_server_serves_on(tmp_path: Path) -> None:
    settings = ONE_SECRET | {"SYNKRONE_LOG__LEVEL": "warning", "SYNKRONE_LOG__FORMAT": "json"}
    server = ServerProcess(tmp_path / "server", settings)
    try:
        server.wait_until_ready()
        before, memory = descriptors(server), resident_kib(server)
        seed = int(time.time())
        deadline = time.monotonic() + SECONDS
        conversations = 0

        async def one(number: int) -> None:
            nonlocal conversations
            fuzzer = Fuzzer(seed * AT_ONCE + number, token("42", ttl=36_000))
            while time.monotonic() < deadline:
                await converse(server.port, fuzzer.conversation())
                conversations += 1

        await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
        print(f"campaign open port: {conversations} conversations in {SECONDS:.0f} s, seed {seed}", flush=True)
        async with http_session() as session:
            await connected(await WebSocketPeer.open(session, server.url), token("42"))
        await eventually(lambda: descriptors(server) <= before + 1, within=20)
        assert resident_kib(server) < memory + 50_000
        lines = [json.loads(line) for line in server.log.splitlines()]
        assert [line for line in lines if line["level"] in ("error", "critical")] == []
        assert "Traceback" not in server.log
        assert len(lines) <= 2 * (SECONDS + 1)
        assert server.stop() == 0
    finally:
        server.kill()
