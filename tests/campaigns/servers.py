"""Real processes of servers that a campaign kills, or asks for much."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.processes import ONE_SECRET, ServerProcess, port_to_keep


@asynccontextmanager
async def servers_of(folder: Path, number: int, *, store: str | None = None) -> AsyncIterator[Sequence[ServerProcess]]:
    """Each keeps its port. They are nodes where they share a ``store``, the URL of a database; else each has a file."""
    shared = {"SYNKRONE_STORE": store, "SYNKRONE_INTERNAL__PORT": "0"} if store is not None else {}
    servers: list[ServerProcess] = []
    try:
        for which in range(number):
            own = {**ONE_SECRET, "SYNKRONE_LOG__LEVEL": "warning", "SYNKRONE_PORT": str(port_to_keep()), **shared}
            servers.append(ServerProcess(folder / str(which), own))
        for server in servers:
            await server.ready()
        yield servers
    finally:
        for server in servers:
            server.stop()
