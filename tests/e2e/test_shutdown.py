"""SIGTERM: everybody is told, what was accepted is delivered, and the process ends in time."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.crowd import Crowd
from tests.in_time import in_time
from tests.processes import ONE_SECRET, ServerProcess, token

CLIENTS = 1_000
PUBLISHERS = 8
UNDER_WAY = 200
STOP_SECONDS = 30.0


def sent_by(publisher: int) -> Callable[[str], int | None]:
    """The number of a notification by its id, where it is of that publisher; each counts its own upwards."""
    prefix = f"p{publisher}-"
    return lambda identifier: int(identifier.removeprefix(prefix)) if identifier.startswith(prefix) else None


@dataclass
class Publishing:
    """Publishers that go on until they are refused. ``accepted``: each id answered with 2xx, and whom it was for."""

    server: ServerProcess
    accepted: dict[str, list[str]] = field(default_factory=dict)
    refusals: set[int] = field(default_factory=set)
    under_way: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, session: aiohttp.ClientSession, publisher: int) -> None:
        choice = random.Random(publisher)
        number = 0
        while True:
            number += 1
            users = [str(choice.randrange(CLIENTS)) for _ in range(choice.choice((1, 1, 1, 20)))]
            identifier = f"p{publisher}-{number}"
            body = {"to": {"users": users}, "type": "load", "id": identifier, "data": {"number": number}}
            try:
                status, answer = await self.server.post(session, body)
            except aiohttp.ClientConnectionError:
                # Whether that one was accepted nobody can say, so nothing is claimed of it.
                return
            if status != 201:
                self.refusals.add(status)
                return
            self.accepted[answer["id"]] = users
            if len(self.accepted) == UNDER_WAY:
                self.under_way.set()


@pytest.mark.gen_test(timeout=90)
async def test_a_thousand_clients_while_publishing_is_under_way(serve: Serve, clients: Clients) -> None:
    server = serve()
    stock = await clients.js(server.url, {"token": token("0")})
    await stock.ready()
    await stock.uses("websocket")
    publishing = Publishing(server)
    async with Crowd(server, CLIENTS) as crowd, aiohttp.ClientSession() as session:
        publishers = [asyncio.create_task(publishing.run(session, number)) for number in range(PUBLISHERS)]
        await in_time(publishing.under_way.wait(), 20)
        before = len(publishing.accepted)
        server.terminate()
        began = time.monotonic()
        await asyncio.gather(*publishers)
        await crowd.gone(STOP_SECONDS)
        assert await server.exit_code(STOP_SECONDS - (time.monotonic() - began)) == 0

    assert before > 0
    assert publishing.refusals <= {503}
    expected: dict[str, list[str]] = {member.user: [] for member in crowd.members}
    for identifier, users in publishing.accepted.items():
        for user in set(users):
            expected[user].append(identifier)
    for member in crowd.members:
        missing = set(expected[member.user]) - set(member.received)
        assert not missing, f"user {member.user} was not sent {missing}, which had been accepted"
        for publisher in range(PUBLISHERS):
            own = [number for number in map(sent_by(publisher), member.received) if number is not None]
            assert own == sorted(set(own)), f"user {member.user} was sent something twice, or out of order"
        assert member.closing is not None, f"user {member.user} was not told"
        assert (member.closing["code"], member.closing["reconnect"]) == ("shutting_down", True)
        assert member.after_closing == []

    got = []
    while (happening := await stock.next())["what"] == "event" and happening["name"] == "notification.new":
        got.append(happening["args"][0]["id"])
    assert set(expected["0"]) <= set(got)
    assert happening["name"] == "session.closing"
    closing = happening["args"][0]
    assert closing.pop("retry_after_ms") >= 0
    assert closing == {
        "code": "shutting_down",
        "title": "The server is shutting down.",
        "retryable": True,
        "reconnect": True,
    }
    gone = await stock.expect("disconnect")
    assert (gone["reason"], gone["active"]) == ("transport close", True)


@pytest.mark.gen_test(timeout=60)
async def test_a_client_comes_back_to_the_next_server(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.js(
        server.url, {"token": token("42")}, {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
    )
    await client.ready()
    await client.uses("websocket")
    server.terminate()
    assert await server.exit_code() == 0
    await client.event("session.closing")
    await client.expect("disconnect")
    serve(ONE_SECRET | {"SYNKRONE_PORT": str(server.port)})
    while (happening := await client.next())["what"] in ("reconnect_attempt", "connect_error"):
        assert happening.get("active", True), happening
    assert happening["what"] == "connect"
    await client.event("session.ready")


@pytest.mark.gen_test(timeout=60)
async def test_polling_clients_are_told_too(serve: Serve, clients: Clients) -> None:
    """Each poll may come on a new connection, so the server has to listen until the last client is told."""
    # A ping ends every poll within a second, and the last of three clients is told after two.
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__PING_INTERVAL": "1s", "SYNKRONE_LIMITS__DRAIN_RATE": "1"})
    polling = [await clients.js(server.url, {"token": token("42")}, {"transports": ["polling"]}) for _ in range(3)]
    for client in polling:
        await client.ready()
    server.terminate()
    for client in polling:
        (closing,) = await client.event("session.closing")
        assert (closing["code"], closing["reconnect"]) == ("shutting_down", True)
        assert (await client.expect("disconnect"))["active"] is True
    assert await server.exit_code() == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_second_signal_ends_it_at_once(serve: Serve, clients: Clients) -> None:
    # One connection every 10 s: of two clients the second stays that long.
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__DRAIN_RATE": "0.1"})
    first = await clients.js(server.url, {"token": token("42")})
    await first.ready()
    second = await clients.js(server.url, {"token": token("43")})
    await second.ready()
    server.terminate()
    await first.event("session.closing")
    assert server.is_running()
    server.terminate()
    assert await server.exit_code(within=5) == 1
    assert server.records("stopped")[0]["drained"] is False
    assert (await second.expect("disconnect"))["active"] is True


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    "signals",
    [
        # systemd with SendSIGHUP=; of two that are pending the kernel delivers the lower number first.
        [signal.SIGTERM, signal.SIGHUP],
        [signal.SIGHUP, signal.SIGTERM],
        [signal.SIGINT],
    ],
    ids=lambda signals: "-".join(number.name for number in signals),
)
async def test_every_request_to_stop_drains_and_the_log_says_so(
    serve: Serve, clients: Clients, signals: list[signal.Signals]
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__DRAIN_RATE": "1"})
    told = [await clients.js(server.url, {"token": token("42")}) for _ in range(2)]
    for client in told:
        await client.ready()
    began = time.monotonic()
    for number in signals:
        server.terminate(number)
    for client in told:
        (closing,) = await client.event("session.closing")
        assert (closing["code"], closing["reconnect"]) == ("shutting_down", True)
    assert await server.exit_code() == 0
    took = time.monotonic() - began
    (draining,) = server.records("draining")
    (stopped,) = server.records("stopped")
    assert draining["signal"] in {number.name for number in signals}
    assert stopped["drained"] is True
    # The second client is told a second after the first.
    assert 0.9 < stopped["seconds"] <= took
    assert json.loads(server.log.splitlines()[-1])["event"] == "stopped"


@pytest.mark.gen_test(timeout=60)
async def test_a_server_under_nohup_outlives_its_terminal(serve: Serve, clients: Clients) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = serve(anew=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    server.terminate(signal.SIGHUP)
    await server.publish({"user": "42"}, id="after")
    assert (await client.event("notification.new"))[0]["id"] == "after"
    assert server.records("draining") == []
    server.terminate()
    assert await server.exit_code() == 0
