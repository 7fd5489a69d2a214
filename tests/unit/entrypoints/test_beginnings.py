from __future__ import annotations

import asyncio
from contextlib import suppress

from adapters.store.memory import MemoryStore
from domain.model import ConnectionId, Notes
from entrypoints.beginnings import store_beginnings
from tests.in_time import in_time
from tests.unit.domain.world import World, run


class Noting(MemoryStore):
    def __init__(self, world: World) -> None:
        super().__init__(clock=world.clock, epoch="e")
        self.noted: list[list[ConnectionId]] = []
        self.has_noted = asyncio.Event()

    async def record(self, notes: Notes) -> None:
        await super().record(notes)
        self.noted.append([one.id for one in notes.connections])
        self.has_noted.set()


def test_connections_that_begin_at_once_are_stored_at_once_and_together() -> None:
    async def story() -> None:
        store = Noting(World())
        world = World(seen_as=lambda verifier, _inbox, transport: (verifier, store, transport))
        storing = asyncio.create_task(store_beginnings(world.ledger))
        async with world.running():
            for names in (("ann", "bob", "ann"), ("bob",)):
                store.has_noted.clear()
                begun = [client.connection for client in await asyncio.gather(*map(world.connect, names))]
                await in_time(store.has_noted.wait(), 5)
                assert sorted(store.noted[-1]) == sorted(begun)
        assert len(store.noted) == 2
        storing.cancel()
        with suppress(asyncio.CancelledError):
            await storing

    run(story())
