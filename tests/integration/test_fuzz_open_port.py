"""Bytes at random, and good ones changed at random, at the open port of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.campaigns.crowd import HANDSHAKE, frame
from tests.engine_io import WebSocketPeer, connected, event, http_session
from tests.processes import ONE_SECRET, ServerProcess, token
from tests.serving import eventually

SECONDS = 300.0 if os.environ.get("CAMPAIGN") == "full" else 3.0
AT_ONCE = 20
ANSWER_SECONDS = 0.05
MESSAGE_BYTES = 65_536
PING_SECONDS = 1
"""Those who only poll are gone after two of these."""

SETTINGS = ONE_SECRET | {
    "SYNKRONE_LOG__LEVEL": "info",
    "SYNKRONE_LOG__FORMAT": "json",
    "SYNKRONE_LIMITS__PING_INTERVAL": str(PING_SECONDS),
    "SYNKRONE_LIMITS__PING_TIMEOUT": str(PING_SECONDS),
    "SYNKRONE_LIMITS__CONNECT_TIMEOUT": "2",
}

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
    "bAQID",
    '451-["x",{"_placeholder":true,"num":0}]',
]
POLLING = "/socket.io/?EIO=4&transport=polling"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n3\r\n40x\r\n0\r\n\r\n"
REQUESTS = [
    "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n40x",
    "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n" + CHUNKED,
    "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n",
]
QUERIES = [
    "EIO=4&transport=polling",
    "EIO=4&transport=polling&sid=SID",
    "EIO=4&transport=websocket&sid=SID",
    "EIO=3&transport=polling",
    "EIO=4&EIO=3&transport=polling&transport=websocket",
    "EIO=%34&transport=poll%69ng&j=0&b64=1",
    "transport=polling&sid=%00%ff&t=" + "x" * 200,
]
SID = re.compile(rb'"sid":"([\w-]+)","upgrades"')
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"


class Piece(NamedTuple):
    """Some bytes on one of a conversation's connections; SID in them is the session that was named last."""

    octets: bytes
    connection: int = 0


