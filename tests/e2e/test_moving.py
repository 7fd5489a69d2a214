"""A move while clients follow and notifications come in: nothing is lost, doubled or out of order.

It is killed at random moments and run again, with and without a server beside it; ``make campaign`` does so in full.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.store.sqlite.sealing import seal_of
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.moves import MoveProcess
from tests.e2e.publishing import Backend
from tests.e2e.staying import check_all_came_once, check_all_got_the_same, following, reading, report_on
from tests.e2e.test_cuts_and_kills import OPTIONS, ROLE, USER
from tests.postgresql import PostgresqlServer, running_server
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, port_to_keep, run_to_end, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
ROUNDS = 7 if IS_FULL else 1
"""Of three kills each."""

PER_SECOND = 100.0
BEFORE = 20_000 if IS_FULL else 4_000
OTHERS = 100
AT_ONCE = 2000
FOLLOWING_SECONDS = 900.0

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class Moving:
    """A server over a file, and a database that the file is to be moved into."""

    def __init__(self, server: ServerProcess, database: PostgresqlServer, outputs: Path) -> None:
        self.server = server
        self.database = database
        self.name = database.new_database()
        self.settings = ONE_SECRET | {"SYNKRONE_STORE": database.url(self.name)}
        self._outputs = outputs
        self._runs = 0

    @property
    def file(self) -> Path:
        return self.server.directory / "synkrone.db"

    def begin(self) -> MoveProcess:
        self._runs += 1
        return MoveProcess(self.server.directory, self.settings, self._outputs / f"move-{self._runs}")

    def serve_from_the_database(self) -> None:
        self.server.change(self.settings)
        self.server.start_again()

    @property
    def is_sealed(self) -> bool:
        with closing(sqlite3.connect(self.file)) as db:
            return seal_of(db) is not None

    @property
    def is_open(self) -> bool:
        """Whether the database could be served from."""
        (there,) = self.database.execute("SELECT to_regclass('synkrone.moving') IS NOT NULL", self.name)[0]
        return there and bool(
            self.database.execute("SELECT FROM synkrone.moving WHERE finished_at IS NOT NULL", self.name)
        )


async def fill(server: ServerProcess, number: int) -> None:
    """Notifications of before, for others."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for first in range(0, number, AT_ONCE):
            batch = [
                {"to": {"user": f"old-{one % OTHERS}"}, "type": "old", "id": f"old-{one}", "body": "x" * 200}
                for one in range(first, min(first + AT_ONCE, number))
            ]
            async with session.post(f"{server.url}/v1/notifications/batch", json=batch) as answer:
                assert answer.status == 200, await answer.text()


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.gen_test(timeout=300)
async def test_a_move_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing(
    serve: Serve, clients: Clients, tmp_path: Path, number: int
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    with running_server(15 if number % 2 else 18) as database:
        moving = Moving(server, database, tmp_path)
        await fill(server, BEFORE)
        own = token(USER, ROLE)
        followers: list[Follower] = [
            JsFollower(server.url, own, clients, OPTIONS),
            PythonFollower(server.url, own),
            CurlFollower(server.url, own),
        ]
        backend = Backend(server, USER, ROLE, PER_SECOND)
        async with following(followers), backend:
            async with reading(lambda: server.url, backend, own):
                await kill_beside_the_server(moving, "copying")
                await kill_beside_the_server(moving, "following")
                welcomes = [follower.diary.welcomes for follower in followers]
                sealed = await kill_once_the_server_has_ended(moving)
                await finish(moving)
                await asyncio.gather(*(f.welcomed(w + 1) for f, w in zip(followers, welcomes, strict=True)))
            await backend.stop()
            backend.acknowledged["last"] = await backend.say("last", {"user": USER})
            await asyncio.gather(*(follower.has("last") for follower in followers))
        report_on(
            f"move: 3 kills, by the last of which the file was {'sealed' if sealed else 'not sealed'}; "
            f"{len(backend.acknowledged)} acknowledged, {backend.retries} tried again",
            followers,
        )
        for follower in followers:
            check_all_came_once(follower, backend)
        check_all_got_the_same(followers)
        assert (await server.inbox(token("old-7"), "/count"))["counts"]["total"] == BEFORE // OTHERS
        assert server.stop() == 0


async def kill_beside_the_server(moving: Moving, step: str) -> None:
    """At any moment of a step."""
    run = moving.begin()
    await run.step(step)
    await asyncio.sleep(random.uniform(0, 0.5))
    run.kill()
    await run.exit_code()
    assert not moving.is_sealed
    assert moving.server.is_running()


async def kill_once_the_server_has_ended(moving: Moving) -> bool:
    """Whether it had gone so far that nobody can go back."""
    server = moving.server
    run = moving.begin()
    await run.step("following")
    server.terminate()
    assert await server.exit_code() == 0
    await run.step("finishing")
    await asyncio.sleep(random.uniform(0, 0.05))
    run.kill()
    await run.exit_code()
    # One of both is what counts, and never both.
    sealed = moving.is_sealed
    assert sealed or not moving.is_open
    if sealed:
        refused = await asyncio.to_thread(run_to_end, server.directory, ONE_SECRET)
        assert refused.returncode == 2
        assert "was moved to postgresql://" in refused.stderr
    else:
        server.start_again()
        await server.ready()
    return sealed


async def finish(moving: Moving) -> dict[str, Any]:
    """As an operator does: the server is restarted once the move says so. What it says in the end."""
    server = moving.server
    run = moving.begin()
    await run.has_begun()
    if server.is_running():
        await run.step("following", within=FOLLOWING_SECONDS)
        server.terminate()
        assert await server.exit_code() == 0
    moving.serve_from_the_database()
    assert await run.exit_code() == 0, run.errors
    await server.ready()
    assert moving.is_sealed
    return await run.step("moved")
