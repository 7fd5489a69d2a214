"""What is for those who are in all of some groups: who that is, live and as it is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store.addressing import audience_in, audience_of
from adapters.store.memory.all_of import RoomsOfAll
from domain.errors import InvalidPublication
from domain.model import Audience, AudienceKind, Publication, Room, Span, UserId
from domain.policy import ConnectionPolicy
from domain.rules.groups import stays_in
from tests.stays import stays_together
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, first, ids, names, run

P, Q, COMPANY, FREELANCE = Room("topic:p"), Room("topic:q"), Room("role:company"), Room("role:freelance")
BOTH = Audience.all_of([P, Q])
OF_ROLE = Audience.all_of([P, FREELANCE])
ANN, BOB = UserId("ann"), UserId("bob")


async def members(world: World, topic: str, add: tuple[UserId, ...] = (), remove: tuple[UserId, ...] = ()) -> None:
    await world.application.topics.change_members(topic, add, remove)


def told(client: Any) -> list[str]:
    return [name for name in names(client) if name not in ("inbox.counts", "session.ready")]


# what such a room is


def test_the_same_groups_are_the_same_room_in_whatever_order() -> None:
    room = Room.of_all([Q, P, FREELANCE, P])
    assert room == Room.of_all([FREELANCE, P, Q])
    assert room.parts == (FREELANCE, P, Q)
    assert Room.of_all([P, P]) == P
    assert Audience.all_of([COMPANY]) == Audience.role("company")
    assert P.parts == (P,)


def test_its_kind_is_that_of_a_topic_where_there_is_one() -> None:
    for audience, kind in ((BOTH, "TOPIC"), (OF_ROLE, "TOPIC"), (Audience.all_of([COMPANY, FREELANCE]), "ROLE")):
        assert audience.kind is AudienceKind[kind]
        assert audience_in(audience.rooms) == audience
        assert audience_of("\n".join(audience.rooms)) == (audience.kind, audience.rooms)


@pytest.mark.parametrize("to", [BOTH, OF_ROLE, Audience.all_of([COMPANY, FREELANCE])])
def test_a_collapse_key_is_refused(to: Audience) -> None:
    with pytest.raises(InvalidPublication) as refused:
        ConnectionPolicy().check(Publication(to, "t", collapse_key="k"))
    assert [error.path for error in refused.value.errors] == ["collapse_key"]


@pytest.mark.parametrize(
    ("groups", "path"),
    [
        ([Room.of_topic(str(number)) for number in range(101)], "to.all_of"),
        ([Room.of_topic(str(number) * 40) for number in range(50)], "to.all_of"),
        ([P, Room.of_topic("")], "to"),
        ([P, Room.of_topic("a\tb")], "to"),
        ([P, Room.of_role("x" * 129)], "to"),
    ],
)
def test_it_is_said_what_is_wrong(groups: list[Room], path: str) -> None:
    with pytest.raises(InvalidPublication) as refused:
        ConnectionPolicy().check(Publication(Audience.all_of(groups), "t"))
    assert [error.path for error in refused.value.errors] == [path]


def test_as_many_groups_as_may_be() -> None:
    ConnectionPolicy().check(Publication(Audience.all_of(Room.of_topic(str(n)) for n in range(100)), "t"))
    ConnectionPolicy().check(Publication(Audience.all_of(Room.of_topic("é" * 120 + str(n)) for n in range(8)), "t"))


# who was in all of its parts

rooms = st.sampled_from([P, Q, Room("topic:r")])
offsets = st.integers(0, 30)


@st.composite
def all_stays(draw: st.DrawFn) -> list[Span]:
    """Of one user: in one topic none lies over another."""
    found: list[Span] = []
    for room in (P, Q, Room("topic:r")):
        bounds = sorted(draw(st.sets(offsets, max_size=8)))
        pairs = list(zip(bounds[::2], [*bounds[1::2], None], strict=False))
        found += [Span(room, after, upto) for after, upto in pairs]
    return draw(st.permutations(found))


@given(
    st.sets(st.sampled_from([P, Q, Room("topic:r"), COMPANY, FREELANCE]), min_size=2),
    st.dictionaries(st.sampled_from([COMPANY, FREELANCE]), offsets),
    all_stays(),
)
def test_the_times_in_all_parts_are_those_that_a_look_at_each_offset_finds(
    parts: set[Room], starts: dict[Room, int], stays: list[Span]
) -> None:
    room = Room.of_all(parts)
    assert stays_in(room, starts, stays) == stays_together(room, starts, stays, 40)


def test_who_is_in_none_of_the_parts_that_it_is_found_by_is_not_asked_about_it() -> None:
    known = RoomsOfAll()
    many = [Room.of_all([COMPANY, Room.of_topic(str(number))]) for number in range(1000)]
    for room in many:
        known.add(room)
    assert known.stays({COMPANY: 0}, []) == []
    assert known.stays({COMPANY: 3}, [Span(Room.of_topic("7"), 1)]) == [Span(many[7], 3)]
    for room in many:
        known.forget(room)
    assert known.stays({COMPANY: 3}, [Span(Room.of_topic("7"), 1)]) == []
    assert not known._by_part


# live


def test_a_live_connection_has_what_is_for_who_is_in_all() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob, carl = await world.connect("ann"), await world.connect("bob"), await world.connect("carl")
            await members(world, "p", (ANN, BOB))
            await world.publish("1", to=BOTH)
            await world.publish("role-1", to=OF_ROLE)
            await members(world, "q", (ANN,))
            await world.publish("2", to=BOTH)
            await members(world, "p", (), (ANN,))
            await world.publish("3", to=BOTH)
            await members(world, "q", (BOB,))
            await world.publish("4", to=BOTH)
            await world.publish("role-2", to=OF_ROLE)
            await world.settle()
            assert ids(ann) == ["role-1", "2"]
            assert ids(bob) == ["role-1", "4", "role-2"]
            assert ids(carl) == []
            assert first(ann, "notification.new")["audience"] == "topic"
            assert ids(await world.connect("ann", cursor="e:0")) == ["role-1", "2"]

    run(story())


@pytest.mark.parametrize("was_member", [False, True])
@pytest.mark.parametrize("settles", [False, True])
def test_at_every_point_of_connecting(was_member: bool, settles: bool) -> None:  # noqa: FBT001 (drawn)
    """Who is in one joins the other and leaves it, with something for both before, between and after."""

    async def story(at: int | None) -> int:
        points = Points()
        world = World(policy=ConnectionPolicy(replay_entries=2), seen_as=points.around)
        async with world.running():
            await members(world, "p", (ANN,))
            if was_member:
                await members(world, "q", (ANN,))
            begins = await world.inbox.head()
            await world.publish("a", "b", "c", to=BOTH)
            await world.publish("own", to=Audience.user("ann"))
            before = ["a", "b", "c", "own"] if was_member else ["own"]

            async def change() -> None:
                join, leave = ((ANN,), ()), ((), (ANN,))
                await world.publish("d", to=BOTH)
                await members(world, "q", *(leave if was_member else join))
                await world.publish("e", "f", to=BOTH)
                await members(world, "q", *(join if was_member else leave))
                await world.publish("g", to=BOTH)
                if settles:
                    await world.settle()

            points.passed.clear()
            points.at, points.action = at, change
            client = await world.connect("ann", cursor=str(begins))
            if points.action is not None:
                points.action = None
                await change()
            await world.settle()
            during = ["d", "g"] if was_member else ["e", "f"]
            assert ids(client) == before + during, (at, points.passed)
            world.clock.advance(2)
            await world.counts.announce(100)
            counts = [arguments[0] for name, arguments in client.events if name == "inbox.counts"]
            number = len(before + during)
            seen = counts[-1] if counts else first(client, "session.ready")["counts"]
            assert seen == {"unread": number, "unseen": number, "total": number}, (at, points.passed)
            return len(points.passed)

    for at in range(run(story(None))):
        run(story(at))


def test_counts_follow_though_others_are_told_of_the_parts() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await members(world, "p", (ANN, BOB))
            await members(world, "q", (ANN,))
            totals = {"ann": 0, "bob": 0}
            for number in range(12):
                await world.publish(f"{number}", to=BOTH)
                await world.publish(f"p-{number}", to=Audience.topic("p"))
                totals = {"ann": totals["ann"] + 2, "bob": totals["bob"] + 1}
                if number % 3 == 0:
                    await world.settle()
                    world.clock.advance(1.1)
                    await world.counts.announce(100)
                    for client, user in ((ann, "ann"), (bob, "bob")):
                        counts = [arguments[0] for name, arguments in client.events if name == "inbox.counts"]
                        assert counts[-1] == dict.fromkeys(("unread", "unseen", "total"), totals[user])

    run(story())


def test_who_has_left_hears_what_becomes_of_what_they_got() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await members(world, "p", (ANN, BOB))
            await members(world, "q", (ANN,))
            await world.publish("1", "2", to=BOTH)
            await members(world, "q", (BOB,), (ANN,))
            await world.publish("3", to=BOTH)
            await world.settle()
            for id_ in ("1", "3"):
                await world.application.editing.revise(id_, lambda one: replace(one, title="other"))
            await world.application.editing.recall("2")
            await world.settle()
            assert told(ann) == [*["notification.new"] * 2, "notification.revised", "notification.deleted"]
            assert told(bob) == ["notification.new", "notification.revised"]

    run(story())


def test_what_is_for_nobody_here_is_left_where_it_is_stored() -> None:
    async def story() -> None:
        async with World().running() as world:
            wanted = world.hub.has_member
            assert not wanted(BOTH.rooms)
            await world.connect("ann")
            # Anybody may be in a topic by then, and in a role by no more than a token.
            assert wanted(BOTH.rooms)
            assert wanted(OF_ROLE.rooms)
            assert not wanted(Audience.all_of([P, COMPANY]).rooms)

    run(story())
