"""Much that was missed, and a log of many entries; ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from domain.model import Audience, Draft, Publication
from domain.policy import ConnectionPolicy
from tests.campaigns.crowd import Client, connect, tokens
from tests.campaigns.observing import IS_FULL, Observed, assert_within, observed, report
from tests.campaigns.test_returning import noting
from tests.serving import eventually

BATCH = 2000
# A page that is read, as much again on its way to the socket, and what the allocator keeps of both.
MEMORY_KIB = 32 * 1024
# What is kept at hand of the newest entries, and all that a server takes without them.
TAIL_KIB = 64 * 1024
SERVER_KIB = 128 * 1024
START_SECONDS = 10.0

pytestmark = [pytest.mark.campaign, pytest.mark.check]

_policy, _clock, _randomness = ConnectionPolicy(), SystemClock(), SystemRandomness()


class Most:
    """The most that a server held while somebody looked."""

    def __init__(self) -> None:
        self.rss_kib = 0
        self.waiting_bytes = 0

    async def watch(self, server: Observed) -> None:
        while True:
            holdings = await server.ask()
            self.rss_kib = max(self.rss_kib, holdings["rss_kib"])
            self.waiting_bytes = max(self.waiting_bytes, holdings["waiting_bytes"])
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(server: Observed) -> AsyncIterator[Most]:
    most = Most()
    task = asyncio.create_task(most.watch(server))
    try:
        yield most
    finally:
        task.cancel()
        await asyncio.wait((task,))


@pytest.mark.parametrize("with_cursor", [True, False], ids=["with a cursor", "without a cursor"])
@pytest.mark.gen_test(timeout=300)
async def test_a_user_who_missed_very_much_costs_little_memory(*, with_cursor: bool, tmp_path: Path) -> None:
    number = 100_000 if IS_FULL else 10_000
    (jwt,) = tokens(1)
    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        got: list[str] = []
        earlier = await connect(server.port, Client(jwt))
        earlier.close()
        await earlier.is_closed
        body = {"to": {"user": "0"}, "type": "t", "body": "x" * 200}
        sent = [id_ for _ in range(number // BATCH) for id_ in await server.publish_batch(http, [body] * BATCH)]
        before = await server.ask()
        started = time.monotonic()
        async with watching(server) as most:
            claim = earlier.claim if with_cursor else None
            client = await connect(server.port, Client(jwt, noting(got), claim=claim))
            assert client.recovered == with_cursor
            await eventually(lambda: len(got) >= number, within=120)
            seconds = time.monotonic() - started
            sent += await server.publish_batch(http, [body])
            await eventually(lambda: got[-1] == sent[-1], within=5)
        assert got == sent
        grown = most.rss_kib - before["rss_kib"]
        report(
            f"{number} missed {'with' if with_cursor else 'without'} a cursor: all there after {seconds:.1f} s, memory "
            f"grew by {grown} KiB at most, {most.waiting_bytes} bytes waited at most"
        )
        assert grown < MEMORY_KIB


@pytest.mark.gen_test(timeout=900)
async def test_a_server_on_a_large_log_starts_soon_and_replays_out_of_it(tmp_path: Path) -> None:
    entries = 1_000_000 if IS_FULL else 30_000
    mine = 20
    (jwt,) = tokens(1)
    ids, first = await write_log(tmp_path / "synkrone.db", entries, mine)
    started = time.monotonic()
    async with observed(tmp_path) as server:
        seconds = time.monotonic() - started
        got: list[str] = []
        client = await connect(server.port, Client(jwt, noting(got), claim={"cursor": first}))
        assert client.recovered
        await eventually(lambda: len(got) >= mine - 1, within=10)
        assert got == ids[1:]
        holdings = await server.ask()
        report(
            f"a log of {entries} entries: started within {seconds:.1f} s, {holdings['rss_kib'] // 1024} MiB of memory, "
            f"{(tmp_path / 'synkrone.db').stat().st_size // 2**20} MiB on disk"
        )
        assert_within(seconds, START_SECONDS, "the start")
        assert holdings["rss_kib"] < SERVER_KIB + TAIL_KIB


async def write_log(file: Path, entries: int, mine: int) -> tuple[list[str], str]:
    """Entries for many users; the ids of the ``mine`` for user 0, spread over all, and the cursor of the first."""
    inbox = SqliteStore(file, clock=_clock)
    await inbox.open()
    ids: list[str] = []
    first = ""
    try:
        every = entries // mine
        for start in range(0, entries, BATCH):
            drafts = [draft("0" if n % every == 0 else f"other-{n % 9973}") for n in range(start, start + BATCH)]
            for n, appended in enumerate(await inbox.append(drafts), start):
                if n % every == 0:
                    ids.append(appended.id)
                    first = first or str(appended.position)
    finally:
        await inbox.close()
    return ids, first


def draft(user: str) -> Draft:
    publication = Publication(Audience.users([user]), "t", "A title of some length")
    return _policy.draft(publication, _randomness.new_id(), _clock.now(), None)
