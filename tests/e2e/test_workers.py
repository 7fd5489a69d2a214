"""``serve --workers N``: one port, several processes, of which any may be lost or replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import CurlFollower, Follower, JsFollower, PythonFollower
from tests.e2e.publishing import Backend
from tests.e2e.workers import lives, replace_workers, serve_with_workers, until, workers_of
from tests.engine_io import PollingPeer, WebSocketPeer, connected, http_session
from tests.postgresql import Servers
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, environment, port_to_keep, token

QUICK: dict[str, object] = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
KILLS = 4
USER, ROLE = "42", "freelance"


@pytest.mark.gen_test(timeout=180)
async def test_workers_serve_one_port_and_drain_together(serve: Serve, postgresql: Servers) -> None:
    server = serve_with_workers(serve, postgresql)
    workers = workers_of(server)
    assert len(workers) == 2
    assert server.output == f"synkrone-socket is listening on {server.url}\n"
    assert {record["worker"] for record in server.records("serving")} == {1, 2}
    async with http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token(USER))
        published = await server.publish({"user": USER})
        assert published["id"] in await peer.next()
        server.terminate()
        assert "shutting_down" in await peer.next()
        assert await server.exit_code() == 0
    assert not any(map(lives, workers))


def run_to_end(folder: Path, settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "serve", *arguments],
        env=environment(ONE_SECRET | settings | {"SYNKRONE_PORT": "0"}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_several_need_a_store_that_they_can_share(tmp_path: Path) -> None:
    wrong = "4 of them need a store that they can share: postgresql://\n"
    for settings, arguments, named in (
        ({"SYNKRONE_WORKERS": "4"}, (), "SYNKRONE_WORKERS"),
        ({}, ("--workers", "4"), "--workers"),
        ({"SYNKRONE_STORE": "memory://"}, ("--workers", "4"), "--workers"),
    ):
        ended = run_to_end(tmp_path, settings, *arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"synkrone-socket: {named}: {wrong}")


@pytest.mark.check
def test_what_keeps_a_worker_from_serving_is_said_once(tmp_path: Path) -> None:
    away = {"SYNKRONE_STORE": f"postgresql://app@127.0.0.1:{port_to_keep()}/app", "SYNKRONE_WORKERS": "3"}
    ended = run_to_end(tmp_path, away)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("Connection refused") == ended.stderr.count("synkrone-socket: SYNKRONE_STORE: ") == 1


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_a_second_signal_ends_all_at_once(serve: Serve, postgresql: Servers) -> None:
    server = serve_with_workers(serve, postgresql, settings={"SYNKRONE_LIMITS__DRAIN_RATE": "0.1"})
    async with http_session() as session:
        peers = [await WebSocketPeer.open(session, server.url) for _ in range(4)]
        for peer in peers:
            await connected(peer, token(USER))
        server.terminate(signal.SIGINT)
        await until(lambda: len(server.records("draining")) == 2)
        began = time.monotonic()
        server.terminate(signal.SIGINT)
        assert await server.exit_code() == 1
        assert time.monotonic() - began < 5


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_a_signal_to_all_processes_at_once_asks_once(serve: Serve, postgresql: Servers) -> None:
    # As systemd and a terminal send it.
    server = serve_with_workers(serve, postgresql)
    async with http_session() as session:
        peers = [await WebSocketPeer.open(session, server.url) for _ in range(4)]
        for peer in peers:
            await connected(peer, token(USER))
        for pid in (*workers_of(server), server.pid):
            os.kill(pid, signal.SIGTERM)
        for peer in peers:
            assert "shutting_down" in await peer.next()
        assert await server.exit_code() == 0
    assert [record["drained"] for record in server.records("stopped")] == [True, True]


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_where_the_supervisor_is_killed_its_workers_end_and_another_can_start(
    serve: Serve, postgresql: Servers
) -> None:
    server = serve_with_workers(serve, postgresql, settings={"SYNKRONE_PORT": str(port_to_keep())})
    workers = workers_of(server)
    server.kill()
    await until(lambda: not any(map(lives, workers)), within=10)
    server.start_again()
    await server.ready()
    await server.publish({"user": USER})


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_a_worker_that_hangs_ends_all_the_same_where_the_supervisor_is_killed(
    serve: Serve, postgresql: Servers
) -> None:
    server = serve_with_workers(serve, postgresql)
    paused, other = workers_of(server)
    os.kill(paused, signal.SIGSTOP)
    server.kill()
    await until(lambda: not lives(other), within=10)
    os.kill(paused, signal.SIGCONT)
    await until(lambda: not lives(paused), within=15)


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_kills_of_workers_lose_nothing_and_double_nothing(
    serve: Serve, clients: Clients, postgresql: Servers
) -> None:
    server = serve_with_workers(serve, postgresql)
    async with followed(server, clients) as backend:
        for kill in range(1, KILLS + 1):
            before = len(backend.acknowledged)
            await until(lambda before=before: len(backend.acknowledged) > before + 20)  # type: ignore[misc]
            # The older one: by turns, so that those die too that came for one that was killed.
            os.kill(min(workers_of(server)), signal.SIGKILL)
            await until(lambda kill=kill: len(server.records("serving")) == 2 + kill)  # type: ignore[misc]


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_workers_are_replaced_and_nothing_is_lost_or_doubled(
    serve: Serve, clients: Clients, postgresql: Servers
) -> None:
    server = serve_with_workers(serve, postgresql, settings={"SYNKRONE_LIMITS__DRAIN_TIME": "2s"})
    async with followed(server, clients) as backend:
        await until(lambda: len(backend.acknowledged) > 20)
        replace_workers(server)
        await until(lambda: bool(server.records("workers replaced")), within=120)
    assert [record["drained"] for record in server.records("stopped")] == [True, True]


@asynccontextmanager
async def followed(server: ServerProcess, clients: Clients) -> AsyncIterator[Backend]:
    """Every kind of stock client, and who publishes for them; in the end each has to have all of it, once, in order."""
    own = token(USER, ROLE)
    followers: list[Follower] = [
        JsFollower(server.url, own, clients, QUICK),
        JsFollower(server.url, own, clients, QUICK | {"transports": ["polling"]}),
        JsFollower(server.url, own, clients, QUICK | {"transports": ["websocket"]}),
        PythonFollower(server.url, own),
        PythonFollower(server.url, own, ["polling"]),
        CurlFollower(server.url, own),
    ]
    for follower in followers:
        await follower.start()
    async with Backend(server, USER, ROLE, rate=50) as backend:
        yield backend
        await backend.stop()
        last = await backend.say("last", {"user": USER})
    expected = {**backend.acknowledged, "last": last}
    for follower in followers:
        await follower.has("last")
        await follower.stop()
        got = [logged.id for logged in follower.diary.logged]
        assert got == sorted(expected, key=lambda identifier: int(expected[identifier].rpartition(":")[2]))
        assert all(follower.diary.recovered), follower.name


class Visitors:
    """Who come again and again, each time by a connection of their own or by one that is kept, and what they met."""

    def __init__(self, server: ServerProcess) -> None:
        self.served = 0
        self.troubles: list[str] = []
        self._server = server
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        visits = [self._ask, self._stream, self._publish, self._publish_on_kept]
        self._tasks = [asyncio.create_task(visit()) for visit in visits]
        self._tasks += [asyncio.create_task(self._connect(kind)) for kind in (WebSocketPeer, PollingPeer)]

    async def end(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _connect(self, kind: type[WebSocketPeer | PollingPeer]) -> None:
        while self._going:
            try:
                # Each request by a connection of its own, and so to any worker.
                async with http_session(aiohttp.TCPConnector(force_close=True)) as session:
                    peer = await kind.open(session, self._server.url)
                    await connected(peer, token(USER))
                    await peer.close()
            except Exception as error:
                self.troubles.append(f"connecting: {error!r}")
                raise
            self.served += 1

    async def _ask(self) -> None:
        while self._going:
            async with aiohttp.ClientSession() as session:
                await self._expect(session, "GET", "/socket.io/?EIO=4&transport=polling", {}, 200)

    async def _stream(self) -> None:
        while self._going:
            async with aiohttp.ClientSession() as session:
                await self._expect(session, "GET", "/v1/stream", {"Authorization": f"Bearer {token(USER)}"}, 200)

    async def _publish(self) -> None:
        while self._going:
            async with aiohttp.ClientSession() as session:
                await self._expect_to_publish(session)

    async def _publish_on_kept(self) -> None:
        async with aiohttp.ClientSession() as session:
            while self._going:
                await self._expect_to_publish(session)

    async def _expect_to_publish(self, session: aiohttp.ClientSession) -> None:
        body = {"to": {"user": "nobody"}, "type": "test"}
        await self._expect(session, "POST", "/v1/notifications", {"Authorization": f"Bearer {API_KEY}"}, 201, body)

    async def _expect(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        headers: dict[str, str],
        status: int,
        body: object = None,
    ) -> None:
        try:
            async with session.request(method, self._server.url + path, headers=headers, json=body) as answer:
                if answer.status != status:
                    self.troubles.append(f"{method} {path}: {answer.status}")
        except aiohttp.ClientError as error:
            self.troubles.append(f"{method} {path}: {error!r}")
        self.served += 1


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_nobody_who_comes_while_the_workers_are_replaced_is_refused(serve: Serve, postgresql: Servers) -> None:
    server = serve_with_workers(serve, postgresql, settings={"SYNKRONE_LIMITS__CONNECTIONS_PER_USER": "1000"})
    before = workers_of(server)
    visitors = Visitors(server)
    visitors.begin()
    await until(lambda: visitors.served > 100)
    replace_workers(server)
    await until(lambda: bool(server.records("workers replaced")), within=90)
    await visitors.end()
    assert visitors.troubles == []
    assert visitors.served > 200
    assert len(workers_of(server)) == 2
    assert not before & workers_of(server)
    assert [record["is_replaced"] for record in server.records("draining")] == [True] * 2
    assert server.stop() == 0


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_a_new_worker_that_does_not_serve_replaces_nobody(
    serve: Serve, postgresql: Servers, tmp_path: Path
) -> None:
    (tmp_path / "server-0").mkdir()
    settings = tmp_path / "server-0" / "synkrone.toml"
    settings.write_text('replay = "undelivered"\n')
    server = serve_with_workers(serve, postgresql)
    before = workers_of(server)
    settings.write_text('replay = "everything"\n')
    replace_workers(server)
    await until(lambda: bool(server.records("the other workers are not replaced, as a new one does not serve")))
    assert "synkrone-socket: replay: must be " in server.log
    assert workers_of(server) == before
    settings.write_text('replay = "none"\n')
    replace_workers(server)
    await until(lambda: bool(server.records("workers replaced")))
    assert not before & workers_of(server)
    assert server.stop() == 0


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_workers_share_a_socket_that_was_given_to_them(serve: Serve, postgresql: Servers, tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    server = serve_with_workers(serve, postgresql, settings={"SYNKRONE_HOST": f"unix:{path}"})
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    replace_workers(server)
    await until(lambda: bool(server.records("workers replaced")))
    assert path.is_socket()
    assert server.stop() == 0
    assert not path.exists()
