"""What operators are told of publishing and delivery: each fact once, and as it was."""

from __future__ import annotations

from domain.model import Audience, Incoming
from tests.unit.domain.test_publishing import ListSource
from tests.unit.domain.world import World, ids, publication, run


def test_a_publish_is_told_with_who_it_was_and_what_became_of_it() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publishing.publish([publication(id="n-1")], by="billing")
            await world.publishing.publish([publication(id="n-1"), publication()], by="crm")
            assert world.telemetry.named("published") == [("billing", "stored"), ("crm", "duplicate", "stored")]

    run(story())


def test_what_a_source_brings_is_told_as_a_publish_of_its_own() -> None:
    async def story() -> None:
        async with World().running() as world:
            items = [Incoming("1", publication(id="n-1")), Incoming("2", None), Incoming("3", None)]
            await world.publishing.consume(ListSource(items))
            # A batch of which nothing could be published is none.
            assert world.telemetry.named("published") == [("list", "stored")]

    run(story())


def test_each_delivery_is_told_with_how_many_it_reached_and_when_it_was_stored() -> None:
    async def story() -> None:
        async with World().running() as world:
            clients = [await world.connect(user) for user in ("ann", "ann", "bob")]
            await world.publish("to-ann", to=Audience.users(["ann"]))
            await world.publish("to-all", to=Audience.everyone())
            await world.publish("to-nobody", to=Audience.users(["nobody"]))
            stored_at = world.clock.now()
            world.clock.advance(3)
            await world.settle()
            told = [(one.transport, one.connections, one.entry.stored_at) for one in world.telemetry.sent]
            assert told == [("memory", 2, stored_at), ("memory", 3, stored_at)]
            assert sum(one.connections for one in world.telemetry.sent) == sum(len(ids(client)) for client in clients)
            assert world.telemetry.taken == 3
            assert world.telemetry.replayed_entries == 0

    run(story())


def test_what_was_missed_is_told_as_a_replay_and_not_as_a_delivery() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", "3")
            await world.settle()
            client = await world.connect("ann")
            assert ids(client) == ["1", "2", "3"]
            assert world.telemetry.replayed_entries == 3
            assert world.telemetry.sent == []

    run(story())


def test_a_receipt_is_told_once() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publish("1")
            await world.settle()
            outlet = next(iter(world.transport.connections))
            at = world.telemetry.sent[0].entry.position
            for _ in range(2):
                world.connecting.received(outlet, at)
            assert world.telemetry.receipts == [(client.connection, at)]

    run(story())
