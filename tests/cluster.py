"""Nodes that share a database, each a real process, with all that can fail between and around them.

``async with cluster(tmp_path, nodes=3) as three`` starts a PostgreSQL server and three nodes on it, ``three.nodes``.
What a test does to them (``kill``, ``restart``, ``pause``, ``line.sever``) is done as it returns; ``ready`` waits until
a node serves. In front of them may be ``nginx_to(three.ports, folder)`` or ``balanced_line_to(three.ports)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from tests.database_line import DatabaseLine
from tests.e2e.line import Line
from tests.e2e.proxy import PROXY_ADDRESS, Proxy, Upstream, find_nginx
from tests.forked import SERVER
from tests.postgresql import PostgresqlServer, running_server
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep

VERSION = 18
STOP_SECONDS = 40.0
LOG_SHOWN = 20_000
"""Characters of a node's log, from its end."""


class Machine:
    """A server that a test can kill, pause and start again. It keeps its port."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, str], program: str = SERVER) -> None:
        """``program`` is the module that serves, as in ``ServerProcess``."""
        self.name = name
        self.is_paused = False
        own = {**ONE_SECRET, "SYNKRONE_PORT": str(port_to_keep()), **settings}
        self.process = ServerProcess(folder, own, program=program)

    def __repr__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def is_running(self) -> bool:
        return self.process.is_running()

    async def ready(self) -> None:
        await self.process.ready()

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        self.process.kill()
        self.is_paused = False

    def start_again(self) -> None:
        """After it has ended."""
        self.process.start_again()

    async def stop(self) -> int:
        """SIGTERM, and wait for its end; the exit code."""
        self.go_on()
        self.process.terminate()
        return await self.process.exit_code(STOP_SECONDS)

    async def restart(self) -> None:
        """SIGTERM, and start it again once it has ended in good order."""
        code = await self.stop()
        assert code == 0, f"{self} ended with {code}:\n{self.process.log}"
        self.start_again()
        await self.ready()

    def pause(self) -> None:
        """SIGSTOP: it stands still, with its connections."""
        os.kill(self.process.pid, signal.SIGSTOP)
        self.is_paused = True

    def go_on(self) -> None:
        if self.is_paused and self.is_running:
            os.kill(self.process.pid, signal.SIGCONT)
        self.is_paused = False

    def close(self) -> None:
        self.go_on()
        self.process.kill()


class Node(Machine):
    """One of several, and the line between it and the database."""

    def __init__(
        self,
        name: str,
        folder: Path,
        line: DatabaseLine,
        database: str,
        settings: Mapping[str, str],
        program: str = SERVER,
    ) -> None:
        self.line = line
        own = {"SYNKRONE_STORE": line.url(database), "SYNKRONE_INTERNAL__PORT": "0"}
        super().__init__(name, folder, {**own, **settings}, program)


class Cluster:
    """``nodes`` share ``database``, the name of one on ``server``."""

    def __init__(self, server: PostgresqlServer, database: str, nodes: Sequence[Node]) -> None:
        self.server = server
        self.database = database
        self.nodes = nodes

    @property
    def ports(self) -> Sequence[int]:
        return [node.port for node in self.nodes]

    @property
    def answering(self) -> Sequence[Node]:
        """Those that have neither ended nor been paused."""
        return [node for node in self.nodes if node.is_running and not node.is_paused]

    async def ready(self) -> None:
        """Wait until all serve."""
        await asyncio.gather(*(node.ready() for node in self.nodes))

    def lead_to(self, server: PostgresqlServer) -> None:
        """All lines lead to another server from now on, which has the same database: a copy that was promoted."""
        self.server = server
        for node in self.nodes:
            node.line.lead_to(server)


@asynccontextmanager
async def cluster(
    folder: Path,
    *,
    nodes: int = 2,
    server: PostgresqlServer | None = None,
    settings: Mapping[str, str] | None = None,
    program: str = SERVER,
) -> AsyncIterator[Cluster]:
    """Nodes on a database of their own, all of them ready. Without a ``server`` they get one of their own, too.

    In the end those still running have to end in good order. What they logged is printed where that, or the test,
    fails.
    """
    with ExitStack() as stack:
        server = server or stack.enter_context(running_server(VERSION))
        database = server.new_database()
        lines = [stack.enter_context(DatabaseLine(server)) for _ in range(nodes)]
        started: list[Node] = []
        for number, line in enumerate(lines):
            name = f"node-{number}"
            node = Node(name, folder / name, line, database, settings or {}, program)
            stack.callback(node.close)
            started.append(node)
        all_nodes = Cluster(server, database, started)
        try:
            await all_nodes.ready()
            yield all_nodes
            await _end_in_good_order(started)
        except BaseException:
            for node in started:
                print(f"{node}:\n{node.process.log[-LOG_SHOWN:]}")
            raise


async def _end_in_good_order(nodes: Sequence[Node]) -> None:
    running = [node for node in nodes if node.is_running]
    for node in running:
        node.line.mend()
    codes = await asyncio.gather(*(node.stop() for node in running))
    assert not any(codes), f"{running} ended with {codes}"


class BalancedLine(Line):
    """A line to several servers: each new connection goes to the next one that takes it."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(0)
        self._ports = ports
        self._turns = itertools.count()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turns)
        for turn in range(len(self._ports)):
            port = self._ports[(first + turn) % len(self._ports)]
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError


@asynccontextmanager
async def balanced_line_to(ports: Sequence[int]) -> AsyncIterator[BalancedLine]:
    line = BalancedLine(ports)
    await line.open()
    try:
        yield line
    finally:
        await line.close()


@asynccontextmanager
async def nginx_to(ports: Sequence[int], folder: Path) -> AsyncIterator[Proxy]:
    """nginx in front of several servers, each request to the next one. To be trusted as PROXY_ADDRESS.

    Skips the test where it is not installed.
    """
    proxy = Proxy(find_nginx(), folder, [f"http://127.0.0.1:{port}" for port in ports], how=Upstream.KEPT_ALIVE)
    try:
        await asyncio.to_thread(proxy.wait_until_ready)
        yield proxy
    finally:
        await asyncio.to_thread(proxy.close)


QUICK_PINGS = {"SYNKRONE_LIMITS__PING_INTERVAL": "2s", "SYNKRONE_LIMITS__PING_TIMEOUT": "3s"}
"""With these a client of a node that is paused notices after five seconds."""
BEHIND_NGINX = {"SYNKRONE_TRUSTED_PROXIES": f'["{PROXY_ADDRESS}"]'}
"""The settings of nodes that nginx is in front of."""
