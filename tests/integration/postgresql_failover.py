"""A database with a standby, nodes in this process that follow it wherever it goes, and clients and publishers that
come back to any of them: what each of them saw is held against what is stored in the end."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from prometheus_client import CollectorRegistry

from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.presence import LocalPresence
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from adapters.system.pids import KeyedPids
from adapters.telemetry.metrics import Metrics
from adapters.transport.memory.transport import MemoryTransport
from domain.application import Application
from domain.errors import ConnectionGone, Unavailable
from domain.model import AppendOutcome, Audience, Identity, Position, Publication, UserId
from tests.database_line import DatabaseLine
from tests.doubles import RecordingTelemetry, StaticVerifier
from tests.postgresql import PostgresqlServer, running_copy
from tests.serving import eventually

USER = "ann"
# Longer than any test, and no longer than a token may be good.
FOREVER = datetime.now(UTC) + timedelta(days=1)
PAUSE_SECONDS = 0.05


class Primary:
    """The server that takes writes now, and its standby."""

    def __init__(self, server: PostgresqlServer, *, sync: bool) -> None:
        self.server = server
        self._sync = sync
        self._servers = ExitStack()
        self.standby: PostgresqlServer

    def __enter__(self) -> Self:
        self.add_standby()
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def add_standby(self) -> None:
        self.standby = self._servers.enter_context(running_copy(self.server, follows=True))
        if self._sync:
            self.server.set("synchronous_standby_names", "*")

    def hold_standby_back(self) -> None:
        """It receives no more of what is written."""
        self.standby.set("primary_conninfo", "")
        while self.standby.execute("SELECT count(*) FROM pg_stat_wal_receiver") != [(0,)]:
            pass

    def fail_over(self) -> None:
        """The primary dies as in a crash, and the standby takes its place."""
        self.server.stop(how=signal.SIGQUIT)
        self.standby.promote()
        self.server = self.standby
        if self._sync:
            self.server.set("synchronous_standby_names", "")
        self.add_standby()


class Node:
    """A server's worth of services on a database, reached by a line of its own."""

    def __init__(self, server: PostgresqlServer, database: str, *, sync: bool) -> None:
        self.line = DatabaseLine(server)
        self.metrics = CollectorRegistry()
        self.store = PostgresqlStore(
            f"{self.line.url(database)}?connect_timeout=2",
            clock=SystemClock(),
            observer=Metrics(self.metrics, SystemClock()),
            sync=sync,
            tail_entries=2000,
        )
        self.transport = MemoryTransport()
        self.application = Application(
            verifier=StaticVerifier({USER: Identity(UserId(USER), "member", "", FOREVER)}),
            store=self.store,
            transports=[self.transport],
            pids=KeyedPids(self.store.secret),
            clock=SystemClock(),
            randomness=SystemRandomness(),
            telemetry=RecordingTelemetry(),
            presence=LocalPresence(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        with self.line:
            await self.store.open()
            await self.application.hub.begin()
            await self.application.admission.load()
            tasks = [asyncio.create_task(self._deliver()), asyncio.create_task(self._tick())]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                await self.transport.close()
                await self.store.close()
            defects = [one for one in outcomes if not isinstance(one, asyncio.CancelledError)]
            assert not defects, defects

    async def _deliver(self) -> None:
        while True:
            with suppress(Unavailable):
                await self.application.delivery.deliver()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tick(self) -> None:
        while True:
            with suppress(Unavailable):
                await self.application.recovery.store_marks()
                await self.application.counts.announce(100)
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass
class Witness:
    """What anybody was told stands at a position. No position has two meanings."""

    ids: dict[str, str] = field(default_factory=dict)

    def told(self, cursor: str, id_: str) -> None:
        known = self.ids.setdefault(cursor, id_)
        assert known == id_, f"{cursor} is {known}, and is {id_}"


@dataclass
class Client:
    """Somebody who is sent everything, and comes back with the last cursor to any node.

    ``recovered`` and ``refused`` count how it was welcomed back; ``reasons`` say why it was refused.
    """

    nodes: Sequence[Node]
    witness: Witness
    cursor: Position | None = None
    received: list[str] = field(default_factory=list)
    recovered: int = 0
    reasons: list[str] = field(default_factory=list)

    async def stay(self) -> None:
        while True:
            with suppress(ConnectionGone):
                await self._stay_connected()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _stay_connected(self) -> None:
        auth: dict[str, object] = {"token": USER}
        if self.cursor is not None:
            auth["cursor"] = str(self.cursor)
        client = await random.choice(self.nodes).transport.connect(auth)
        if client.refusal is not None or not client.connected:
            return
        name, arguments = await client.next_event()
        if name != "session.ready":
            return
        self._welcomed(arguments)
        while True:
            name, arguments = await client.next_event()
            if name == "notification.new":
                notification, cursor = arguments
                self._receive(notification, str(cursor))

    def _welcomed(self, arguments: tuple[Any, ...]) -> None:
        ready, cursor = arguments
        position = Position.parse(cursor)
        assert position is not None
        if ready["recovered"]:
            # Continued where it was: nothing before what comes next was left out.
            self.recovered += 1
            assert self.cursor is not None
            assert position.offset == self.cursor.offset, (self.cursor, position)
        elif self.cursor is not None:
            self.reasons.append(str(ready["reason"]))
            self.received.clear()
        self.cursor = position

    def _receive(self, notification: Any, cursor: str) -> None:
        position = Position.parse(cursor)
        assert position is not None
        assert self.cursor is not None
        # All are for everyone, and nothing else is in the log.
        assert position.offset == self.cursor.offset + 1, f"{self.cursor} is followed by {position}"
        self.witness.told(cursor, notification["id"])
        self.received.append(notification["id"])
        self.cursor = position


@dataclass
class Publisher:
    """Publishes under ids of its own, and each again until it is answered."""

    name: str
    nodes: Sequence[Node]
    witness: Witness
    answered: dict[str, str] = field(default_factory=dict)

    async def publish_on(self, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            await self.publish(f"{self.name}-{number}")
            number += 1

    async def publish(self, id_: str) -> None:
        publication = Publication(to=Audience.everyone(), type="test", id=id_, title="t")
        while True:
            try:
                (appended,) = await random.choice(self.nodes).application.publishing.publish([publication])
            except Unavailable:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            assert appended.outcome in (AppendOutcome.STORED, AppendOutcome.DUPLICATE)
            self.witness.told(str(appended.position), id_)
            self.answered[id_] = str(appended.position)
            return


def stored_in(server: PostgresqlServer, database: str) -> list[tuple[int, str]]:
    """Offsets and ids, in order."""
    return server.execute("SELECT log_offset, id FROM synkrone.contents ORDER BY log_offset", database)


@dataclass
class Story:
    """What happens to ``nodes`` while ``publishers`` publish and ``clients`` stay."""

    primary: Primary
    database: str
    nodes: Sequence[Node]
    publishers: Sequence[Publisher]
    clients: Sequence[Client]
    stored: Sequence[str] = ()
    """The ids that are stored in the end."""

    def lead_to(self, server: PostgresqlServer) -> None:
        for node in self.nodes:
            node.line.lead_to(server)

    async def publish_a_little(self, number: int = 20) -> None:
        """Until so many more were answered."""
        before = self.answered
        await eventually(lambda: self.answered >= before + number, within=30)

    @property
    def answered(self) -> int:
        return sum(len(publisher.answered) for publisher in self.publishers)


@asynccontextmanager
async def story(
    server: PostgresqlServer, database: str, *, sync: bool, nodes: int = 3, clients: int = 4
) -> AsyncIterator[Story]:
    """On leaving, everybody is given time to have everything, and each has it in order, once."""
    witness = Witness()
    async with AsyncExitStack() as stack:
        primary = stack.enter_context(Primary(server, sync=sync))
        running = [await stack.enter_async_context(Node(server, database, sync=sync).running()) for _ in range(nodes)]
        told = Story(
            primary,
            database,
            running,
            [Publisher(f"p{number}", running, witness) for number in range(2)],
            [Client(running, witness) for _ in range(clients)],
        )
        over = asyncio.Event()
        staying = [asyncio.create_task(client.stay()) for client in told.clients]
        publishing = [asyncio.create_task(publisher.publish_on(over)) for publisher in told.publishers]
        try:
            yield told
            over.set()
            async with asyncio.timeout(40):
                await asyncio.gather(*publishing)
                await _all_have_all(told, staying)
        finally:
            for task in (*publishing, *staying):
                task.cancel()
            await asyncio.gather(*publishing, *staying, return_exceptions=True)


async def _all_have_all(told: Story, staying: Sequence[asyncio.Task[None]]) -> None:
    stored = stored_in(told.primary.server, told.database)
    assert [offset for offset, _ in stored] == list(range(1, len(stored) + 1))
    assert len({id_ for _, id_ in stored}) == len(stored)
    ids = told.stored = [id_ for _, id_ in stored]
    for client, task in zip(told.clients, staying, strict=True):
        while not client.received or client.received[-1] != ids[-1]:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        assert client.received == ids[len(ids) - len(client.received) :]