class Fuzzer:
    """Makes up conversations from a seed."""

    def __init__(self, seed: int, jwt: str) -> None:
        self._random = random.Random(seed)
        self._jwt = jwt
        self._makers: list[Callable[[], list[Piece]]] = [
            self._rubbish,
            self._request,
            self._query,
            self._websocket,
            self._websocket,
            self._deflated,
            self._oversize,
            self._polling,
            self._polling,
            self._upgrade,
            self._pipelined,
        ]

    def conversation(self) -> tuple[str, list[Piece]]:
        """What it is about, and what to send, piece by piece."""
        maker = self._random.choice(self._makers)
        pieces = maker()
        if self._random.random() < 0.3:
            at = self._random.randrange(len(pieces))
            octets, connection = pieces[at]
            cut = self._random.randrange(len(octets) + 1)
            # In two pieces, or truncated.
            rest = [Piece(octets[cut:], connection), *pieces[at + 1 :]] if self._random.random() < 0.5 else []
            pieces = [*pieces[:at], Piece(octets[:cut], connection), *rest]
        return maker.__name__.strip("_"), pieces

    def _rubbish(self) -> list[Piece]:
        return [Piece(self._random.randbytes(self._random.choice([1, 10, 100, 5000])))]

    def _request(self) -> list[Piece]:
        return [Piece(self._changed(self._random.choice(REQUESTS).encode()))]

    def _query(self) -> list[Piece]:
        query = self._maybe_changed(self._random.choice(QUERIES).encode(), 0.7).replace(b"\n", b"")
        method = self._random.choice([b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT"])
        line = method + b" /socket.io/?" + query + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        return [Piece(_get(POLLING)), Piece(line)]

    def _websocket(self) -> list[Piece]:
        return [Piece(self._maybe_changed(HANDSHAKE, 0.1)), *self._authentication(0.6), *self._frames(6)]

    def _deflated(self) -> list[Piece]:
        handshake = HANDSHAKE.removesuffix(b"\r\n") + DEFLATE
        compressed = bytearray(frame(self._random.randbytes(20)))
        compressed[0] |= self._random.choice([0x40, 0x20, 0x10, 0x70])
        return [Piece(handshake), *self._authentication(0.5), *self._frames(2), Piece(bytes(compressed))]

    def _oversize(self) -> list[Piece]:
        size = self._random.choice([MESSAGE_BYTES - 1, MESSAGE_BYTES, MESSAGE_BYTES + 1, 2 * MESSAGE_BYTES])
        first = self._random.choice([0x81, 0x82, 0x01, 0x02])
        large = bytes((first, 0xFF)) + size.to_bytes(8, "big") + bytes(4) + b"4" * size
        endless = bytes((0x81, 0xFF)) + self._random.randbytes(8) + bytes(4) + b"4" * 100
        half = bytes((0xFE, 0x7F, 0xFF)) + bytes(4) + b"4" * 32_767
        fragments = [Piece(bytes((opcode,)) + half) for opcode in (1, 0, 0, 0)]
        length = self._random.choice([size, 10**9, 10**30, -1])
        return self._random.choice(
            [
                [Piece(HANDSHAKE), *self._authentication(0.5), Piece(large)],
                [Piece(HANDSHAKE), *self._authentication(0.5), Piece(endless)],
                [Piece(HANDSHAKE), *self._authentication(0.5), *fragments],
                [Piece(_get(POLLING)), Piece(_post(b"4" * size))],
                [Piece(_get(POLLING)), Piece(_post(b"4x", length))],
                [Piece(_get(POLLING + "&x=" + "x" * size))],
                [Piece(_post(gzip.compress(bytes(10_000_000)), more=b"Content-Encoding: gzip\r\n"))],
            ]
        )

    def _polling(self) -> list[Piece]:
        pieces = [Piece(_get(POLLING))]
        if self._random.random() < 0.6:
            pieces += [Piece(_post(self._connect().encode())), Piece(_get(POLLING + "&sid=SID&t=a"))]
        for _ in range(self._random.randrange(5)):
            connection = self._random.randrange(2)
            if self._random.random() < 0.5:
                packets = self._random.choices(PACKETS, k=self._random.randrange(1, 4))
                body = self._maybe_changed("\x1e".join(packets).encode(), 0.5)
                pieces.append(Piece(_post(body), connection))
            else:
                pieces.append(Piece(_get(POLLING + f"&sid=SID&t={self._random.choice('aab')}"), connection))
        return pieces

    def _upgrade(self) -> list[Piece]:
        opening = HANDSHAKE.replace(b"websocket HTTP", b"websocket&sid=SID HTTP")
        pieces = self._polling()[: self._random.choice([1, 3, 5])]
        steps = [b"2probe", b"5"] if self._random.random() < 0.7 else [b"2probe", b"2probe", b"5", b"5", b"4x"]
        upgrade = [Piece(self._maybe_changed(opening, 0.1), 2)]
        upgrade += [Piece(self._maybe_changed(frame(step), 0.1), 2) for step in steps]
        if self._random.random() < 0.4:
            upgrade.insert(self._random.randrange(len(upgrade)), Piece(_post(b"1")))
        return [*pieces, *upgrade, *(Piece(octets, 2) for octets, _ in self._frames(3))]

    def _pipelined(self) -> list[Piece]:
        requests = [_get(POLLING), _get("/health/ready"), _post(b"40"), *(request.encode() for request in REQUESTS)]
        chosen = self._random.choices(requests, k=self._random.randrange(2, 30))
        return [Piece(_get(POLLING)), Piece(self._maybe_changed(b"".join(chosen), 0.3))]

    def _connect(self) -> str:
        return "40" + json.dumps({"token": self._jwt})

    def _authentication(self, probability: float) -> list[Piece]:
        return [Piece(frame(self._connect()))] if self._random.random() < probability else []

    def _frames(self, most: int) -> list[Piece]:
        pieces = []
        for _ in range(self._random.randrange(most)):
            packet = self._maybe_changed(self._random.choice(PACKETS).encode(), 0.5)
            framed = frame(packet[:120], self._random.choice([1, 1, 1, 1, 2, 8, 9, 10, 0, 3]))
            pieces.append(Piece(self._maybe_changed(framed, 0.3)))
        return pieces

    def _maybe_changed(self, octets: bytes, probability: float) -> bytes:
        return self._changed(octets) if self._random.random() < probability else octets

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


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _post(body: bytes, length: int | None = None, *, more: bytes = b"") -> bytes:
    head = (
        f"POST {POLLING}&sid=SID HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n"
    )
    return head.encode() + more + b"\r\n" + body


class Conversation:
    """Up to three connections of one client. ``answers`` counts what came first on each of them after each piece."""

    def __init__(self, port: int, answers: Counter[str]) -> None:
        self._port = port
        self._answers = answers
        self._sid = b"SID"
        self._streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def pause(self, pieces: list[Piece]) -> None:
        try:
            for octets, number in pieces:
                await self._exchange(octets, number)
        except ConnectionError:
            self._answers["reset"] += 1
        finally:
            for _, writer in self._streams.values():
                writer.transport.abort()

    async def _exchange(self, octets: bytes, number: int) -> None:
        if number not in self._streams:
            self._streams[number] = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams[number]
        writer.write(octets.replace(b"SID", self._sid))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
                answer = await reader.read(65_536)
                self._answers[kind(answer)] += 1
                if named := SID.search(answer):
                    self._sid = named[1]


def kind(answer: bytes) -> str:
    if answer.startswith(b"HTTP/1.1 "):
        return answer[9:12].decode(errors="replace")
    if answer[:1] == b"\x88":
        return f"closed {int.from_bytes(answer[2:4], 'big')}"
    return "frames" if answer else "end"


def sockets(server: ServerProcess) -> int:
    """Not all descriptors: a thread that reads the store opens files of its own when it is needed first."""
    held = 0
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held += str(descriptor.readlink()).startswith("socket:")
    return held


def resident_kib(server: ServerProcess) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def connections(server: ServerProcess) -> int:
    """Of users, by what the log says."""
    return len(server.records("connected")) - len(server.records("disconnected"))


async def notified(peer: WebSocketPeer) -> str:
    """Answer pings until a notification comes; its type."""
    _, (notification, _) = event(await peer.next())
    return str(notification["type"])


@pytest.mark.campaign
@pytest.mark.check
@pytest.mark.gen_test(timeout=SECONDS + 60)
async def test_whatever_comes_at_the_port_the_server_serves_on(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", SETTINGS)
    try:
        server.wait_until_ready()
        async with http_session() as session:
            witness = await WebSocketPeer.open(session, server.url)
            await connected(witness, token("witness"))
            told = asyncio.create_task(notified(witness))
            before, memory = sockets(server), resident_kib(server)
            seed = int(time.time())
            deadline = time.monotonic() + SECONDS
            kinds: Counter[str] = Counter()
            answers: Counter[str] = Counter()

            async def one(number: int) -> None:
                fuzzer = Fuzzer(seed * AT_ONCE + number, token("42", ttl=36_000))
                while time.monotonic() < deadline:
                    name, pieces = fuzzer.conversation()
                    kinds[name] += 1
                    await Conversation(server.port, answers).pause(pieces)

            await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
            print(
                f"campaign open port: {kinds.total()} conversations in {SECONDS:.0f} s, seed {seed}: {dict(kinds)}, "
                f"answered {dict(answers.most_common())}",
                flush=True,
            )
            # Who was connected all the time still is, and who comes now is let in.
            assert not told.done()
            await server.publish({"user": "witness"}, type="still.there")
            assert await told == "still.there"
            await connected(await WebSocketPeer.open(session, server.url), token("43"))
        await eventually(lambda: sockets(server) < before, within=20)
        await eventually(lambda: connections(server) == 0, within=20)
        assert resident_kib(server) < memory + 50_000
        check_log(server, SECONDS)
        assert server.stop() == 0
    finally:
        server.kill()


def check_log(server: ServerProcess, seconds: float) -> None:
    """Nothing that went wrong, and of what strangers can provoke one line a second at most, of each kind."""
    assert "Traceback" not in server.log
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    provoked = Counter((line["event"], line.get("code")) for line in lines if line["level"] == "warning")
    assert all(count <= seconds + 2 for count in provoked.values()), provoked
    # What is told of those who were let in is told once each.
    told = Counter(line["event"] for line in lines if line["level"] == "info")
    assert set(told) <= {"serving", "connected", "published", "disconnected", "closing"}, told
