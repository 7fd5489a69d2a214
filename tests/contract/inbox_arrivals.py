"""What every store must do for users who arrive: register them, and say where each continues, what follows and what
lies in their inbox, of one moment."""

from __future__ import annotations

import asyncio

from domain.model import EVERYONE, Action, Arrival, Arrived, Page, Position, RecoveryReason, Room
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    BOB,
    COMPANY,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    age,
    arrival,
    arrive,
    at,
    draft,
    register,
    turns,
)
from tests.doubles import START, ManualClock


def offsets(page: Page) -> list[int]:
    return [entry.position.offset for entry in page.entries]


def outcome(arrived: Arrived) -> tuple[int, bool, RecoveryReason | None, list[int]]:
    return arrived.after.offset, arrived.recovered, arrived.reason, offsets(arrived.page)


async def assert_as_if_asked_singly(inbox: OpenedStore, one: Arrival, arrived: Arrived) -> None:
    """While nothing else happens."""
    assert arrived.subscriber == await inbox.register(one.user, one.role, one.rooms)
    assert arrived.page == await inbox.read(
        arrived.subscriber, arrived.after, max_entries=one.max_entries, max_bytes=one.max_bytes
    )
    assert arrived.counted == await inbox.count(arrived.subscriber)


class ArriveContract:
    async def test_who_is_new_starts_with_their_own_room_and_later_with_all(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("own"), draft("all", EVERYONE), draft("role", COMPANY), draft("b", BOB)])
        first = await arrive(inbox, arrival())
        assert (first.subscriber.user, first.subscriber.role) == ("ann", "company")
        assert first.subscriber.starts == {ANN: 0, COMPANY: 4, EVERYONE: 4}
        assert outcome(first) == (0, False, None, [1])
        assert (first.page.upto, first.page.more, first.counted.counts.total) == (await inbox.head(), False, 1)
        await inbox.append([draft("later", EVERYONE), draft("later-role", COMPANY), draft("admins", ADMIN)])
        second = await arrive(inbox, arrival())
        assert second.subscriber == first.subscriber == await register(inbox)
        assert outcome(second) == (0, False, None, [1, 5, 6])
        assert second.counted.counts.total == 3
        await assert_as_if_asked_singly(inbox, arrival(), second)

    async def test_many_at_once_are_answered_in_their_order(self, inbox: OpenedStore) -> None:
        await inbox.append([draft(f"n-{number}", Room(f"user:{number % 7}"), EVERYONE) for number in range(70)])
        for number in range(0, 100, 3):
            await register(inbox, str(number))
        head = await inbox.head()
        arrivals = [
            arrival(str(number), ("company", "admin")[number % 2], *[at(head, -(number % 50))][: number % 3])
            for number in range(100)
        ]
        # The same one twice, and the same user in another role.
        arrivals += [arrivals[7], arrival("7", "company")]
        for one, arrived in zip(arrivals, await inbox.arrive(arrivals), strict=True):
            await assert_as_if_asked_singly(inbox, one, arrived)
            assert arrived.recovered == bool(one.cursors)
        assert await inbox.arrive([]) == []

    async def test_the_latest_of_good_cursors_counts(self, inbox: OpenedStore) -> None:
        await register(inbox)
        appended = await inbox.append([draft(f"n-{number}") for number in range(5)])
        cursors = [one.position for one in appended]
        for some in ((cursors[2],), (cursors[0], cursors[2]), (cursors[2], cursors[1]), (cursors[2], cursors[2])):
            assert outcome(await arrive(inbox, arrival("ann", "company", *some))) == (3, True, None, [4, 5])
        assert outcome(await arrive(inbox, arrival("ann", "company", cursors[4]))) == (5, True, None, [])

    async def test_one_bad_cursor_among_others_is_told_and_the_mark_counts(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = await register(inbox)
        await age(inbox, clock, [draft("a"), draft("b")], [draft("c"), draft("d"), draft("e")])
        head = await inbox.head()
        await inbox.acknowledge({(ann.user, ann.role): at(head, -2)})
        for bad, reason in (
            (None, RecoveryReason.INVALID),
            (at(head, 1), RecoveryReason.INVALID),
            (Position("another", 3), RecoveryReason.UNKNOWN_EPOCH),
            (at(head, -4), RecoveryReason.TRIMMED),
        ):
            for cursors in ((bad,), (head, bad), (bad, head)):
                one = arrival("ann", "company", *cursors)
                arrived = await arrive(inbox, one)
                assert outcome(arrived) == (3, False, reason, [4, 5])
                await assert_as_if_asked_singly(inbox, one, arrived)
                at_the_head = await arrive(inbox, arrival("ann", "company", *cursors, replays_undelivered=False))
                assert outcome(at_the_head) == (5, False, reason, [])

    async def test_the_newer_of_the_mark_that_is_stored_and_the_one_that_is_not_counts(
        self, inbox: OpenedStore
    ) -> None:
        ann = await register(inbox)
        positions = [one.position for one in await inbox.append([draft(f"n-{number}") for number in range(5)])]
        await inbox.acknowledge({(ann.user, ann.role): positions[2]})
        for unstored, expected in ((None, 3), (positions[1], 3), (positions[2], 3), (positions[3], 4)):
            assert (await arrive(inbox, arrival(unstored_mark=unstored))).after.offset == expected
        assert outcome(await arrive(inbox, arrival(replays_undelivered=False))) == (5, False, None, [])

    async def test_who_missed_what_was_trimmed_is_told_and_gets_what_is_left(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        await register(inbox)
        await register(inbox, "bob")
        await age(inbox, clock, [draft("a"), draft("b"), draft("c", EVERYONE)], [draft("d"), draft("e", BOB)])
        for user, expected in (("ann", [4]), ("bob", [5])):
            arrived = await arrive(inbox, arrival(user))
            assert outcome(arrived) == (3, False, RecoveryReason.TRIMMED, expected)
            await assert_as_if_asked_singly(inbox, arrival(user), arrived)
        # What everyone lost was before this one came.
        assert outcome(await arrive(inbox, arrival("carl"))) == (0, False, None, [])

    async def test_the_first_page_is_bounded_and_the_rest_can_be_read(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft(f"n-{number}", body="x" * 1000) for number in range(10)])
        for bounded in (arrival(max_entries=4), arrival(max_bytes=4 * 1300)):
            arrived = await arrive(inbox, bounded)
            assert (offsets(arrived.page), arrived.page.more, arrived.page.upto.offset) == ([1, 2, 3, 4], True, 4)
            rest = await inbox.read(arrived.subscriber, arrived.page.upto, max_entries=10, max_bytes=1 << 20)
            assert offsets(rest) == [5, 6, 7, 8, 9, 10]
            assert arrived.counted.counts.total == 10

    async def test_the_counts_are_those_of_the_inbox(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft(f"n-{number}", expires_at=START + number * HOUR) for number in range(6)])
        await inbox.change(ann, Action.READ, ["n-1", "n-2"], START)
        await inbox.change(ann, Action.ARCHIVE, ["n-3"], START)
        await inbox.change(ann, Action.DELETE, ["n-4"], START)
        arrived = await arrive(inbox, arrival())
        counts = arrived.counted.counts
        assert (counts.unread, counts.unseen, counts.total) == (1, 1, 3)
        await assert_as_if_asked_singly(inbox, arrival(), arrived)

    async def test_what_is_published_meanwhile_is_on_the_page_or_follows_it(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        publishing = asyncio.gather(
            *(inbox.append([draft(f"n-{number}", (ANN, EVERYONE)[number % 2])]) for number in range(60))
        )
        arriving = [asyncio.create_task(arrive(inbox, arrival(("ann", "bob")[n % 2]))) for n in range(40)]
        found = await asyncio.gather(*arriving)
        await publishing
        everything = await following.until(start.offset + 60)
        for arrived in found:
            # Page and counts are of one moment, and it is not ahead of what was delivered.
            assert arrived.page.upto == arrived.counted.as_of
            starts = arrived.subscriber.starts
            expected = [
                entry.position.offset
                for entry in following.entries
                if entry.position.offset <= arrived.page.upto.offset
                and any(entry.position.offset > starts.get(room, len(everything)) for room in entry.rooms)
            ]
            assert offsets(arrived.page) == expected
            assert arrived.counted.counts.total == len(expected)

    async def test_who_leaves_while_arriving_disturbs_nobody(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        users = [f"u-{number}" if number % 3 else "ann" for number in range(60)]
        arriving = [asyncio.create_task(arrive(inbox, arrival(user))) for user in users]
        await asyncio.sleep(0)
        for task in arriving[::2]:
            task.cancel()
        await asyncio.gather(*arriving, return_exceptions=True)
        assert [task.result().subscriber.user for task in arriving[1::2]] == users[1::2]
        await turns()
        assert outcome(await arrive(inbox, arrival())) == (0, False, None, [1])
