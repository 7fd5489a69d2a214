"""The event loop: uvloop, a dependency wherever it exists, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on the best loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 (it may not be there)
    except ImportError:
        return None
    return uvloop.new_event_loop
