"""Many notifications for times of their own, and many that are put off, over kills of the servers: each comes once, and
outside of these in time. ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from entrypoints.supervisor import until
from tests.campaigns.due_devices import SNOOZED_AT_ONCE, User
from tests.campaigns.observing import BACKEND, IS_FULL, report
from tests.campaigns.servers import servers_of
from tests.postgresql import running_server, running_server_on_disk
from tests.processes import ServerProcess

pytestmark = [pytest.mark.campaign, pytest.mark.check]

VERSION = 18
AT_ONCE = 5000
LATE_SECONDS = 1.0
"""The most that the 99th percentile may be, in full; and so long around a restart nobody is expected to be in time."""
PUT_OFF_EVERY = 40
"""One of so many is put off by who gets it, for a few seconds."""
LISTED_USERS = 10
LEAD = 2.0
"""So many times as long as publishing it would take, what is scheduled is given time to be stored."""


@dataclass(frozen=True)
class Plan:
    """``early`` come at once, and are put off by those who get them, to come back in the whole time. Of what is
    scheduled some is due under ``kills``, one in ``kill_seconds``, and the rest at the full rate, under a few more."""

    users: int
    early: int
    scheduled: int
    kills: int
    kill_seconds: float
    rate_under_kills: int
    kills_at_rate: int
    rate: int
    lead_seconds: float

    @property
    def under_kills(self) -> int:
        return int(self.kills * self.kill_seconds * self.rate_under_kills)

    def dues(self) -> list[float]:
        """When each is due, in seconds."""
        slow = [number / self.rate_under_kills for number in range(self.under_kills)]
        begin = self.kills * self.kill_seconds
        return slow + [begin + number / self.rate for number in range(self.scheduled - self.under_kills)]

    def kill_times(self, rng: random.Random) -> list[float]:
        times = [(number + rng.uniform(0.2, 0.8)) * self.kill_seconds for number in range(self.kills)]
        begin = self.kills * self.kill_seconds
        each = (self.scheduled - self.under_kills) / self.rate / max(1, self.kills_at_rate)
        return times + [begin + (number + 0.5) * each for number in range(self.kills_at_rate)]


# With what comes back it is 2,000 a second in full.
FULL = Plan(
    users=200,
    early=100_000,
    scheduled=900_000,
    kills=196,
    kill_seconds=3.0,
    rate_under_kills=200,
    kills_at_rate=4,
    rate=1850,
    lead_seconds=60.0,
)
SMALL = Plan(
    users=20,
    early=100,
    scheduled=900,
    kills=2,
    kill_seconds=2.5,
    rate_under_kills=80,
    kills_at_rate=0,
    rate=250,
    lead_seconds=1.5,
)


class Run:
    """``begin`` is the time from which what is scheduled is due."""

    def __init__(self, plan: Plan, servers: Sequence[ServerProcess]) -> None:
        self.plan = plan
        self.servers = servers
        self._rng = random.Random(7)
        self.users = [
            User(f"u{number}", servers, number, devices=1 + (number % 10 == 0), puts_off=self._puts_off)
            for number in range(plan.users)
        ]
        self.pauses: list[tuple[float, float]] = []
        self.due: dict[str, float] = {}
        self.loaded_seconds = 0.0

    def _puts_off(self, id_: str) -> float | None:
        kind, number = id_.split("-")
        return self._rng.uniform(1.0, 4.0) if kind == "n" and int(number) % PUT_OFF_EVERY == 0 else None

    async def run(self, session: aiohttp.ClientSession) -> None:
        tasks = [asyncio.create_task(device.run()) for user in self.users for device in user.devices]
        tasks += [asyncio.create_task(user.put_off(session)) for user in self.users]
        try:
            began = time.time()
            await self._publish(session, [f"e-{number}" for number in range(self.plan.early)])
            await self._until(lambda: sum(len(user.devices[0].got) for user in self.users) >= self.plan.early, 120)
            # As fast as this machine is today.
            each = (time.time() - began) / self.plan.early
            self.begin = time.time() + self.plan.lead_seconds + each * self.plan.scheduled * LEAD
            self.due = {f"n-{number}": self.begin + due for number, due in enumerate(self.plan.dues())}
            began = time.time()
            await asyncio.gather(self._publish(session, list(self.due)), self._put_off_early(session))
            self.loaded_seconds = time.time() - began
            assert time.time() < self.begin, "it takes too long until all wait"
            await self._kill()
            await self._until(self._all_came, 120 + self.ends - time.time())
            # What would come twice has time to.
            await asyncio.sleep(1.0)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for one in ended:
            assert isinstance(one, asyncio.CancelledError), one

    @property
    def ends(self) -> float:
        return max(self.due.values())

    async def _until(self, condition: Callable[[], bool], within: float) -> None:
        async def is_so() -> bool:
            return condition()

        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await until(is_so)

    async def _publish(self, session: aiohttp.ClientSession, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), AT_ONCE):
            body: list[dict[str, Any]] = []
            for number, id_ in enumerate(ids[first : first + AT_ONCE], first):
                at = self.due.get(id_)
                when = {"deliver_at": datetime.fromtimestamp(at, UTC).isoformat()} if at is not None else {}
                body.append({"to": {"user": f"u{number % self.plan.users}"}, "type": "t", "id": id_} | when)
            url = self.servers[first // AT_ONCE % len(self.servers)].url
            async with session.post(f"{url}/v1/notifications/batch", json=body, headers=BACKEND) as answer:
                assert answer.status == 200, await answer.text()

    async def _put_off_early(self, session: aiohttp.ClientSession) -> None:
        gate = asyncio.Semaphore(4)

        async def put_off(user: User) -> None:
            async with gate:
                ids = list(user.devices[0].got)
                for first in range(0, len(ids), SNOOZED_AT_ONCE):
                    at = self._rng.uniform(self.begin, self.ends)
                    await user.snooze(session, ids[first : first + SNOOZED_AT_ONCE], partial(float, at))

        await asyncio.gather(*map(put_off, self.users))

    async def _kill(self) -> None:
        for at in self.plan.kill_times(self._rng):
            await asyncio.sleep(max(0.0, self.begin + at - time.time()))
            server = self._rng.choice(self.servers)
            killed_at = time.time()
            server.kill()
            server.start_again()
            await server.ready()
            self.pauses.append((killed_at - LATE_SECONDS, time.time() + LATE_SECONDS))

    def _all_came(self) -> bool:
        return all(
            user.has_all(self._number_for(user)) and time.time() > max(user.returns.values(), default=0.0)
            for user in self.users
        )

    def _number_for(self, user: User) -> int:
        return sum(len(range(user.number, of, self.plan.users)) for of in (self.plan.early, self.plan.scheduled))

    async def judge(self, session: aiohttp.ClientSession, kind: str) -> None:
        wrong = [one for user in self.users for one in user.mistakes()]
        assert not wrong, f"{len(wrong)}: {wrong[:5]}"
        for user in self.users:
            for device in user.devices:
                assert len(device.got) == self._number_for(user), f"{user.name} lacks some"
        for user in self.users[:LISTED_USERS]:
            await self._judge_list(session, user)
        self._judge_times(kind)

    async def _judge_list(self, session: aiohttp.ClientSession, user: User) -> None:
        """The last that came is at the top, unread."""
        listed = await user.listed(session, self.servers[0])
        newest_first = list(dict.fromkeys(reversed(user.devices[0].order)))
        assert [id_ for id_, _ in listed] == newest_first
        assert [id_ for id_, is_unread in listed if not is_unread and id_ not in user.in_doubt] == []

    def _judge_times(self, kind: str) -> None:
        late: list[float] = []
        early = 0.0
        for user in self.users:
            first = user.devices[0].got
            for id_, due in [*((id_, self.due[id_]) for id_ in first if id_ in self.due), *user.returns.items()]:
                times = first[id_]
                seconds = (times[-1] if id_ in user.returns and due == user.returns[id_] else times[0]) - due
                early = min(early, seconds)
                if not any(began <= due <= ended for began, ended in self.pauses):
                    late.append(seconds)
        assert early >= -0.001
        late.sort()
        half, most = late[len(late) // 2], late[int(len(late) * 0.99)]
        returned = sum(len(user.returns) for user in self.users)
        doubt = sum(len(user.in_doubt) for user in self.users)
        report(
            f"schedule, {kind}: {len(self.due)} scheduled in {self.loaded_seconds:.0f} s and {returned} put off, up to "
            f"{self.plan.rate} a second and what comes back, {len(self.pauses)} kills: each once ({doubt} put off in "
            f"doubt); due to socket p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms, at most {late[-1] * 1000:.0f} "
            f"ms of {len(late)} outside restarts"
        )
        if IS_FULL:
            assert most <= LATE_SECONDS


async def each_once_and_in_time(kind: str, folder: Path, number: int, store: str | None = None) -> None:
    async with (
        servers_of(folder, number, store=store) as servers,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        run = Run(FULL if IS_FULL else SMALL, servers)
        await run.run(session)
        await run.judge(session, kind)


@pytest.mark.gen_test(timeout=3600)
async def test_each_comes_once_and_in_time_from_a_file(tmp_path: Path) -> None:
    await each_once_and_in_time("SQLite", tmp_path, 1)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.gen_test(timeout=3600)
async def test_each_comes_once_and_in_time_from_a_database(tmp_path: Path, nodes: int) -> None:
    with running_server_on_disk(VERSION) if IS_FULL else running_server(VERSION) as server:
        store = server.url(server.new_store())
        await each_once_and_in_time(f"PostgreSQL with nodes: {nodes}", tmp_path, nodes, store)
