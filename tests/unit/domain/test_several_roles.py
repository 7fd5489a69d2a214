"""Who has several roles at a time: each reaches them, once, and what they received is kept by the set of them."""

from __future__ import annotations

from dataclasses import replace

from domain.model import Audience, InboxQuery, Room, UserId, role_set, roles_in
from tests.unit.domain.world import World, first, identity, ids, run

BOTH = replace(identity("ann", "company"), roles=("company", "admin"))


def test_a_set_has_one_name() -> None:
    assert role_set(["b", "a", "b"]) == role_set(["a", "b"])
    assert [*roles_in(role_set(["b", "a"]))] == ["a", "b"]
    assert role_set(["company"]) == "company"


def test_each_role_reaches_them_once() -> None:
    async def story() -> None:
        world = World()
        world.verifier.identities["ann"] = BOTH
        async with world.running():
            ann = await world.connect("ann")
            await world.publish("1", to=Audience.role("company"))
            await world.publish("2", to=Audience.role("admin"))
            await world.publish("3", to=Audience.role("freelance"))
            await world.publish("4", to=Audience.any_of([Room.of_role("company"), Room.of_role("admin")]))
            await world.settle()
            assert ids(ann) == ["1", "2", "4"]
            world.clock.advance(1.1)
            await world.counts.announce(100)
            told = [arguments[0] for name, arguments in ann.events if name == "inbox.counts"]
            assert told[-1] == {"unread": 3, "unseen": 3, "total": 3}
            assert first(ann, "session.ready")["user"] == {
                "id": "ann",
                "role": "company",
                "roles": ["company", "admin"],
            }
            (seen,) = world.connections.connections_of(UserId("ann"))
            assert (seen.role, seen.roles) == ("company", ("company", "admin"))

    run(story())


def test_who_has_one_is_told_as_before() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            assert first(ann, "session.ready")["user"] == {"id": "ann", "role": "freelance"}

    run(story())


def test_what_was_received_is_kept_by_the_set() -> None:
    async def story() -> None:
        world = World()
        world.verifier.identities["ann"] = BOTH
        async with world.running():
            ann = await world.connect("ann")
            await world.publish("1", to=Audience.role("admin"))
            await world.settle()
            ann.disconnect()
            # In whatever order the token has them.
            world.verifier.identities["ann"] = replace(BOTH, role="admin", roles=("admin", "company"))
            assert ids(await world.connect("ann")) == ["1"]
            # What one of them alone received is another matter.
            world.verifier.identities["ann"] = identity("ann", "admin")
            assert ids(await world.connect("ann")) == ["1"]
            assert sorted(await world.inbox.roles(UserId("ann"))) == ["admin", role_set(["admin", "company"])]

    run(story())


def test_an_inbox_in_one_of_them_is_that_of_the_set() -> None:
    async def story() -> None:
        world = World()
        world.verifier.identities["ann"] = BOTH
        async with world.running():
            await world.connect("ann")
            await world.publish("1", to=Audience.role("admin"))
            await world.publish("2", to=Audience.role("company"))
            lookups = world.application.lookups
            looked = await lookups.inbox_of(UserId("ann"), None, InboxQuery())
            assert (looked.roles, looked.role) == (["admin", "company"], "admin")
            assert len(looked.listing.items) == 2
            assert len((await lookups.inbox_of(UserId("ann"), "company", InboxQuery())).listing.items) == 2
            assert len(await world.inbox.roles(UserId("ann"))) == 1

    run(story())
