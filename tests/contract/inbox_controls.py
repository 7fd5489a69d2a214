"""What every store must do with what is for servers alone: it has its place in the order, and nobody is given it."""

from __future__ import annotations

import asyncio

from domain.model import EVERYONE, Action, Counts, DisconnectUser, InboxQuery, UserId
from tests.contract.inbox_harness import (
    ANN,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    arrival,
    arrive,
    assert_refused,
    at,
    draft,
    floor_of,
    ids_of,
    offsets_of,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock

DISCONNECT_ANN = DisconnectUser(UserId("ann"), reconnect=False)


class ControlContract:
    async def test_a_control_has_its_place_in_the_tail(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a")])
        assert await inbox.append_control(DISCONNECT_ANN) == at(start, 2)
        await inbox.append([draft("b")])
        following = Following(inbox, start)
        assert await following.until(start.offset + 3) == [start.offset + n for n in (1, 2, 3)]
        assert [entry.control for entry in following.entries] == [None, DISCONNECT_ANN, None]
        assert following.entries[1].rooms == frozenset()
        assert await inbox.head() == at(start, 3)

    async def test_every_follower_is_given_it_while_it_waits(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        followers = [Following(inbox, start) for _ in range(3)]
        waiting = [follower.start(start.offset + 1) for follower in followers]
        await inbox.append_control(DisconnectUser(UserId('דנה \u2029"'), reconnect=True))
        await asyncio.gather(*waiting)
        told = DisconnectUser(UserId('דנה \u2029"'), reconnect=True)
        assert [[entry.control for entry in follower.entries] for follower in followers] == [[told]] * 3

    async def test_no_page_list_or_count_has_it(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a", ANN), draft("b", EVERYONE)])
        before = await inbox.count(ann)
        for _ in range(3):
            await inbox.append_control(DISCONNECT_ANN)
        assert await offsets_of(inbox, ann, start) == [start.offset + 1, start.offset + 2]
        page = await inbox.read(ann, start, max_entries=2, max_bytes=1 << 20)
        assert (page.more, page.upto) == (False, at(start, 5))
        assert await ids_of(inbox, ann) == ["b", "a"]
        counted = await inbox.count(ann)
        assert (counted.counts, counted.room, counted.as_of) == (before.counts, before.room, at(start, 5))
        arrived = await arrive(inbox, arrival("ann", "company", start))
        assert [entry.position.offset for entry in arrived.page.entries] == [start.offset + 1, start.offset + 2]
        assert arrived.counted.counts == Counts(2, 2, 2)

    async def test_what_users_do_goes_on_around_it(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a")])
        await inbox.append_control(DISCONNECT_ANN)
        changed = await inbox.change(ann, Action.READ, ["a"], START)
        assert (changed.changed, changed.as_of) == (1, at(start, 3))
        await inbox.append_control(DISCONNECT_ANN)
        await inbox.append([draft("b")])
        assert (await inbox.read_all(ann, None, START)).changed == 1
        assert await offsets_of(inbox, ann, start) == [start.offset + n for n in (1, 3, 5, 6)]
        assert (await inbox.list_items(ann, InboxQuery())).as_of == at(start, 6)

    async def test_many_at_once_have_a_place_each(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        orders = [DisconnectUser(UserId(f"u-{number}"), reconnect=False) for number in range(50)]
        places = await asyncio.gather(*(inbox.append_control(order) for order in orders))
        following = Following(inbox, start)
        await following.until(start.offset + 50)
        assert {entry.position: entry.control for entry in following.entries} == dict(zip(places, orders, strict=True))

    async def test_it_leaves_the_log_and_nobody_has_lost_anything(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await inbox.append([draft("a")])
        for _ in range(3):
            await inbox.append_control(DISCONNECT_ANN)
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("b")])
        await assert_refused(inbox, reader(ANN), start)
        assert await floor_of(inbox, reader(ANN)) == at(start, 1)
        assert await offsets_of(inbox, reader(ANN), at(start, 1)) == [start.offset + 5]
