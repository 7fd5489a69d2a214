"""The newest entries of a log: by offset, by room and for those who follow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.controls import control_event
from adapters.store.tail import FOLLOW_MAX_BYTES, FOLLOW_MAX_ENTRIES, Follower, Tail, weight
from domain.model import EVERYONE, Entry, EraseUser, Json, Position, Room, Subscriber, UserId

ANN, BOB = Room("user:ann"), Room("user:bob")
PLENTY = {"max_entries": 1000, "max_bytes": 1 << 20}


def entry(offset: int, *rooms: Room, size: int = 10) -> Entry:
    return Entry(Position("e", offset), frozenset(rooms or (ANN,)), "notification.new", Json(b"x" * size))


def filled(*rooms: tuple[Room, ...], floor: int = 0) -> Tail[Entry]:
    tail = Tail[Entry](floor)
    tail.append([entry(offset, *names) for offset, names in enumerate(rooms, floor + 1)])
    return tail


def subscriber(starts: Mapping[Room, int]) -> Subscriber:
    return Subscriber(UserId("ann"), "company", starts)


def offsets(entries: tuple[Entry, ...]) -> list[int]:
    return [one.position.offset for one in entries]


def test_an_empty_tail() -> None:
    tail = Tail[Entry](7)
    assert (len(tail), tail.floor, tail.head, tail.bytes, tail.given_to_all) == (0, 7, 7, 0, 7)
    assert tail.page(subscriber({ANN: 0}), 7, tail.head, **PLENTY) == ((), False)
    assert list(tail.newest_first(ANN, 0)) == []


def test_entries_go_from_the_oldest_on() -> None:
    tail = filled((ANN,), (BOB, EVERYONE), (ANN,), floor=4)
    assert (len(tail), tail.floor, tail.head) == (3, 4, 7)
    assert tail[6].rooms == {BOB, EVERYONE}
    assert [tail.drop_first().position.offset for _ in range(2)] == [5, 6]
    assert (len(tail), tail.floor, tail.head) == (1, 6, 7)
    assert [list(tail.offsets(room, 0)) for room in (ANN, BOB, EVERYONE)] == [[7], [], []]
    with pytest.raises(KeyError):
        tail[6]


def test_what_it_takes_is_what_its_entries_take() -> None:
    tail = Tail[Entry](0)
    tail.append([entry(1, ANN, BOB, size=100)])
    assert tail.bytes == weight(100, 2)
    tail.append([entry(2, ANN, size=5), entry(3, EVERYONE, size=7)])
    assert tail.bytes == weight(100, 2) + weight(5, 1) + weight(7, 1)
    while len(tail):
        tail.drop_first()
    assert (tail.bytes, tail.floor, tail.head) == (0, 3, 3)


def test_the_rooms_of_what_is_gone_take_nothing() -> None:
    tail = Tail[Entry](0)
    for offset in range(1, 2001):
        tail.append([entry(offset, Room(f"user:{offset}"), EVERYONE)])
        if len(tail) > 10:
            tail.drop_first()
    assert len(tail._entries) == 10
    assert len(tail._rooms) == 11
    assert len(tail._rooms[EVERYONE]) <= 20


def test_whom_an_entry_erases_has_nothing_from_before() -> None:
    tail = Tail[Entry](0)
    control = EraseUser(UserId("ann"))
    event, payload = control_event(control)
    gone = Entry(Position("e", 3), frozenset(), event, payload, control=control)
    tail.append([entry(1, ANN, BOB), entry(2, ANN), gone, entry(4, ANN)])
    assert [tail[offset].rooms for offset in (1, 2, 4)] == [{BOB}, frozenset(), {ANN}]
    assert tail[2].payload == b""
    assert list(tail.offsets(ANN, 0)) == [4]


@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_what_came_back_to_who_was_erased_is_in_nobody_s_way(dropped: int) -> None:
    tail = filled((EVERYONE,))
    control = EraseUser(UserId("ann"))
    event, payload = control_event(control)
    gone = Entry(Position("e", 3), frozenset(), event, payload, control=control)
    tail.append([replace(entry(2, ANN), about=1), gone])
    for _ in range(dropped):
        tail.drop_first()
    tail.append([replace(entry(4, BOB), about=1), replace(entry(5, BOB), about=1)])
    assert [tail[offset].rooms for offset in (4, 5)] == [frozenset(), {BOB}]
    assert not tail.has_returns([ANN], 0)
    assert tail.has_returns([BOB], 4)
    while len(tail):
        tail.drop_first()
    assert (tail.bytes, tail._returns, tail._last_return) == (0, {}, {})


def test_offsets_of_a_room_in_both_orders() -> None:
    tail = filled((ANN,), (BOB,), (ANN, BOB), (ANN,), floor=2)
    for after, expected in ((0, [3, 5, 6]), (3, [5, 6]), (4, [5, 6]), (5, [6]), (6, []), (99, [])):
        assert list(tail.offsets(ANN, after)) == expected
        assert list(tail.newest_first(ANN, after)) == expected[::-1]


def test_a_page_ends_with_its_limits() -> None:
    tail = filled((ANN,), (BOB,), (ANN, EVERYONE), (EVERYONE,), (ANN,))
    whom = subscriber({ANN: 0, EVERYONE: 0})
    for max_entries, expected, more in ((1, [1], True), (3, [1, 3, 4], True), (4, [1, 3, 4, 5], False)):
        entries, is_more = tail.page(whom, 0, tail.head, max_entries=max_entries, max_bytes=1 << 20)
        assert (offsets(entries), is_more) == (expected, more)
    for max_bytes, expected in ((0, [1]), (19, [1]), (20, [1, 3]), (39, [1, 3, 4]), (40, [1, 3, 4, 5])):
        entries, is_more = tail.page(whom, 0, tail.head, max_entries=9, max_bytes=max_bytes)
        assert (offsets(entries), is_more) == (expected, len(expected) < 4)


@given(
    audiences=st.lists(st.sets(st.sampled_from([ANN, BOB, EVERYONE]), min_size=1), max_size=30),
    dropped=st.integers(0, 30),
    starts=st.dictionaries(st.sampled_from([ANN, BOB, EVERYONE]), st.integers(0, 32), min_size=1),
    after=st.integers(0, 32),
    upto=st.integers(0, 32),
    max_entries=st.integers(1, 8),
)
def test_page_after_page_is_what_can_be_reached(
    audiences: list[set[Room]], dropped: int, starts: dict[Room, int], after: int, upto: int, max_entries: int
) -> None:
    tail = filled(*(tuple(rooms) for rooms in audiences))
    for _ in range(min(dropped, len(audiences))):
        tail.drop_first()
    after = max(after, tail.floor)
    expected = [
        offset
        for offset, rooms in enumerate(audiences, 1)
        if after < offset <= upto and any(room in rooms and offset > start for room, start in starts.items())
    ]
    found: list[int] = []
    more = True
    while more:
        entries, more = tail.page(subscriber(starts), after, upto, max_entries=max_entries, max_bytes=1 << 20)
        assert len(entries) == max_entries or not more
        found += offsets(entries)
        after = found[-1] if found else after
    assert found == expected


# following


async def next_offsets(tail: Tail[Entry], follower: Follower) -> list[int]:
    async with asyncio.timeout(5):
        return offsets(tuple(await tail.next_batch(follower)))


@pytest.mark.gen_test
async def test_followers_are_given_what_comes_each_at_their_own_pace() -> None:
    tail = filled((ANN,), (BOB,), (ANN,))
    with tail.following(1) as one, tail.following(3) as other:
        assert await next_offsets(tail, one) == [2, 3]
        waiting = [asyncio.create_task(next_offsets(tail, follower)) for follower in (one, other)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        tail.append([])
        tail.append([entry(4), entry(5)])
        assert [await task for task in waiting] == [[4, 5], [4, 5]]


@pytest.mark.gen_test
async def test_what_was_given_to_all_is_what_the_slowest_has() -> None:
    tail = filled((ANN,), (BOB,))
    assert tail.given_to_all == 2
    with tail.following(0) as one:
        assert tail.given_to_all == 0
        with tail.following(1):
            await next_offsets(tail, one)
            assert tail.given_to_all == 1
        assert tail.given_to_all == 2
        tail.append([entry(3)])
        assert tail.given_to_all == 2
    assert tail.given_to_all == 3


@pytest.mark.gen_test
async def test_batches_are_bounded() -> None:
    tail = Tail[Entry](0)
    tail.append([entry(offset) for offset in range(1, FOLLOW_MAX_ENTRIES + 2)])
    first = FOLLOW_MAX_ENTRIES + 2
    half = FOLLOW_MAX_BYTES // 2
    sizes = (half, half, 1, FOLLOW_MAX_BYTES + 1, 1)
    tail.append([entry(first + number, size=size) for number, size in enumerate(sizes)])
    with tail.following(0) as follower:
        counts = []
        while follower.given < tail.head:
            counts.append(len(await next_offsets(tail, follower)))
    # What by itself is too much is given alone.
    assert counts == [FOLLOW_MAX_ENTRIES, 2, 2, 1, 1]


@given(
    st.lists(st.sampled_from(((ANN,), (BOB,), (ANN, BOB))), max_size=8),
    st.integers(0, 8),
    st.integers(0, 8),
    st.lists(st.sampled_from(((ANN,), (BOB,))), max_size=4),
)
def test_what_is_cut_back_was_never_there(
    before: list[tuple[Room, ...]], dropped: int, kept: int, after: list[tuple[Room, ...]]
) -> None:
    tail = filled(*before, floor=3)
    for _ in range(min(dropped, len(tail))):
        tail.drop_first()
    end = min(3 + kept, tail.head)
    with tail.following(end) as up_to_it, tail.following(tail.head) as to_the_end:
        is_beyond = tail.head > end
        tail.cut_back(end)
        assert (tail.head, up_to_it.cut_off, to_the_end.cut_off) == (end, False, is_beyond)
        assert up_to_it.wake.is_set()
    tail.append([entry(offset, *names) for offset, names in enumerate(after, end + 1)])
    assert tail.bytes == sum(weight(10, len(tail[offset].rooms)) for offset in range(tail.floor + 1, tail.head + 1))
    for room in (ANN, BOB):
        expected = [offset for offset in range(tail.floor + 1, tail.head + 1) if room in tail[offset].rooms]
        assert list(tail.offsets(room, 0)) == expected
        assert list(tail.newest_first(room, 0)) == expected[::-1]
