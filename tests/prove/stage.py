"""What is tried: one process with a SQLite file, or three nodes with a PostgreSQL server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import BEHIND_NGINX, QUICK_PINGS, BalancedLine, Cluster, Machine, cluster, nginx_to
from tests.e2e.line import Line
from tests.e2e.proxy import Proxy
from tests.processes import ONE_SECRET
from tests.prove.node import FAULT

USERS = {"ada": "freelance", "bob": "freelance", "cleo": "company"}
"""Their roles."""
NODES = 3
PROGRAM = "tests.prove.node"
SETTINGS = {
    **ONE_SECRET,
    **QUICK_PINGS,
    **BEHIND_NGINX,
    "SYNKRONE_LIMITS__DRAIN_TIME": "2s",
    "SYNKRONE_LIMITS__EVENTS_PER_SECOND": "1000",
}


@dataclass
class Stage:
    """``servers`` are those that there are. They may share a database, and nginx may be in front of them."""

    servers: Sequence[Machine]
    cluster: Cluster | None = None
    proxy: Proxy | None = None
    lines: list[Line] = field(default_factory=list)
    copies: ExitStack = field(default_factory=ExitStack)
    """Of the database, that were made meanwhile."""

    async def line(self) -> Line:
        """A new one for a client: of several, by turns through nginx and to one node for each connection."""
        if self.proxy is not None and len(self.lines) % 2:
            line = Line(self.proxy.port)
        else:
            line = BalancedLine([server.port for server in self.servers])
        await line.open()
        self.lines.append(line)
        return line

    async def close(self) -> None:
        await asyncio.gather(*(line.close() for line in self.lines))


@asynccontextmanager
async def on_stage(against: str, folder: Path, fault: str | None) -> AsyncIterator[Stage]:
    """``against`` is ``sqlite`` or ``cluster``, ``fault`` one to be planted."""
    settings = SETTINGS | ({FAULT: fault} if fault is not None else {})
    async with AsyncExitStack() as stack:
        if against == "sqlite":
            server = Machine("server", folder / "server", settings, PROGRAM)
            stack.callback(server.close)
            await server.ready()
            stage = Stage([server])
        else:
            copies = stack.enter_context(ExitStack())
            nodes = await stack.enter_async_context(cluster(folder, nodes=NODES, settings=settings, program=PROGRAM))
            stage = Stage(nodes.nodes, nodes, copies=copies)
            if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin"):
                stage.proxy = await stack.enter_async_context(nginx_to(nodes.ports, folder / "nginx"))
        stack.push_async_callback(stage.close)
        yield stage
