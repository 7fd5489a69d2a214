"""What waits in an outbox is taken over in its order; what cannot be published is parked, and told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import timedelta

import pytest

from domain.errors import StoreUnavailable, TooManyScheduled
from domain.model import Appended, Draft, FieldError, Incoming
from domain.policy import ConnectionPolicy
from domain.ports import Log
from tests.doubles import START
from tests.unit.domain.world import World, ids, publication, run


class ListOutbox:
    """Gives its items in batches of two, and ends. ``gone`` are those that another server takes just before."""

    def __init__(self, log: Log, items: Sequence[Incoming], gone: Collection[str] = ()) -> None:
        self._log = log
        self._items = items
        self._gone = gone
        self.parked: dict[str, str] = {}
        self.fails = False

    async def waiting(self) -> AsyncGenerator[Sequence[Incoming], None]:
        for first in range(0, len(self._items), 2):
            yield self._items[first : first + 2]

    async def take_over(self, drafts: Mapping[str, Draft]) -> Mapping[str, Appended]:
        if self.fails:
            raise StoreUnavailable
        there = {name: draft for name, draft in drafts.items() if name not in self._gone}
        return dict(zip(there, await self._log.append(list(there.values())), strict=True))

    async def park(self, reasons: Mapping[str, str]) -> Collection[str]:
        parked = {name: why for name, why in reasons.items() if name not in self._gone}
        self.parked |= parked
        return list(parked)


def test_what_waits_is_published_in_order_and_what_cannot_be_is_parked() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(notification_bytes=100)).running() as world:
            client = await world.connect("ann")
            items = [
                Incoming("1", publication(id="a")),
                Incoming("2", None, (FieldError("data", "is given more than once"),)),
                Incoming("3", publication(body="x" * 101)),
                Incoming("4", publication(id="a", title="other")),
                Incoming("5", publication(id="a")),
                Incoming("6", publication(id="b")),
            ]
            outbox = ListOutbox(world.inbox, items)
            await world.publishing.relay(outbox)
            await world.settle()
            assert ids(client) == ["a", "b"]
            assert outbox.parked == {
                "2": "data: is given more than once",
                "3": "type, title, body and data together have 117 bytes; 100 are allowed",
                "4": "a was published before with other content",
            }
            assert world.telemetry.named("parked") == list(outbox.parked.items())

    run(story())


def test_what_the_schedule_has_no_room_for_is_parked_and_the_rest_goes_on() -> None:
    async def story() -> None:
        async with World(max_entries=2).running() as world:
            client = await world.connect("ann")
            due = START + timedelta(minutes=1)
            items = [
                Incoming("1", publication(id="a", deliver_at=due)),
                Incoming("2", publication(id="b", deliver_at=due)),
                Incoming("3", publication(id="c")),
                Incoming("4", publication(id="d", deliver_at=due)),
                Incoming("5", publication(id="e")),
            ]
            outbox = ListOutbox(world.inbox, items)
            await world.publishing.relay(outbox)
            await world.settle()
            assert ids(client) == ["c", "e"]
            assert outbox.parked == {"4": TooManyScheduled.title}
            assert await world.inbox.waiting() == 2

    run(story())


def test_what_another_server_has_taken_is_neither_published_nor_told() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            items = [Incoming("1", publication(id="a")), Incoming("2", None, (FieldError("type", "is required"),))]
            outbox = ListOutbox(world.inbox, [*items, Incoming("3", publication(id="c"))], gone=("1", "2"))
            await world.publishing.relay(outbox)
            await world.settle()
            assert ids(client) == ["c"]
            assert not world.telemetry.named("parked")

    run(story())


def test_while_nothing_can_be_stored_nothing_more_is_asked_for() -> None:
    async def story() -> None:
        async with World().running() as world:
            outbox = ListOutbox(world.inbox, [Incoming("1", publication(id="a"))])
            outbox.fails = True
            with pytest.raises(StoreUnavailable):
                await world.publishing.relay(outbox)

    run(story())
