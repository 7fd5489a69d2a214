from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from adapters.http.peer import PeerPolicy
from adapters.system.clock import SystemClock
from adapters.transport.arrivals import Arrivals
from adapters.transport.sse.transport import SseLimits, SseTransport
from tests.contract.served_harness import Serving
from tests.contract.transport import TransportContract
from tests.contract.transport_harness import PATIENCE, QUEUE_BYTES, Ending, Event
from tests.in_time import in_time
from tests.sse_client import ServerSentEvent, StreamClient


class SseClient:
    """Reads all the time, as a client library does."""

    def __init__(self, port: int, auth: object) -> None:
        self._auth = auth if isinstance(auth, dict) else {}
        self._events: asyncio.Queue[ServerSentEvent | None] = asyncio.Queue()
        self._stream: StreamClient | None = None
        self._reader = asyncio.ensure_future(self._read(port))
        self._problem: object = None
        self._told_to_stay_away = False

    async def next_event(self) -> Event:
        event = await in_time(self._events.get(), PATIENCE)
        assert event is not None, "the stream has ended"
        assert event.name is not None
        assert event.data is not None
        value = json.loads(event.data)
        self._told_to_stay_away = event.name == "session.closing" and not value["reconnect"]
        return event.name, (value,) if event.id is None else (value, event.id)

    async def expect_closed(self, within: float) -> Ending:
        assert await in_time(self._events.get(), within) is None
        return Ending(self._problem, not self._told_to_stay_away)

    async def close(self) -> None:
        self._reader.cancel()
        if self._stream is not None:
            await self._stream.close()

    def stop_reading(self) -> None:
        self._reader.cancel()

    async def _read(self, port: int) -> None:
        self._stream = stream = await StreamClient.open(port)
        stream.ask(authorization=f"Bearer {self._auth.get('token')}")
        if await stream.answer() != 200:
            problem = await stream.problem()
            if stream.status == 503:
                assert "retry-after" in stream.headers
            else:
                self._told_to_stay_away = True
                del problem["status"]
                self._problem = problem
            self._events.put_nowait(None)
            return
        while (event := await stream.next()) is not None:
            if event.name is not None:
                self._events.put_nowait(event)
        self._events.put_nowait(None)


class SseHarness:
    def __init__(self, arrivals: Arrivals | None = None) -> None:
        self.transport = SseTransport(
            clock=SystemClock(),
            peers=PeerPolicy(),
            arrivals=arrivals or Arrivals(),
            limits=SseLimits(queue_bytes=QUEUE_BYTES, slow_seconds=1.0),
        )
        self._serving = Serving(self.transport)
        self._clients: list[SseClient] = []

    async def connect(self, auth: object) -> SseClient:
        self._serving.begin()
        client = SseClient(self._serving.port, auth)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self._serving.close()


@pytest.mark.gen_test
class TestSseTransport(TransportContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[SseHarness]:
        harness = SseHarness()
        yield harness
        io_loop.run_sync(harness.close)
