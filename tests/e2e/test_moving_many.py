"""The pause of a move, as publishers and a crowd of stock clients see it: in ``make campaign``, of a million
notifications."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.e2e import followers
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.test_cuts_and_kills import OPTIONS
from tests.e2e.test_moving import Moving, fill, finish
from tests.postgresql import running_server
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
BEFORE = 1_000_000 if IS_FULL else 5_000
OF_EACH_KIND = 100 if IS_FULL else 3
PER_SECOND = 50.0
EVERYONE_EACH = 50
PAUSE_SECONDS = 5.0 if IS_FULL else 20.0
"""Of a machine that has others to wait for, too."""
RETURN_SECONDS = (1.0, 3.0)
"""Otherwise a hundred times curl would take the machine from the server that they wait for."""

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@dataclass
class Publisher:
    """Says one thing after the other, each until it is acknowledged. ``pause`` is the longest time without that.

    To one of the ``users``, who are there; and now and then to everyone, once ``all_are_there``.
    """

    server: ServerProcess
    users: list[str] = field(default_factory=list)
    all_are_there: bool = False
    said: dict[str, str | None] = field(default_factory=dict)
    pause: float = 0.0
    is_over: bool = False

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            last = time.monotonic()
            while not self.is_over:
                is_for_all = self.all_are_there and len(self.said) % EVERYONE_EACH == 0
                await self._say(session, None if is_for_all else random.choice(self.users))
                now = time.monotonic()
                self.pause, last = max(self.pause, now - last), now
                await asyncio.sleep(1 / PER_SECOND)
            await self._say(session, None)

    async def _say(self, session: aiohttp.ClientSession, user: str | None) -> None:
        """To everyone where there is no user."""
        id_ = f"m-{len(self.said)}"
        body = {"to": {"user": user} if user is not None else {"everyone": True}, "type": "t", "id": id_}
        while True:
            try:
                status, _ = await self.server.post(session, body)
            except (aiohttp.ClientError, TimeoutError):
                status = 503
            if status == 201:
                self.said[id_] = user
                return
            assert status == 503
            await asyncio.sleep(0.02)

    def of(self, user: str) -> list[str]:
        return [id_ for id_, whose in self.said.items() if whose in (user, None)]


@pytest.mark.gen_test(timeout=1800)
async def test_the_pause_of_a_move_is_short(
    serve: Serve, clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "RETURN_SECONDS", RETURN_SECONDS)
    settings = ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep()), "SYNKRONE_LIMITS__UNAUTHENTICATED": "5000"}
    server = serve(settings)
    with running_server(18, shared_buffers="256MB", max_wal_size="2GB") as database:
        moving = Moving(server, database, tmp_path)
        await fill(server, BEFORE)
        users = [f"{kind}-{number}" for kind in ("js", "python", "curl") for number in range(OF_EACH_KIND)]
        crowd = [follower_of(user, server, clients) for user in users]
        publisher = Publisher(server)
        async with joined(users, crowd, publisher) as publishing:
            welcomes = [follower.diary.welcomes for follower in crowd]
            moved = await finish(moving)
            await asyncio.gather(*(f.welcomed(w + 1) for f, w in zip(crowd, welcomes, strict=True)))
            publisher.is_over = True
            await publishing
            for user, follower in zip(users, crowd, strict=True):
                await follower.has(publisher.of(user)[-1])
        print(
            f"campaign move: {BEFORE} notifications, {OF_EACH_KIND} clients of each kind, {len(publisher.said)} "
            f"published meanwhile: publishers waited for {publisher.pause:.2f} s at most, "
            f"{moved['pause_seconds']} s of them for the move; copied in {moved['seconds']} s",
            flush=True,
        )
        for user, follower in zip(users, crowd, strict=True):
            diary = follower.diary
            assert [logged.id for logged in diary.logged] == publisher.of(user), user
            assert diary.recovered, user
            assert all(diary.recovered), user
        assert publisher.pause <= PAUSE_SECONDS
        assert server.stop() == 0


@asynccontextmanager
async def joined(
    users: Sequence[str], crowd: Sequence[Follower], publisher: Publisher
) -> AsyncIterator[asyncio.Task[None]]:
    """All of them are there, and the publisher publishes. They come one after the other: a client that is told nothing
    for a minute while it waits for the last one gives up."""
    await crowd[0].start()
    publisher.users.append(users[0])
    publishing = asyncio.create_task(publisher.run())
    try:
        for user, follower in zip(users[1:], crowd[1:], strict=True):
            await follower.start()
            publisher.users.append(user)
        publisher.all_are_there = True
        yield publishing
    finally:
        publishing.cancel()
        await asyncio.wait((publishing,))
        for _, follower in zip(publisher.users, crowd, strict=False):
            await follower.stop()


def follower_of(user: str, server: ServerProcess, clients: Clients) -> Follower:
    own = token(user)
    if user.startswith("js"):
        return JsFollower(server.url, own, clients, OPTIONS)
    if user.startswith("python"):
        return PythonFollower(server.url, own)
    return CurlFollower(server.url, own)
