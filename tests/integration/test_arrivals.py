"""Clients that connect take turns: so many at a time, in order, and none that waits for long holds up the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.transport.arrivals import AT_ONCE, Arrivals
from adapters.transport.group import TransportGroup
from tests.contract.test_group_transport import ServedMemory
from tests.contract.transport_harness import Gate, ScriptedEvents, eventually

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


async def crowded(group: TransportGroup, member: ServedMemory, gate: Gate, number: int) -> tuple[Any, Any]:
    """The scripted domain, and clients of whom it has got as many as it may."""
    events = ScriptedEvents(group)
    group.bind(events)
    for name in range(number):
        events.script(str(name), before_join=gate)
    clients = [member.start({"token": str(name)}) for name in range(number)]
    await gate.reached()
    return events, clients


async def test_of_a_storm_so_many_are_asked_for_at_a_time() -> None:
    member, gate = ServedMemory(), Gate()
    group = TransportGroup([member])
    events, clients = await crowded(group, member, gate, 3 * AT_ONCE)
    assert len(events.calls) == AT_ONCE
    gate.open()
    for client in clients:
        await client.opened()
    assert [call for call, _ in events.calls].count("connect") == 3 * AT_ONCE
    await group.close()


async def test_one_that_left_while_it_waited_is_not_asked_for() -> None:
    member, gate = ServedMemory(), Gate()
    group = TransportGroup([member])
    events, clients = await crowded(group, member, gate, AT_ONCE)
    late = member.start({"token": "late"})
    await eventually(lambda: late.connection in group._owners)
    late.disconnect()
    gate.open()
    for client in (*clients, late):
        await client.opened()
    assert "late" not in events.connections
    assert late.connection not in group._owners
    await group.close()
