"""Delivery while the log loses something, or lacks something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from adapters.store.memory import MemoryStore
from adapters.transport.memory.client import MemoryClient
from domain.errors import CursorRefused, EntriesMissing, StoreUnavailable
from domain.model import BlockUser, Entry, Position, RecoveryReason, UserId
from domain.ports import Wanted
from tests.unit.domain.world import World, run, until


class BrokenStore(MemoryStore):
    """Where it has a ``fault`` its tail ends with it, once there is more."""

    fault: Exception | None = None

    async def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[Entry]]:
        async for entries in super().tail(after, wanted):
            fault, self.fault = self.fault, None
            if fault is not None:
                raise fault
            yield entries


@asynccontextmanager
async def delivering() -> AsyncIterator[tuple[World, BrokenStore, asyncio.Task[None]]]:
    stores: list[BrokenStore] = []

    def seen_as(verifier, inbox, transport):  # type: ignore[no-untyped-def]
        stores.append(BrokenStore(clock=inbox._clock, epoch="e"))
        return verifier, stores[0], transport

    world = World(seen_as=seen_as)
    delivering = asyncio.create_task(world.application.delivery.deliver())
    await world.settle()
    try:
        yield world, stores[0], delivering
    finally:
        await world.transport.close()
        delivering.cancel()
        with suppress(asyncio.CancelledError, StoreUnavailable):
            await delivering


async def has_ended(client: MemoryClient) -> None:
    async def closed() -> bool:
        return client.closed

    await until(closed)
    assert client.closed


def names(client: MemoryClient) -> list[object]:
    return [
        value["id"] for name, (value, *_) in client.events if name == "notification.new" and isinstance(value, dict)
    ]


def test_where_the_log_is_another_one_everybody_comes_back_and_delivery_goes_on() -> None:
    async def story() -> None:
        async with delivering() as (world, store, task):
            client = await world.connect("ann")
            await world.publish("a")
            await world.settle()
            assert names(client) == ["a"]
            store.fault = CursorRefused(RecoveryReason.INVALID)
            await world.publish("b")
            await has_ended(client)
            assert client.reconnect
            assert not task.done()
            again = await world.connect("ann")
            await world.publish("c")
            await world.settle()
            assert names(again)[-1] == "c"
            assert names(again) == list(dict.fromkeys(names(again)))

    run(story())


def test_marks_that_are_not_stored_are_forgotten_with_what_they_stand_for() -> None:
    async def story() -> None:
        async with delivering() as (world, store, _):
            client = await world.connect("ann")
            await world.publish("a")
            await world.settle()
            while client.events:
                await client.next_event()
            store.fault = CursorRefused(RecoveryReason.INVALID)
            await world.publish("b")
            await has_ended(client)
            await world.recovery.store_marks()
            # Without a cursor it is sent again what it has: the mark that said so was of the log before.
            assert names(await world.connect("ann")) == ["a", "b"]

    run(story())


def test_who_was_blocked_in_what_is_not_delivered_stays_out() -> None:
    async def story() -> None:
        async with delivering() as (world, store, _):
            client = await world.connect("ann")
            store.fault = CursorRefused(RecoveryReason.INVALID)
            await store.append_control(BlockUser(UserId("ann"), None, None))
            await has_ended(client)
            await world.settle()
            assert world.hub.delivered == await store.head()
            assert (await world.connect("ann")).refusal is not None
            assert (await world.connect("bob")).connected

    run(story())


def test_counts_are_those_of_the_log_that_there_is() -> None:
    async def story() -> None:
        async with delivering() as (world, store, _):
            client = await world.connect("ann")
            await world.publish("a")
            store.fault = CursorRefused(RecoveryReason.INVALID)
            await world.publish("b")
            await has_ended(client)
            again = await world.connect("ann")
            await world.publish("c")
            await world.settle()
            world.clock.advance(2)
            await world.counts.announce(10)
            told = [value for name, (value, *_) in again.events if name == "inbox.counts"]
            assert isinstance(told[-1], dict)
            assert told[-1]["total"] == 3

    run(story())


def test_where_something_is_missing_everybody_is_closed_and_delivery_waits() -> None:
    async def story() -> None:
        async with delivering() as (world, store, task):
            client = await world.connect("ann")
            store.fault = EntriesMissing(1)
            await world.publish("a")
            with pytest.raises(EntriesMissing):
                await task
            await has_ended(client)
            assert client.reconnect

    run(story())
