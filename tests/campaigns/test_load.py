"""Many clients, slow ones and bad ones; ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import time
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.campaigns.crowd import Client, connect, connect_all, frame, tokens
from tests.campaigns.observing import IS_FULL, Observed, assert_within, observed, report
from tests.in_time import in_time
from tests.serving import eventually

NOTIFICATION_BYTES = 60_000
EVERYONE = {"everyone": True}

pytestmark = [pytest.mark.campaign, pytest.mark.check]


def empty(holdings: dict[str, int]) -> bool:
    return not any(holdings[name] for name in ("connections", "sessions", "sockets", "rooms", "environs"))


def _same(client: Client) -> Client:
    return client


async def post(server: Observed, http: aiohttp.ClientSession, packet: str, sid: str) -> int:
    url = f"{server.url}/socket.io/?EIO=4&transport=polling&sid={sid}"
    async with http.post(url, data=packet) as answer:
        return answer.status


async def polling_session(server: Observed, http: aiohttp.ClientSession) -> str:
    async with http.get(f"{server.url}/socket.io/?EIO=4&transport=polling") as answer:
        assert answer.status == 200
        return str(json.loads((await answer.text())[1:])["sid"])


# a reader that stops


@pytest.mark.parametrize("bursts", [False, True], ids=["over a while", "at once"])
@pytest.mark.gen_test(timeout=180)
async def test_one_reader_who_stops_is_cut_and_the_others_do_not_notice(*, bursts: bool, tmp_path: Path) -> None:
    size = 1000 if IS_FULL else 200
    delays: list[float] = []

    def take(payload: bytes) -> None:
        at = payload.index(b'"title":"') + 9
        delays.append(time.monotonic() - float(payload[at : payload.index(b'"', at)]))

    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        *others, slow = await connect_all(server.port, tokens(size), on_notification=take)
        user = {"user": str(size - 1)}

        async def p99(rounds: int) -> float:
            delays.clear()
            for _ in range(rounds):
                await server.publish(http, EVERYONE, title=repr(time.monotonic()))
                await asyncio.sleep(0.02)
            return statistics.quantiles(delays, n=100)[98]

        await p99(10)
        before = await p99(50)
        held = await server.ask()
        slow.stop_reading()
        body = "x" * NOTIFICATION_BYTES
        # What the kernel takes on both sides comes on top of what waits in the server.
        total = 0
        while (await server.ask())["waiting_bytes"] < 1_200_000:
            await server.publish(http, user, body=body)
            total += 1
        stopped = time.monotonic()
        if bursts:
            while (await server.ask())["connections"] == size:
                await server.publish(http, user, body=body)
                total += 1
                assert total < 2000
        during = await p99(50)
        await server.until(lambda holdings: holdings["connections"] == size - 1, within=7)
        seconds = time.monotonic() - stopped
        after = await server.until(lambda holdings: holdings["waiting_bytes"] < 10_000, within=2)
        (line,) = [record for record in server.log if record["event"] == "disconnected"]
        assert line["reason"] == "slow_consumer"
        assert all(client.received == 110 for client in others)
        assert not any(client.is_closed.done() for client in others)
        assert during < 5 * before + 0.1
        report(
            f"slow reader of {size}{' at once' if bursts else ''}: cut after {seconds:.1f} s; p99 of the others "
            f"{before * 1000:.1f} ms before, {during * 1000:.1f} ms meanwhile; memory {held['rss_kib'] // 1024} MiB "
            f"before, {after['rss_kib'] // 1024} MiB after"
        )


@pytest.mark.gen_test(timeout=60)
async def test_a_poller_who_never_polls_is_cut_too(tmp_path: Path) -> None:
    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        sid = await polling_session(server, http)
        await post(server, http, "40" + json.dumps({"token": tokens(1)[0]}), sid)
        await server.until(lambda holdings: holdings["connections"] == 1, within=5)
        for _ in range(40):
            await server.publish(http, {"user": "0"}, body="x" * NOTIFICATION_BYTES)
        started = time.monotonic()
        await server.until(empty, within=8)
        assert time.monotonic() - started > 3
        assert [record["reason"] for record in server.log if record["event"] == "disconnected"] == ["slow_consumer"]


# many, and back at the baseline


@pytest.mark.gen_test(timeout=600)
async def test_so_many_connections_that_come_hear_and_leave_are_gone(tmp_path: Path) -> None:
    size = 9_500 if IS_FULL else 1000
    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        baseline = await server.ask()
        clients = await connect_all(server.port, tokens(size))
        full = await server.ask()
        assert full["connections"] == full["sockets"] == size
        await server.publish(http, EVERYONE)
        await eventually(lambda: all(client.received == 1 for client in clients), within=30)
        for client in clients:
            client.close()
        left = await server.until(
            lambda holdings: empty(holdings) and holdings["descriptors"] <= baseline["descriptors"] + 3, within=30
        )
        assert left["tasks"] <= baseline["tasks"] + 3
        memory = (full["rss_kib"] - baseline["rss_kib"]) / size
        report(f"connections: {size} at once, {memory:.1f} KiB each, all gone")


@pytest.mark.gen_test(timeout=1500)
async def test_after_a_long_coming_and_going_nothing_has_stayed(tmp_path: Path) -> None:
    total = 100_000 if IS_FULL else 2000
    jwts = tokens(50)
    numbers = itertools.count()
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        observed(tmp_path, log={"level": "warning"}) as server,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):

        async def visit(jwt: str) -> None:
            kind = next(numbers) % 6
            if kind < 3:
                client = await connect(server.port, Client(jwt))
                (client.close, client.reset, lambda: client.send(frame("1")))[kind]()
                await client.is_closed
            elif kind == 3:
                client = Client("no token")
                await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", server.port)
                await client.is_closed
            else:
                sid = await polling_session(server, http)
                await post(server, http, "40" + json.dumps({"token": jwt}), sid)
                if kind == 5:
                    socket = await http.ws_connect(f"{server.url}/socket.io/?EIO=4&transport=websocket&sid={sid}")
                    await socket.send_str("2probe")
                    await socket.receive()
                    await socket.send_str("5")
                    await socket.close()
                else:
                    await post(server, http, "1", sid)

        async def come_and_go(visits: int) -> None:
            remaining = iter(range(visits))

            async def visitor(jwt: str) -> None:
                for _ in remaining:
                    await visit(jwt)

            await asyncio.gather(*(visitor(jwt) for jwt in jwts))

        started = time.monotonic()
        await come_and_go(total // 2)
        half = await server.until(empty, within=15)
        await come_and_go(total // 2)
        end = await server.until(empty, within=15)
        seconds = time.monotonic() - started
        assert end["descriptors"] <= half["descriptors"] + 60  # idle HTTP connections of the client
        assert end["tasks"] <= half["tasks"] + 60
        growth = end["rss_kib"] - half["rss_kib"]
        assert growth < 4096 + half["rss_kib"] * 0.05, (half, end)
        report(f"churn: {total} connections in {seconds:.0f} s, memory grew {growth} KiB in the second half")


# who never gets as far as a user


@pytest.mark.gen_test(timeout=120)
async def test_handshakes_that_never_connect_keep_no_token_holder_out(tmp_path: Path) -> None:
    seconds, holders = (20, 1000) if IS_FULL else (3, 100)
    jwts = tokens(holders)
    async with observed(tmp_path) as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        silent: list[Client] = []
        made = 0

        async def flood() -> None:
            nonlocal made
            started = time.monotonic()
            while (elapsed := time.monotonic() - started) < seconds:
                due = int(elapsed * 1000)
                while made < due:
                    made += 1
                    if made % 2:
                        client = Client(None)
                        silent.append(client)
                        await asyncio.get_running_loop().create_connection(
                            partial(_same, client), "127.0.0.1", server.port
                        )
                    else:
                        await polling_session(server, http)
                await asyncio.sleep(0.005)

        times: list[float] = []

        async def enter(jwt: str) -> None:
            await asyncio.sleep(random.uniform(0.5, seconds - 0.5))
            started = time.monotonic()
            await connect(server.port, Client(jwt))
            times.append(time.monotonic() - started)

        await asyncio.gather(flood(), *(enter(jwt) for jwt in jwts))
        assert len(times) == holders
        p99 = statistics.quantiles(times, n=100)[98]
        assert_within(p99, 2.0, "p99 of those who come in")
        report(
            f"handshake flood: {made} handshakes in {seconds} s, {holders} token holders in, p99 {p99 * 1000:.0f} ms"
        )
        for client in silent:
            client.close()


@pytest.mark.gen_test(timeout=60)
async def test_who_never_connects_and_who_is_half_open_is_gone_in_time(tmp_path: Path) -> None:
    limits = {"connect_timeout": "1s", "ping_interval": "1s", "ping_timeout": "1s"}
    async with observed(tmp_path, limits=limits) as server:
        baseline = await server.ask()
        never = Client(None)
        await asyncio.get_running_loop().create_connection(lambda: never, "127.0.0.1", server.port)
        started = time.monotonic()
        await in_time(never.is_closed, 5)
        assert 0.9 < time.monotonic() - started < 2.5
        # It stays, answers nothing and closes nothing: not even the closing handshake.
        half_open = await connect(server.port, Client(tokens(1)[0], answers_pings=False))
        half_open.stop_reading()
        started = time.monotonic()
        await server.until(
            lambda holdings: empty(holdings) and holdings["descriptors"] <= baseline["descriptors"], within=6
        )
        assert time.monotonic() - started > 1.5


# bad clients


BAD = [
    frame("x"),
    frame('42["connect"]'),
    frame('451-["x",{"_placeholder":true,"num":0}]'),
    frame(b"\x00\x01", 2),
    frame(b"4\xff"),
    frame("40" + "[" * 60_000),
    b"\x81\x044abc",
    b"\xc1\x84\x00\x00\x00\x00junk",
    b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    bytes(range(256)) * 4,
]


@pytest.mark.gen_test(timeout=120)
async def test_clients_that_send_rubbish_are_closed_and_fill_no_log(tmp_path: Path) -> None:
    size = 2000 if IS_FULL else 200
    jwts = tokens(20)
    async with observed(tmp_path, log={"level": "warning"}) as server:
        started = time.monotonic()

        async def misbehave(number: int) -> None:
            if number % 2:
                client = await connect(server.port, Client(jwts[number % 20]))
            else:
                client = Client(None)
                await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", server.port)
            client.send(BAD[number // 2 % len(BAD)])
            await in_time(client.is_closed, 10)

        for first in range(0, size, 100):
            await asyncio.gather(*(misbehave(number) for number in range(first, min(first + 100, size))))
        await server.until(empty, within=1.5)
        seconds = time.monotonic() - started
        lines = len(server.log)
        assert lines <= seconds + 1
        report(f"rubbish: {size} clients in {seconds:.1f} s, all closed, {lines} lines logged")
