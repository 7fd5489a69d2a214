"""The newest entries of a log that other servers append to as well: what of them is here, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store.postgresql.partial_tail import PartialTail
from adapters.store.tail import FOLLOW_MAX_BYTES, weight
from domain.model import EVERYONE, Entry, Json, Position, Room, TailEntry, Unfetched

ANN, BOB = Room("user:ann"), Room("user:bob")


def whole(offset: int, *rooms: Room) -> Entry:
    return Entry(Position("e", offset), frozenset(rooms), "notification.new", Json(b"x" * 10))


def unfetched(offset: int, *rooms: Room, size: int = 10) -> Unfetched:
    return Unfetched(Position("e", offset), frozenset(rooms), "notification.new", size)


def filled(*entries: TailEntry) -> PartialTail:
    tail = PartialTail(entries[0].position.offset - 1)
    tail.append(entries)
    return tail


def test_from_where_on_everything_of_some_rooms_is_here() -> None:
    tail = filled(whole(5, ANN), unfetched(6, BOB, EVERYONE), whole(7, BOB), unfetched(8, BOB))
    for rooms, after in (((ANN,), 4), ((EVERYONE,), 6), ((BOB,), 8), ((ANN, EVERYONE), 6), ((), 4)):
        assert tail.whole_after(rooms) == after


def test_what_is_not_here_takes_no_more_than_its_place() -> None:
    assert filled(whole(1, ANN), unfetched(2, ANN, BOB, size=1_000_000)).bytes == weight(10, 1) + weight(0, 2)


def test_what_has_to_be_fetched_at_once_is_bounded_as_what_is_here() -> None:
    half = FOLLOW_MAX_BYTES // 2
    tail = filled(*(unfetched(offset, ANN, size=half) for offset in range(1, 6)))
    assert [one.position.offset for one in tail.batch(1)] == [2, 3]


ROOMS = st.sets(st.sampled_from([ANN, BOB, EVERYONE]), min_size=1)
ENTRIES = st.lists(st.tuples(st.booleans(), ROOMS), max_size=8)


@pytest.mark.parametrize("room", [ANN, EVERYONE])
@given(ENTRIES, st.integers(0, 8), st.integers(0, 8), ENTRIES)
def test_whatever_goes_and_comes_it_is_known(
    room: Room,
    before: Sequence[tuple[bool, set[Room]]],
    dropped: int,
    kept: int,
    after: Sequence[tuple[bool, set[Room]]],
) -> None:
    def made(first: int, described: Sequence[tuple[bool, set[Room]]]) -> list[TailEntry]:
        return [(whole if here else unfetched)(offset, *rooms) for offset, (here, rooms) in enumerate(described, first)]

    tail = PartialTail(3)
    tail.append(made(4, before))
    tail.cut_back(min(tail.head, 3 + kept))
    tail.append(made(tail.head + 1, after))
    for _ in range(min(dropped, len(tail))):
        tail.drop_first()
    there = [tail[offset] for offset in range(tail.floor + 1, tail.head + 1)]
    lacking = [one.position.offset for one in there if isinstance(one, Unfetched) and room in one.rooms]
    assert tail.whole_after([room]) == max([tail.floor, *lacking])
    while len(tail):
        tail.drop_first()
    assert not tail._unfetched
