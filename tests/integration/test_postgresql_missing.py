"""Somebody takes a row out of the log's middle by hand: every node notices, says so, and serves nobody until it is
there again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import psycopg
import pytest

from adapters.store.postgresql import scrubbing
from adapters.store.postgresql.database import Snapshot
from adapters.transport.memory.client import MemoryClient
from domain.errors import ConnectionGone, EntriesMissing
from domain.model import Audience, Publication, UserId
from tests.contract.inbox_harness import ANN, BOB, draft
from tests.documents import block
from tests.doubles import START
from tests.integration.postgresql_failover import USER, Node
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers
from tests.serving import eventually

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

TAKE_OUT = """
    CREATE TABLE kept AS SELECT * FROM synkrone.{0} WHERE {1};
    DELETE FROM synkrone.{0} WHERE {1}"""
PUT_BACK = "INSERT INTO synkrone.{0} SELECT * FROM kept"


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


async def missing_in(node: Node) -> int | None:
    """As readiness says it."""
    try:
        await node.store.ensure_writable()
    except EntriesMissing as error:
        return error.offset
    return None


async def says(node: Node, missing: int | None) -> None:
    async with asyncio.timeout(5):
        while await missing_in(node) != missing:
            await node.store.tidy()


async def end_of(client: MemoryClient) -> None:
    async with asyncio.timeout(5):
        while True:
            await client.next_event()


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("entries", "log_offset = 7"),
        ("contents", "log_offset = 7"),
        ("placed", "log_offset = 7 AND room = 'everyone'"),
    ],
    ids=["entries", "contents", "placed"],
)
async def test_every_node_notices_what_is_missing_and_when_it_is_there_again(
    server: PostgresqlServer,
    database: str,
    table: str,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(scrubbing, "ROUND_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Node(server, database, sync=False).running()) for _ in range(2)]
        for number in range(1, 13):
            publication = Publication(to=Audience.everyone(), type="test", id=f"n-{number}", title="t")
            await nodes[number % 2].application.publishing.publish([publication])
        clients = [await node.transport.connect({"token": USER}) for node in nodes]
        assert all(client.connected for client in clients)
        server.execute(TAKE_OUT.format(table, where), database)
        for node, client in zip(nodes, clients, strict=True):
            with pytest.raises(ConnectionGone):
                await end_of(client)
            assert client.reconnect
            await says(node, missing=7)
            assert node.metrics.get_sample_value("synkrone_store_gaps_total") == 1
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert sum("what was stored at offset 7 is not there" in error for error in errors) == 2
        server.execute(PUT_BACK.format(table), database)
        for node in nodes:
            await says(node, missing=None)
            client = await node.transport.connect({"token": USER})
            assert client.connected
            assert (node.metrics.get_sample_value("synkrone_store_scrubs_total") or 0) > 0


@pytest.mark.parametrize("table", ["entries", "contents", "placed"])
async def test_what_is_given_up_is_told_as_trimmed(
    server: PostgresqlServer, database: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "ROUND_SECONDS", 0.1)
    async with Node(server, database, sync=False).running() as node:
        # From here on all of it is theirs.
        assert (await node.transport.connect({"token": USER})).connected
        positions = []
        for number in range(1, 13):
            publication = Publication(to=Audience.everyone(), type="test", id=f"n-{number}", title="t")
            (appended,) = await node.application.publishing.publish([publication])
            positions.append(appended.position)
        server.execute(TAKE_OUT.format(table, "log_offset = 7"), database)
        await says(node, missing=7)
        server.execute(block("docs/how-to/postgresql.md", "sql", "give_up").replace("4711", "7"), database)
        await says(node, missing=None)
        for offset, told in ((6, (False, "trimmed")), (7, (True, None))):
            client = await node.transport.connect({"token": USER, "cursor": str(positions[offset - 1])})
            _, (ready, *_) = await client.next_event()
            assert isinstance(ready, dict)
            assert (ready["recovered"], ready["reason"]) == told
        with pytest.raises(psycopg.errors.RaiseException, match="nothing to be given up at offset 13"):
            server.execute("SELECT synkrone.give_up(13)", database)


async def test_a_log_that_is_whole_raises_no_alarm_however_it_is_looked_at(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scrubbing, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(scrubbing, "SLICE_ENTRIES", 7)
    monkeypatch.setattr(scrubbing, "SLICE_NAME_BYTES", 50)
    looks: list[int | None] = []

    def look(scrubber: scrubbing.Scrubber, snapshot: Snapshot) -> int | None:
        looks.append(whole(scrubber, snapshot))
        return looks[-1]

    whole = scrubbing.Scrubber.look
    monkeypatch.setattr(scrubbing.Scrubber, "look", look)
    async with opened(server.url(database)) as store:
        for number in range(30):
            await store.append([draft(f"n-{number}-{each}", ANN, BOB) for each in range(number % 5)])
        await eventually(lambda: len(looks) > 20, within=10)
        await store.begin_erasure(UserId("ann"), "erasure", START)
        begun_at = len(looks)
        await eventually(lambda: len(looks) > begun_at + 20, within=10)
        await store.ensure_writable()
    assert set(looks) == {None}
