"""What users ask without a connection."""

from __future__ import annotations

from functools import partial

import pytest

from domain.errors import InvalidArgument, InvalidToken, UnknownEvent
from domain.model import Audience, Changed, Counted, Counts, Listing, Position
from tests.unit.domain.world import World, answer_to, cursor, ids, run

EVERYONE = Audience.everyone()


def test_the_answers_are_those_of_a_connection() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2", "3")
            ask = partial(answer_to, world.inboxes)
            assert await ask("ann", "notification.read", {"ids": ["1", "1", "of-nobody"]}) == Changed(
                1, Counts(2, 2, 3), Position("e", 4)
            )
            counted = await ask("ann", "inbox.count", None)
            assert isinstance(counted, Counted)
            assert (counted.counts, counted.as_of) == (Counts(2, 2, 3), Position("e", 4))
            listing = await ask("ann", "inbox.list", {"limit": 2})
            assert isinstance(listing, Listing)
            assert [item.offset for item in listing.items] == [3, 2]
            assert await ask("ann", "notification.read_all", {}) == Changed(2, Counts(0, 0, 3), Position("e", 5))

    run(story())


def test_an_item_of_another_user_is_as_one_that_does_not_exist() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1")
            ask = partial(answer_to, world.inboxes)
            assert await ask("bob", "notification.delete", {"ids": ["1"]}) == Changed(
                0, Counts(0, 0, 0), Position("e", 1)
            )
            counted = await ask("ann", "inbox.count", None)
            assert isinstance(counted, Counted)
            assert counted.counts.total == 1

    run(story())


def test_asking_fixes_the_start_in_the_shared_rooms_as_connecting_does() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("before", to=EVERYONE)
            counted = await answer_to(world.inboxes, "ann", "inbox.count", None)
            assert isinstance(counted, Counted)
            assert counted.counts == Counts(0, 0, 0)
            await world.publish("after", to=EVERYONE)
            assert ids(await world.connect("ann")) == ["after"]

    run(story())


def test_a_page_rendered_on_the_server_connects_where_it_was_rendered() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1", "2")
            listing = await answer_to(world.inboxes, "ann", "inbox.list", None)
            assert isinstance(listing, Listing)
            await world.publish("3")
            client = await world.connect("ann", cursor=str(listing.as_of))
            assert (cursor(client.events[0]), ids(client)) == ("e:2", ["3"])

    run(story())


@pytest.mark.parametrize(
    ("token", "event", "argument", "error"),
    [
        ("unknown", "inbox.list", None, InvalidToken),
        ("unknown", "nothing", None, InvalidToken),
        ("ann", "nothing", None, UnknownEvent),
        # There is no connection whose token it could be.
        ("ann", "auth.refresh", {"token": "ann"}, UnknownEvent),
        ("ann", "inbox.list", {"limit": 0}, InvalidArgument),
        ("ann", "notification.read_all", {"up_to": "e:9"}, InvalidArgument),
        ("ann", "notification.read_all", {"up_to": "f:1"}, InvalidArgument),
    ],
)
def test_what_cannot_be_answered_says_why_and_changes_nothing(
    token: str, event: str, argument: object, error: type[Exception]
) -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1")
            with pytest.raises(error):
                await answer_to(world.inboxes, token, event, argument)
            assert (await world.inbox.head()).offset == 1

    run(story())
