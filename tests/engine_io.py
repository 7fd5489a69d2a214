"""A scripted Engine.IO v4 client: it sends what it is told, well-formed or not, over WebSocket or long-polling."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import aiohttp

TIMEOUT = 10.0
CLOSE_TIMEOUT = 1.0
SEPARATOR = "\x1e"
COUNTS = '42["inbox.counts",'


class Closed(Exception):
    """The server ended the session."""


class HandshakeRefused(Exception):
    def __init__(self, status: int, headers: Any = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}


_opened: WeakKeyDictionary[aiohttp.ClientSession, list[aiohttp.ClientWebSocketResponse]] = WeakKeyDictionary()


@asynccontextmanager
async def http_session(connector: aiohttp.BaseConnector | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client; the WebSockets that peers opened with it are closed in the end."""
    async with aiohttp.ClientSession(connector=connector) as session:
        sockets = _opened[session] = []
        try:
            yield session
        finally:
            for socket in sockets:
                await socket.close()


class Peer(Protocol):
    hears_counts: bool
    """Whether ``inbox.counts``, which comes when the server finds the time, is not passed over."""

    async def send(self, packet: str | bytes) -> None:
        """Send one Engine.IO packet as it is."""

    async def next(self) -> str:
        """The next Engine.IO packet that is no ping; pings are answered. Raises Closed, TimeoutError."""

    async def close(self) -> None: ...


class WebSocketPeer:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.hears_counts = False

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: str, **headers: str) -> WebSocketPeer:
        try:
            socket = await session.ws_connect(
                f"{url}/socket.io/?EIO=4&transport=websocket",
                headers=headers,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise HandshakeRefused(error.status, error.headers) from None
        _opened[session].append(socket)
        peer = cls(socket)
        assert (await peer.next()).startswith("0{")
        return peer

    async def send(self, packet: str | bytes) -> None:
        if isinstance(packet, bytes):
            await self._socket.send_bytes(packet)
        else:
            await self._socket.send_frame(packet.encode("utf-8", "surrogatepass"), aiohttp.WSMsgType.TEXT)

    async def next(self) -> str:
        while True:
            message = await self._socket.receive(TIMEOUT)
            if message.type != aiohttp.WSMsgType.TEXT:
                raise Closed
            if message.data == "2":
                await self._socket.send_str("3")
            elif self.hears_counts or not message.data.startswith(COUNTS):
                return str(message.data)

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """As if the line were cut."""
        connection = self._socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


class PollingPeer:
    def __init__(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        self._session = session
        self._url = f"{url}/socket.io/?EIO=4&transport=polling"
        self._headers = headers
        self._received: deque[str] = deque()
        self.hears_counts = False

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: str, **headers: str) -> PollingPeer:
        peer = cls(session, url, headers)
        async with session.get(peer._url, headers=headers) as answer:
            if answer.status != 200:
                raise HandshakeRefused(answer.status, answer.headers)
            packet = await answer.text()
        peer._url += "&sid=" + json.loads(packet[1:])["sid"]
        return peer

    async def send(self, packet: str | bytes) -> None:
        data = packet if isinstance(packet, bytes) else packet.encode("utf-8", "surrogatepass")
        async with self._session.post(self._url, data=data, headers=self._headers) as answer:
            await answer.read()

    async def next(self) -> str:
        while True:
            while not self._received:
                async with asyncio.timeout(TIMEOUT), self._session.get(self._url, headers=self._headers) as answer:
                    if answer.status != 200:
                        raise Closed
                    self._received.extend((await answer.text()).split(SEPARATOR))
            packet = self._received.popleft()
            if packet == "2":
                await self.send("3")
            elif packet == "1":
                raise Closed
            elif packet != "6" and (self.hears_counts or not packet.startswith(COUNTS)):
                return packet

    async def close(self) -> None:
        await self.send("1")


def event(packet: str) -> tuple[str, list[Any]]:
    """The name and arguments of an event of the namespace ``/``."""
    assert packet.startswith("42"), packet
    name, *arguments = json.loads(packet[2:])
    return name, arguments


async def connected(peer: Peer, token: str, **auth: object) -> tuple[dict[str, Any], str]:
    """Connect with a good token; the first argument of ``session.ready``, and the cursor."""
    await peer.send("40" + json.dumps({"token": token, **auth}))
    assert (await peer.next()).startswith("40{")
    name, (ready, cursor) = event(await peer.next())
    assert name == "session.ready"
    return ready, cursor


async def refused(peer: Peer, auth: str) -> dict[str, Any]:
    """Connect with raw JSON that is no good; the problem in the refusal."""
    await peer.send("40" + auth)
    packet = await peer.next()
    assert packet.startswith("44"), packet
    answer: dict[str, Any] = json.loads(packet[2:])
    assert answer["message"] == answer["data"]["title"]
    return dict(answer["data"])


async def until_closed(peer: Peer) -> list[str]:
    """Everything up to the end of the session. Who gets a DISCONNECT packet leaves, as stock clients do."""
    packets: list[str] = []
    while True:
        try:
            packets.append(await peer.next())
            if packets[-1] == "41":
                await peer.close()
        except Closed:
            return packets


def acknowledged(packet: str) -> tuple[int, dict[str, Any]]:
    """The id and the one argument of an acknowledgement of the namespace ``/``."""
    assert packet.startswith("43"), packet
    number, _, rest = packet[2:].partition("[")
    (answer,) = json.loads(f"[{rest}")
    return int(number), answer


class Asking:
    """A peer that has connected, and asks. What it is told meanwhile is in ``heard``, in order."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.heard: list[tuple[str, list[Any]]] = []
        self._asked = 0

    async def ask(self, name: str, *arguments: object) -> dict[str, Any]:
        """The answer to an event."""
        return await self.ask_raw(json.dumps([name, *arguments]))

    async def ask_raw(self, array: str) -> dict[str, Any]:
        """The answer to an event and its arguments, sent as they are."""
        self._asked += 1
        await self.peer.send(f"42{self._asked}{array}")
        return await self.answer_to(self._asked)

    async def answer_to(self, number: int) -> dict[str, Any]:
        """What comes up to the acknowledgement with this id, which has to be the next one."""
        while not (packet := await self.peer.next()).startswith("43"):
            self.heard.append(event(packet))
        answered, answer = acknowledged(packet)
        assert answered == number
        return answer

    async def hear(self, name: str) -> list[Any]:
        """The arguments of the next event, which has to have this name, and none before it be left."""
        assert self.heard == []
        heard, arguments = event(await self.peer.next())
        assert heard == name, arguments
        return arguments
