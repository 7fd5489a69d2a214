"""What every store must list and count."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from domain.model import (
    EVERYONE,
    Action,
    Counts,
    InboxQuery,
    Item,
    ItemState,
    Subscriber,
    UserId,
)
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    BOB,
    COMPANY,
    DUPLICATE,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    at,
    draft,
    entries_of,
    ids_of,
    items_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
    turns,
)
from tests.doubles import START, ManualClock

MINUTE = timedelta(minutes=1)
NOTHING = Counts(unread=0, unseen=0, total=0)


class ListContract:
    async def test_an_empty_inbox(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("b", BOB)])
        ann = await register(inbox)
        listing = await inbox.list_items(ann, InboxQuery(limit=20))
        assert (listing.items, listing.next, listing.counts) == ((), None, NOTHING)
        assert listing.as_of == await inbox.head()
        counted = await inbox.count(ann)
        assert (counted.counts, counted.as_of, counted.stands_until) == (NOTHING, await inbox.head(), None)

    async def test_items_are_the_notifications_newest_first(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a", ANN, body="é", data=b'{"n": 1e2}'), draft("b", BOB), draft("c", EVERYONE, ANN)])
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        await inbox.append([draft("d", COMPANY), draft("e", ADMIN)])
        payloads = {entry.position.offset: entry.payload for entry in await entries_of(inbox, ann, start)}
        listing = await inbox.list_items(ann, InboxQuery(limit=20, state=ItemState.ALL))
        a, c, d = (start.offset + n for n in (1, 3, 5))
        assert listing.items == (
            Item(d, payloads[d], None, None, None),
            Item(c, payloads[c], None, None, None),
            Item(a, payloads[a], None, None, START),
        )
        assert b'{"n": 1e2}' in bytes(payloads[a])

    async def test_only_what_lies_above_the_start_is_there(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", EVERYONE), draft("b", EVERYONE, ANN), draft("c", EVERYONE), draft("d", COMPANY)])
        mine = Subscriber(UserId("ann"), "company", {ANN: 0, EVERYONE: start.offset + 2, COMPANY: start.offset + 4})
        assert await ids_of(inbox, mine) == ["c", "b"]
        assert (await inbox.count(mine)).counts == Counts(2, 2, 2)

    @pytest.mark.parametrize(("limit", "pages"), [(1, 7), (3, 3), (6, 2), (7, 1), (8, 1)])
    async def test_page_after_page_gives_all_once(self, inbox: OpenedStore, limit: int, pages: int) -> None:
        rooms = [(ANN,), (BOB,), (ANN, EVERYONE), (EVERYONE,), (BOB,), (ANN,), (ANN,), (EVERYONE,), (ANN,)]
        await inbox.append([draft(f"n-{number}", *names) for number, names in enumerate(rooms)])
        found: list[int] = []
        before = None
        for number in range(pages):
            page = await inbox.list_items(reader(ANN, EVERYONE), InboxQuery(limit=limit, before=before))
            found.extend(item.offset for item in page.items)
            before = page.next
            assert (before is None) == (number == pages - 1)
            # New ones come in front, and move nothing behind.
            await inbox.append([draft(f"later-{number}")])
        start = (await inbox.head()).offset - pages - len(rooms)
        assert found == [start + n for n in (9, 8, 7, 6, 4, 3, 1)]

    async def test_before_bounds_a_page_wherever_it_points(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", ANN), draft("b", BOB), draft("c", ANN)])
        for before, expected in ((0, []), (1, []), (2, [1]), (3, [1]), (4, [3, 1]), (10**18, [3, 1])):
            page = await inbox.list_items(reader(ANN), InboxQuery(limit=5, before=start.offset + before))
            assert [item.offset - start.offset for item in page.items] == expected
            # The counts are those of the whole inbox, not of the page.
            assert page.counts == Counts(2, 2, 2)

    async def test_states_and_types_choose(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        types = {"fresh": "x", "seen": "y", "read": "x", "kept": "x", "kept-read": "y", "gone": "x", "other": "x.y"}
        await inbox.append([draft(id_, type_=type_) for id_, type_ in types.items()])
        await inbox.change(ann, Action.SEEN, ["seen"], START)
        await inbox.change(ann, Action.READ, ["read", "kept-read"], START)
        await inbox.change(ann, Action.ARCHIVE, ["kept", "kept-read"], START)
        await inbox.change(ann, Action.DELETE, ["gone"], START)
        expected = {
            ItemState.CURRENT: ["other", "read", "seen", "fresh"],
            ItemState.UNREAD: ["other", "seen", "fresh"],
            ItemState.READ: ["read"],
            ItemState.ARCHIVED: ["kept-read", "kept"],
            ItemState.ALL: ["other", "kept-read", "kept", "read", "seen", "fresh"],
        }
        for state, ids in expected.items():
            assert await ids_of(inbox, ann, state) == ids
            for type_ in ("x", "y", "x.y", "X", "none"):
                listed = [item["id"] for item in await items_of(inbox, ann, state, type_=type_)]
                assert listed == [id_ for id_ in ids if types[id_] == type_]
        assert (await inbox.count(ann)).counts == Counts(unread=3, unseen=2, total=4)

    async def test_next_says_whether_there_is_more_of_the_same_kind(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}", type_="x" if number % 3 else "y") for number in range(9)])
        ann = reader(ANN)
        await inbox.change(ann, Action.READ, ["n-0", "n-8"], START)
        for query, offsets, following in (
            (InboxQuery(limit=2, type="y"), [7, 4], 4),
            (InboxQuery(limit=3, type="y"), [7, 4, 1], None),
            (InboxQuery(limit=1, state=ItemState.READ), [9], 9),
            (InboxQuery(limit=2, state=ItemState.READ), [9, 1], None),
            (InboxQuery(limit=1, state=ItemState.READ, type="y"), [1], None),
            (InboxQuery(limit=1, state=ItemState.ARCHIVED), [], None),
        ):
            page = await inbox.list_items(ann, query)
            assert [item.offset - start.offset for item in page.items] == offsets
            assert page.next == (start.offset + following if following is not None else None)

    async def test_who_reads_on_from_a_list_misses_nothing_and_sees_nothing_twice(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        ann = reader(ANN, EVERYONE)

        async def publish(name: str) -> None:
            for number in range(40):
                await inbox.append([draft(f"{name}-{number}-{n}", ANN if n else EVERYONE) for n in range(3)])
                await asyncio.sleep(0)

        publishing = [asyncio.create_task(publish(name)) for name in ("x", "y")]
        listings = []
        while not all(task.done() for task in publishing):
            listings.append(await inbox.list_items(ann, InboxQuery(limit=1000)))
            await asyncio.sleep(0)
        await asyncio.gather(*publishing)
        assert len({listing.as_of for listing in listings}) > 5
        for listing in listings:
            listed = [item.offset for item in reversed(listing.items)]
            assert listing.counts.total == len(listed)
            assert listed + await offsets_of(inbox, ann, listing.as_of) == [start.offset + n for n in range(1, 241)]

    async def test_what_was_deleted_and_is_published_again_stays_deleted(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        (first,) = await inbox.append([draft("a")])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        head = await inbox.head()
        following = Following(inbox, head).start(head.offset + 1)
        (again,) = await inbox.append([draft("a")])
        assert outcomes([again]) == [DUPLICATE]
        assert again.position == first.position
        await turns()
        assert not following.done()
        assert await inbox.head() == head
        assert await ids_of(inbox, ann) == []
        assert (await inbox.count(ann)).counts == NOTHING
        await inbox.append([draft("next")])
        assert await following == [head.offset + 1]


class CountContract:
    async def test_counts_of_many_are_exact(self, inbox: OpenedStore) -> None:
        ann = reader(ANN, EVERYONE)
        await inbox.append([draft(f"n-{number}", ANN if number % 2 else EVERYONE) for number in range(1500)])
        assert (await inbox.count(ann)).counts == Counts(1500, 1500, 1500)
        await inbox.change(ann, Action.SEEN, [f"n-{number}" for number in range(500)], START)
        await inbox.change(ann, Action.READ, [f"n-{number}" for number in range(400, 700)], START)
        await inbox.change(ann, Action.ARCHIVE, [f"n-{number}" for number in range(600, 650)], START)
        await inbox.change(ann, Action.DELETE, [f"n-{number}" for number in range(100)], START)
        counted = await inbox.count(ann)
        assert counted.counts == Counts(unread=1500 - 100 - 300, unseen=1500 - 700, total=1500 - 150)
        assert counted.as_of == await inbox.head()

    async def test_an_inbox_is_one_user_s(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", EVERYONE, ANN, BOB)])
        await inbox.change(reader(EVERYONE), Action.DELETE, ["a"], START)
        assert (await inbox.count(reader(EVERYONE, ANN))).counts == NOTHING
        assert (await inbox.count(reader(EVERYONE, user="bob"))).counts == Counts(1, 1, 1)

    async def test_the_state_goes_with_the_user_from_role_to_role(self, inbox: OpenedStore) -> None:
        company, admin = await register(inbox), await register(inbox, role="admin")
        await inbox.append([draft("all", EVERYONE), draft("company", COMPANY), draft("admin", ADMIN)])
        await inbox.change(company, Action.READ, ["all", "company"], START)
        assert (await inbox.count(company)).counts == Counts(0, 0, 2)
        assert (await inbox.count(admin)).counts == Counts(1, 1, 2)

    async def test_what_expires_is_there_until_the_instant(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a", expires_at=START + MINUTE), draft("b"), draft("c", expires_at=START + HOUR)])
        clock.advance(59.999)
        assert await ids_of(inbox, ann) == ["c", "b", "a"]
        counted = await inbox.count(ann)
        assert (counted.counts, counted.stands_until) == (Counts(3, 3, 3), START + MINUTE)
        clock.advance(0.001)
        assert await ids_of(inbox, ann) == ["c", "b"]
        counted = await inbox.count(ann)
        assert (counted.counts, counted.stands_until) == (Counts(2, 2, 2), START + HOUR)
        clock.advance(3600)
        assert await ids_of(inbox, ann) == ["b"]
        assert (await inbox.list_items(ann, InboxQuery(limit=1))).next is None

    async def test_what_was_published_too_late_never_was_there(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", expires_at=START), draft("b", expires_at=START - MINUTE)])
        assert await ids_of(inbox, reader(ANN)) == []
        assert (await inbox.count(reader(ANN))).counts == NOTHING

    async def test_counts_stand_until_what_is_counted_goes(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft(f"n-{number}", expires_at=START + number * MINUTE) for number in range(1, 5)])
        for action, id_, expected in (
            (Action.READ, "n-1", 1),
            (Action.ARCHIVE, "n-1", 2),
            (Action.DELETE, "n-2", 3),
            (Action.UNARCHIVE, "n-1", 1),
        ):
            await inbox.change(ann, action, [id_], START)
            assert (await inbox.count(ann)).stands_until == START + expected * MINUTE

    async def test_counts_change_when_they_do_not_stand_any_more(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = reader(ANN)
        for number in range(3):
            clock.advance(600)
            await inbox.append([draft(f"n-{number}")])
        for total in (3, 2, 1):
            counted = await inbox.count(ann)
            assert counted.counts.total == total
            assert counted.stands_until is not None
            almost = counted.stands_until - clock.now() - timedelta(seconds=1)
            await pass_time(inbox, clock, almost)
            assert (await inbox.count(ann)).counts == counted.counts
            clock.advance(2)
            assert (await inbox.count(ann)).counts.total == total - 1
            assert await ids_of(inbox, ann) == [f"n-{number}" for number in (2, 1, 0)][: total - 1]
        assert (await inbox.count(ann)).stands_until is None

    async def test_counts_change_at_the_very_instant_they_stand_until(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        ann = reader(ANN)
        await inbox.append([draft(f"n-{number}", expires_at=START + number * MINUTE) for number in (1, 2)])
        for total in (2, 1):
            stands_until = (await inbox.count(ann)).stands_until
            assert stands_until is not None
            clock.jump(stands_until - clock.now() - timedelta(microseconds=1))
            assert (await inbox.count(ann)).counts.total == total
            clock.jump(timedelta(microseconds=1))
            assert (await inbox.count(ann)).counts.total == total - 1

    async def test_what_comes_next_is_kept_as_long_as_the_counts_say(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = reader(ANN)
        kept_for = (await inbox.count(ann)).kept_for
        assert kept_for is not None
        await inbox.append([draft("a")])
        await pass_time(inbox, clock, kept_for - timedelta(seconds=1))
        assert (await inbox.count(ann)).counts.total == 1
        clock.advance(2)
        assert (await inbox.count(ann)).counts.total == 0

    async def test_nothing_in_an_inbox_lies_before_what_counts_call_the_oldest(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        for number in range(3):
            counted = await inbox.count(ann)
            await inbox.append([draft(f"b-{number}", BOB), draft(f"n-{number}")])
            offsets = [item.offset for item in (await inbox.list_items(ann, InboxQuery())).items]
            assert await inbox.given_up() < min(offsets)
            assert counted.oldest is None or await inbox.given_up() < counted.oldest <= min(offsets)

    async def test_what_is_trimmed_has_left_the_inbox(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b")])
        await inbox.read_all(ann, None, START)
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        clock.advance(1800)
        await inbox.append([draft("c")])
        await pass_time(inbox, clock, 0.6 * HOUR)
        assert await ids_of(inbox, ann) == ["c"]
        assert (await inbox.count(ann)).counts == Counts(1, 1, 1)
        for action in Action:
            assert (await inbox.change(ann, action, ["a", "b"], START)).changed == 0


class WindowContract:
    async def test_the_newest_are_kept(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = reader(ANN, EVERYONE)
        await inbox.append([draft("a"), draft("b", BOB), draft("c", EVERYONE)])
        assert (await inbox.count(ann)).room == 1
        await inbox.append([draft("d", BOB), draft("e")])
        assert await ids_of(inbox, ann) == ["e", "c", "a"]
        assert (await inbox.count(ann)).room == 0
        await inbox.append([draft("f", EVERYONE)])
        assert await ids_of(inbox, ann) == ["f", "e", "c"]
        counted = await inbox.count(ann)
        assert (counted.counts, counted.room) == (Counts(3, 3, 3), 0)
        assert (await inbox.change(ann, Action.READ, ["a", "c"], START)).changed == 1
        # Another's window is another.
        assert await ids_of(inbox, reader(BOB, user="bob")) == ["d", "b"]

    async def test_what_was_pushed_out_is_still_replayed(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=2)
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}") for number in range(5)])
        assert await offsets_of(inbox, reader(ANN), start) == [start.offset + n for n in range(1, 6)]

    async def test_what_was_pushed_out_does_not_return(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b", expires_at=START + MINUTE), draft("c"), draft("d")])
        await inbox.change(ann, Action.DELETE, ["d"], START)
        clock.advance(60)
        assert await ids_of(inbox, ann) == ["c"]
        assert (await inbox.count(ann)).room == 0

    async def test_read_all_reads_what_is_in_the_window(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=2)
        ann = reader(ANN)
        await inbox.append([draft(f"n-{number}") for number in range(5)])
        head = await inbox.head()
        changed = await inbox.read_all(ann, head, START)
        assert (changed.changed, changed.counts) == (2, Counts(0, 0, 2))
        assert (await inbox.read_all(ann, None, START)).changed == 0
        assert await inbox.head() == at(head, 1)

    async def test_each_of_the_next_just_adds(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=4)
        ann = reader(ANN)
        for number in range(6):
            counted = await inbox.count(ann)
            assert counted.room == max(0, 4 - number)
            await inbox.append([draft(f"n-{number}")])
            if counted.room:
                assert (await inbox.count(ann)).counts == counted.counts.with_new(1)
