from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest

from domain.errors import InvalidPublication, PublicationConflict, PublicationTooLarge, ShuttingDown
from domain.model import AppendOutcome, Audience, FieldError, Incoming
from domain.policy import ConnectionPolicy
from tests.doubles import START
from tests.in_time import in_time
from tests.unit.domain.world import World, data, first, ids, publication, run

STORED, DUPLICATE = AppendOutcome.STORED, AppendOutcome.DUPLICATE


class ListSource:
    """Brings its items in batches of two, and ends."""

    name = "list"

    def __init__(self, items: Sequence[Incoming]) -> None:
        self._items = list(items)

    async def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        resume_ids = [item.resume_id for item in self._items]
        start = resume_ids.index(after) + 1 if after is not None else 0
        for index in range(start, len(self._items), 2):
            yield self._items[index : index + 2]


def test_publications_arrive_in_the_order_of_the_log() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            outcomes = await asyncio.gather(*(world.publish(str(number)) for number in range(50)))
            order = {appended.id: appended.position.offset for batch in outcomes for appended in batch}
            await world.settle()
            assert ids(client) == sorted(order, key=order.__getitem__)
            assert sorted(order.values()) == list(range(1, 51))

    run(story())


def test_a_recipient_gets_the_whole_notification() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publishing.publish(
                [
                    publication(
                        Audience.users(["ann", "bob"]),
                        title="Title",
                        body="Body",
                        data=data('{"mission":{"id":7}}'),
                        expires_at=START + timedelta(days=1),
                    )
                ]
            )
            await world.settle()
            assert first(client, "notification.new") == {
                "id": "id-1",
                "type": "mission.assigned",
                "title": "Title",
                "body": "Body",
                "data": {"mission": {"id": 7}},
                "created_at": "2030-01-31T12:00:00.000Z",
                "expires_at": "2030-02-01T12:00:00.000Z",
                "audience": "user",
                "read_at": None,
                "seen_at": None,
                "archived_at": None,
            }

    run(story())


def test_a_batch_is_stored_all_or_not_at_all() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("a")
            head = await world.inbox.head()
            conflicting = [publication(id="new"), publication(id="a", title="other"), publication(id="c")]
            with pytest.raises(PublicationConflict, match=r"^\[1\]: a was published before"):
                await world.publishing.publish(conflicting)
            with pytest.raises(InvalidPublication) as invalid:
                await world.publishing.publish([publication(id="new"), publication(id="c"), publication(type="")])
            assert [error.path for error in invalid.value.errors] == ["[2].type"]
            with pytest.raises(PublicationTooLarge, match=r"^\[1\]"):
                await world.publishing.publish([publication(id="new"), publication(body="x" * 70_000)])
            assert await world.inbox.head() == head
            assert [appended.outcome for appended in await world.publish("new", "c")] == [STORED, STORED]

    run(story())


def test_a_single_publication_needs_no_index() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("a")
            with pytest.raises(PublicationConflict, match=r"^a was published before"):
                await world.publishing.publish([publication(id="a", title="other")])
            with pytest.raises(InvalidPublication) as invalid:
                await world.publishing.publish([publication(type="")])
            assert [error.path for error in invalid.value.errors] == ["type"]

    run(story())


def test_a_retry_is_answered_with_the_first_result_and_delivered_once() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            (stored,) = await world.publish("a")
            world.clock.advance(60)
            (again,) = await world.publish("a")
            assert (stored.outcome, again.outcome) == (STORED, DUPLICATE)
            assert (again.id, again.position) == (stored.id, stored.position)
            await world.settle()
            assert ids(client) == ["a"]

    run(story())


def test_an_idempotency_key_makes_a_retry_without_ids_safe() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            batch = [publication(title="1"), publication(title="2")]
            stored = await world.publishing.publish(batch, idempotency_key="key")
            again = await world.publishing.publish(batch, idempotency_key="key")
            assert [a.outcome for a in again] == [DUPLICATE, DUPLICATE]
            assert [a.id for a in again] == [a.id for a in stored]
            with pytest.raises(PublicationConflict, match=r"^\[1\]"):
                await world.publishing.publish([batch[0], publication(title="other")], idempotency_key="key")
            await world.publishing.publish(batch, idempotency_key="another")
            await world.settle()
            assert len(ids(client)) == 4
            assert "key" not in str(client.events)

    run(story())


def test_expired_entries_are_not_delivered() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publishing.publish(
                [publication(id="past", expires_at=START), publication(id="current", expires_at=START + timedelta(1))]
            )
            await world.settle()
            assert ids(client) == ["current"]

    run(story())


