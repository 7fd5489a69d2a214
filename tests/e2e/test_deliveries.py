"""What the server says became of notifications, beside what the clients of the test saw: under cuts of the line, kills
of servers, blocks, readers that stop, what expires, and what leaves the log before somebody comes back. ``make
campaign`` has ten thousand notifications, in a file with one server and in PostgreSQL with three.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.cluster import cluster
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.deliveries_world import (
    SETTLED_SECONDS,
    Asking,
    Nodes,
    OneServer,
    Publisher,
    Site,
    Stalling,
    block_now_and_then,
    block_while_in,
    cut_now_and_then,
    lines_to,
    stop_reading,
)
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.line import Cut
from tests.e2e.staying import following
from tests.processes import ONE_SECRET, port_to_keep, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
NOTIFICATIONS = 10_000 if IS_FULL else 400
KILLS = 8 if IS_FULL else 1
PER_SECOND = 60.0
AT_ONCE = 2
BY_ID = 500 if IS_FULL else 50
"""Of each user, so many are asked for by their ids too."""
LOG_SECONDS = 12
BLOCK_SECONDS = 3.0

SETTINGS = ONE_SECRET | {
    "SYNKRONE_LIMITS__PING_INTERVAL": "2s",
    "SYNKRONE_LIMITS__PING_TIMEOUT": "18s",
    "SYNKRONE_LIMITS__QUEUE_BYTES": "98304",
    "SYNKRONE_LIMITS__CONNECTIONS_PER_USER": "1000",
    "SYNKRONE_RETENTION__LOG": f"{LOG_SECONDS}s",
}
OPTIONS: dict[str, object] = {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
BOTH, LATE, STREAM, GONE, NEVER, SLOW, BLOCKED = "both", "late", "stream", "gone", "never", "slow", "blocked"
"""Users: of two devices, one that stays away for longer than the log, one that streams, one that never comes back, one
that never came, one whose client stops reading, and one who is blocked again and again."""
USERS = (BOTH, LATE, STREAM, GONE, NEVER, SLOW, BLOCKED)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.mark.gen_test(timeout=1800)
async def test_one_server_says_what_the_clients_saw(serve: Serve, clients: Clients) -> None:
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    ends = await compare_all(OneServer(server), clients, "sqlite")
    assert "server_stopped" in ends


@pytest.mark.gen_test(timeout=1800)
async def test_three_servers_say_what_the_clients_saw(tmp_path: Path, clients: Clients) -> None:
    async with cluster(tmp_path, nodes=3, settings=SETTINGS) as three:
        await compare_all(Nodes(three), clients, "postgresql, three nodes")


@dataclass
class Differences:
    """Of what is said of a user and what the user's clients saw."""

    pairs: int = 0
    found: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def expect(self, holds: bool, *what: object) -> None:  # noqa: FBT001 (as assert does)
        if not holds:
            self.found.append(" ".join(map(str, what)))


async def compare_all(site: Site, clients: Clients, where: str) -> set[str | None]:
    """Why connections ended."""
    chance, began = random.Random(), time.monotonic()
    since = datetime.now(UTC) - timedelta(seconds=1)
    async with lines_to(site, 7) as lines, aiohttp.ClientSession() as session:
        followers = followers_on(lines, clients)
        publisher, asking = Publisher(site, session, USERS, PER_SECOND), Asking(site, session)
        async with following([one for user, some in followers.items() if user != GONE for one in some]):
            blocks = await trouble(publisher, asking, lines, followers, since, chance)
            await block_while_in(publisher, asking, BLOCKED, followers[BLOCKED])
            await last_words(publisher, lines, followers)
        stopped = time.monotonic()
        compared = [await settled(asking, user, followers.get(user, ()), publisher.ids, since) for user in USERS]
        outcomes = sum((one.outcomes for one in compared), Counter[str]())
        differences = [difference for one in compared for difference in one.found]
        pairs, asked = sum(one.pairs for one in compared), time.monotonic() - stopped
        print(
            f"campaign deliveries, {where}: {len(publisher.ids)} notifications, {pairs} pairs, {KILLS} kills, "
            f"{blocks + 1} blocks in {stopped - began:.0f} s, asked about in {asked:.0f} s: {dict(outcomes)}; "
            f"{len(differences)} differences",
            flush=True,
        )
        assert differences == []
        assert {"received", "expired", "trimmed"} <= outcomes.keys()
        for user, why in ((SLOW, "slow_consumer"), (BLOCKED, "blocked")):
            assert await asking.has_ended(user, since, why), f"{user} has ended as {await asking.ends(user, since)}"
        return await asking.ends(SLOW, since) | await asking.ends(BLOCKED, since)


def followers_on(lines: Sequence[Stalling], clients: Clients) -> Mapping[str, Sequence[Follower]]:
    return {
        BOTH: [
            JsFollower(lines[0].url, token(BOTH), clients, OPTIONS),
            PythonFollower(lines[1].url, token(BOTH, "company")),
        ],
        LATE: [PythonFollower(lines[2].url, token(LATE))],
        STREAM: [CurlFollower(lines[3].url, token(STREAM))],
        GONE: [PythonFollower(lines[4].url, token(GONE))],
        SLOW: [JsFollower(lines[5].url, token(SLOW, "company"), clients, OPTIONS)],
        BLOCKED: [PythonFollower(lines[6].url, token(BLOCKED)), CurlFollower(lines[6].url, token(BLOCKED, "company"))],
    }


