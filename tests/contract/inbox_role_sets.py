"""What every store must do with an inbox in several sets of roles at once: what is in it in one of them is in it."""

from __future__ import annotations

import asyncio

from domain.model import (
    EVERYONE,
    ROLES_MOST,
    Action,
    Counts,
    InboxQuery,
    ItemState,
    Room,
    Subscriber,
    role_set,
)
from tests.contract.inbox_all_of import BOTH_ROLES, ROLE_AND_TOPIC, TOGETHER, TOPIC, members, register_in
from tests.contract.inbox_collapse import keyed, listed
from tests.contract.inbox_harness import ADMIN, ANN, COMPANY, HOUR, OpenedStore, OpenStore, draft, register
from tests.doubles import START

DRIVER = Room("role:driver")


async def in_each(inbox: OpenedStore, *sets: str) -> Subscriber:
    """Ann, as she has come with each."""
    first, *others = [await register_in(inbox, "ann", roles) for roles in sets]
    return Subscriber(first.user, first.role, first.starts, tuple(one.starts for one in others))


class RoleSetsContract:
    async def test_it_has_once_what_is_in_one_of_them(self, inbox: OpenedStore) -> None:
        ann = await in_each(inbox, "admin", "company")
        await inbox.append([draft("own"), draft("all", EVERYONE), draft("admin", ADMIN), draft("company", COMPANY)])
        await inbox.append([draft("driver", DRIVER), draft("either", ADMIN, COMPANY)])
        assert await listed(inbox, ann) == ["either", "company", "admin", "all", "own"]
        first = await inbox.list_items(ann, InboxQuery(limit=2))
        assert first.next is not None
        rest = await inbox.list_items(ann, InboxQuery(limit=10, before=first.next))
        assert (len(first.items), len(rest.items), rest.next) == (2, 3, None)
        changed = await inbox.change(ann, Action.READ, ["admin", "company", "all", "driver"], START)
        assert (changed.changed, changed.counts) == (3, Counts(2, 2, 5))
        assert (await inbox.read_all(ann, first.as_of, START)).changed == 2
        await inbox.append([draft("later", ADMIN)])
        changed = await inbox.read_all(ann, None, START)
        assert (changed.changed, changed.counts) == (1, Counts(0, 0, 6))

    async def test_what_is_for_roles_together_is_for_who_had_them_together(self, inbox: OpenedStore) -> None:
        apart, together = await in_each(inbox, "admin", "company"), await in_each(inbox, TOGETHER, "driver")
        await members(inbox, TOPIC, ["ann"])
        await inbox.append([draft("both", BOTH_ROLES), draft("topic", ROLE_AND_TOPIC), draft("in", TOPIC)])
        await inbox.append([draft("driver", DRIVER)])
        assert await listed(inbox, apart) == ["in", "topic"]
        assert (await inbox.change(apart, Action.READ, ["both", "topic"], START)).changed == 1
        assert await listed(inbox, together) == ["driver", "in", "topic", "both"]
        assert (await inbox.change(together, Action.READ, ["both"], START)).changed == 1

    async def test_nothing_is_replaced_but_in_all_of_those_that_have_it(self, inbox: OpenedStore) -> None:
        ann = await in_each(inbox, "admin", "company")
        await inbox.append([keyed("a", COMPANY), keyed("b", ADMIN)])
        assert await listed(inbox, ann) == ["b", "a"]
        assert (await inbox.change(ann, Action.READ, ["a"], START)).changed == 1
        assert await listed(inbox, await in_each(inbox, TOGETHER)) == ["b"]
        assert await listed(inbox, await in_each(inbox, TOGETHER, "driver")) == ["b"]
        await inbox.append([keyed("c", ADMIN)])
        assert await listed(inbox, ann) == ["c", "a"]
        # One of them has it still.
        await inbox.append([keyed("d", ADMIN, COMPANY, key="other"), keyed("e", ADMIN, key="other")])
        assert await listed(inbox, ann) == ["e", "d", "c", "a"]
        await inbox.append([keyed("f", ANN), keyed("g", EVERYONE, key="other")])
        assert await listed(inbox, ann) == ["g", "f"]
        assert (await inbox.change(ann, Action.READ, ["a", "d"], START)).changed == 0

    async def test_what_is_snoozed_in_it_comes_back(self, inbox: OpenedStore) -> None:
        ann = await in_each(inbox, "admin", "company")
        await inbox.append([draft("admin", ADMIN), keyed("company", COMPANY), draft("own")])
        changed = await inbox.snooze(ann, ["admin", "company"], START + HOUR, START)
        assert (changed.changed, changed.counts.total) == (2, 1)
        snoozed = await inbox.list_items(ann, InboxQuery(state=ItemState.SNOOZED))
        assert len(snoozed.items) == 2
        assert (await inbox.snooze(ann, ["company"], START, START)).changed == 1
        assert await listed(inbox, ann) == ["company", "own"]
        everything = await inbox.list_items(ann, InboxQuery(state=ItemState.ALL_AND_SNOOZED))
        assert len(everything.items) == 3

    async def test_it_holds_no_more_than_any_other(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = await in_each(inbox, "admin", "company")
        await inbox.append([draft("a", ADMIN), draft("b", COMPANY), draft("c", ADMIN), draft("d", EVERYONE)])
        assert await listed(inbox, ann) == ["d", "c", "b"]
        assert (await inbox.count(ann)).room == 0

    async def test_it_is_counted_beside_others(self, inbox: OpenedStore) -> None:
        ann, bob = await in_each(inbox, "admin", "company"), await register(inbox, "bob")
        other = await in_each(inbox, "admin", "company", "driver")
        await inbox.append([draft("admin", ADMIN), draft("company", COMPANY), draft("driver", DRIVER)])
        counted = await asyncio.gather(*(inbox.count(one) for one in (ann, bob, other, bob)))
        assert [one.counts.total for one in counted] == [2, 1, 3, 1]

    async def test_a_hundred_sets_are_looked_at(self, inbox: OpenedStore) -> None:
        await members(inbox, TOPIC, ["ann"])
        ann = await in_each(inbox, *(f"r-{number:02}" for number in range(100)))
        await inbox.append([draft("a", Room("role:r-00")), draft("b", BOTH_ROLES), keyed("c", Room("role:r-99"))])
        assert await listed(inbox, ann) == ["c", "a"]
        assert (await inbox.change(ann, Action.READ, ["a", "c"], START)).changed == 2
        assert (await inbox.read_all(ann, (await inbox.head()), START)).changed == 0

    async def test_large_and_small_sets_are_looked_at_together(self, inbox: OpenedStore) -> None:
        many = [f"r-{number:02}" for number in range(ROLES_MOST)]
        ann = await in_each(inbox, role_set(many), *(f"s-{number:02}" for number in range(ROLES_MOST)))
        await inbox.append([draft("a", Room("role:r-00"))])
        await inbox.append([keyed("b", Room("role:r-49")), keyed("c", Room("role:s-49"))])
        assert await listed(inbox, ann) == ["c", "b", "a"]
        assert (await inbox.count(ann)).counts == Counts(3, 3, 3)
        changed = await inbox.change(ann, Action.READ, ["a", "b"], START)
        assert (changed.changed, changed.counts) == (2, Counts(1, 1, 3))
        assert (await inbox.read_all(ann, None, START)).changed == 1
