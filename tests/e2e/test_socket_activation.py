"""Restarts of a server whose sockets somebody holds: nobody is refused, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.service import Service
from tests.processes import API_KEY, token

CLIENTS = 300
PUBLISHERS = 8
RATE = 100.0
RESTARTS = 10 if os.environ.get("CAMPAIGN") == "full" else 2
BETWEEN_SECONDS = 1.0
ARRIVE_SECONDS = 60.0
RETURN_SECONDS = (0.05, 0.5)
AT_ONCE = 50


@dataclass(eq=False)
class Tally:
    """What publishers and clients met with. ``acknowledged`` has the ids of each user, in the order of the log."""

    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    broken: int = 0
    longest: float = 0.0


@dataclass(eq=False)
class Device:
    """A client over WebSocket that comes back with its cursor, for as long as it takes."""

    user: str
    tally: Tally
    received: list[str] = field(default_factory=list)
    welcomes: int = 0
    cursor: str | None = None

    async def run(self, session: aiohttp.ClientSession, url: str, gate: asyncio.Semaphore) -> None:
        while True:
            try:
                async with gate:
                    socket = await session.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket", compress=0)
                async with socket:
                    await self._stay(socket)
            except (aiohttp.ClientConnectorError, aiohttp.WSServerHandshakeError) as error:
                self.tally.refused.append(f"{self.user}: {error}")
            except aiohttp.ClientError:
                # It had been accepted, and was cut with the process.
                pass
            await asyncio.sleep(random.uniform(*RETURN_SECONDS))

    async def _stay(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            frame = message.data
            if frame == "2":
                await socket.send_str("3")
            elif frame.startswith("0{"):
                auth = {"token": token(self.user)} | ({"cursor": self.cursor} if self.cursor is not None else {})
                await socket.send_str("40" + json.dumps(auth))
            elif frame.startswith("42"):
                self._hear(*json.loads(frame[2:]))

    def _hear(self, name: str, *arguments: object) -> None:
        if name == "session.ready":
            self.welcomes += 1
        elif name == "notification.new":
            assert isinstance(arguments[0], dict)
            self.received.append(arguments[0]["id"])
        if isinstance(arguments[-1], str):
            self.cursor = arguments[-1]


async def publish_steadily(
    session: aiohttp.ClientSession, url: str, tally: Tally, publisher: int, stop: asyncio.Event
) -> None:
    choice = random.Random(publisher)
    number = 0
    while not stop.is_set():
        number += 1
        user = str(choice.randrange(CLIENTS))
        body = {"to": {"user": user}, "type": "load", "id": f"{publisher}-{number}"}
        began = time.monotonic()
        while (offset := await attempt(session, url, tally, body)) is None:  # noqa: ASYNC110 (it is asked anew)
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
        tally.longest = max(tally.longest, took)
        tally.acknowledged.setdefault(user, {})[f"{publisher}-{number}"] = offset
        await asyncio.sleep(max(0.0, PUBLISHERS / RATE - took))


async def attempt(session: aiohttp.ClientSession, url: str, tally: Tally, body: Mapping[str, object]) -> int | None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    try:
        async with session.post(f"{url}/v1/notifications", json=body, headers=headers) as answer:
            if answer.status != 201:
                tally.refused.append(f"{answer.status}")
                return None
            return int((await answer.json())["cursor"].rpartition(":")[2])
    except aiohttp.ClientConnectorError as error:
        tally.refused.append(str(error))
    except aiohttp.ClientError:
        tally.broken += 1
    return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ARRIVE_SECONDS):
        while not condition():  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def under_load(service: Service) -> AsyncIterator[tuple[Tally, list[Device]]]:
    """Clients that stay, and publishers that go on until the body ends; then everything has to arrive."""
    tally = Tally()
    devices = [Device(str(number), tally) for number in range(CLIENTS)]
    gate, stop = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as lines, aiohttp.ClientSession() as session:
        staying = [asyncio.create_task(device.run(lines, service.url, gate)) for device in devices]
        try:
            await until(lambda: all(device.welcomes for device in devices))
            async with asyncio.TaskGroup() as publishing:
                for number in range(PUBLISHERS):
                    publishing.create_task(publish_steadily(session, service.url, tally, number, stop))
                yield tally, devices
                stop.set()
            await until(
                lambda: all(
                    tally.acknowledged.get(device.user, {}).keys() <= set(device.received) for device in devices
                )
            )
        finally:
            for stays in staying:
                stays.cancel()
            ended = await asyncio.gather(*staying, return_exceptions=True)
    assert [error for error in ended if not isinstance(error, asyncio.CancelledError)] == []
    for device in devices:
        logged = tally.acknowledged.get(device.user, {})
        assert device.received == sorted(logged, key=logged.__getitem__), device.user


async def begun_again(
    service: Service, devices: list[Device], tally: Tally, end: Callable[[], Awaitable[None]]
) -> None:
    """End it, and start it at once, as ``Restart=always`` has it; wait until it serves everybody, publishers too."""
    before = [device.welcomes for device in devices]
    await end()
    await service.start()
    published = sum(map(len, tally.acknowledged.values()))
    await until(
        lambda: (
            all(device.welcomes > times for device, times in zip(devices, before, strict=True))
            and sum(map(len, tally.acknowledged.values())) > published + PUBLISHERS
        )
    )


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.gen_test(timeout=240)
async def test_nothing_is_refused_over_restarts(tmp_path: Path) -> None:
    with Service(tmp_path / "service") as service:
        await service.start()
        async with under_load(service) as (tally, devices):
            for _ in range(RESTARTS):
                await begun_again(service, devices, tally, service.stop)
                await asyncio.sleep(BETWEEN_SECONDS)
        print(f"published {sum(map(len, tally.acknowledged.values()))}, the longest wait {tally.longest:.2f} s")
        assert tally.refused == []
        assert tally.broken == 0
        assert service.told.count("STOPPING=1") == RESTARTS
        await service.stop()


@pytest.mark.check
@pytest.mark.campaign
@pytest.mark.gen_test(timeout=240)
async def test_a_machine_that_goes_down_loses_nothing(tmp_path: Path) -> None:
    with Service(tmp_path / "service") as service:

        async def killed() -> None:
            service.kill()

        await service.start()
        async with under_load(service) as (tally, devices):
            for _ in range(RESTARTS):
                await begun_again(service, devices, tally, killed)
                await asyncio.sleep(BETWEEN_SECONDS)
        print(f"published {sum(map(len, tally.acknowledged.values()))}, the longest wait {tally.longest:.2f} s")
        assert tally.refused == []
        # Those that were under way: whether they are stored nobody was told, and they were said again.
        assert tally.broken <= PUBLISHERS * RESTARTS
        await service.stop()


@pytest.mark.gen_test(timeout=90)
async def test_a_socket_by_its_name_is_for_the_internal_listener(tmp_path: Path) -> None:
    with Service(tmp_path / "service", internal=True) as service:
        await service.start()
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.get(f"{service.internal_url}/health/ready") as answer:
                    assert answer.status == 200
                async with session.get(f"{service.url}/health/live") as answer:
                    assert answer.status == 200
                async with session.get(f"{service.url}/admin/nodes") as answer:
                    assert answer.status == 404
                await service.stop()
                await service.start()
        assert f"STATUS=listening on {service.url}" in service.told


@pytest.mark.gen_test(timeout=90)
async def test_a_watchdog_is_told_that_it_lives(tmp_path: Path) -> None:
    with Service(tmp_path / "service", {"WATCHDOG_USEC": "200000"}) as service:
        await service.start()
        for _ in range(3):
            await service.says("WATCHDOG=1", 10)
