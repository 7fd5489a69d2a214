"""Who is served first, and who is served at all, when there is more to do than time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adapters.http.turns import LEAST_SECONDS, TURN_SECONDS, Rank, Turns
from tests.doubles import ManualClock

STEP = 0.0001


def run(turns_of_the_loop: int, begin: Callable[[Turns, ManualClock, list[str]], None]) -> list[list[str]]:
    """What was done in each turn of the loop."""
    done: list[str] = []
    by_turn: list[list[str]] = []

    async def main() -> None:
        clock = ManualClock()
        begin(Turns(clock), clock, done)
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
            by_turn.append(done[sum(map(len, by_turn)) :])

    asyncio.run(main())
    return by_turn


def step(turns: Turns, clock: ManualClock, done: list[str], name: str, rank: Rank, *, again: bool = True) -> None:
    def once() -> None:
        clock.advance(STEP)
        done.append(name)
        if again:
            turns.line_up(once, rank)

    turns.line_up(once, rank)


def test_who_sends_without_an_end_waits_behind_everybody_else_and_is_served_all_the_same() -> None:
    def begin(turns: Turns, clock: ManualClock, done: list[str]) -> None:
        for number in range(200):
            step(turns, clock, done, f"busy {number}", Rank.BUSY)
        for number in range(200):
            step(turns, clock, done, f"new {number}", Rank.NEW)
        step(turns, clock, done, "known", Rank.KNOWN)

    first, second, *_ = run(2, begin)
    assert first[0] == second[0] == "known"
    for turn in (first, second):
        assert any(name.startswith("new") for name in turn)
        assert any(name.startswith("busy") for name in turn)
        assert len(turn) * STEP <= TURN_SECONDS + 2 * LEAST_SECONDS + 3 * STEP
    served = [name for name in first + second if name.startswith("busy")]
    assert served == [f"busy {number}" for number in range(len(served))]


def test_a_mass_of_the_known_leaves_something_to_the_others() -> None:
    def begin(turns: Turns, clock: ManualClock, done: list[str]) -> None:
        for _ in range(1000):
            step(turns, clock, done, "known", Rank.KNOWN)
        for _ in range(100):
            step(turns, clock, done, "new", Rank.NEW)
            step(turns, clock, done, "busy", Rank.BUSY)

    for turn in run(3, begin):
        assert turn.count("known") * STEP >= TURN_SECONDS - STEP
        for rank in ("new", "busy"):
            assert turn.count(rank) * STEP >= LEAST_SECONDS


def test_who_lines_up_again_waits_for_the_turn_after() -> None:
    def begin(turns: Turns, clock: ManualClock, done: list[str]) -> None:
        step(turns, clock, done, "one", Rank.KNOWN)
        step(turns, clock, done, "two", Rank.KNOWN)

    assert run(3, begin) == [["one", "two"]] * 3


def test_who_comes_while_somebody_waits_lines_up_too() -> None:
    async def main() -> None:
        clock = ManualClock()
        turns = Turns(clock)
        assert not turns.is_over()
        clock.advance(TURN_SECONDS)
        assert turns.is_over()
        await asyncio.sleep(0)
        assert not turns.is_over()
        turns.line_up(lambda: None, Rank.BUSY)
        assert turns.is_over()

    asyncio.run(main())
