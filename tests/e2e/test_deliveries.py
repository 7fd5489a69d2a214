"""What the server says became of notifications, beside what the clients of the test saw: under cuts of the line, kills
of the server, readers that stop, what expires, and what leaves the log before somebody comes back. ``make campaign``
has ten thousand notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.line import Cut, Line, line_to
from tests.e2e.staying import following
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, port_to_keep, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
NOTIFICATIONS = 10_000 if IS_FULL else 500
KILLS = 10 if IS_FULL else 1
PER_SECOND = 50.0
LOG_SECONDS = 12
LARGE = 50_000
"""Octets of each of the notifications that a reader is sent who has stopped."""

SETTINGS = ONE_SECRET | {
    "SYNKRONE_LIMITS__PING_INTERVAL": "2s",
    "SYNKRONE_LIMITS__PING_TIMEOUT": "3s",
    "SYNKRONE_LIMITS__QUEUE_BYTES": "98304",
    "SYNKRONE_LIMITS__CONNECTIONS_PER_USER": "1000",
    "SYNKRONE_RETENTION__LOG": f"{LOG_SECONDS}s",
}
OPTIONS: dict[str, object] = {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}
BOTH, LATE, STREAM, GONE, NEVER, SLOW = "both", "late", "stream", "gone", "never", "slow"
"""Users: of two devices, one that stays away for longer than the log, one that streams, one that never comes back, one
that never came, and one whose client stops reading."""
USERS = (BOTH, LATE, STREAM, GONE, NEVER, SLOW)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class Stalling(Line):
    """A line that may stop taking what the server sends."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.flows = asyncio.Event()
        self.flows.set()

    async def _carry_down(self, call: Any, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await server.read(4096):
                await self.flows.wait()
                if not call.is_lost:
                    client.write(octets)
                    await client.drain()
        client.close()


@dataclass
class Publisher:
    """Publishes until each is acknowledged, or too late to be."""

    server: ServerProcess
    session: aiohttp.ClientSession
    ids: list[str] = field(default_factory=list)

    async def run(self, number: int, chance: random.Random) -> None:
        for _ in range(number):
            to: Mapping[str, object] = chance.choice(
                [*({"user": user} for user in USERS), {"users": [*chance.sample(USERS, 2)]}, {"role": "freelance"},
                 {"role": "company"}, {"everyone": True}]
            )  # fmt: skip
            await self.say(f"n-{len(self.ids)}", to, lives=chance.choice((None, None, None, 2.0, 4.0)))
            await asyncio.sleep(1 / PER_SECOND)

    async def say(self, id_: str, to: Mapping[str, object], *, lives: float | None = None, octets: int = 10) -> None:
        self.ids.append(id_)
        body: dict[str, object] = {"to": to, "type": "t", "id": id_, "body": "x" * octets}
        if lives is not None:
            body["expires_at"] = (datetime.now(UTC) + timedelta(seconds=lives)).isoformat()
        while True:
            try:
                async with asyncio.timeout(5):
                    status, _ = await self.server.post(self.session, body)
            except (aiohttp.ClientError, TimeoutError):
                status = 503
            if status != 503:
                return
            await asyncio.sleep(0.05)


@dataclass
class Asking:
    """Whoever may read deliveries."""

    server: ServerProcess
    session: aiohttp.ClientSession

    async def page(self, user: str, **query: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        address = f"{self.server.url}/v1/users/{user}/deliveries"
        async with self.session.get(address, params=query, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def all(self, user: str, since: datetime) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        query = {"since": since.isoformat()}
        while True:
            page = await self.page(user, **query)
            found |= {delivery["id"]: delivery for delivery in page["deliveries"]}
            if page["next"] is None:
                return found
            query["page"] = page["next"]


@pytest.mark.gen_test(timeout=1800)
async def test_the_answer_is_what_the_clients_saw(serve: Serve, clients: Clients) -> None:
    chance = random.Random()
    server = serve(SETTINGS | {"SYNKRONE_PORT": str(port_to_keep())})
    began = datetime.now(UTC) - timedelta(seconds=1)
    async with lines_to(server) as lines, aiohttp.ClientSession() as session:
        followers: dict[str, list[Follower]] = {
            BOTH: [
                JsFollower(lines[0].url, token(BOTH), clients, OPTIONS),
                PythonFollower(lines[1].url, token(BOTH, "company")),
            ],
            LATE: [PythonFollower(lines[2].url, token(LATE))],
            STREAM: [CurlFollower(lines[3].url, token(STREAM))],
            GONE: [PythonFollower(lines[4].url, token(GONE))],
            SLOW: [JsFollower(lines[5].url, token(SLOW, "company"), clients, OPTIONS)],
        }
        coming_back = [one for user, some in followers.items() if user != GONE for one in some]
        publisher, asking = Publisher(server, session), Asking(server, session)
        async with following(coming_back), contextlib.AsyncExitStack() as gone:
            await gone.enter_async_context(following(followers[GONE]))
            troubles = [
                asyncio.create_task(trouble)
                for trouble in (
                    cut_now_and_then(lines[:2] + lines[3:5], chance),
                    stay_away_and_kill(server, lines[2]),
                    stop_reading(lines[5], followers[SLOW][0], publisher),
                )
            ]
            await publisher.run(NOTIFICATIONS // 2, chance)
            await gone.aclose()
            await publisher.run(NOTIFICATIONS // 2, chance)
            await asyncio.gather(*troubles)
            for user in followers:
                await publisher.say(f"last of {user}".replace(" ", "-"), {"user": user})
            await asyncio.gather(
                *(one.has(f"last-of-{user}") for user, some in followers.items() if user != GONE for one in some)
            )
            # A stream confirms nothing but by coming back.
            welcomes = [one.diary.welcomes for one in coming_back]
            for line in lines:
                line.cut(Cut.RESET)
            await asyncio.gather(*(one.welcomed(before + 1) for one, before in zip(coming_back, welcomes, strict=True)))
            outcomes: Counter[str] = Counter()
            for user in USERS:
                saw = {id_ for one in followers.get(user, ()) for id_ in one.diary.ids}
                outcomes += await compare(asking, user, saw, publisher.ids, began)
    print(f"{len(publisher.ids)} notifications; {dict(outcomes)}")
    assert {"received", "expired", "trimmed"} <= outcomes.keys()
    ends = await asking_again(server, SLOW, began)
    assert "slow_consumer" in ends
    assert "server_stopped" in ends


async def asking_again(server: ServerProcess, user: str, since: datetime) -> set[str | None]:
    """Why connections of a user ended."""
    async with aiohttp.ClientSession() as session:
        found = await Asking(server, session).all(user, since)
    return {connection["ended"] for delivery in found.values() for connection in delivery["connections"]}


async def compare(asking: Asking, user: str, saw: set[str], ids: Sequence[str], since: datetime) -> Counter[str]:
    said = await asking.all(user, since)
    for id_ in ids:
        delivery = said.get(id_)
        if delivery is None:
            assert id_ not in saw, f"{user} {id_}: not for them"
            page = await asking.page(user, id=id_)
            assert [one["outcome"] for one in page["deliveries"]] in ([], ["not_addressed"])
            continue
        outcome, was_sent = delivery["outcome"], any(one["sent_at"] for one in delivery["connections"])
        if user == GONE:
            # What it had as it left for ever nobody knows, but that it was sent.
            assert outcome != "received" or id_ in saw, delivery
            assert id_ not in saw or was_sent or outcome == "received", delivery
        else:
            assert (outcome == "received") == (id_ in saw), f"{id_ in saw} {delivery}"
            assert user == NEVER or outcome in ("received", "expired", "trimmed"), delivery
    assert said.keys() <= set(ids)
    return Counter(delivery["outcome"] for delivery in said.values())


async def cut_now_and_then(lines: Iterable[Line], chance: random.Random) -> None:
    async def cut(line: Line) -> None:
        for _ in range(NOTIFICATIONS // 60):
            await asyncio.sleep(chance.uniform(0.1, 2.0))
            line.sever(chance.choice(list(Cut)))
            await asyncio.sleep(chance.choice((0.0, 0.3, 3.0)))
            line.mend()

    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(cut(line))


async def stay_away_and_kill(server: ServerProcess, line: Line) -> None:
    """One after the other: a server that was away for longer than the log knows no cursor of before any more, and
    nobody can say what such a client had."""
    for _ in range(KILLS):
        await asyncio.sleep(3)
        line.sever(Cut.RESET)
        await asyncio.sleep(LOG_SECONDS + 5)
        line.mend()
        await asyncio.sleep(random.uniform(2, 6))
        server.kill()
        await server.exit_code()
        server.start_again()
        await server.ready()


async def stop_reading(line: Stalling, follower: Follower, publisher: Publisher) -> None:
    await asyncio.sleep(1)
    line.flows.clear()
    for number in range(120):
        await publisher.say(f"large-{number}", {"user": SLOW}, octets=LARGE)
    await asyncio.sleep(6)
    welcomes = follower.diary.welcomes
    line.cut(Cut.RESET)
    line.flows.set()
    await follower.welcomed(welcomes + 1)


@asynccontextmanager
async def lines_to(server: ServerProcess) -> AsyncIterator[list[Any]]:
    async with contextlib.AsyncExitStack() as stack:
        lines: list[Any] = [await stack.enter_async_context(line_to(server.port)) for _ in range(5)]
        slow = Stalling(server.port)
        await slow.open()
        stack.push_async_callback(slow.close)
        yield [*lines, slow]
