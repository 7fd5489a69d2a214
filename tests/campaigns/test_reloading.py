"""Settings are read again and again, good ones and bad ones, under connections and publishing: nobody is cut who may
be there, and nothing is lost. ``make campaign`` runs it in full."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest

from tests.campaigns.crowd import AT_ONCE, Client, abort_all, connect
from tests.campaigns.observing import IS_FULL, report
from tests.e2e.certificates import make_certificate
from tests.processes import API_KEY, SECRET, ServerProcess, port_to_keep, token

RELOADS, CONNECTIONS = (1_000, 1_000) if IS_FULL else (40, 50)
PUBLISHES_PER_SECOND = 50
RECIPIENTS = 10
PAUSE_SECONDS = 0.02
ADMIN_KEY = "a key of the tests that may do everything, 45"

pytestmark = [pytest.mark.campaign, pytest.mark.check]


class File:
    """The settings, and what they name: written anew for each reload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.internal_port = port_to_keep(), port_to_keep()
        self.certificates = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            self.certificates.append(make_certificate(folder / name))
        self.generation = 0
        self._kinds = cycle(range(5))
        self.write()

    @property
    def secret(self) -> str:
        """Whoever comes has a token of it."""
        return f"{SECRET}{self.generation}"

    def write(self) -> None:
        """Good ones, of which nearly all is new; what signs at the moment stays good for one more."""
        before = f"{SECRET}{max(0, self.generation - 1)}"
        certificate = self.certificates[self.generation % 2]
        self._put("cert.pem", certificate.cert.read_text())
        self._put("key.pem", certificate.key.read_text())
        self._put("secrets", "\n".join(dict.fromkeys((self.secret, before))))
        self._write("")

    def write_bad(self) -> None:
        """Beside what would be good: all kinds in turn."""
        kind = next(self._kinds)
        if kind == 0:
            self._put("synkrone.toml", "port = ")
        elif kind == 1:
            self._write("[limitss]\nx = 1\n")
        elif kind == 2:
            self.write()
            self._put("secrets", "short")
        elif kind == 3:
            self.write()
            (self.folder / "secrets").unlink()
        else:
            self.write()
            self._put("key.pem", self.certificates[1 - self.generation % 2].key.read_text())

    def _put(self, name: str, text: str) -> None:
        """At once, as a signal may have it read at any time."""
        written = self.folder / "written"
        written.write_text(text)
        written.rename(self.folder / name)

    def _write(self, more: str) -> None:
        number = self.generation
        text = f"""
port = {self.port}
cors_origins = ["https://{number}.example"]
trusted_proxies = ["10.0.0.{number % 250}"]
[auth]
secret_file = "{self.folder / "secrets"}"
[[api.keys]]
name = "stays"
key = "{API_KEY}"
[[api.keys]]
name = "changes"
key = "{API_KEY}{number}"
[[api.keys]]
name = "operator"
key = "{ADMIN_KEY}"
scopes = ["admin"]
[internal]
port = {self.internal_port}
[internal.tls]
cert = "{self.folder / "cert.pem"}"
key = "{self.folder / "key.pem"}"
[limits]
connections = {2 * CONNECTIONS + number % 7}
events_burst = {40 + number % 3}
[log]
level = "{("info", "warning")[number % 2]}"
{more}"""
        self._put("synkrone.toml", text)


@asynccontextmanager
async def served(file: File) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(file.folder, {"SYNKRONE_PORT": str(file.port)})
    try:
        await server.ready()
        yield server
        assert "Traceback" not in server.log
    finally:
        await abort_all()
        server.kill()


def audience(number: int) -> Iterator[str]:
    """Of a publish: users in turn."""
    return (str((number * RECIPIENTS + offset) % CONNECTIONS) for offset in range(RECIPIENTS))


@pytest.mark.gen_test(timeout=540)
async def test_reloads_cut_nobody_and_lose_nothing(tmp_path: Path) -> None:
    file = File(tmp_path)
    heard: list[list[str]] = [[] for _ in range(CONNECTIONS)]
    expected: list[list[str]] = [[] for _ in range(CONNECTIONS)]
    refused: Counter[int] = Counter()
    done = asyncio.Event()

    def hears(user: int, payload: bytes) -> None:
        heard[user].append(json.loads(payload[2:])[1]["id"])

    async def publish(session: aiohttp.ClientSession, server: ServerProcess) -> None:
        number = 0
        while not done.is_set():
            users = list(audience(number))
            status, _ = await server.post(session, {"to": {"users": users}, "type": "t", "id": f"n{number}"})
            refused[status] += status != 201
            for user in users:
                expected[int(user)].append(f"n{number}")
            number += 1
            await asyncio.sleep(1 / PUBLISHES_PER_SECOND)

    async def ask(session: aiohttp.ClientSession) -> int:
        # Which certificate the server shows is what the reload may be about.
        async with session.post(
            f"https://127.0.0.1:{file.internal_port}/admin/reload",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            ssl=False,
        ) as answer:
            return answer.status

    async with served(file) as server, aiohttp.ClientSession() as session:
        jwts = [token(str(user), ttl=36_000, secret=file.secret) for user in range(CONNECTIONS)]
        coming = asyncio.Semaphore(AT_ONCE)

        async def come(user: int, jwt: str) -> Client:
            async with coming:
                return await connect(file.port, Client(jwt, partial(hears, user)))

        clients = await asyncio.gather(*map(come, range(CONNECTIONS), jwts))
        publishing = asyncio.create_task(publish(session, server))
        began = time.monotonic()
        seconds: list[float] = []
        for number in range(RELOADS):
            is_bad = number % 4 == 3
            if is_bad:
                file.write_bad()
            else:
                file.generation += 1
                file.write()
            asked = time.monotonic()
            if number % 10 == 5:
                os.kill(server.pid, signal.SIGHUP)
            assert await ask(session) == (422 if is_bad else 200), number
            seconds.append(time.monotonic() - asked)
            if number % 10 == 0:
                newcomer = await connect(file.port, Client(token("new", secret=file.secret)))
                newcomer.close()
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))
        took = time.monotonic() - began
        done.set()
        await publishing
        async with asyncio.timeout(30):
            while heard != expected:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.05)
        assert not any(client.is_closed.done() for client in clients)
        assert +refused == Counter()
    slowest = sorted(seconds)[-max(1, len(seconds) // 100)]
    report(
        f"{RELOADS} reloads under {CONNECTIONS} connections in {took:.1f} s: "
        f"median {sorted(seconds)[len(seconds) // 2] * 1000:.1f} ms, p99 {slowest * 1000:.1f} ms; "
        f"{sum(map(len, heard))} deliveries of {len(set().union(*heard))} publishes, none lost or doubled, nobody cut"
    )
