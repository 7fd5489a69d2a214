from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from tornado.ioloop import IOLoop

from adapters.http.peer import PeerPolicy
from adapters.system.clock import SystemClock
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.transport import SocketIoLimits, SocketIoTransport
from domain.model import DisconnectReason
from tests.contract.served_harness import Serving
from tests.contract.transport_harness import PATIENCE, QUEUE_BYTES, Ending, Event, ScriptedEvents
from tests.contract.transport_optional import AnyAuthContract, DelayedFaultContract, ReceiptContract, RequestContract
from tests.engine_io import Closed, Peer, PollingPeer, WebSocketPeer, http_session
from tests.in_time import in_time
from tests.serving import eventually


class SocketIoClient:
    """Reads all the time, as a client library does, and takes Socket.IO packets off its peer."""

    def __init__(self, peer: Peer, auth: object) -> None:
        self.packets: list[str] = []
        """All that came, in order."""
        self._peer = peer
        self._packets: asyncio.Queue[str | None] = asyncio.Queue()
        self._reader = asyncio.ensure_future(self._read())
        # Over long-polling the answer to the request that carries CONNECT may come late: nobody waits for it.
        self._sender = asyncio.ensure_future(peer.send("40" + json.dumps(auth)))
        self._answers: dict[int, asyncio.Future[object]] = {}
        self._waiting = 0
        self._refusal: object = None
        self._told_to_stay_away = False

    async def next_event(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            while True:
                packet = await self._packets.get()
                assert packet is not None, "the connection is closed"
                if packet.startswith("42"):
                    self._waiting -= 1
                    name, *arguments = json.loads(packet[2:])
                    return name, tuple(arguments)
                self._take(packet)

    async def expect_closed(self, within: float) -> Ending:
        async with asyncio.timeout(within):
            while (packet := await self._packets.get()) is not None:
                assert not packet.startswith("42"), packet
                self._take(packet)
            return Ending(self._refusal, not self._told_to_stay_away)

    async def close(self) -> None:
        await self._peer.close()

    def stop_reading(self) -> None:
        self._reader.cancel()

    async def request(self, event: str, argument: object) -> object:
        ack = len(self._answers)
        answer = self._answers[ack] = asyncio.get_running_loop().create_future()
        await self._peer.send(f"42{ack}" + json.dumps([event, argument]))
        return await in_time(answer, PATIENCE)

    async def send(self, event: str, argument: object) -> None:
        await self._peer.send("42" + json.dumps([event, argument]))

    def events_waiting(self) -> int:
        return self._waiting

    async def stop(self) -> None:
        for task in (self._reader, self._sender):
            task.cancel()
        await asyncio.gather(self._reader, self._sender, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                packet = await self._peer.next()
                self.packets.append(packet)
                if packet.startswith("43"):
                    ack, _, answer = packet[2:].partition("[")
                    self._answers[int(ack)].set_result(*json.loads("[" + answer))
                    continue
                self._waiting += packet.startswith("42")
                self._packets.put_nowait(packet)
        except (Closed, aiohttp.ClientError):
            self._packets.put_nowait(None)

    def _take(self, packet: str) -> None:
        if packet.startswith("44"):
            self._refusal = json.loads(packet[2:])["data"]
        self._told_to_stay_away = self._told_to_stay_away or packet.startswith(("41", "44"))


class SocketIoHarness:
    def __init__(self, peer_class: type[WebSocketPeer | PollingPeer], arrivals: Arrivals | None = None) -> None:
        self.transport = SocketIoTransport(
            clock=SystemClock(),
            peers=PeerPolicy(),
            arrivals=arrivals or Arrivals(),
            limits=SocketIoLimits(queue_bytes=QUEUE_BYTES, slow_seconds=1.0),
        )
        self._peer_class = peer_class
        self._serving = Serving(self.transport)
        self._url = f"http://127.0.0.1:{self._serving.port}"
        self._resources = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._clients: list[SocketIoClient] = []

    async def connect(self, auth: object) -> SocketIoClient:
        self._serving.begin()
        if self._session is None:
            self._session = await self._resources.enter_async_context(http_session())
        peer = await self._peer_class.open(self._session, self._url)
        peer.hears_counts = True
        client = SocketIoClient(peer, auth)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.stop()
        await self._resources.aclose()
        await self._serving.close()


@pytest.mark.gen_test
class SocketIoContract(AnyAuthContract, DelayedFaultContract, ReceiptContract, RequestContract):
    """What a stock client can do, and what its protocol has beside."""

    async def test_the_connect_packet_carries_the_pid_that_the_client_brings_back(
        self, harness: SocketIoHarness, events: ScriptedEvents
    ) -> None:
        client = await harness.connect({"token": "ann"})
        await client.next_event()
        assert client.packets[0].startswith("40")
        assert json.loads(client.packets[0][2:])["pid"] == "pid-of-ann"

    async def test_a_client_that_says_goodbye_is_told_of_as_over_every_transport(
        self, harness: SocketIoHarness, events: ScriptedEvents
    ) -> None:
        client = await harness.connect({"token": "ann"})
        await client.next_event()
        await client._peer.send("41")
        await eventually(lambda: bool(events.reasons))
        (reason,) = events.reasons.values()
        assert reason is DisconnectReason.CLIENT_CLOSE


@pytest.mark.gen_test
class TestOverWebSocket(SocketIoContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[SocketIoHarness]:
        harness = SocketIoHarness(WebSocketPeer)
        yield harness
        io_loop.run_sync(harness.close)


@pytest.mark.gen_test
class TestOverLongPolling(SocketIoContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[SocketIoHarness]:
        harness = SocketIoHarness(PollingPeer)
        yield harness
        io_loop.run_sync(harness.close)
