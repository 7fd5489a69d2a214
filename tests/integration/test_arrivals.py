"""Clients that connect take turns: so many at a time, in order, and none that waits for long holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from adapters.transport.arrivals import Arrivals
from tests.contract.test_socketio_transport import SocketIoHarness
from tests.contract.test_sse_transport import SseHarness
from tests.contract.transport_harness import Gate, ScriptedEvents, eventually
from tests.engine_io import WebSocketPeer

pytestmark = pytest.mark.gen_test

FOR_EVER = 3600.0


class Crowd:
    """Those who have a place, by number; each stays until it is let go."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.inside: list[int] = []
        self.came: list[int] = []
        self._arrivals = arrivals
        self._going = [asyncio.Event() for _ in range(10)]

    async def visit(self, number: int) -> None:
        async with self._arrivals.place():
            self.came.append(number)
            self.inside.append(number)
            await self._going[number].wait()
            self.inside.remove(number)

    def let_go(self, number: int) -> None:
        self._going[number].set()


async def test_so_many_have_a_place_and_the_others_follow_in_order() -> None:
    crowd = Crowd(Arrivals(2, FOR_EVER))
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(5)]
    await eventually(lambda: crowd.inside == [0, 1])
    crowd.let_go(1)
    await eventually(lambda: crowd.inside == [0, 2])
    for number in range(5):
        crowd.let_go(number)
    await asyncio.gather(*visits)
    assert crowd.came == [0, 1, 2, 3, 4]


async def test_one_that_waits_for_long_gives_its_place_back_once() -> None:
    crowd = Crowd(Arrivals(1, 0.01))
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(3)]
    await eventually(lambda: crowd.inside == [0, 1, 2])
    for number in range(3):
        crowd.let_go(number)
    await asyncio.gather(*visits)
    arrivals = crowd._arrivals
    async with arrivals.place():
        assert arrivals._places.locked(), "a place was given back twice"


@pytest.mark.parametrize("has_a_place", [True, False])
async def test_one_that_is_cancelled_takes_no_place_with_it(*, has_a_place: bool) -> None:
    crowd = Crowd(Arrivals(1, FOR_EVER))
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(2)]
    await eventually(lambda: crowd.inside == [0])
    visits[0 if has_a_place else 1].cancel()
    crowd.let_go(0)
    crowd.let_go(1)
    await asyncio.wait(visits)
    crowd.let_go(2)
    await crowd.visit(2)


HARNESSES = [
    pytest.param(partial(SocketIoHarness, WebSocketPeer), id="socket.io"),
    pytest.param(SseHarness, id="sse"),
]
AT_ONCE = 4


class Storm:
    """``clients`` that all ask to connect, of whom the domain lets nobody in until ``gate`` is opened."""

    def __init__(self, harness: SocketIoHarness | SseHarness) -> None:
        self.harness = harness
        self.events = ScriptedEvents(harness.transport)
        self.gate = Gate()
        harness.transport.bind(self.events)

    async def connect(self, *names: str) -> list[Any]:
        before = len(self.harness.transport._connections)
        for name in names:
            self.events.script(name, before_reply=self.gate)
        clients = [await self.harness.connect({"token": name}) for name in names]
        await eventually(lambda: len(self.harness.transport._connections) == before + len(names))
        return clients

    @property
    def asked(self) -> int:
        return len(self.events.connect_requests)


@asynccontextmanager
async def storm(open_harness: Callable[..., SocketIoHarness | SseHarness]) -> AsyncIterator[Storm]:
    harness = open_harness(arrivals=Arrivals(AT_ONCE, FOR_EVER))
    try:
        yield Storm(harness)
    finally:
        await harness.close()


@pytest.mark.parametrize("open_harness", HARNESSES)
async def test_of_a_storm_so_many_are_asked_for_at_a_time(
    open_harness: Callable[..., SocketIoHarness | SseHarness],
) -> None:
    async with storm(open_harness) as it:
        clients = await it.connect(*map(str, range(3 * AT_ONCE)))
        # The last ones may have come in this very turn of the loop.
        await eventually(lambda: it.asked >= AT_ONCE)
        assert it.asked == AT_ONCE
        it.gate.open()
        for client in clients:
            assert (await client.next_event())[0] == "session.ready"
        assert it.asked == 3 * AT_ONCE


@pytest.mark.parametrize("open_harness", HARNESSES)
async def test_one_that_left_while_it_waited_is_not_asked_for(
    open_harness: Callable[..., SocketIoHarness | SseHarness],
) -> None:
    async with storm(open_harness) as it:
        clients = await it.connect(*map(str, range(AT_ONCE)))
        (late,) = await it.connect("late")
        await late.close()
        await eventually(lambda: len(it.harness.transport._connections) == AT_ONCE)
        it.gate.open()
        for client in clients:
            await client.next_event()
        (last,) = await it.connect("last")
        await last.next_event()
        assert "late" not in it.events.connections
