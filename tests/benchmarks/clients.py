"""The load generator: Socket.IO clients over WebSocket alone, light enough for ten thousand of them in one process."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import time
from array import array
from collections.abc import Callable, Sequence

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.benchmarks.programs.control import SENT_BASE

CONNECT_SECONDS = 60.0
AT_ONCE = 100
READ_BUFFER_BYTES = 4096
SLOW_READ_BUFFER_BYTES = 4096
LOOK_EVERY = 0.02
SURPLUS_SECONDS = 0.1

_DELIVERY = b'42["notification.new"'
_READY = b'42["session.ready"'
_SENT = b'"sent":'
_RECOVERED = b'"recovered":true'
_SENT_DIGITS = len(str(SENT_BASE))


class Refused(Exception):
    """The server did not take a client, or cut it before it was ready."""


class Incomplete(Exception):
    """Something sent did not arrive, or arrived more often than it was sent."""


class Client(WSListener):
    """One user's connection. ``received`` counts notifications; ``delays`` takes what each took, in seconds.

    It resumes from an ``earlier`` one as the stock client does.
    """

    def __init__(self, token: str, earlier: Client | None = None) -> None:
        self.received = 0
        self.recovered = False
        self.delays: array[float] | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: WSTransport | None = None
        self._connected = b""
        self._last = b""
        claim = earlier._claim() if earlier is not None else {}
        self._hello = b"40" + json.dumps({"token": token, **claim}).encode()

    @property
    def is_connected(self) -> bool:
        return self.transport is not None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if payload.startswith(_DELIVERY):
            self.received += 1
            self._last = payload
            if self.delays is not None:
                start = payload.index(_SENT) + len(_SENT)
                sent = int(payload[start : start + _SENT_DIGITS]) - SENT_BASE
                self.delays.append(time.monotonic_ns() / 1e9 - sent / 1e6)
        elif payload == b"2":
            transport.send(WSMsgType.TEXT, b"3")
        elif payload.startswith(b"0"):
            transport.send(WSMsgType.TEXT, self._hello)
        elif payload.startswith(_READY):
            self._last = payload
            self.recovered = _RECOVERED in payload
            self._settle(None)
        elif payload.startswith(b"40"):
            self._connected = payload
        elif payload.startswith(b"44"):
            self._settle(Refused(payload.decode()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self.gone.set_result(None)
        self._settle(Refused("the server cut the connection"))

    def _claim(self) -> dict[str, str]:
        """The ``pid`` of the stay and, as ``offset``, the last cursor."""
        return {"pid": json.loads(self._connected[2:])["pid"], "offset": self._last.rsplit(b'"', 2)[1].decode()}

    def _settle(self, error: Refused | None) -> None:
        if self.ready.done():
            return
        if error is None:
            self.ready.set_result(None)
        else:
            self.ready.set_exception(error)


class Crowd:
    """Clients of distinct users, numbered from 0 in the order of their tokens."""

    def __init__(self, url: str, tokens: Sequence[str]) -> None:
        self._address = f"ws{url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket"
        self._tokens = tokens
        self.clients: list[Client] = []

    async def grow(self, size: int) -> float:
        """Connect more clients, some at once, until there are ``size``; the seconds until all were ready."""
        start = time.monotonic()
        turn = asyncio.Semaphore(AT_ONCE)

        async def arrive(number: int) -> Client:
            async with turn:
                return await self._connect(number)

        self.clients += await asyncio.gather(*map(arrive, range(len(self.clients), size)))
        seconds = time.monotonic() - start
        # So that the collector does not stop the world of ten thousand clients while something is measured.
        gc.collect()
        gc.freeze()
        return seconds

    async def arrived(self, each: int, *, within: float, of: range | None = None) -> None:
        """Wait until so many notifications have come as make ``each`` for every client, or the time is over."""
        clients = self._some(of)
        deadline = time.monotonic() + within
        while True:
            if sum(client.received for client in clients) >= each * len(clients) or time.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_EVERY)

    async def expect(self, each: int, *, within: float, of: range | None = None) -> None:
        """Wait until every client has got exactly ``each`` notifications, and count anew. Raises Incomplete."""
        clients = self._some(of)
        total = each * len(clients)
        await self.arrived(each, within=within, of=of)
        await asyncio.sleep(SURPLUS_SECONDS)
        wrong = sum(client.received != each for client in clients)
        cut = sum(not client.is_connected for client in clients)
        if wrong or cut:
            got = sum(client.received for client in clients)
            raise Incomplete(
                f"{got} of {total} notifications arrived; {wrong} of {len(clients)} clients have not got {each}, "
                f"{cut} were cut"
            )
        for client in self.clients:
            client.received = 0

    def _some(self, of: range | None) -> list[Client]:
        return self.clients if of is None else [self.clients[number] for number in of]

    def time_deliveries(self, of: range | None) -> array[float]:
        """Note from now on what each delivery to some clients takes, in seconds; with None, stop it."""
        delays = array("d")
        for number, client in enumerate(self.clients):
            client.delays = delays if of is not None and number in of else None
        return delays

    async def add_slow_reader(self) -> Client:
        """Connect one more client that stops reading at once, with next to nothing buffered below it."""

        def small(_: object) -> socket.socket:
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_READ_BUFFER_BYTES)
            return sock

        client = await self._connect(len(self.clients), small)
        self.clients.append(client)
        assert client.transport is not None
        client.transport.underlying_transport.pause_reading()
        return client

    async def cut_and_return(self, *, within: float) -> float:
        """Cut every connection at once, and let each client return at once; the seconds until all are ready again."""
        start = time.monotonic()
        self._cut()
        await self._return([None] * len(self.clients), within)
        return time.monotonic() - start

    async def cut(self) -> None:
        """Cut every connection at once, and wait until all are gone."""
        self._cut()
        await asyncio.gather(*(client.gone for client in self.clients))

    async def resume(self, *, within: float) -> None:
        """Let each client return at once, with the last cursor it got. Raises Incomplete where one does not recover."""
        await self._return(self.clients, within)
        if missing := sum(not client.recovered for client in self.clients):
            raise Incomplete(f"{missing} of {len(self.clients)} clients did not recover")

    async def _return(self, earlier: Sequence[Client | None], within: float) -> None:
        """One that is refused tries again within a second."""

        async def come_back(number: int) -> Client:
            while True:
                try:
                    return await self._connect(number, earlier=earlier[number])
                except (OSError, WSError, Refused):
                    await asyncio.sleep(random.random())

        async with asyncio.timeout(within):
            self.clients = await asyncio.gather(*map(come_back, range(len(earlier))))

    def close(self) -> None:
        self._cut()
        self.clients = []
        gc.unfreeze()

    def _cut(self) -> None:
        for client in self.clients:
            if client.transport is not None:
                client.transport.disconnect(graceful=False)

    async def _connect(
        self,
        number: int,
        make_socket: Callable[[object], socket.socket] | None = None,
        earlier: Client | None = None,
    ) -> Client:
        client = Client(self._tokens[number], earlier)
        async with asyncio.timeout(CONNECT_SECONDS):
            await ws_connect(
                lambda: client,
                self._address,
                websocket_handshake_timeout=CONNECT_SECONDS,
                read_buffer_init_size=READ_BUFFER_BYTES,
                socket_factory=make_socket,
            )
            await client.ready
        return client
