"""``POST /admin/reload``, on the internal listener: the settings are read again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The names of settings: of those that ``changed`` and hold now, and of those that differ and hold only behind a
    restart."""

    changed: Sequence[str]
    needs_restart: Sequence[str]


Reload: TypeAlias = Callable[[str], Awaitable[Reloaded]]
"""Of who asks for it. Raises InvalidSettings where nothing was changed, as the settings are not good."""


class ReloadHandler(BackendHandler):
    scope = "admin"

    def initialize(self, *, backend: Backend, max_body: int, reload: Reload) -> None:  # type: ignore[override]
        super().initialize(backend=backend, max_body=max_body)
        self._reload = reload

    async def post(self) -> None:
        await self.handle()

    async def handle(self, *_arguments: str) -> None:
        query_of(self, ())
        reloaded = await self._reload(self.caller_name)
        self.answer(200, {"changed": [*reloaded.changed], "needs_restart": [*reloaded.needs_restart]})
