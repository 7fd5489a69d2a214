"""What every registry of nodes promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta

import pytest

from adapters.system.nodes import LeaseLost, Member, Registry
from domain.errors import StoreUnavailable
from tests.doubles import START

LEASE_SECONDS = 15.0
INTERVAL = 5.0


class Registries(ABC):
    """What the suite needs: the registries of the nodes of one cluster, and its time."""

    @abstractmethod
    def new(self) -> Registry:
        """That of another node."""

    @abstractmethod
    async def time_passes(self, seconds: float) -> None:
        """For whoever holds a lease."""

    @abstractmethod
    async def begin_anew(self) -> None:
        """Another database, or one that has lost what is not in its WAL."""

    @abstractmethod
    async def append(self, entries: int) -> None:
        """To the log."""


def node(boot: str, *, offset: int = 0, connections: int = 0, number: int = 0) -> Member:
    since = START + timedelta(seconds=number)
    return Member(boot, f"http://{boot}.example:9000", "1.2.3", since, connections, offset)


async def settled(registries: Registries, *nodes: tuple[Registry, Member], seconds: float = LEASE_SECONDS) -> None:
    """All of them renew for as long as it takes until whoever is missing is gone."""
    passed = 0.0
    while True:
        for registry, member in nodes:
            await registry.renew(member)
        if passed > seconds:
            return
        await registries.time_passes(INTERVAL)
        passed += INTERVAL


def boots(members: Sequence[Member]) -> list[str]:
    return [member.boot for member in members]


class RegistryContract:
    """Subclasses have a fixture ``registries``."""

    @pytest.mark.gen_test
    async def test_nodes_find_one_another(self, registries: Registries) -> None:
        first, second = registries.new(), registries.new()
        alone = await first.renew(node("one-----"))
        assert alone.members == (node("one-----"),)
        both = await second.renew(node("two-----", offset=7, connections=3, number=1))
        assert both.members == (node("one-----"), node("two-----", offset=7, connections=3, number=1))
        assert (await first.roll()).members == both.members
        assert len(both.secret) == 32
        assert both.secret == alone.secret

    @pytest.mark.gen_test
    async def test_what_a_node_says_anew_is_what_others_see(self, registries: Registries) -> None:
        registry = registries.new()
        await registry.renew(node("one-----"))
        await registries.append(5)
        (member,) = (await registry.renew(node("one-----", offset=3, connections=9))).members
        assert (member.offset, member.lag, member.connections) == (3, 2, 9)

    @pytest.mark.gen_test
    async def test_who_leaves_is_gone_at_once(self, registries: Registries) -> None:
        first, second = registries.new(), registries.new()
        await first.renew(node("one-----"))
        await second.renew(node("two-----"))
        await second.leave("two-----")
        assert boots((await first.roll()).members) == ["one-----"]
        await second.leave("never---")

    @pytest.mark.gen_test
    async def test_before_anybody_was_there_it_cannot_be_read(self, registries: Registries) -> None:
        with pytest.raises(StoreUnavailable):
            await registries.new().roll()

    @pytest.mark.gen_test
    async def test_a_node_that_is_silent_is_dead_and_another_one_when_it_goes_on(self, registries: Registries) -> None:
        lively, paused = registries.new(), registries.new()
        one, two = (lively, node("one-----")), (paused, node("two-----", number=1))
        await settled(registries, one, two)
        await settled(registries, one, seconds=LEASE_SECONDS - 2 * INTERVAL)
        assert boots((await lively.roll()).members) == ["one-----", "two-----"]
        await registries.time_passes(INTERVAL)
        assert boots((await lively.roll()).members) == ["one-----"]
        for _ in range(2):
            with pytest.raises(LeaseLost):
                await paused.renew(node("two-----", number=1))
        assert boots((await paused.renew(node("three---", number=2))).members) == ["one-----", "three---"]

    @pytest.mark.gen_test
    async def test_a_node_whose_lease_was_removed_has_lost_it(self, registries: Registries) -> None:
        lively, paused = registries.new(), registries.new()
        one, two = (lively, node("one-----")), (paused, node("two-----", number=1))
        await settled(registries, one, two)
        await settled(registries, one)
        with pytest.raises(LeaseLost):
            await paused.renew(node("two-----", number=1))

    @pytest.mark.gen_test
    async def test_a_lease_that_was_removed_before_an_outage_is_lost_behind_it(self, registries: Registries) -> None:
        lively, paused = registries.new(), registries.new()
        one, two = (lively, node("one-----")), (paused, node("two-----", number=1))
        await settled(registries, one, two)
        await settled(registries, one)
        await registries.time_passes(10 * LEASE_SECONDS)
        assert not (await lively.renew(one[1])).is_settled
        with pytest.raises(LeaseLost):
            await paused.renew(node("two-----", number=1))

    @pytest.mark.gen_test
    async def test_after_an_outage_no_lease_has_ended_until_there_was_time_to_renew_it(
        self, registries: Registries
    ) -> None:
        first, second, dead = registries.new(), registries.new(), registries.new()
        one, two = (first, node("one-----")), (second, node("two-----", number=1))
        await settled(registries, one, two, (dead, node("three---", number=2)))
        await registries.time_passes(10 * LEASE_SECONDS)
        back = await first.renew(one[1])
        assert not back.is_settled
        assert boots(back.members) == ["one-----", "two-----", "three---"]
        await settled(registries, one, seconds=LEASE_SECONDS - 2 * INTERVAL)
        assert boots((await second.renew(two[1])).members) == ["one-----", "two-----", "three---"]
        await registries.time_passes(INTERVAL)
        settled_again = await first.renew(one[1])
        assert settled_again.is_settled
        assert boots(settled_again.members) == ["one-----", "two-----"]

    @pytest.mark.gen_test
    async def test_a_database_that_begins_anew_has_another_secret_and_its_nodes_come_over(
        self, registries: Registries
    ) -> None:
        first, second, late = registries.new(), registries.new(), registries.new()
        one, two = (first, node("one-----")), (second, node("two-----", number=1))
        await settled(registries, one, two, (late, node("three---", number=2)))
        before = (await first.roll()).secret
        await registries.begin_anew()
        anew = await first.renew(one[1])
        assert anew.secret != before
        assert not anew.is_settled
        assert boots(anew.members) == ["one-----"]
        assert boots((await second.renew(two[1])).members) == ["one-----", "two-----"]
        await settled(registries, one, two)
        with pytest.raises(LeaseLost):
            await late.renew(node("three---", number=2))
