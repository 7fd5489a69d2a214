"""A server of several workers, and what its processes are."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.conftest import Serve
from tests.postgresql import Servers
from tests.processes import ONE_SECRET, ServerProcess

COMMANDS = "entrypoints.cli"
PATIENCE = 60.0


def shared_store(postgresql: Servers) -> dict[str, str]:
    """The settings of a store of its own that several processes can serve from."""
    database = postgresql.of(18)
    return {"SYNKRONE_STORE": database.url(database.new_database())}


def serve_with_workers(
    serve: Serve, postgresql: Servers, workers: int = 2, settings: Mapping[str, str] | None = None
) -> ServerProcess:
    own = {"SYNKRONE_WORKERS": str(workers)} | shared_store(postgresql)
    return serve(ONE_SECRET | own | dict(settings or {}), module=COMMANDS)


def workers_of(server: ServerProcess) -> set[int]:
    """The process ids."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return set(map(int, children.read_text().split()))


def replace_workers(server: ServerProcess) -> None:
    os.kill(server.pid, signal.SIGUSR2)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has asked for its exit code is still there.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.02)
