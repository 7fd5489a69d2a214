"""The event loop: uvloop, a dependency wherever it exists, else asyncio's own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

GC_THRESHOLDS = (10_000, 20, 50)


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on the best loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def settle_memory() -> None:
    """Take what start-up made, which stays, out of every later search for garbage: half of the time of each."""
    gc.collect()
    gc.freeze()
    # Little of what the server makes waits for the collector, and a search through 10,000 sessions takes 0.1 s.
    gc.set_threshold(*GC_THRESHOLDS)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 (it may not be there)
    except ImportError:
        return None
    return uvloop.new_event_loop
