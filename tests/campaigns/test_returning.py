"""Readers who were cut, thousands at once among them, and what they missed; ``make campaign`` runs these in full."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.campaigns.crowd import Client, connect, connect_all, stay_connected, tokens
from tests.campaigns.observing import IS_FULL, Observed, assert_within, observed, report
from tests.serving import eventually

CORE_SHARE_WHILE_DOWN = 0.2
BACK_WITHIN = 30.0
# What is allowed of a machine that does nothing else is 0.2 s, which is reported beside.
LONGEST_STALL = 1.0
NOTIFICATION_BYTES = 60_000
EVERYONE = {"everyone": True}
LAST = "the last one"

pytestmark = [pytest.mark.campaign, pytest.mark.check]


def id_of(payload: bytes) -> str:
    notification: dict[str, Any] = json.loads(payload[2:])[1]
    return str(notification["id"])


def noting(ids: list[str]) -> Callable[[bytes], None]:
    def note(payload: bytes) -> None:
        ids.append(id_of(payload))

    return note


async def returned(
    server: Observed, jwts: list[str], clients: list[Client], got: list[list[str]], within: float
) -> int:
    """All come back as the stock client does, each with the last cursor it got; how many attempts it took them."""
    deadline = time.monotonic() + within
    attempts = await asyncio.gather(
        *(
            stay_connected(server.port, jwt, deadline, earlier=client, on_notification=noting(ids))
            for jwt, client, ids in zip(jwts, clients, got, strict=True)
        )
    )
    return sum(attempts)


@pytest.mark.gen_test(timeout=180)
async def test_a_reader_who_stopped_and_was_cut_recovers_all_it_missed(tmp_path: Path) -> None:
    size = 1000 if IS_FULL else 200
    jwts = tokens(size)
    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        got: list[str] = []
        others = await connect_all(server.port, jwts[1:])
        slow = await connect(server.port, Client(jwts[0], noting(got)))
        sent: list[str] = []

        async def publish(number: int) -> None:
            """To everyone and to the slow reader alone, in turn."""
            for _ in range(number):
                for to, body in ((EVERYONE, None), ({"user": "0"}, "x" * NOTIFICATION_BYTES)):
                    sent.extend(await server.publish_batch(http, [{"to": to, "type": "t", "body": body}]))

        await publish(5)
        await eventually(lambda: got == sent, within=5)
        slow.stop_reading()
        while (await server.ask())["connections"] == size:
            await publish(20)
        cut_after = len(sent)
        await publish(20)
        slow.abort()
        before = len(got)
        again = await connect(server.port, Client(jwts[0], noting(got), claim=slow.claim))
        assert again.recovered
        await publish(1)
        await eventually(lambda: got[-1] == sent[-1], within=30)
        assert got == sent
        assert all(client.received == len(sent) // 2 for client in others)
        (line,) = [record for record in server.log if record["event"] == "disconnected"][:1]
        assert line["reason"] == "slow_consumer"
        report(f"slow reader of {size}: cut after {cut_after} notifications, recovered {len(got) - before} in order")


@pytest.mark.gen_test(timeout=300)
async def test_a_crowd_that_is_cut_at_once_is_back_within_its_time(tmp_path: Path) -> None:
    size = 5000 if IS_FULL else 500
    jwts = tokens(size)
    async with observed(tmp_path) as server:
        clients = await connect_all(server.port, jwts)
        await server.ask("stall")
        started = time.monotonic()
        for client in clients:
            client.reset()
        attempts = await asyncio.gather(*(stay_connected(server.port, jwt, started + BACK_WITHIN) for jwt in jwts))
        seconds = time.monotonic() - started
        # Before it is asked for more, as it collects its garbage then.
        stall = (await server.ask("stall"))["stall"]
        holdings = await server.until(lambda holdings: holdings["connections"] == size, within=5)
        report(
            f"mass return: {size} cut at once, all back after {seconds:.1f} s in {sum(attempts)} attempts, longest "
            f"stall of the loop {stall * 1000:.0f} ms, {holdings['sessions']} sessions"
        )
        assert seconds < BACK_WITHIN
        assert_within(stall, LONGEST_STALL, "the longest stall of the loop")


@pytest.mark.gen_test(timeout=400)
async def test_a_crowd_that_is_cut_at_once_recovers_what_each_has_missed(tmp_path: Path) -> None:
    size = 5000 if IS_FULL else 500
    jwts = tokens(size)
    async with observed(tmp_path) as server, aiohttp.ClientSession() as http:
        got: list[list[str]] = [[] for _ in jwts]
        clients = await connect_all(server.port, jwts)
        for client in clients:
            client.reset()
        await server.until(lambda holdings: holdings["connections"] == 0, within=30)
        expected = await missed(server, http, size)
        await server.ask("stall")
        started = time.monotonic()
        attempts = await returned(server, jwts, clients, got, BACK_WITHIN)
        last = await server.publish_batch(http, [{"to": EVERYONE, "type": "t", "title": LAST}])
        await eventually(lambda: all(ids[-1:] == last for ids in got), within=started + BACK_WITHIN - time.monotonic())
        seconds = time.monotonic() - started
        stall = (await server.ask("stall"))["stall"]
        wrong = [user for user, ids in enumerate(got) if ids != expected[user] + last]
        assert wrong == []
        report(
            f"mass recovery: {size} cut at once, {sum(map(len, expected))} missed notifications all recovered after "
            f"{seconds:.1f} s in {attempts} attempts, longest stall of the loop {stall * 1000:.0f} ms"
        )
        assert_within(stall, LONGEST_STALL, "the longest stall of the loop")


async def missed(server: Observed, http: aiohttp.ClientSession, size: int) -> list[list[str]]:
    """Publish to each user, a different number to each, and to everyone in between; the ids for each, in order."""
    expected: list[list[str]] = [[] for _ in range(size)]
    for turn in range(10):
        users = [user for user in range(size) if user % 10 >= turn]
        bodies = [{"to": {"user": str(user)}, "type": "t"} for user in users]
        for user, id_ in zip(users, await server.publish_batch(http, bodies), strict=True):
            expected[user].append(id_)
        if turn % 3 == 0:
            (id_,) = await server.publish_batch(http, [{"to": EVERYONE, "type": "t"}])
            for ids in expected:
                ids.append(id_)
    return expected


@pytest.mark.gen_test(timeout=400)
async def test_while_the_store_is_down_the_server_idles_and_everybody_recovers_with_it(tmp_path: Path) -> None:
    size, seconds = (5000, 60.0) if IS_FULL else (100, 3.0)
    jwts = tokens(size)
    async with observed(tmp_path, log={"level": "error"}) as server, aiohttp.ClientSession() as http:
        got: list[list[str]] = [[] for _ in jwts]
        clients = await connect_all(server.port, jwts)
        for client in clients:
            client.reset()
        await server.until(lambda holdings: holdings["connections"] == 0, within=30)
        expected = await server.publish_batch(http, [{"to": EVERYONE, "type": "t"}])
        await server.ask("break store")
        within = seconds + BACK_WITHIN
        returning = asyncio.create_task(returned(server, jwts, clients, got, within))
        await asyncio.sleep(min(10.0, seconds / 3))
        before, started = await server.ask(), time.monotonic()
        await asyncio.sleep(seconds - min(10.0, seconds / 3))
        after = await server.ask()
        share = (after["cpu"] - before["cpu"]) / (time.monotonic() - started)
        assert after["connections"] == 0
        await server.ask("mend store")
        mended = time.monotonic()
        await returning
        back = time.monotonic() - mended
        await eventually(lambda: all(ids == expected for ids in got), within=5)
        report(f"store down for {seconds:.0f} s: {size} clients, {share:.0%} of a core, all back {back:.1f} s after")
        assert back < BACK_WITHIN
        if IS_FULL:
            assert share < CORE_SHARE_WHILE_DOWN
