"""Spreading work that many ask for at once over several turns of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque


class Pacer:
    """Lets ``per_turn`` through in each turn of the loop, in the order in which they came.

    A loop runs everything that is ready before it looks at anything else: 2,000 handshakes that arrive together would
    stop it for half a second.
    """

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait for a place, if there is none in this turn."""
        if self._passed < self._per_turn and not self._waiting:
            self._pass()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _pass(self) -> None:
        if self._passed == 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._passed += 1

    def _next_turn(self) -> None:
        self._passed = 0
        while self._waiting and self._passed < self._per_turn:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._pass()
                waiter.set_result(None)
