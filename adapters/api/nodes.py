"""``GET /admin/nodes``, on the internal listener: the nodes that share the store, as each last said of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of
from adapters.contract.json_text import timestamp
from adapters.system.nodes import Member, Roll

ReadRoll: TypeAlias = Callable[[], Awaitable[Roll]]


class SharedRoll:
    """Reads the roll once for all who ask meanwhile. The registry answers one question after the other, and whoever
    asks for the list again and again must not stand in the way of this node's lease."""

    def __init__(self, read_roll: ReadRoll) -> None:
        self._read_roll = read_roll
        self._reading: asyncio.Future[Roll] | None = None

    async def __call__(self) -> Roll:
        """Raises StoreUnavailable."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_roll())
            self._reading.add_done_callback(self._read)
        # Whoever leaves takes the answer from nobody else.
        return await asyncio.shield(self._reading)

    def _read(self, reading: asyncio.Future[Roll]) -> None:
        self._reading = None
        if not reading.cancelled():
            # Those who asked may all have left.
            reading.exception()


class NodesHandler(BackendHandler):
    methods = ("GET",)
    scope = "admin"

    def initialize(self, *, backend: Backend, max_body: int, read_roll: ReadRoll) -> None:  # type: ignore[override]
        super().initialize(backend=backend, max_body=max_body)
        self._read_roll = read_roll

    async def get(self) -> None:
        await self.handle()

    async def handle(self, *_arguments: str) -> None:
        query_of(self, ())
        self.answer(200, nodes_object((await self._read_roll()).members))


def nodes_object(members: Sequence[Member]) -> dict[str, object]:
    return {"nodes": [_node(member) for member in members]}


def _node(member: Member) -> dict[str, object]:
    return {
        "boot": member.boot,
        "version": member.version,
        "since": timestamp(member.since),
        "address": member.address or None,
        "connections": member.connections,
        "offset": member.offset,
        "lag": member.lag,
    }
