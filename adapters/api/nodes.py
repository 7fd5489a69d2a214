"""``GET /admin/nodes``, on the internal listener: the nodes that share the store, as each last said of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from adapters.api.handlers import ApiHandler
from adapters.contract.json_text import timestamp
from adapters.system.nodes import Member, Roll

ReadRoll: TypeAlias = Callable[[], Awaitable[Roll]]


class NodesHandler(ApiHandler):
    def initialize(self, *, read_roll: ReadRoll) -> None:
        self._read_roll = read_roll

    async def get(self) -> None:
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
