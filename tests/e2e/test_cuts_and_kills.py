"""Cuts of the line and kills of the server while notifications come in: nothing is lost, doubled or out of order.

Three clients of one user, each in its own way: the stock JavaScript client with its own recovery, the stock Python
client with the cursor its application kept, and curl with ``Last-Event-ID``. ``make campaign`` runs them in full.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.line import Cut, Line
from tests.e2e.publishing import Backend
from tests.e2e.staying import check_all_came_once, check_all_got_the_same, following, reading, report_on
from tests.in_time import in_time
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
CUTS = 100 if IS_FULL else 10
KILLS = 50 if IS_FULL else 3
STOPS = 5 if IS_FULL else 1
PER_SECOND = 100.0
OPTIONS: dict[str, object] = {} if IS_FULL else {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
"""The stock client as it comes; for the short run it only comes back sooner."""

SETTINGS = ONE_SECRET | {"SYNKRONE_LIMITS__PING_INTERVAL": "2s", "SYNKRONE_LIMITS__PING_TIMEOUT": "3s"}
"""A stock client that is cut while its upgrade pauses its polling notices that by the missing ping alone."""

USER, ROLE = "42", "freelance"

Trouble: TypeAlias = Callable[[ServerProcess, Sequence[Follower], Sequence[Line]], Awaitable[str]]
"""Makes it, and says how much of it there was."""

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.mark.gen_test(timeout=900)
async def test_cuts_of_the_line(serve: Serve, clients: Clients) -> None:
    await stays_up(serve, clients, cut_lines, "cuts")


@pytest.mark.gen_test(timeout=900)
async def test_kills_of_the_server(serve: Serve, clients: Clients) -> None:
    await stays_up(serve, clients, kill, "kill -9")


@pytest.mark.gen_test(timeout=900)
async def test_restarts_of_the_server(serve: Serve, clients: Clients) -> None:
    await stays_up(serve, clients, restart, "SIGTERM")


async def cut_lines(server: ServerProcess, followers: Sequence[Follower], lines: Sequence[Line]) -> str:
    async with asyncio.TaskGroup() as group:
        cutting = [group.create_task(cut_again_and_again(line)) for line in lines]
    cut = [task.result() for task in cutting]
    return "; ".join(f"{follower.name} {number} cuts" for follower, number in zip(followers, cut, strict=True))


async def cut_again_and_again(line: Line) -> int:
    """At random: in the middle of a connection's beginning, of an upgrade, of a replay, or of its quiet life."""
    for number in range(CUTS):
        await line.in_use()
        moment = random.choice(("beginning", "upgrade", "later"))
        if moment == "upgrade":
            with contextlib.suppress(TimeoutError):
                await in_time(line.upgrading.wait(), 0.5)
        await asyncio.sleep(random.uniform(0, 1.0 if moment == "later" else 0.03))
        await line.in_use()
        line.sever(random.choice(list(Cut)))
        line.upgrading.clear()
        # Once it is away for so long that there is a lot to be replayed.
        if number == CUTS // 2:
            await asyncio.sleep(2)
        line.mend()
    return CUTS


async def kill(server: ServerProcess, followers: Sequence[Follower], lines: Sequence[Line]) -> str:
    for number in range(KILLS):
        # Every other time at any moment, so also when they are only just coming back.
        await bring_back(server, followers, random.uniform(0.5, 2.0), server.kill, wait=number % 2 == 0)
    return f"{KILLS} kills"


async def restart(server: ServerProcess, followers: Sequence[Follower], lines: Sequence[Line]) -> str:
    for _ in range(STOPS):
        await bring_back(server, followers, random.uniform(0.5, 2.0), server.terminate, wait=True)
    return f"{STOPS} restarts"


async def bring_back(
    server: ServerProcess, followers: Sequence[Follower], after: float, end: Callable[[], None], *, wait: bool
) -> None:
    """With ``wait``, return when all clients have returned."""
    await asyncio.sleep(after)
    welcomes = [follower.diary.welcomes for follower in followers]
    end()
    await server.exit_code()
    server.start_again()
    await server.ready()
    if wait:
        await asyncio.gather(*(f.welcomed(before + 1) for f, before in zip(followers, welcomes, strict=True)))


async def stays_up(serve: Serve, clients: Clients, trouble: Trouble, name: str) -> None:
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    own = token(USER, ROLE)
    backend = Backend(server, USER, ROLE, PER_SECOND)
    async with lines_to(server, 3) as lines:
        followers: list[Follower] = [
            JsFollower(lines[0].url, own, clients, OPTIONS),
            PythonFollower(lines[1].url, own),
            CurlFollower(lines[2].url, own),
        ]
        # They are there from the first notification on: what was for all before a user came is not theirs.
        async with following(followers), backend:
            async with reading(lambda: server.url, backend, own):
                amount = await trouble(server, followers, lines)
            await backend.stop()
            backend.acknowledged["last"] = await backend.say("last", {"user": USER})
            await asyncio.gather(*(follower.has("last") for follower in followers))
        report_on(
            f"{name}: {amount}; {len(backend.acknowledged)} acknowledged, {backend.retries} tried again", followers
        )
        for follower in followers:
            assert follower.diary.recovered, f"{follower.name}: it was never cut"
            check_all_came_once(follower, backend)
        check_all_got_the_same(followers)


@asynccontextmanager
async def lines_to(server: ServerProcess, number: int) -> AsyncIterator[list[Line]]:
    lines = [Line(server.port) for _ in range(number)]
    for line in lines:
        await line.open()
    try:
        yield lines
    finally:
        for line in lines:
            await line.close()
