"""The sets of roles in which a user came: which of them say what the user has."""

from __future__ import annotations

import pytest

from domain.errors import InvalidArgument
from domain.model import Subscriber, UserId, role_set
from domain.rules.role_sets import largest, roles_of
from domain.services.owners import ROLES_MOST, owner
from tests.unit.domain.world import World, run

ANN = UserId("ann")


def sets(*some: str) -> list[str]:
    """Each of roles of one letter."""
    return [role_set(roles) for roles in some]


async def owner_of(role: str | None, came_in: list[str]) -> Subscriber:
    return await owner(World().inbox, ANN, role, came_in)


def rooms_in_each(of: Subscriber) -> list[list[str]]:
    return [sorted(room for room in starts if room.startswith("role:")) for starts in of.in_each]


def test_what_is_part_of_another_one_adds_nothing() -> None:
    assert [*largest(sets("a", "ab", "b", "bc", "d", "ab"))] == [["a", "b"], ["b", "c"], ["d"]]
    assert [*largest(sets("c", "b", "abc"))] == [["a", "b", "c"]]
    assert [*largest([])] == []


def test_the_roles_are_those_of_any() -> None:
    assert roles_of(sets("b", "ab", "c")) == ["a", "b", "c"]


def test_an_inbox_is_looked_at_in_the_sets_that_hold_a_role() -> None:
    came_in = sets("a", "ab", "bc", "d")

    async def story() -> None:
        assert rooms_in_each(await owner_of(None, came_in)) == [
            ["role:a", "role:b"],
            ["role:b", "role:c"],
            ["role:d"],
        ]
        assert rooms_in_each(await owner_of("a", came_in)) == [["role:a", "role:b"]]
        assert rooms_in_each(await owner_of("b", came_in)) == [["role:a", "role:b"], ["role:b", "role:c"]]
        with pytest.raises(InvalidArgument):
            await owner_of("e", came_in)

    run(story())


def test_no_more_roles_are_looked_at_than_can_be() -> None:
    half = [f"r-{number:03}" for number in range(ROLES_MOST // 2)]
    beside = [role_set([*half[1:], another]) for another in ("x", "y")]

    async def story() -> None:
        assert len((await owner_of(None, [role_set(half), beside[0]])).in_each) == 2
        with pytest.raises(InvalidArgument, match="is required"):
            await owner_of(None, [role_set(half), *beside])
        with pytest.raises(InvalidArgument, match="has had with more than 100"):
            await owner_of(half[1], [role_set(half), *beside])
        assert len((await owner_of("x", [role_set(half), *beside])).in_each) == 1

    run(story())
