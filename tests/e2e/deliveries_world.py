"""Whoever publishes, blocks and asks about deliveries while servers are killed and lines are cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.cluster import BalancedLine, Cluster
from tests.e2e.followers import Follower
from tests.e2e.line import Cut
from tests.processes import API_KEY, ServerProcess

BACKEND = {"Authorization": f"Bearer {API_KEY}"}
ATTEMPT_SECONDS = 5.0
AGAIN_SECONDS = 0.05
LARGE, LARGE_OCTETS, LARGE_AT_ONCE = 200, 50_000, 20
"""Notifications that a reader is sent who has stopped."""
STOPS = 3
"""So often it does at the most."""
SETTLED_SECONDS = 30.0
"""Within them all servers have noted what has happened to them."""


class Site(ABC):
    """What clients and backends come to: one server, or several."""

    @property
    @abstractmethod
    def servers(self) -> Sequence[ServerProcess]: ...

    @abstractmethod
    async def kill_one(self, chance: random.Random) -> None:
        """And start it again, until it serves."""

    @property
    def ports(self) -> Sequence[int]:
        return [server.port for server in self.servers]

    async def ask(
        self, session: aiohttp.ClientSession, method: str, path: str, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        """The answer of a server that gives one, asked again until one does."""
        for server in itertools.cycle(self.servers):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    async with session.request(method, server.url + path, headers=BACKEND, **options) as answer:
                        if answer.status != 503:
                            return answer.status, await answer.json(content_type=None)
            await asyncio.sleep(AGAIN_SECONDS)
        raise AssertionError("there is a server")


class OneServer(Site):
    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    @property
    def servers(self) -> Sequence[ServerProcess]:
        return [self._server]

    async def kill_one(self, chance: random.Random) -> None:
        self._server.kill()
        await self._server.exit_code()
        self._server.start_again()
        await self._server.ready()


class Nodes(Site):
    def __init__(self, nodes: Cluster) -> None:
        self._cluster = nodes
        self._turn = 0

    @property
    def servers(self) -> Sequence[ServerProcess]:
        """Another one first each time."""
        self._turn += 1
        processes = [node.process for node in self._cluster.nodes]
        first = self._turn % len(processes)
        return [*processes[first:], *processes[:first]]

    async def kill_one(self, chance: random.Random) -> None:
        node = chance.choice(self._cluster.nodes)
        node.kill()
        await asyncio.sleep(chance.uniform(0, 3))
        node.start_again()
        await node.ready()


@dataclass
class Publisher:
    """Publishes until each is acknowledged, or too late to be."""

    site: Site
    session: aiohttp.ClientSession
    users: Sequence[str]
    per_second: float
    ids: list[str] = field(default_factory=list)

    async def run(self, number: int, chance: random.Random, *, at_once: int) -> None:
        """``at_once`` of them together at the pace."""
        await asyncio.gather(*(self._run(number // at_once, at_once / self.per_second, chance) for _ in range(at_once)))

    async def _run(self, number: int, pause: float, chance: random.Random) -> None:
        for _ in range(number):
            to: Mapping[str, object] = chance.choice(
                [*({"user": user} for user in self.users), {"users": [*chance.sample(self.users, 2)]},
                 {"role": "freelance"}, {"role": "company"}, {"everyone": True}]
            )  # fmt: skip
            await self.say(f"n-{len(self.ids)}", to, lives=chance.choice((None, None, None, 2.0, 4.0)))
            await asyncio.sleep(pause)

    async def say(self, id_: str, to: Mapping[str, object], *, lives: float | None = None, octets: int = 10) -> None:
        self.ids.append(id_)
        body: dict[str, object] = {"to": to, "type": "t", "id": id_, "body": "x" * octets}
        if lives is not None:
            body["expires_at"] = (datetime.now(UTC) + timedelta(seconds=lives)).isoformat()
        status, answer = await self.site.ask(self.session, "POST", "/v1/notifications", json=body)
        assert status == 201, answer


@dataclass
class Asking:
    """Whoever may read deliveries."""

    site: Site
    session: aiohttp.ClientSession

    async def page(self, user: str, **query: str) -> dict[str, Any]:
        status, answer = await self.site.ask(self.session, "GET", f"/v1/users/{user}/deliveries", params=query)
        assert status == 200, answer
        return answer

    async def all(self, user: str, since: datetime) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        query = {"since": since.isoformat()}
        while True:
            page = await self.page(user, **query)
            found |= {delivery["id"]: delivery for delivery in page["deliveries"]}
            if page["next"] is None:
                return found
            query["page"] = page["next"]

    async def ends(self, user: str, since: datetime) -> set[str | None]:
        """Why connections of a user ended."""
        found = await self.all(user, since)
        return {connection["ended"] for delivery in found.values() for connection in delivery["connections"]}

    async def has_ended(self, user: str, since: datetime, why: str) -> bool:
        """Whether a connection of a user is said to have ended for that, once all servers have noted theirs."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while why not in await self.ends(user, since):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.5)
        return True

    async def is_away(self, user: str, within: float) -> None:
        """Wait until no server has a connection of a user."""
        async with asyncio.timeout(within):
            while True:
                status, answer = await self.site.ask(self.session, "GET", f"/v1/users/{user}/connections")
                assert status == 200, answer
                if not answer["connections"]:
                    return
                await asyncio.sleep(0.1)


