"""``GET /health/live`` and ``GET /health/ready``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from adapters.api.handlers import ApiHandler

Readiness: TypeAlias = Callable[[], Awaitable[Mapping[str, str | None]]]
"""What has to work, by name, each with what is wrong with it or None."""


class LiveHandler(ApiHandler):
    """200 as long as the process answers at all."""

    def get(self) -> None:
        self.answer(200, {"status": "live"})


class ReadyHandler(ApiHandler):
    """200, or 503 with what is not ready."""

    def initialize(self, *, readiness: Readiness) -> None:
        self._readiness = readiness

    async def get(self) -> None:
        failures = {name: wrong for name, wrong in (await self._readiness()).items() if wrong is not None}
        if failures:
            self.answer(503, {"status": "not ready", "failures": failures})
        else:
            self.answer(200, {"status": "ready"})
