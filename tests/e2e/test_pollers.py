"""Clients of every language over long-polling, ``t`` repeated or not: each event once, in order, and no tight loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.e2e.pollers import EVERY_CLIENT, Habits, Lines, Poller, all_at_once
from tests.e2e.routes import Route, Shared, shared
from tests.processes import token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
BURST = 100 if IS_FULL else 30
PACED = 200 if IS_FULL else 8
IN_STEP = 20 if IS_FULL else 4
BEFORE = 3
TOTAL = BEFORE + BURST + PACED + IN_STEP + 1
PACE_SECONDS = 0.01
QUIET_SECONDS = 0.3
"""In which a client that is answered again and again polls more often than it may."""

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("pollers")) as it:
        yield it


@pytest.mark.parametrize("route", [Route.DIRECT, Route.KEPT_ALIVE, Route.DEFAULT], ids=str)
@pytest.mark.parametrize("habits", EVERY_CLIENT, ids=str)
@pytest.mark.gen_test(timeout=120)
async def test_a_polling_client_gets_each_event_once(it: Shared, habits: Habits, route: Route) -> None:
    """Over one connection, over two, and over a new one for each request."""
    port = it.port(route)
    await all_at_once({lines.value: gets_each_event_once(it, habits, lines, port) for lines in Lines})


async def gets_each_event_once(it: Shared, habits: Habits, lines: Lines, port: int) -> None:
    """Published before it connects, in a burst, at a pace, one upon the other, and when it has long been quiet."""
    user = it.new("user")
    published = await it.publish({"user": user}, BEFORE)
    async with Poller(habits, lines, port, token(user), most_polls=2 * TOTAL + 20) as poller:
        await poller.has(len(published))
        published += await it.publish({"user": user}, BURST)
        await poller.has(len(published))
        for _ in range(PACED):
            published += await it.publish({"user": user})
            await asyncio.sleep(PACE_SECONDS)
        for _ in range(IN_STEP):
            await poller.has(len(published))
            published += await it.publish({"user": user})
        await poller.has(len(published))
        await asyncio.sleep(QUIET_SECONDS)
        published += await it.publish({"user": user})
        await poller.has(len(published))
    assert len(published) == TOTAL
    assert poller.heard.entries == published, str(poller)
    assert poller.heard.connects == 1, str(poller)
