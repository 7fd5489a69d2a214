from __future__ import annotations

from collections.abc import Mapping

import pytest

from adapters.store.memory import MemoryStore
from domain.errors import StoreUnavailable
from domain.model import Audience, Position, UserId
from domain.services.marks import Marks
from tests.contract.inbox_harness import arrival, arrive, draft
from tests.doubles import ManualClock
from tests.unit.domain.world import World, identity, ids, run

FREELANCE, COMPANY = Audience.role("freelance"), Audience.role("company")


class Store(MemoryStore):
    """Counts what is stored, and cannot store where it is told so."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(), epoch="e")
        self.stored: list[dict[tuple[UserId, str], int]] = []
        self.fails = False

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        if self.fails:
            raise StoreUnavailable
        self.stored.append({key: position.offset for key, position in marks.items()})
        await super().acknowledge(marks)


def acknowledge(marks: Marks, offset: int, user: str = "ann") -> None:
    marks.acknowledge(UserId(user), "freelance", Position("e", offset))


async def continues_after(store: Store, marks: Marks, user: str = "ann") -> int:
    """Where a connection of the user begins that brings nothing: an offset of a log of ten."""
    await store.append([draft(f"n-{number}") for number in range(10)])
    unstored = marks.unstored(UserId(user), "freelance")
    return (await arrive(store, arrival(user, "freelance", unstored_mark=unstored))).after.offset


def test_a_mark_counts_before_it_is_stored_and_only_grows() -> None:
    async def story() -> None:
        store = Store()
        marks = Marks(store)
        for offset, expected in ((3, 3), (7, 7), (5, 7)):
            acknowledge(marks, offset)
            assert await continues_after(store, marks) == expected
        assert await continues_after(store, marks, "bob") == 0

    run(story())


def test_what_is_stored_is_never_taken_back_by_what_comes_late() -> None:
    async def story() -> None:
        store = Store()
        marks = Marks(store)
        acknowledge(marks, 7)
        await marks.store()
        acknowledge(marks, 5)
        assert await continues_after(store, marks) == 7
        await marks.store()
        assert await continues_after(store, Marks(store)) == 7

    run(story())


def test_all_are_stored_at_once_and_only_what_is_new() -> None:
    async def story() -> None:
        store = Store()
        marks = Marks(store)
        await marks.store()
        assert store.stored == []
        for offset in (1, 2):
            acknowledge(marks, offset)
            acknowledge(marks, offset, "bob")
        assert store.stored == []
        await marks.store()
        await marks.store()
        assert store.stored == [{("ann", "freelance"): 2, ("bob", "freelance"): 2}]

    run(story())


def test_what_could_not_be_stored_is_kept_for_the_next_time() -> None:
    async def story() -> None:
        store = Store()
        marks = Marks(store)
        acknowledge(marks, 3)
        store.fails = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await marks.store()
        store.fails = False
        acknowledge(marks, 4, "bob")
        await marks.store()
        assert store.stored == [{("ann", "freelance"): 3, ("bob", "freelance"): 4}]

    run(story())


def test_what_advances_while_it_is_stored_is_stored_the_next_time() -> None:
    class Slow(Store):
        async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
            if not self.stored:
                acknowledge(of_service, 9)
            await super().acknowledge(marks)

    async def story() -> None:
        acknowledge(of_service, 3)
        await of_service.store()
        assert await continues_after(store, of_service) == 9
        await of_service.store()
        assert store.stored == [{("ann", "freelance"): 3}, {("ann", "freelance"): 9}]

    store = Slow()
    of_service = Marks(store)
    run(story())


async def takes(world: World, token: str, *, notifications: int) -> list[str]:
    """Connect, take so many notifications, and go; all that was sent."""
    client = await world.connect(token)
    sent = ids(client)
    taken = 0
    while taken < notifications:
        name, _ = await client.next_event()
        taken += name == "notification.new"
    client.disconnect()
    return sent


def test_what_one_device_received_is_not_replayed_to_another_that_has_no_cursor() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", "3")
            assert await takes(world, "ann", notifications=2) == ["1", "2", "3"]
            assert await takes(world, "ann", notifications=0) == ["3"]
            # What was sent and never taken was not received.
            assert await takes(world, "ann", notifications=1) == ["3"]
            assert await takes(world, "ann", notifications=0) == []

    run(story())


def test_a_good_cursor_says_what_was_received() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", "3")
            (await world.connect("ann", cursor="e:2")).disconnect()
            assert await takes(world, "ann", notifications=0) == ["3"]
            # One that is refused says nothing.
            for cursor in ("e:99", "f:3", "e:1"):
                (await world.connect("ann", cursor=cursor)).disconnect()
            assert await takes(world, "ann", notifications=0) == ["3"]

    run(story())


def test_another_user_has_a_mark_of_their_own() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", to=Audience.users(["ann", "bob"]))
            await takes(world, "ann", notifications=2)
            assert await takes(world, "bob", notifications=0) == ["1", "2"]

    run(story())


def test_a_new_role_begins_where_the_user_is_and_has_its_own_mark_from_then_on() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            await world.publish("1", "2")
            await takes(world, "ann", notifications=2)
            await world.recovery.store_marks()
            assert await takes(world, "as-company", notifications=0) == []
            await world.publish("3", "4")
            assert await takes(world, "as-company", notifications=1) == ["3", "4"]
            assert await takes(world, "ann", notifications=2) == ["3", "4"]
            assert await takes(world, "as-company", notifications=0) == ["4"]

    run(story())


@pytest.mark.parametrize("stored", ["at the end", "before the cut"])
def test_what_another_role_receives_later_is_not_taken_for_received_in_a_new_one(stored: str) -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            await takes(world, "as-company", notifications=0)
            await world.publish("for-company", to=COMPANY)
            if stored == "before the cut":
                await world.recovery.store_marks()
            # Cut before it came.
            await takes(world, "as-company", notifications=0)
            await world.publish("for-both")
            await takes(world, "ann", notifications=1)
            await world.recovery.store_marks()
            assert await takes(world, "as-company", notifications=0) == ["for-company", "for-both"]

    run(story())
