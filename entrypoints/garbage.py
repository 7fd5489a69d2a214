"""When Python searches for garbage: a search through everything stops the loop, for 0.1 s with 10,000 connections.

Nothing on the way of a connection or a message is a cycle, so that nearly all goes without a search. What has survived
two searches among what is young is therefore set aside, and searched only while there are few connections.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

YOUNG = (5_000, 5)
"""After so many more new objects than gone ones what is young is searched; after so many such searches, its survivors
too: 25,000 objects at most, in 2 ms."""

FEW_CONNECTIONS = 500
"""A search through everything takes less than 10 ms then."""

GROWTH = 50_000
"""Objects set aside since the last search through everything, from which on another one is worth its time."""

_NEVER = 1_000_000


class Garbage:
    """``tidy`` is to be called once in a while, with the number of connections. ``searched`` is called behind each
    search, in whatever thread it ran, with the generation and how many seconds it took."""

    def __init__(self, searched: Callable[[int, float], None] = lambda _generation, _seconds: None) -> None:
        self._searched = searched
        self._began = 0.0
        self._set_aside = 0
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """From now on; what start-up made stays for good."""
        gc.callbacks += [self._time, _set_survivors_aside]
        gc.set_threshold(*YOUNG, _NEVER)
        # What is set aside already, as in a process that was forked, was there before this one: to search it would copy
        # all of it.
        self._search()

    def stop(self) -> None:
        """As it was before."""
        gc.callbacks.remove(_set_survivors_aside)
        gc.callbacks.remove(self._time)
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def tidy(self, connections: int) -> None:
        """Search through everything, where that does not take long and may find something."""
        if connections <= FEW_CONNECTIONS and gc.get_freeze_count() - self._set_aside > GROWTH:
            gc.unfreeze()
            self._search()

    def _time(self, phase: str, info: Mapping[str, int]) -> None:
        """Python runs one search at a time."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._searched(info["generation"], time.perf_counter() - self._began)

    def _search(self) -> None:
        gc.collect()
        gc.freeze()
        self._set_aside = gc.get_freeze_count()


def _set_survivors_aside(phase: str, info: Mapping[str, int]) -> None:
    if phase == "stop" and info["generation"] > 0:
        gc.freeze()
