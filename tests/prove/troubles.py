"""All that fails, at random: lines of clients, servers and their clocks, the database and what leads there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp

from tests.cluster import Cluster, Machine, Node
from tests.e2e.line import Cut
from tests.postgresql import PostgresqlServer, running_copy
from tests.prove.history import History
from tests.prove.node import CLOCK
from tests.prove.stage import USERS, Stage

Trouble: TypeAlias = Callable[[], Coroutine[None, None, None]]

BETWEEN_SECONDS = (0.3, 2.0)
SOME_SECONDS = (0.2, 8.0)
LONG_SECONDS = (16.0, 24.0)
"""Longer than nodes keep their leases."""
LONG_CHANCE = 0.2
CALL_SECONDS = 5.0
LOOK_SECONDS = 0.3
COPY_SECONDS = 30.0
IN_SYNC = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
CLOCK_SECONDS = (-20.0, 600.0)
"""Further back users' tokens would not be valid yet."""


def set_clock(server: Machine, apart: float) -> None:
    """So many seconds from the true time, from one reading to the next."""
    file = server.process.directory / CLOCK
    new = file.with_suffix(".new")
    new.write_text(str(apart))
    new.replace(file)


class Troubles:
    """Makes them until it is cancelled, one or several at a time; ``mend`` then waits for those under way."""

    def __init__(self, stage: Stage, history: History, choice: random.Random) -> None:
        self._stage = stage
        self._history = history
        self._choice = choice
        self._begun: list[asyncio.Task[None]] = []
        self._busy: set[Machine] = set()
        self._database = asyncio.Lock()
        kinds: dict[Trouble, int] = {self._cut_clients: 6, self._sever_clients: 3, self._swallow_clients: 2}
        kinds |= {self._kill: 3, self._restart: 1, self._pause: 2, self._set_clock: 1, self._disconnect: 1}
        if stage.cluster is not None:
            kinds |= {self._cut_database: 4, self._cut_off: 4, self._kill_database: 1, self._pause_database: 1}
            kinds |= {self._promote: 1}
        self._kinds = list(kinds)
        self._weights = list(kinds.values())

    async def make(self) -> None:
        while True:
            await asyncio.sleep(self._choice.uniform(*BETWEEN_SECONDS))
            (trouble,) = self._choice.choices(self._kinds, self._weights)
            task = asyncio.create_task(trouble())
            self._begun.append(task)

    async def mend(self) -> None:
        """Wait until all have ended, each of which leaves everything whole. Raises what went wrong in any."""
        await asyncio.gather(*self._begun)
        for server in self._stage.servers:
            set_clock(server, 0)

    def _note(self, what: object, **how: object) -> None:
        self._history.write("trouble", of=str(what), **how)

    def _for_a_while(self) -> float:
        """Seconds that something happens to one of several nodes; the others go on."""
        is_long = self._stage.cluster is not None and self._choice.random() < LONG_CHANCE
        return self._choice.uniform(*(LONG_SECONDS if is_long else SOME_SECONDS))

    # between clients and servers

    async def _cut_clients(self) -> None:
        line, how = self._choice.choice(self._stage.lines), self._choice.choice(list(Cut))
        self._note("a line", how=how.value, calls=line.cut(how))

    async def _sever_clients(self) -> None:
        line, how = self._choice.choice(self._stage.lines), self._choice.choice(list(Cut))
        self._note("a line", how=f"severed by {how.value}")
        line.sever(how)
        await asyncio.sleep(self._choice.uniform(*SOME_SECONDS))
        line.mend()

    async def _swallow_clients(self) -> None:
        line = self._choice.choice(self._stage.lines)
        self._note("a line", how="swallows what the server sends")
        line.swallow()
        await asyncio.sleep(self._choice.uniform(*SOME_SECONDS))
        line.cut(Cut.LOST)

    # servers

    def _idle(self) -> Machine | None:
        """One that nothing else happens to."""
        idle = [server for server in self._stage.servers if server not in self._busy and server.is_running]
        return self._choice.choice(idle) if idle else None

    async def _start_again(self, server: Machine) -> None:
        """As those do who look after servers: one that cannot start without its database is started until it can."""
        while True:
            if not server.is_running:
                server.start_again()
            with contextlib.suppress(AssertionError):
                await server.ready()
                return
            self._note(server, how="does not start" if server.is_running else "ended as it started")

    async def watch(self) -> None:
        """Start what has ended by itself, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for server in self._stage.servers:
                if server not in self._busy and not server.is_running:
                    self._history.write("defect", server=str(server), said=f"it ended: {server.process.log[-500:]}")
                    self._busy.add(server)
                    await self._start_again(server)
                    self._busy.discard(server)

    async def _kill(self) -> None:
        if (server := self._idle()) is not None:
            self._busy.add(server)
            self._note(server, how="kill -9")
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(self._choice.uniform(0, 1))
            await self._start_again(server)
            self._busy.discard(server)

    async def _restart(self) -> None:
        if (server := self._idle()) is not None:
            self._busy.add(server)
            self._note(server, how="restart")
            code = await server.stop()
            if code != 0:
                self._history.write("defect", server=str(server), said=f"it ended with {code} behind SIGTERM")
            await self._start_again(server)
            self._busy.discard(server)

    async def _pause(self) -> None:
        if (server := self._idle()) is not None:
            self._busy.add(server)
            self._note(server, how="pause")
            server.pause()
            await asyncio.sleep(self._for_a_while())
            server.go_on()
            self._busy.discard(server)

    async def _set_clock(self) -> None:
        server = self._choice.choice(self._stage.servers)
        apart = self._choice.uniform(*CLOCK_SECONDS)
        self._note(server, how=f"its clock is set to {apart:+.1f} s")
        set_clock(server, apart)

    async def _disconnect(self) -> None:
        """As an operator does, who lets a user's clients come back."""
        server, user = self._choice.choice(self._stage.servers), self._choice.choice(sorted(USERS))
        self._note(server, how=f"disconnects {user}")
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, AssertionError):
            async with asyncio.timeout(CALL_SECONDS):
                await server.process.connections(user, "DELETE", "?reconnect=true")

    # the database

    def _a_node(self) -> Node:
        node = self._choice.choice(self._stage.servers)
        assert isinstance(node, Node)
        return node

    def _cluster(self) -> Cluster:
        assert self._stage.cluster is not None
        return self._stage.cluster

    async def _cut_database(self) -> None:
        node = self._a_node()
        self._note(node, how="its connections to the database are cut")
        await asyncio.to_thread(node.line.cut)

    async def _cut_off(self) -> None:
        node = self._a_node()
        if node not in self._busy:
            self._busy.add(node)
            fail = self._choice.choice((node.line.sever, node.line.swallow, node.line.hold))
            self._note(node, how=f"its line to the database: {fail.__name__}")
            await asyncio.to_thread(fail)
            await asyncio.sleep(self._for_a_while())
            await asyncio.to_thread(node.line.mend)
            self._busy.discard(node)

    async def _kill_database(self) -> None:
        """As a crash does: it recovers what it had committed."""
        async with self._alone() as server:
            self._note("the database", how="crash")
            await asyncio.to_thread(server.stop, how=signal.SIGQUIT)
            await asyncio.to_thread(server.start)

    async def _pause_database(self) -> None:
        async with self._alone() as server:
            self._note("the database", how="pause")
            await asyncio.to_thread(server.pause)
            await asyncio.sleep(self._choice.uniform(*SOME_SECONDS))
            await asyncio.to_thread(server.go_on)

    async def _promote(self) -> None:
        """A synchronous standby takes the place of the database, which is gone for good."""
        async with self._alone() as server:
            copy = await asyncio.to_thread(self._stage.copies.enter_context, running_copy(server, follows=True))
            await asyncio.to_thread(server.set, "synchronous_standby_names", "*")
            async with asyncio.timeout(COPY_SECONDS):
                while not await asyncio.to_thread(server.execute, IN_SYNC):  # noqa: ASYNC110 (it tells nobody)
                    await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(self._choice.uniform(*SOME_SECONDS))
            self._note("the database", how="is gone, and its standby promoted")
            await asyncio.to_thread(server.stop, how=signal.SIGQUIT)
            await asyncio.to_thread(copy.promote)
            await asyncio.to_thread(self._cluster().lead_to, copy)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[PostgresqlServer]:
        """The database, to which nothing else happens meanwhile; to nodes it may."""
        async with self._database:
            yield self._cluster().server
