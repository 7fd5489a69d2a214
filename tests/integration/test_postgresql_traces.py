"""What servers that share a database tell each other of traces: beside the log, and nothing where there are none."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from typing import Any

import aiohttp
import psycopg
import pytest

from adapters.store.postgresql import threads
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.store import TRACES_CHANNEL, PostgresqlStore
from adapters.store.postgresql.threads import CHANNEL
from adapters.system.clock import SystemClock
from tests.collector import collecting
from tests.contract.inbox_harness import draft
from tests.postgresql import PostgresqlServer, Servers
from tests.serving import eventually, publish, serving

pytestmark = pytest.mark.gen_test

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BODY = {"to": {"user": "42"}, "type": "t"}
PUBLISHES = 5


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


def store_at(url: str) -> PostgresqlStore:
    return PostgresqlStore(url, clock=SystemClock())


def said_on(outside: psycopg.Connection[Any]) -> Counter[str]:
    """How many lines have come on each channel since it listens; several may be one message."""
    lines: Counter[str] = Counter()
    for hint in outside.notifies(timeout=0.2):
        lines[hint.channel] += hint.payload.count("\n") + 1
    return lines


@pytest.mark.parametrize("is_on", [False, True])
async def test_servers_tell_of_traces_only_where_they_are_on(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch, *, is_on: bool
) -> None:
    statements: Counter[str] = Counter()
    execute = Database.execute

    def counted(self: Database, query: bytes, *arguments: Any) -> Any:
        kinds = {"append": b"synkrone.append(", "hint": b"NOTIFY ", "said": b"pg_notify("}
        statements.update(kind for kind, octets in kinds.items() if octets in query)
        return execute(self, query, *arguments)

    monkeypatch.setattr(threads, "HINT_SECONDS", 0.0)
    async with collecting() as collector:
        otel = {"otel": {"endpoint": collector.url}} if is_on else {}
        async with (
            serving(store=server.url(database), internal={"port": 0}, **otel) as node,
            aiohttp.ClientSession() as session,
        ):
            with closing(server.connect(database)) as outside:
                for channel in (CHANNEL, TRACES_CHANNEL):
                    outside.execute(f"LISTEN {channel}".encode())
                await publish(session, node.url, BODY, traceparent=TRACEPARENT)
                said_on(outside)
                monkeypatch.setattr(Database, "execute", counted)
                for _ in range(PUBLISHES):
                    status, _ = await publish(session, node.url, BODY, traceparent=TRACEPARENT)
                    assert status == 201
                expected = {CHANNEL: PUBLISHES, **({TRACES_CHANNEL: PUBLISHES} if is_on else {})}
                said: Counter[str] = Counter()
                async with asyncio.timeout(10):
                    while said.total() < sum(expected.values()):
                        said += said_on(outside)
                        # The loop may have something to tell yet.
                        await asyncio.sleep(0.01)
                said += said_on(outside)
    assert said == expected
    # What is told goes with the hint of the next publish, where that comes in time.
    assert statements["append"] == PUBLISHES
    assert statements["hint"] + statements["said"] <= (2 * PUBLISHES if is_on else PUBLISHES)
    assert bool(statements["said"]) is is_on


async def test_others_hear_what_is_told_once_and_whoever_tells_does_not(
    server: PostgresqlServer, database: str
) -> None:
    heard: dict[str, list[str]] = {"here": [], "there": []}
    lines = [f"{number:05} {'x' * 150}" for number in range(threads.LINES)]
    with closing(server.connect(database)) as outside:
        here, there = store_at(server.url(database)), store_at(server.url(database))
        tell = here.carry_traces(heard["here"].extend)
        there.carry_traces(heard["there"].extend)
        tell(["before it is open"])
        await here.open()
        await there.open()
        try:
            outside.execute(f"LISTEN {CHANNEL}".encode())
            tell(lines)
            await eventually(lambda: "\n".join(heard["there"]).count("\n") == len(lines) - 1, within=10)
            assert "\n".join(heard["there"]).split("\n") == lines
            assert max(map(len, heard["there"])) <= threads.MESSAGE_BYTES
            # What is told of traces has nobody look at the log.
            assert said_on(outside) == {}
            await there.append([draft("a")])
            await eventually(lambda: here._opened().tail.head == 1)
            assert heard["here"] == []
        finally:
            await here.close()
            await there.close()
        tell(["after it is closed"])


async def test_what_cannot_be_told_is_not_and_the_next_is(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: list[str] = []
    heard: list[str] = []
    here, there = store_at(server.url(database)), store_at(server.url(database))
    tell = here.carry_traces(own.extend)
    there.carry_traces(heard.extend)
    await here.open()
    await there.open()
    try:
        tell(["x" * 8_000])
        await eventually(lambda: not here._opened().writer._lines)
        await here.append([draft("a")])
        tell(["good"])
        await eventually(lambda: heard == ["good"], within=5)
        assert own == []
    finally:
        await here.close()
        await there.close()


async def test_what_is_told_goes_with_the_hint_that_comes_next(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    here, there = store_at(server.url(database)), store_at(server.url(database))
    tell = here.carry_traces(lambda _: None)
    there.carry_traces(heard.extend)
    await here.open()
    await there.open()
    try:
        async with asyncio.timeout(10):
            while not heard:
                # A server that is open may not listen yet.
                tell(["there?"])
                await asyncio.sleep(0.05)
        await eventually(lambda: not here._opened().writer._lines)
        monkeypatch.setattr(threads, "TELL_SECONDS", 3600.0)
        tell(["one", "two"])
        await here.append([draft("a")])
        await eventually(lambda: "one\ntwo" in heard)
    finally:
        await here.close()
        await there.close()