def test_nothing_is_taken_after_the_close_and_what_was_taken_is_still_delivered() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publish("a")
            world.publishing.close()
            with pytest.raises(ShuttingDown):
                await world.publish("b")
            await world.settle()
            assert ids(client) == ["a"]

    run(story())


def test_delivery_that_was_interrupted_goes_on_where_it_was() -> None:
    async def story() -> None:
        world = World()
        async with world.running():
            client = await world.connect("ann")
            await world.publish("a")
            await world.settle()
        async with World().running() as world:
            client = await world.connect("ann")
            tail = asyncio.create_task(world.hub.deliver())
            await asyncio.sleep(0)
            tail.cancel()
            await asyncio.gather(tail, return_exceptions=True)
            await world.publish("a")
            await world.settle()
            assert ids(client) == ["a"]

    run(story())


def test_a_source_is_taken_over_from_where_the_log_says_it_stopped() -> None:
    async def story() -> None:
        items = [Incoming(f"r{number}", publication(id=str(number))) for number in range(5)]
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publishing.consume(ListSource(items[:3]))
            assert await world.inbox.checkpoint("list") == "r2"
            await world.publishing.consume(ListSource(items))
            await world.settle()
            assert ids(client) == ["0", "1", "2", "3", "4"]
            assert await world.inbox.checkpoint("list") == "r4"

    run(story())


def test_two_who_take_over_the_same_source_store_each_item_once() -> None:
    async def story() -> None:
        # Without ids nothing but the checkpoint tells that one is there already.
        items = [Incoming(f"r{number}", publication(title=str(number))) for number in range(41)]
        async with World().running() as world:
            client = await world.connect("ann")
            await asyncio.gather(*(world.publishing.consume(ListSource(items)) for _ in range(3)))
            await world.settle()
            titles = [
                value["title"]
                for name, (value, *_) in client.events
                if name == "notification.new" and isinstance(value, dict)
            ]
            assert titles == [str(number) for number in range(41)]
            assert await world.inbox.checkpoint("list") == "r40"

    run(story())


def test_what_a_source_brings_that_is_not_good_is_skipped_and_told() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(notification_bytes=100)).running() as world:
            client = await world.connect("ann")
            items = [
                Incoming("r1", publication(id="1")),
                Incoming("r2", None, (FieldError("type", "is required"),)),
                Incoming("r3", publication(type="")),
                Incoming("r4", publication(body="x" * 101)),
                Incoming("r5", publication(id="1", title="other")),
                Incoming("r6", publication(id="6")),
                Incoming("r7", None, (FieldError("to", "is required"),)),
            ]
            await world.publishing.consume(ListSource(items))
            await world.settle()
            assert ids(client) == ["1", "6"]
            skipped = world.telemetry.named("skipped")
            assert [call[:2] for call in skipped] == [("list", f"r{number}") for number in (2, 3, 4, 5, 7)]
            assert skipped[0][2] == "type: is required"
            # An item that is no good is not asked for again.
            assert await world.inbox.checkpoint("list") == "r7"

    run(story())


@pytest.mark.parametrize(
    "bad", [publication(title="\ud800"), publication(expires_at=START.replace(tzinfo=None))], ids=["surrogate", "naive"]
)
def test_no_item_of_a_source_stops_the_ones_after_it(bad: object) -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            items = [Incoming("r1", bad), Incoming("r2", publication(id="good"))]  # type: ignore[arg-type]
            await world.publishing.consume(ListSource(items))
            await in_time(world.settle(), 1)
            assert ids(client) == ["good"]

    run(story())


def test_a_batch_that_is_still_being_stored_is_not_delivered_yet() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            # Enough for the log to let others have their turn in between.
            batch = [publication(id=str(number), body="x" * 60_000) for number in range(20)]
            publishing = asyncio.create_task(world.publishing.publish(batch))
            await asyncio.sleep(0)
            assert not publishing.done()
            assert not await world.publishing.is_up_to_date()
            world.publishing.close()
            await world.settle()
            assert [appended.outcome for appended in await publishing] == [STORED] * len(batch)
            assert ids(client) == [str(number) for number in range(20)]

    run(story())


def test_a_batch_that_could_not_be_stored_is_not_waited_for() -> None:
    async def story() -> None:
        async with World(max_entries=1).running() as world:
            with pytest.raises(PublicationTooLarge):
                await world.publish("a", "b")
            publishing = asyncio.create_task(
                world.publishing.publish([publication(id=str(number), body="x" * 60_000) for number in range(20)])
            )
            await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            assert await world.publishing.is_up_to_date()

    run(story())
