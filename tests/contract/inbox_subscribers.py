"""What every store must do for one subscriber of the log: what is theirs of it, from where on, and how far they are."""

from __future__ import annotations

import asyncio
import random

import pytest

from domain.model import EVERYONE, Action, Position, RecoveryReason, Room, Subscriber, UserId
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
    assert_readable,
    assert_refused,
    at,
    draft,
    floor_of,
    ids_of,
    mark_of,
    offsets_of,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock


class SinceContract:
    async def test_a_page_holds_the_entries_of_the_rooms_each_once(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        rooms = [(ANN,), (BOB,), (ANN, BOB, EVERYONE), (EVERYONE,), (BOB,), (Room("user:annie"),)]
        await inbox.append([draft(f"n-{number}", *names) for number, names in enumerate(rooms)])
        found = await offsets_of(inbox, reader(ANN, EVERYONE), start)
        assert [offset - start.offset for offset in found] == [1, 3, 4]
        assert await offsets_of(inbox, reader(ANN, EVERYONE), at(start, 3)) == [start.offset + 4]
        assert await offsets_of(inbox, reader(Room("user:carl")), start) == []

    async def test_a_page_without_more_was_read_up_to_the_head(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a"), draft("b", BOB)])
        page = await inbox.read(reader(ANN), start, max_entries=1, max_bytes=1)
        assert ([entry.position for entry in page.entries], page.upto, page.more) == (
            [at(start, 1)],
            at(start, 2),
            False,
        )

    async def test_pages_are_bounded_in_bytes_and_hold_at_least_one(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft(f"n-{number}", body="x" * 1000) for number in range(4)])
        (first, *_) = (await inbox.read(reader(ANN), start, max_entries=10, max_bytes=1 << 20)).entries
        size = len(first.payload)
        for max_bytes, count in ((1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (3 * size, 3)):
            page = await inbox.read(reader(ANN), start, max_entries=10, max_bytes=max_bytes)
            assert (len(page.entries), page.more) == (count, True)
            assert page.entries[-1].position.offset <= page.upto.offset < start.offset + count + 1

    @pytest.mark.parametrize("seed", range(10))
    async def test_reading_page_after_page_gives_all_and_nothing_twice(self, inbox: OpenedStore, seed: int) -> None:
        chance = random.Random(seed)
        names = [Room(f"user:{number}") for number in range(6)]
        start = await inbox.head()
        audiences = [frozenset(chance.sample(names, chance.randint(1, 4))) for _ in range(chance.randint(0, 200))]
        await inbox.append([draft(f"n-{number}", *rooms) for number, rooms in enumerate(audiences)])
        starts = {
            room: start.offset + chance.choice((0, chance.randint(0, len(audiences))))
            for room in chance.sample(names, chance.randint(1, 4))
        }
        mine = Subscriber(UserId("ann"), "company", starts)
        after = at(start, chance.randint(0, len(audiences)))
        expected = [
            offset
            for offset, rooms in enumerate(audiences, start.offset + 1)
            if offset > after.offset and any(room in rooms and offset > starts[room] for room in starts)
        ]
        found: list[int] = []
        for _ in range(len(audiences) + 1):
            page = await inbox.read(mine, after, max_entries=chance.randint(1, 30), max_bytes=chance.randint(1, 8000))
            found.extend(entry.position.offset for entry in page.entries)
            assert page.continues_at.offset >= after.offset
            after = page.upto
            if not page.more:
                break
        assert found == expected
        assert after == await inbox.head()

    async def test_what_lies_at_or_below_a_start_does_not_exist(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a", EVERYONE), draft("b", EVERYONE, ANN), draft("c", EVERYONE), draft("d", COMPANY)])
        mine = Subscriber(UserId("ann"), "company", {ANN: 0, EVERYONE: start.offset + 2, COMPANY: start.offset + 4})
        # What is in two rooms is there as soon as one of them reaches it.
        assert await offsets_of(inbox, mine, start) == [start.offset + 2, start.offset + 3]

    async def test_a_position_ahead_of_the_log_is_refused(self, inbox: OpenedStore) -> None:
        (last,) = await inbox.append([draft("a")])
        assert await offsets_of(inbox, reader(ANN), last.position) == []
        await assert_readable(inbox, reader(ANN), last.position)
        await assert_refused(inbox, reader(ANN), at(last.position, 1), RecoveryReason.INVALID)

    async def test_a_position_of_another_log_is_refused(self, inbox: OpenedStore) -> None:
        await assert_refused(inbox, reader(ANN), Position("another", 0), RecoveryReason.UNKNOWN_EPOCH)


class TrimmingContract:
    async def test_only_rooms_that_lost_an_entry_after_it_refuse_a_position(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await age(inbox, clock, [draft("a", ANN), draft("b", ANN)], [draft("c", BOB), draft("d", ANN), draft("e", BOB)])
        await assert_refused(inbox, reader(ANN), start)
        await assert_refused(inbox, reader(ANN), at(start, 1))
        assert await offsets_of(inbox, reader(ANN), at(start, 2)) == [start.offset + 4]
        assert await offsets_of(inbox, reader(BOB), start) == [start.offset + 3, start.offset + 5]
        assert await offsets_of(inbox, reader(Room("user:never-named")), start) == []
        await assert_refused(inbox, reader(ANN, BOB), start)

    async def test_what_was_lost_below_a_start_refuses_nothing(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await age(
            inbox,
            clock,
            [draft("a", EVERYONE), draft("b", BOB), draft("c", EVERYONE)],
            [draft("d", EVERYONE), draft("e", ANN)],
        )
        expected = [start.offset + 4, start.offset + 5]
        for first in (3, 4):
            newcomer = Subscriber(UserId("ann"), "company", {ANN: 0, EVERYONE: start.offset + first})
            await assert_readable(inbox, newcomer, start)
            assert await offsets_of(inbox, newcomer, start) == expected[first - 3 :]
            assert (await floor_of(inbox, newcomer)).offset == 0
        earlier = Subscriber(UserId("ann"), "company", {ANN: 0, EVERYONE: start.offset + 2})
        await assert_refused(inbox, earlier, at(start, 2))
        assert await offsets_of(inbox, earlier, at(start, 3)) == expected

    async def test_the_floor_is_the_first_position_that_can_be_read_from(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        for everyone in (reader(ANN), reader(BOB)):
            assert await floor_of(inbox, everyone) == Position(start.epoch, 0)
        await age(inbox, clock, [draft("a", ANN), draft("b", BOB), draft("c", COMPANY)], [draft("d", ANN)])
        for subscriber, lost in (
            (reader(ANN), 1),
            (reader(BOB), 2),
            (reader(ANN, COMPANY), 3),
            (reader(ANN, COMPANY, start=start.offset + 1), 3),
            (reader(ANN, BOB), 2),
        ):
            floor = await floor_of(inbox, subscriber)
            assert floor.offset == start.offset + lost
            await assert_readable(inbox, subscriber, floor)
            await assert_refused(inbox, subscriber, at(start, lost - 1))
        for nothing in (reader(EVERYONE), reader(ANN, COMPANY, start=start.offset + 3)):
            assert (await floor_of(inbox, nothing)).offset == 0

    async def test_what_users_did_is_trimmed_with_the_rest(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await inbox.append([draft("a", BOB)])
        await inbox.change(reader(BOB, user="bob"), Action.READ, ["a"], START)
        clock.advance(1800)
        await inbox.append([draft("b", BOB)])
        await pass_time(inbox, clock, 0.6 * HOUR)
        await assert_refused(inbox, reader(BOB), at(start, 1))
        assert await offsets_of(inbox, reader(BOB), at(start, 2)) == [start.offset + 3]

    async def test_what_is_old_goes_and_what_is_not_stays(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        start = await inbox.head()
        await inbox.append([draft("a")])
        await pass_time(inbox, clock, HOUR * 0.999)
        await inbox.append([draft("b")])
        assert len(await offsets_of(inbox, reader(ANN), start)) == 2
        await pass_time(inbox, clock, HOUR * 0.002)
        await inbox.append([draft("c")])
        await assert_refused(inbox, reader(ANN), start)
        assert len(await offsets_of(inbox, reader(ANN), at(start, 1))) == 2


class EnterContract:
    async def test_the_own_room_is_had_from_its_beginning_and_shared_ones_from_now(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("own", ANN), draft("all", EVERYONE), draft("role", COMPANY), draft("b", BOB)])
        ann = await register(inbox)
        head = (await inbox.head()).offset
        assert ann == Subscriber(UserId("ann"), "company", {ANN: 0, COMPANY: head, EVERYONE: head})
        await inbox.append([draft("later", EVERYONE), draft("later-role", COMPANY), draft("admins", ADMIN)])
        assert await ids_of(inbox, ann) == ["later-role", "later", "own"]
        assert await offsets_of(inbox, ann, start) == [start.offset + n for n in (1, 5, 6)]

    async def test_who_enters_again_starts_where_they_did(self, inbox: OpenedStore) -> None:
        first = await register(inbox)
        await inbox.append([draft("a", EVERYONE), draft("b", COMPANY)])
        assert await register(inbox) == first
        assert await ids_of(inbox, await register(inbox)) == ["b", "a"]

    async def test_a_room_that_comes_later_starts_later(self, inbox: OpenedStore) -> None:
        company = await register(inbox)
        await inbox.append([draft("a", EVERYONE), draft("b", ADMIN)])
        admin = await register(inbox, role="admin")
        head = (await inbox.head()).offset
        assert admin.starts == {ANN: 0, EVERYONE: company.starts[EVERYONE], ADMIN: head}
        assert admin.role == "admin"
        await inbox.append([draft("c", ADMIN), draft("d", COMPANY)])
        assert await ids_of(inbox, await register(inbox, role="admin")) == ["c", "a"]
        # What came meanwhile for a role one had before belongs to whoever has it again.
        assert await ids_of(inbox, await register(inbox)) == ["d", "a"]

    async def test_whoever_asks_for_the_roles_of_a_user_makes_nobody_known(self, inbox: OpenedStore) -> None:
        assert await inbox.roles(UserId("ann")) in ([], ())
        await register(inbox, role="freelance")
        await register(inbox)
        await register(inbox, user="bob", role="admin")
        assert list(await inbox.roles(UserId("ann"))) == ["company", "freelance"]
        assert list(await inbox.roles(UserId("carl"))) == []
        await inbox.append([draft("a", EVERYONE)])
        carl = await register(inbox, user="carl")
        assert await ids_of(inbox, carl) == []

    async def test_everybody_has_starts_of_their_own(self, inbox: OpenedStore) -> None:
        await register(inbox)
        await inbox.append([draft("a", EVERYONE)])
        bob = await register(inbox, user="bob")
        assert await ids_of(inbox, bob) == []
        assert await ids_of(inbox, await register(inbox)) == ["a"]

    async def test_another_s_own_room_is_a_shared_one(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a", BOB)])
        ann = await inbox.register(UserId("ann"), "company", frozenset((ANN, BOB)))
        assert await ids_of(inbox, ann) == []

    async def test_connections_that_enter_at_once_start_together(self, inbox: OpenedStore) -> None:
        for number in range(20):
            user = f"u-{number}"
            first, _, second, _, third = await asyncio.gather(
                register(inbox, user),
                inbox.append([draft(f"a-{number}", EVERYONE)]),
                register(inbox, user),
                inbox.append([draft(f"b-{number}", EVERYONE)]),
                register(inbox, user),
            )
            assert first == second == third == await register(inbox, user)
            # Each was told by then what it may read: all that follows its start.
            await inbox.append([draft(f"c-{number}", EVERYONE)])
            listed = await ids_of(inbox, first)
            assert len(listed) == (await inbox.head()).offset - first.starts[EVERYONE]
            assert listed[0] == f"c-{number}"

    async def test_nothing_that_comes_after_the_answer_is_missed(self, inbox: OpenedStore) -> None:
        following = Following(inbox, await inbox.head()).start((await inbox.head()).offset + 60)
        publishing = asyncio.gather(*(inbox.append([draft(f"n-{number}", EVERYONE)]) for number in range(60)))
        entering = [await register(inbox, f"u-{number}") for number in range(10)]
        await publishing
        for subscriber in entering:
            first = subscriber.starts[EVERYONE]
            expected = [offset for offset in await following if offset > first]
            assert await offsets_of(inbox, subscriber, Position((await inbox.head()).epoch, 0)) == expected


class MarksContract:
    async def test_an_unknown_user_has_received_nothing(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        assert (await mark_of(inbox, ann)).offset == 0
        assert await offsets_of(inbox, ann, await mark_of(inbox, ann)) == [(await inbox.head()).offset]

    async def test_a_mark_only_grows(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        positions = [one.position for one in await inbox.append([draft(f"n-{number}") for number in range(3)])]
        for advanced, expected in ((1, 1), (0, 1), (1, 1), (2, 2), (0, 2)):
            await inbox.acknowledge({(ann.user, ann.role): positions[advanced]})
            assert (await mark_of(inbox, ann)).offset == positions[expected].offset
        assert await offsets_of(inbox, ann, await mark_of(inbox, ann)) == []

    async def test_marks_of_many_are_stored_at_once(self, inbox: OpenedStore) -> None:
        (appended,) = await inbox.append([draft("a", EVERYONE)])
        users = [await register(inbox, f"u-{number}") for number in range(50)]
        await inbox.acknowledge({(user.user, user.role): appended.position for user in users[1:]})
        await inbox.acknowledge({})
        received = [(await mark_of(inbox, user)).offset for user in users]
        assert received == [0] + [appended.position.offset] * 49

    async def test_a_new_role_begins_at_the_user_s_highest_and_stays_there(self, inbox: OpenedStore) -> None:
        company, freelance = await register(inbox), await register(inbox, role="freelance")
        positions = [one.position for one in await inbox.append([draft(f"n-{number}") for number in range(4)])]
        await inbox.acknowledge({(company.user, "company"): positions[0], (company.user, "freelance"): positions[1]})
        admin = await register(inbox, role="admin")
        assert (await mark_of(inbox, admin)).offset == positions[1].offset
        # What another role receives later says nothing about this one.
        await inbox.acknowledge({(company.user, "freelance"): positions[3]})
        assert (await mark_of(inbox, await register(inbox, role="admin"))).offset == positions[1].offset
        await inbox.acknowledge({(admin.user, "admin"): positions[2]})
        assert (await mark_of(inbox, admin)).offset == positions[2].offset
        assert (await mark_of(inbox, company)).offset == positions[0].offset
        assert (await mark_of(inbox, freelance)).offset == positions[3].offset

    async def test_marks_are_of_one_user(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, user="bob")
        (appended,) = await inbox.append([draft("a", ANN, BOB)])
        await inbox.acknowledge({(ann.user, ann.role): appended.position})
        assert (await mark_of(inbox, bob)).offset == 0

    async def test_marks_advanced_at_once_leave_the_highest(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        positions = [one.position for one in await inbox.append([draft(f"n-{number}") for number in range(20)])]
        shuffled = random.Random(1).sample(positions, len(positions))
        await asyncio.gather(*(inbox.acknowledge({(ann.user, ann.role): position}) for position in shuffled))
        assert await mark_of(inbox, ann) == positions[-1]

    async def test_a_mark_behind_what_was_trimmed_is_refused_as_a_position(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = await register(inbox)
        await age(inbox, clock, [draft("a")], [draft("b")])
        arrived = await arrive(inbox, arrival())
        assert (arrived.recovered, arrived.reason) == (False, RecoveryReason.TRIMMED)
        assert arrived.after == await floor_of(inbox, ann)
