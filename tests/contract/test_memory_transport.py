from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from adapters.contract.problems import problem_object
from adapters.transport.memory.client import MemoryClient
from adapters.transport.memory.transport import MemoryTransport
from domain.ports import Outlet
from tests.contract.transport_harness import (
    PATIENCE,
    QUEUE_BYTES,
    Ending,
    Event,
    Gate,
    ScriptedEvents,
    entry,
    eventually,
)
from tests.contract.transport_optional import AnyAuthContract, ReceiptContract, RequestContract
from tests.in_time import in_time


class MemoryContractClient:
    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    async def next_event(self) -> Event:
        return await in_time(self._client.next_event(), PATIENCE)

    async def expect_closed(self, within: float) -> Ending:
        await in_time(self._client.wait_closed(), within)
        assert self._client.events == []
        refusal = self._client.refusal
        return Ending(problem_object(refusal) if refusal is not None else None, self._client.reconnect)

    async def close(self) -> None:
        self._client.disconnect()

    def stop_reading(self) -> None:
        """It only ever reads when it is asked to."""

    async def request(self, event: str, argument: object) -> object:
        return await in_time(self._client.request(event, argument), PATIENCE)

    async def send(self, event: str, argument: object) -> None:
        self._client.send(event, argument)

    def events_waiting(self) -> int:
        return len(self._client.events)


class MemoryHarness:
    def __init__(self) -> None:
        self.transport = MemoryTransport(max_unread_bytes=QUEUE_BYTES, send_timeout=0.05)

    async def connect(self, auth: object) -> MemoryContractClient:
        return MemoryContractClient(self.transport.start(auth))


class TestMemoryTransport(AnyAuthContract, ReceiptContract, RequestContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[MemoryHarness]:
        harness = MemoryHarness()
        yield harness
        io_loop.run_sync(harness.transport.close)


class BrokenEvents(ScriptedEvents):
    async def opened(self, outlet: Outlet) -> None:
        raise ZeroDivisionError


@pytest.mark.gen_test
class TestMemoryClient:
    @pytest.fixture
    def transport(self, io_loop: IOLoop) -> Iterator[MemoryTransport]:
        transport = MemoryTransport(max_unread_bytes=5000, send_timeout=PATIENCE)
        yield transport
        io_loop.run_sync(transport.close)

    async def test_it_is_welcomed_and_has_what_it_received(self, transport: MemoryTransport) -> None:
        events = ScriptedEvents(transport)
        transport.bind(events)
        client = await transport.connect({"token": "ann"})
        await client.opened()
        events.send(entry(1), client.connection)
        assert client.connected
        assert client.pid == "pid-of-ann"
        assert [(name, arguments[-1]) for name, arguments in client.events] == [
            ("session.ready", "e:0"),
            ("notification.new", "e:1"),
        ]
        assert (await client.next_event())[0] == "session.ready"
        assert [name for name, _ in client.events] == ["notification.new"]

    async def test_a_client_that_reads_nothing_is_cut_and_should_come_back(self, transport: MemoryTransport) -> None:
        events = ScriptedEvents(transport)
        transport.bind(events)
        client = await transport.connect({"token": "ann"})
        await client.opened()
        for offset in range(1, 8):
            events.send(entry(offset, payload='"' + "x" * 1000 + '"'), client.connection)
        await in_time(client.wait_closed(), PATIENCE)
        assert client.reconnect
        assert events.count("disconnected", client.connection) == 1
        # The entry that was too much is the last it got; none is left out before it.
        assert [arguments[-1] for _, arguments in client.events] == ["e:0", "e:1", "e:2", "e:3", "e:4", "e:5"]

    async def test_there_is_room_again_once_half_of_it_was_read(self, transport: MemoryTransport) -> None:
        events = ScriptedEvents(transport)
        transport.bind(events)
        client = await transport.connect({"token": "ann"})
        for offset in range(1, 5):
            events.send(entry(offset, payload='"' + "x" * 998 + '"'), client.connection)
        waiting = asyncio.create_task(events.has_room(client.connection))
        for _ in range(2):
            await in_time(client.next_event(), PATIENCE)
            await asyncio.sleep(0)
            assert not waiting.done()
        await in_time(client.next_event(), PATIENCE)
        await in_time(waiting, PATIENCE)

    async def test_a_bug_in_the_domain_ends_the_connection_and_is_raised(self, transport: MemoryTransport) -> None:
        events = BrokenEvents(transport)
        transport.bind(events)
        client = transport.start({"token": "ann"})
        with pytest.raises(ZeroDivisionError):
            await client.opened()
        assert client.closed
        assert events.count("disconnected", client.connection) == 1

    async def test_closing_the_transport_ends_every_connection(self, transport: MemoryTransport) -> None:
        events = ScriptedEvents(transport)
        transport.bind(events)
        clients = [await transport.connect({"token": name}) for name in ("ann", "bob")]
        await transport.close()
        assert all(client.closed and client.reconnect for client in clients)
        assert [call for call, _ in events.calls].count("disconnected") == 2

    async def test_a_caller_that_gives_up_connecting_leaves_no_connection(self, transport: MemoryTransport) -> None:
        gate = Gate()
        events = ScriptedEvents(transport)
        events.script("ann", before_reply=gate)
        transport.bind(events)
        connecting = asyncio.create_task(transport.connect({"token": "ann"}))
        await gate.reached()
        connecting.cancel()
        await eventually(connecting.cancelled)
        assert events.count("disconnected", events.connections["ann"]) == 1
        gate.open()