async def trouble(
    publisher: Publisher,
    asking: Asking,
    lines: Sequence[Stalling],
    followers: Mapping[str, Sequence[Follower]],
    since: datetime,
    chance: random.Random,
) -> int:
    """All of it, while the notifications are published; how many blocks there were."""
    is_published = asyncio.Event()
    async with contextlib.AsyncExitStack() as gone, asyncio.TaskGroup() as group:
        await gone.enter_async_context(following(followers[GONE]))
        group.create_task(cut_now_and_then((*lines[:2], *lines[3:5], lines[6]), chance, is_published.is_set))
        stopped = group.create_task(stop_reading(lines[5], followers[SLOW][0], publisher, asking, SLOW, since))
        group.create_task(stay_away_and_kill(publisher, lines[2], followers[SLOW][0], stopped, chance))
        blocking = group.create_task(
            block_now_and_then(publisher, BLOCKED, followers[BLOCKED], BLOCK_SECONDS, chance, is_published.is_set)
        )
        await publisher.run(NOTIFICATIONS // 2, chance, at_once=AT_ONCE)
        await gone.aclose()
        await publisher.run(NOTIFICATIONS // 2, chance, at_once=AT_ONCE)
        is_published.set()
    return blocking.result()


async def stay_away_and_kill(
    publisher: Publisher, line: Stalling, slow: Follower, stopped: asyncio.Task[None], chance: random.Random
) -> None:
    """One after the other: a server that was away for longer than the log knows no cursor of before any more, and
    nobody can say what such a client had. Nor what the ``slow`` one had that has ``stopped`` reading: it is in again
    before a server is killed, and has something."""
    for number in range(KILLS):
        await asyncio.sleep(3)
        line.sever(Cut.RESET)
        await asyncio.sleep(LOG_SECONDS + 5)
        line.mend()
        await asyncio.sleep(chance.uniform(2, 6))
        await asyncio.wait((stopped,))
        await publisher.say(f"before-kill-{number}", {"user": SLOW})
        await slow.has(f"before-kill-{number}")
        await publisher.site.kill_one(chance)


async def last_words(
    publisher: Publisher, lines: Sequence[Stalling], followers: Mapping[str, Sequence[Follower]]
) -> None:
    """Everybody who comes back has all, and their servers know it."""
    staying = {user: some for user, some in followers.items() if user != GONE}
    for user in staying:
        await publisher.say(f"last-of-{user}", {"user": user})
    await asyncio.gather(*(one.has(f"last-of-{user}") for user, some in staying.items() for one in some))
    # A stream confirms nothing but by coming back.
    everybody = [one for some in staying.values() for one in some]
    welcomes = [one.diary.welcomes for one in everybody]
    for line in lines:
        line.cut(Cut.RESET)
    await asyncio.gather(*(one.welcomed(before + 1) for one, before in zip(everybody, welcomes, strict=True)))


async def settled(
    asking: Asking, user: str, followers: Sequence[Follower], ids: Sequence[str], since: datetime
) -> Differences:
    """What stays different, however long the servers have to tell one another."""
    saw = {id_ for one in followers for id_ in one.diary.ids}
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        differences = await compare(asking, user, saw, ids, since)
        if not differences.found or time.monotonic() > deadline:
            return differences
        await asyncio.sleep(1)


async def compare(asking: Asking, user: str, saw: set[str], ids: Sequence[str], since: datetime) -> Differences:
    said = await asking.all(user, since)
    differences = Differences(len(ids), outcomes=Counter(delivery["outcome"] for delivery in said.values()))
    differences.expect(said.keys() <= set(ids), user, "something else is said")
    for id_ in ids:
        delivery = said.get(id_)
        if delivery is None:
            differences.expect(id_ not in saw, user, id_, "is not for them, and was seen")
            continue
        outcome, was_sent = delivery["outcome"], any(one["sent_at"] for one in delivery["connections"])
        if user == GONE:
            # What it had as it left for ever nobody knows, but that it was sent.
            differences.expect(outcome != "received" or id_ in saw, user, "not seen", delivery)
            differences.expect(id_ not in saw or was_sent or outcome == "received", user, "seen", delivery)
        else:
            differences.expect((outcome == "received") == (id_ in saw), user, id_ in saw, delivery)
            differences.expect(user == NEVER or outcome in ("received", "expired", "trimmed"), user, delivery)
    for id_ in random.sample(ids, BY_ID):
        by_id = (await asking.page(user, id=id_))["deliveries"]
        outcomes = [one["outcome"] for one in by_id]
        expected = [[said[id_]["outcome"]]] if id_ in said else [[], ["not_addressed"]]
        differences.expect(outcomes in expected, user, "by its id", by_id, "and not", said.get(id_))
    return differences
