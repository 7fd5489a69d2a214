"""An inbox as operators look at it: as its user sees it, and as if nobody had looked."""

from __future__ import annotations

import pytest

from domain.errors import InvalidArgument
from domain.model import Audience, InboxQuery, UserId
from domain.ports import Looked
from tests.unit.domain.world import World, identity, ids, run

ANN = UserId("ann")
EVERYONE = Audience.everyone()


def offsets(looked: Looked) -> list[int]:
    return [item.offset for item in looked.listing.items]


async def look(world: World, user: UserId = ANN, role: str | None = None) -> Looked:
    return await world.application.lookups.inbox_of(user, role, InboxQuery())


def test_it_is_what_the_user_sees_in_each_of_their_roles() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            await world.publish("1")
            await world.connect("ann")
            await world.connect("as-company")
            await world.publish("2", to=EVERYONE)
            await world.publish("3", to=Audience.role("company"))
            await world.publish("4", to=Audience.role("freelance"))
            as_company = await look(world)
            assert (as_company.roles, as_company.role) == (["company", "freelance"], "company")
            assert offsets(as_company) == [3, 2, 1]
            assert offsets(await look(world, role="freelance")) == [4, 2, 1]
            with pytest.raises(InvalidArgument):
                await look(world, role="admin")

    run(story())


def test_looking_at_a_user_who_never_came_does_not_say_where_they_start() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("own")
            looked = await look(world)
            assert (looked.roles, looked.role, offsets(looked)) == ([], None, [1])
            await world.publish("before", to=EVERYONE)
            await look(world)
            ann = await world.connect("ann")
            await world.publish("after", to=EVERYONE)
            await world.settle()
            assert ids(ann) == ["own", "after"]

    run(story())
