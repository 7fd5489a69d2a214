"""Deadlines: the first ones first, in bounded steps and bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.delivery.deadlines import Deadlines

THINGS = "abcdef"


@given(st.lists(st.tuples(st.sampled_from(THINGS), st.none() | st.integers(0, 9))), st.integers(0, 9))
def test_what_is_due_is_taken_in_order_by_its_last_deadline(puts: list[tuple[str, int | None]], upto: int) -> None:
    deadlines: Deadlines[str, int] = Deadlines()
    last: dict[str, int | None] = {}
    for thing, deadline in puts:
        deadlines.put(thing, deadline)
        last[thing] = deadline
    taken: list[str] = []
    for _ in puts:
        taken += deadlines.take(upto, 1)
    kept = {thing: due for thing, due in last.items() if due is not None}
    assert not deadlines.any_due(upto)
    assert sorted(taken) == sorted(thing for thing, due in kept.items() if due <= upto)
    assert [kept[thing] for thing in taken] == sorted(kept[thing] for thing in taken)
    assert len(deadlines) == len(kept) - len(taken)
    assert sorted(deadlines.take(9, 100)) == sorted(kept.keys() - set(taken))


def test_one_call_takes_no_more_steps_than_it_may() -> None:
    deadlines: Deadlines[int, int] = Deadlines()
    for thing in range(10):
        deadlines.put(thing, 1)
    assert deadlines.take(1, 4) == [0, 1, 2, 3]
    assert deadlines.any_due(1)
    assert deadlines.take(1, 100) == [4, 5, 6, 7, 8, 9]
    assert not deadlines.any_due(1)


def test_putting_off_for_ever_takes_no_more_memory() -> None:
    deadlines: Deadlines[int, int] = Deadlines()
    for deadline in range(100_000, 0, -1):
        deadlines.put(deadline % 10, deadline)
        assert len(deadlines._heap) <= 100
    assert len(deadlines) == 10
    for thing in range(10):
        deadlines.put(thing, None)
    assert len(deadlines._heap) <= 100
