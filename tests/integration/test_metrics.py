"""What a whole server counts while clients and backends use it: what was done, and no name of who did it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from adapters.telemetry.metrics import Metrics
from domain.errors import StoreUnavailable
from entrypoints import vitals
from entrypoints.garbage import Garbage
from entrypoints.pauses import LOOK_SECONDS, watch_pauses
from entrypoints.server import Server
from tests.database_line import DatabaseLine
from tests.doubles import ManualClock
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session
from tests.integration.test_service_tokens_api import issuer, user_token
from tests.metrics import Scrape, scrape
from tests.postgresql import Servers
from tests.serving import API_KEY, eventually, publish, serving, token
from tests.sse_client import StreamClient
from tests.tokens import KeyServer, key_for, public_jwk

IS_FULL = os.environ.get("CAMPAIGN") == "full"
USERS, IDS = (10_000, 100_000) if IS_FULL else (60, 3_000)
BATCH = 5_000
AT_ONCE = 20
STAY = 5
"""So many users stay connected while the others come and go."""

INTERNAL = {"port": 0}
NEW = "notification.new"


async def publish_batch(session: aiohttp.ClientSession, url: str, items: list[dict[str, Any]]) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with session.post(f"{url}/v1/notifications/batch", json=items, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def until_counted(
    session: aiohttp.ClientSession, server: Server, name: str, number: float, **labels: str
) -> Scrape:
    async with asyncio.timeout(5):
        while True:
            seen = await scrape(session, server)
            if seen.sum(name, **labels) >= number:
                return seen
            await asyncio.sleep(0.02)


@pytest.mark.gen_test
async def test_histograms_count_what_was_published_and_delivered() -> None:
    async with serving(internal=INTERNAL) as server, http_session() as session:
        sockets = [await WebSocketPeer.open(session, server.url) for _ in range(3)]
        for user, socket in zip(("1", "1", "2"), sockets, strict=True):
            await connected(socket, token(user))
        polling = await PollingPeer.open(session, server.url)
        await connected(polling, token("1", "company"))
        stream = await StreamClient.open(urlsplit(server.url).port or 0)
        stream.ask(authorization=f"Bearer {token('2')}")
        assert await stream.answer() == 200
        assert (await stream.event()).name == "session.ready"

        for index in range(20):
            to = {"user": "1"} if index % 2 else {"everyone": True}
            await publish(session, server.url, {"to": to, "type": "x"})
        await publish(session, server.url, {"to": {"user": "1"}, "type": "x", "id": "twice"})
        await publish(session, server.url, {"to": {"user": "1"}, "type": "x", "id": "twice"})
        await publish(session, server.url, {"to": {"user": "1"}, "type": "y", "id": "twice"})
        await publish_batch(session, server.url, [{"to": {"user": "2"}, "type": "x"}] * 50)

        to_1, to_2 = 10 + 10 + 1, 10 + 50
        received = [await _received(peer, to_1) for peer in sockets[:2]]
        received += [await _received(polling, to_1)]
        received += [await _received(sockets[2], to_2)]
        received += [await _streamed(stream, to_2)]
        assert received == [to_1, to_1, to_1, to_2, to_2]
        await until_counted(session, server, "synkrone_publish_to_socket_seconds_count", sum(received))
        seen = await until_counted(session, server, "synkrone_log_offset", 20 + 1 + 50)
        await stream.close()

    def number(name: str, **labels: str) -> float:
        return seen.sum(name, **labels)

    assert number("synkrone_publishes_total", caller="api.key") == 20 + 2 + 1
    assert number("synkrone_publish_to_commit_seconds_count") == 20 + 2 + 1
    assert number("synkrone_publish_refusals_total", caller="api.key", code="conflict") == 1
    assert number("synkrone_notifications_total", outcome="stored") == 20 + 1 + 50
    assert number("synkrone_notifications_total", outcome="duplicate") == 1
    assert number("synkrone_entries_total", event=NEW) == 20 + 1 + 50
    assert number("synkrone_store_batch_entries_sum") == 20 + 1 + 50
    for transport, delivered in (("socketio", 3 * to_1 + to_2), ("sse", to_2)):
        assert number("synkrone_deliveries_total", transport=transport, event=NEW) == delivered
        assert number("synkrone_publish_to_socket_seconds_count", transport=transport) == delivered
    assert number("synkrone_publish_to_socket_seconds_bucket", le="+Inf") == sum(received)
    assert number("synkrone_connections", transport="websocket", role="freelance") == 3
    assert number("synkrone_connections", transport="polling", role="company") == 1
    assert number("synkrone_connections", transport="sse", role="freelance") == 1
    assert number("synkrone_log_offset") == 20 + 1 + 50
    assert number("synkrone_tail_lag_entries") == 0
    assert number("synkrone_store_bytes") > 10_000
    assert number("synkrone_fault") == 0


@pytest.mark.gen_test(timeout=60)
async def test_what_cannot_be_looked_at_has_no_size(postgresql: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "MEASURE_SECONDS", 0.05)
    database_server = postgresql.of(18)
    database = database_server.new_store()
    looked = ("synkrone_store_bytes", "synkrone_outbox_waiting_items")
    with DatabaseLine(database_server) as line:
        async with serving(store=line.url(database), internal=INTERNAL) as server, http_session() as session:

            async def until_shown(*names: str) -> None:
                shown: set[str] | None = None
                async with asyncio.timeout(20):
                    while shown != set(names):
                        shown = {name for name, _ in (await scrape(session, server)).samples} & set(looked)

            await until_shown(*looked)
            line.sever()
            await until_shown()
            line.mend()
            await until_shown(*looked)
    database_server.drop_databases([database])


async def _received(peer: WebSocketPeer | PollingPeer, number: int) -> int:
    got = 0
    while got < number:
        # In a campaign nothing may come for longer than a peer waits, and pings are answered as they are read.
        with contextlib.suppress(TimeoutError):
            name, _ = event(await peer.next())
            got += name == NEW
    return got


async def _streamed(stream: StreamClient, number: int) -> int:
    got = 0
    while got < number:
        got += (await stream.event()).name == NEW
    return got


@pytest.mark.gen_test
async def test_a_connection_is_counted_from_its_refusals_to_its_end() -> None:
    async with serving(internal=INTERNAL) as server, http_session() as session:
        await publish(session, server.url, {"to": {"user": "42"}, "type": "x"})
        first = await WebSocketPeer.open(session, server.url)
        ready, _ = await connected(first, token("42"))
        _, (_, cursor) = event(await first.next())
        await publish(session, server.url, {"to": {"user": "42"}, "type": "x"})
        await first.next()
        await first.close()
        # What of it was received is stored once a second, and is not what this is about.
        again = await WebSocketPeer.open(session, server.url)
        await again.send("40" + json.dumps({"token": token("42"), "cursor": cursor}))
        assert (await again.next()).startswith("40")
        strange = await WebSocketPeer.open(session, server.url)
        await strange.send("40" + json.dumps({"token": token("7"), "cursor": "another:7"}))
        await strange.next()
        bad = await WebSocketPeer.open(session, server.url)
        await bad.send("40" + json.dumps({"token": "none"}))
        await bad.next()
        seen = await until_counted(session, server, "synkrone_connect_refusals_total", 1)
    assert ready["recovered"] is False
    assert seen.sum("synkrone_connects_total", transport="websocket", recovered="true") == 1
    assert seen.sum("synkrone_connects_total", transport="websocket", recovered="false") == 2
    assert seen.sum("synkrone_cursor_refusals_total", reason="unknown_epoch") == 1
    assert seen.sum("synkrone_connect_refusals_total", code="invalid_token") == 1
    assert seen.sum("synkrone_disconnects_total", reason="transport_close") == 1
    assert seen.sum("synkrone_replayed_entries_total", transport="socketio") == 2


@pytest.mark.campaign
@pytest.mark.gen_test(timeout=900)
async def test_scraped_under_load_it_counts_all_and_its_series_do_not_grow_with_users_and_ids() -> None:
    async with serving(internal=INTERNAL) as server, http_session() as session:
        there = [await WebSocketPeer.open(session, server.url) for _ in range(STAY)]
        for number, peer in enumerate(there):
            await connected(peer, token(f"stays-{number}"))
        received = [asyncio.create_task(_received(peer, 2 + len(range(0, IDS, BATCH)))) for peer in there]

        async def come_and_go(name: str) -> None:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, token(name))
            await peer.close()

        async def used_by(users: int, ids: int) -> Scrape:
            names = [f"{users}-{user}" for user in range(users)]
            for start in range(0, users, AT_ONCE):
                await asyncio.gather(*map(come_and_go, names[start : start + AT_ONCE]))
            for start in range(0, ids, BATCH):
                several = range(start, min(start + BATCH, ids))
                items = [
                    {"to": {"user": names[one % users]}, "type": f"t{one}", "id": f"{users}:{one}"} for one in several
                ]
                await publish_batch(session, server.url, [*items[1:], {"to": {"everyone": True}, "type": "x"}])
            for path in (f"/v1/users/{users}/connections", f"/v1/inbox?page={users}"):
                async with session.get(f"{server.url}{path}", headers={"Authorization": f"Bearer nobody-{users}"}):
                    pass
            await eventually(lambda: server.open_connections == STAY, within=30)
            return await scrape(session, server)

        async def scrape_again_and_again() -> None:
            while True:
                await scrape(session, server)
                await asyncio.sleep(0.01)

        scraping = asyncio.create_task(scrape_again_and_again())
        few = await used_by(2, 10)
        many = await used_by(USERS, IDS)
        scraping.cancel()
        await publish(session, server.url, {"to": {"everyone": True}, "type": "x"})
        deliveries = sum(await asyncio.gather(*received))
        seen = await until_counted(session, server, "synkrone_publish_to_socket_seconds_count", deliveries)
    # Of the same publishes and deliveries both are made.
    new = set(many.samples) - set(few.samples)
    assert {name for name, _ in new} <= {"synkrone_collections_total", "synkrone_collection_seconds_total"}
    assert seen.sum("synkrone_deliveries_total", event=NEW) == deliveries
    assert seen.sum("synkrone_publish_to_socket_seconds_count") == deliveries
    assert seen.sum("synkrone_notifications_total") == 10 + IDS + 1
    assert seen.sum("synkrone_publish_to_commit_seconds_count") == 1 + len(range(0, IDS, BATCH)) + 1
    assert seen.sum("synkrone_connects_total") == STAY + 2 + USERS
    assert seen.sum("synkrone_disconnects_total") == 2 + USERS


@pytest.mark.gen_test
async def test_key_fetches_are_counted_by_what_came_of_them() -> None:
    async with KeyServer() as keys:
        keys.publish(public_jwk(key_for("RS256"), kid=None))
        of_issuer = issuer(jwks=keys.url(), public_key=None)
        async with serving(internal=INTERNAL, auth={"issuers": [of_issuer]}) as server, http_session() as session:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, user_token())
            fetched = await scrape(session, server)
        keys.broken = True
        async with serving(internal=INTERNAL, auth={"issuers": [of_issuer]}) as server, http_session() as session:
            peer = await WebSocketPeer.open(session, server.url)
            await peer.send("40" + json.dumps({"token": user_token()}))
            failed = await until_counted(session, server, "synkrone_key_fetches_total", 1)
    assert fetched.sum("synkrone_key_fetches_total", outcome="fetched") == 1
    assert failed.sum("synkrone_key_fetches_total", outcome="failed") == 1


@pytest.mark.gen_test
async def test_a_part_that_is_at_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(internal=INTERNAL) as server, http_session() as session:

        async def unwritable() -> None:
            raise StoreUnavailable

        monkeypatch.setattr(server.container.store(), "ensure_writable", unwritable)
        seen = await until_counted(session, server, "synkrone_fault", 1, part="store")
    assert seen.sum("synkrone_fault") == 1


@pytest.mark.gen_test
async def test_a_loop_that_is_held_up_is_noticed() -> None:
    pauses: list[float] = []

    class Clock(ManualClock):
        def monotonic(self) -> float:
            return time.monotonic()

    watching = asyncio.create_task(watch_pauses(Clock(), pauses.append))
    await asyncio.sleep(0)
    time.sleep(3 * LOOK_SECONDS)  # noqa: ASYNC251 (what is tested)
    await eventually(lambda: bool(pauses))
    watching.cancel()
    assert pauses[0] >= 2 * LOOK_SECONDS


def test_searches_for_garbage_are_timed() -> None:
    searches: list[tuple[int, float]] = []
    garbage = Garbage(lambda generation, seconds: searches.append((generation, seconds)))
    garbage.start()
    try:
        gc.collect(0)
    finally:
        garbage.stop()
    gc.collect(0)
    generations = [generation for generation, _ in searches]
    # Starting searches through everything, and nothing is told after the end.
    assert (generations[0], generations[-1]) == (2, 0)
    assert all(0 < seconds < 10 for _, seconds in searches)


def test_nobody_is_named() -> None:
    names = {"user", "id", "room", "connection", "device", "address", "type"}
    assert not names & {label for instrument in _instruments() for label in instrument}


def _instruments() -> list[tuple[str, ...]]:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    registry = CollectorRegistry()
    Metrics(registry, ManualClock())
    return [tuple(collector.labels) for collector in registry._collector_to_names]  # type: ignore[attr-defined]
