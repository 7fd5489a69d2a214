"""What a node adds to its tail of a log that other nodes append to as well."""

from __future__ import annotations

from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.partial_tail import PartialTail
from domain.model import Entry
from domain.rules.epochs import Generation, Generations
from tests.doubles import START
from tests.unit.adapters.test_tail import ANN, entry


def added(*offsets: int) -> list[int]:
    """Those in the tail, after somebody has been given all of it."""
    generations = Generations([Generation(1, "e", 1, START)])
    state = Opened(generations, PartialTail(2), 0, b"", 0.0, None)
    entries: list[Entry] = [entry(offset, ANN) for offset in offsets]
    state.add(entries, 100, 1_000_000)
    return [one.position.offset for one in state.tail.batch(2)]


def test_what_one_does_in_several_commits_is_added_up_to_what_others_did_in_between() -> None:
    assert added(3, 4, 6, 7) == [3, 4]


def test_what_is_there_already_is_passed_over_and_what_comes_too_early_is_not_added() -> None:
    assert added(1, 2, 3) == [3]
    assert added(4, 5) == []
