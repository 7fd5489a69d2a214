"""What a node adds to its tail of a log that other nodes append to as well."""

from __future__ import annotations

import gc
import weakref
from unittest.mock import Mock

import pytest

from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.partial_tail import PartialTail
from domain.errors import EntriesMissing, StoreUnavailable
from domain.model import Entry
from domain.rules.epochs import Generation, Generations
from tests.doubles import START
from tests.unit.adapters.test_tail import ANN, entry


class Read:
    """What a reader holds on to."""


def opened() -> Opened:
    """Of a log that somebody has been given up to 2."""
    return Opened(Generations([Generation(1, "e", 1, START)]), PartialTail(2), 0, b"", 0.0, None)


def added(*offsets: int) -> list[int]:
    """Those in the tail, after somebody has been given all of it."""
    state = opened()
    entries: list[Entry] = [entry(offset, ANN) for offset in offsets]
    state.add(entries, 100, 1_000_000)
    return [one.position.offset for one in state.tail.batch(2)]


def test_what_one_does_in_several_commits_is_added_up_to_what_others_did_in_between() -> None:
    assert added(3, 4, 6, 7) == [3, 4]


def test_what_is_there_already_is_passed_over_and_what_comes_too_early_is_not_added() -> None:
    assert added(1, 2, 3) == [3]
    assert added(4, 5) == []


def test_what_a_reader_finds_missing_is_suspected_and_the_reader_is_told_that_it_cannot_be_read() -> None:
    state = opened()
    state.watcher = Mock()
    with pytest.raises(StoreUnavailable) as told, state.suspecting():
        raise EntriesMissing(7)
    assert type(told.value) is StoreUnavailable
    state.watcher.suspect.assert_called_once_with(7)
    with pytest.raises(ValueError, match="another"), state.suspecting():
        raise ValueError("another")
    state.watcher.suspect.assert_called_once_with(7)


def test_a_reader_that_finds_something_missing_leaves_nothing_to_collect() -> None:
    state = opened()
    state.watcher = Mock()

    def read() -> weakref.ref[Read]:
        held = Read()
        try:
            with state.suspecting():
                raise EntriesMissing(7)
        except StoreUnavailable:
            return weakref.ref(held)

    gc.disable()
    try:
        assert read()() is None
    finally:
        gc.enable()
