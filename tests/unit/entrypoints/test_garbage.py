from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from entrypoints.garbage import FEW_CONNECTIONS, GROWTH, Garbage


class Thing:
    pass


def a_cycle() -> weakref.ref[Thing]:
    thing = Thing()
    thing.itself = thing  # type: ignore[attr-defined]
    return weakref.ref(thing)


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    garbage = Garbage()
    garbage.start()
    yield garbage
    garbage.stop()


def test_what_is_young_is_searched_and_what_survives_is_set_aside(garbage: Garbage) -> None:
    kept: list[list[int]] = [[] for _ in range(1000)]
    before = gc.get_freeze_count()
    garbage_of_today = a_cycle()
    gc.collect(1)
    assert garbage_of_today() is None
    assert gc.get_freeze_count() - before >= len(kept)
    assert gc.get_objects(generation=2) == []


def test_what_was_set_aside_is_searched_while_there_are_few_connections_and_much_has_come(garbage: Garbage) -> None:
    thing = Thing()
    thing.itself = thing  # type: ignore[attr-defined]
    found = weakref.ref(thing)
    kept: list[list[int]] = [[] for _ in range(GROWTH)]
    gc.collect(1)
    del thing
    garbage.tidy(FEW_CONNECTIONS + 1)
    assert found() is not None
    garbage.tidy(FEW_CONNECTIONS)
    assert found() is None
    assert len(kept) == GROWTH


def test_where_little_has_come_nothing_is_searched(garbage: Garbage) -> None:
    thing = Thing()
    thing.itself = thing  # type: ignore[attr-defined]
    found = weakref.ref(thing)
    gc.collect(1)
    del thing
    garbage.tidy(0)
    assert found() is not None


def test_stopped_all_is_as_it_was() -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    garbage = Garbage()
    garbage.start()
    garbage.stop()
    assert (gc.get_threshold(), gc.callbacks, gc.get_freeze_count()) == (thresholds, callbacks, 0)