TAKEN_BYTES = 65_536


class Stalling(BalancedLine):
    """A line that may stop taking what the server sends."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports)
        self.flows = asyncio.Event()
        self.flows.set()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        server, to_server = await super().dial()
        # Else the system takes megabytes of what nobody reads, as it sees fit.
        to_server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TAKEN_BYTES)
        return server, to_server

    async def _carry_down(self, call: Any, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await server.read(4096):
                await self.flows.wait()
                if not call.is_lost:
                    client.write(octets)
                    await client.drain()
        client.close()


@asynccontextmanager
async def lines_to(site: Site, number: int) -> AsyncIterator[list[Stalling]]:
    lines = [Stalling(sorted(site.ports)) for _ in range(number)]
    async with contextlib.AsyncExitStack() as stack:
        for line in lines:
            await line.open()
            stack.push_async_callback(line.close)
        yield lines


async def cut_now_and_then(lines: Iterable[Stalling], chance: random.Random, is_over: Callable[[], bool]) -> None:
    async def cut(line: Stalling) -> None:
        while not is_over():
            await asyncio.sleep(chance.uniform(0.1, 2.0))
            line.sever(chance.choice(list(Cut)))
            await asyncio.sleep(chance.choice((0.0, 0.3, 3.0)))
            line.mend()

    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(cut(line))


async def block_now_and_then(
    publisher: Publisher,
    user: str,
    followers: Sequence[Follower],
    longest: float,
    chance: random.Random,
    is_over: Callable[[], bool],
) -> int:
    """How often. A block ends by itself or is taken back, and they are in again before the next one: who is away for
    longer than the log, and comes back to a server that was killed, has a cursor that tells nobody anything."""
    site, session, path = publisher.site, publisher.session, f"/v1/users/{user}/block"
    number = 0
    while not is_over() or not number:
        await asyncio.sleep(chance.uniform(1, 4))
        lasts, ends_by_itself = chance.uniform(0.5, longest), chance.random() < 0.5
        until = (datetime.now(UTC) + timedelta(seconds=lasts)).isoformat() if ends_by_itself else None
        status, answer = await site.ask(session, "POST", path, json={"until": until, "reason": "r"})
        # Said again, a time may be over.
        assert status == 200 or (ends_by_itself and status == 422), answer
        number += status == 200
        welcomes = [one.diary.welcomes for one in followers]
        await asyncio.sleep(lasts)
        if not ends_by_itself:
            status, answer = await site.ask(session, "DELETE", path)
            assert status == 200, answer
        await asyncio.gather(*(one.welcomed(before + 1) for one, before in zip(followers, welcomes, strict=True)))
    return number


async def block_while_in(publisher: Publisher, asking: Asking, user: str, followers: Sequence[Follower]) -> None:
    """Once more, when no line is cut and no server killed, and with something on their connections that is told of."""
    site, session, path = publisher.site, publisher.session, f"/v1/users/{user}/block"
    await publisher.say("before-the-block", {"user": user})
    await asyncio.gather(*(one.has("before-the-block") for one in followers))
    welcomes = [one.diary.welcomes for one in followers]
    status, answer = await site.ask(session, "POST", path, json={"reason": "r"})
    assert status == 200, answer
    await asking.is_away(user, within=SETTLED_SECONDS)
    status, answer = await site.ask(session, "DELETE", path)
    assert status == 200, answer
    await asyncio.gather(*(one.welcomed(before + 1) for one, before in zip(followers, welcomes, strict=True)))


async def stop_reading(
    line: Stalling, follower: Follower, publisher: Publisher, asking: Asking, user: str, since: datetime
) -> None:
    """Until a server has had enough of that: once more where publishing took so long that a ping was overdue before."""
    for stop in range(STOPS):
        await asyncio.sleep(1)
        line.flows.clear()
        for first in range(0, LARGE, LARGE_AT_ONCE):
            ids = [f"large-{stop}-{number}" for number in range(first, min(first + LARGE_AT_ONCE, LARGE))]
            await asyncio.gather(*(publisher.say(id_, {"user": user}, octets=LARGE_OCTETS) for id_ in ids))
        await asking.is_away(user, within=2 * SETTLED_SECONDS)
        welcomes = follower.diary.welcomes
        line.cut(Cut.RESET)
        line.flows.set()
        await follower.welcomed(welcomes + 1)
        if await asking.has_ended(user, since, "slow_consumer"):
            return
