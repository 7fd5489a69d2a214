"""Clients that send without an end, in every shape, from processes of their own: others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.campaigns.crowd import Client, connect, tokens
from tests.campaigns.flood import SHAPES, Flood
from tests.campaigns.observing import IS_FULL, Observed, assert_within, observed, report
from tests.e2e.certificates import make_certificate
from tests.in_time import in_time
from tests.processes import REPOSITORY, environment
from tests.serving import eventually

pytestmark = [pytest.mark.campaign, pytest.mark.check]

PROCESSES = 2
CONNECTIONS = 200 if IS_FULL else 60
QUIET_SECONDS = 1.0
SECONDS = 6.0 if IS_FULL else 1.5
MOST_SECONDS = 0.2
"""For the slowest of a hundred."""

MOST_SECURED_SECONDS = 1.5
"""Who is refused makes another handshake, which costs both sides as much: of two cores the flood takes most."""

MOST_KIB = 120_000
MEGABYTES = 5
SMALL = (
    "chunks of an octet",
    "chunks of 16 octets into a session",
    "heads",
    "empty lines",
    "octets behind a WebSocket",
)
SECURED = ("chunks of an octet", "requests", "octets behind a WebSocket", "a body")


@asynccontextmanager
async def flooding(flood: Flood) -> AsyncIterator[dict[str, int]]:
    """What was sent, once it is over."""
    share = asdict(flood) | {"connections": flood.connections // PROCESSES, "rate": flood.rate // PROCESSES}
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.campaigns.flood", json.dumps(share),
            cwd=REPOSITORY, env=environment({}), stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    total = {"sent": 0, "connected": 0}
    try:
        yield total
        for process in processes:
            out, _ = await in_time(process.communicate(), flood.seconds + 20)
            for name, number in json.loads(out).items():
                total[name] += number
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Healthy:
    """Asks, publishes and hears, and notes how long each takes."""

    def __init__(self, server: Observed, http: aiohttp.ClientSession) -> None:
        self._server = server
        self._http = http
        self.hears = False
        self.times: dict[str, list[float]] = {"live": [], "publish": [], "notification": [], "newcomer": []}

    def heard(self, payload: bytes) -> None:
        at = payload.index(b'"title":"') + 9
        self.times["notification"].append(time.monotonic() - float(payload[at : payload.index(b'"', at)]))

    async def live(self, http: aiohttp.ClientSession, name: str = "live", **headers: str) -> None:
        started = time.monotonic()
        async with http.get(f"{self._server.url}/health/live", headers=headers) as answer:
            assert answer.status == 200
        self.times[name].append(time.monotonic() - started)

    async def work(self, seconds: float) -> None:
        until = time.monotonic() + seconds

        async def again(every: float, what: Any) -> None:
            while time.monotonic() < until:
                await what()
                await asyncio.sleep(every)

        async def publish() -> None:
            started = time.monotonic()
            await self._server.publish(self._http, {"user": "0"}, title=repr(started))
            self.times["publish"].append(time.monotonic() - started)

        await asyncio.gather(
            again(0.02, lambda: self.live(self._http)),
            again(0.04, publish),
            again(0.05, lambda: self.live(self._http, "newcomer", Connection="close")),
        )
        if self.hears:
            await eventually(lambda: len(self.times["notification"]) == len(self.times["publish"]), within=10)

    def p99(self) -> dict[str, float]:
        return {name: statistics.quantiles(times, n=100)[98] for name, times in self.times.items() if len(times) > 1}


async def assert_served(tmp_path: Path, shape: str, rate: int, *, secured: bool = False) -> None:
    settings: dict[str, Any] = {"log": {"level": "warning"}}
    ca, trust = None, None
    if secured:
        certificate = make_certificate(tmp_path)
        ca, trust = str(certificate.cert), ssl.create_default_context(cafile=certificate.cert)
        settings["tls"] = {"cert": ca, "key": str(certificate.key)}
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(ssl=trust if trust is not None else True, limit=0)
    async with (
        observed(tmp_path, **settings) as server,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
    ):
        healthy = Healthy(server, http)
        if not secured:
            await connect(server.port, Client(tokens(1)[0], on_notification=healthy.heard))
            healthy.hears = True
        await healthy.work(QUIET_SECONDS)
        quiet = max(healthy.p99().values())
        before = await server.ask()
        # The octets of a stream are a user's: of another one.
        flood = Flood(server.port, shape, CONNECTIONS, rate, SECONDS + 3, tokens(2)[1], ca)
        async with flooding(flood) as total:
            await asyncio.sleep(1.5)
            healthy.times = {name: [] for name in healthy.times}
            await healthy.work(SECONDS)
            during = await server.ask()
        p99 = healthy.p99()
        grown = during["rss_kib"] - before["rss_kib"]
        named = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in p99.items())
        report(
            f"flood of {shape}{' over TLS' if secured else ''}: {total['sent'] / 1e6:.0f} MB over "
            f"{total['connected']} connections{'' if rate else ', as fast as they can'}; p99: {named}; "
            f"memory grew {grown // 1024} MiB; {quiet * 1000:.0f} ms at worst before"
        )
        assert len(healthy.times["publish"]) > 5
        assert_within(max(p99.values()), MOST_SECURED_SECONDS if secured else MOST_SECONDS, f"p99 of others ({named})")
        assert grown < MOST_KIB


RATES = pytest.mark.parametrize("rate", [MEGABYTES * 1_000_000, 0] if IS_FULL else [MEGABYTES * 1_000_000])


@RATES
@pytest.mark.parametrize("shape", SHAPES if IS_FULL else SMALL)
@pytest.mark.gen_test(timeout=90)
async def test_others_are_served_while_clients_send_without_an_end(shape: str, rate: int, tmp_path: Path) -> None:
    await assert_served(tmp_path, shape, rate)


@RATES
@pytest.mark.parametrize("shape", SECURED if IS_FULL else SECURED[:1])
@pytest.mark.gen_test(timeout=90)
async def test_others_are_served_while_clients_send_without_an_end_over_tls(
    shape: str, rate: int, tmp_path: Path
) -> None:
    await assert_served(tmp_path, shape, rate, secured=True)
