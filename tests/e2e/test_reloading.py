"""SIGHUP and ``POST /admin/reload``, as operators send them to real processes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from tests.documents import block
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.workers import serve_with_workers, until, workers_of
from tests.engine_io import WebSocketPeer, connected, event, http_session, refused
from tests.postgresql import Servers
from tests.processes import API_KEY, ONE_SECRET, SECRET, ServerProcess, environment, port_to_keep, token

PAGE = "docs/how-to/reload.md"
SECOND, THIRD = "the second secret, also of thirty-two bytes", "the third secret, as long as the others are"
ADMIN_KEY = "a key of the tests that may do everything, 45"
KEYS = f'[{{"name": "backend", "key": "{API_KEY}"}}, {{"name": "operator", "key": "{ADMIN_KEY}", "scopes": ["admin"]}}]'


async def reload(server: ServerProcess, times: int = 1) -> None:
    """Once, and wait until its log has so many of them in all."""
    os.kill(server.pid, signal.SIGHUP)
    await until(lambda: len(server.records("reloaded")) == times)


async def is_let_in(session: aiohttp.ClientSession, server: ServerProcess, own: str) -> bool:
    peer = await WebSocketPeer.open(session, server.url)
    await peer.send(f'40{{"token":"{own}"}}')
    return (await peer.next()).startswith("40")


@pytest.mark.gen_test(timeout=60)
async def test_a_secret_is_replaced_twice_and_no_stock_client_notices(
    serve: Serve, clients: Clients, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(SECRET)
    server = serve({"SYNKRONE_AUTH__SECRET_FILE": str(secrets), "SYNKRONE_API__KEY": API_KEY})
    staying = await clients.js(server.url, {"token": token("42")})
    await staying.ready()
    steps = [f"{SECOND}\n{SECRET}", SECOND, f"{THIRD}\n{SECOND}", THIRD]
    async with http_session() as session:
        for number, (lines, is_good, is_bad) in enumerate(
            zip(steps, (SECRET, SECOND, SECOND, THIRD), (THIRD, SECRET, SECRET, SECOND), strict=True), 1
        ):
            secrets.write_text(lines)
            await reload(server, number)
            assert await is_let_in(session, server, token("42", secret=is_good))
            peer = await WebSocketPeer.open(session, server.url)
            problem = await refused(peer, f'{{"token":"{token("42", secret=is_bad)}"}}')
            assert problem["code"] == "invalid_token"
            await server.publish({"user": "42"}, id=f"after-{number}")
            assert (await staying.event("notification.new"))[0]["id"] == f"after-{number}"
    assert {record["detail"] for record in server.records("reloaded")} == {"changed: auth.secret"}


@pytest.mark.gen_test(timeout=60)
async def test_a_bad_file_is_one_line_of_the_log_and_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "server-0"
    folder.mkdir()
    file = folder / "synkrone.toml"
    file.write_text('cors_origins = ["https://app.example"]\n[log]\nlevel = "info"\n')
    server = serve()
    before = server.log
    file.write_text('cors_origins = ["https://app.example/path"]\n[log]\nlevel = "debug"\n')
    os.kill(server.pid, signal.SIGHUP)
    await until(lambda: bool(server.records("not reloaded")))
    await server.publish({"user": "42"})
    (line,) = server.log.removeprefix(before).splitlines()[:1]
    (record,) = server.records("not reloaded")
    assert '"not reloaded"' in line
    assert (record["by"], record["level"], record["setting"]) == ("SIGHUP", "error", "cors_origins[0]")
    assert not [record for record in server.records("request") if record["level"] == "debug"]
    file.write_text('cors_origins = []\n[log]\nlevel = "debug"\n')
    await reload(server)
    await server.publish({"user": "42"})
    await until(lambda: bool(server.records("request")))
    assert server.records("reloaded")[0]["detail"] == "changed: cors_origins, log.level"


@pytest.mark.gen_test(timeout=60)
async def test_what_the_page_says_to_type_reloads(serve: Serve, tmp_path: Path) -> None:
    secrets, port = tmp_path / "secrets", port_to_keep()
    secrets.write_text(SECRET)
    server = serve(
        {
            "SYNKRONE_AUTH__SECRET_FILE": str(secrets),
            "SYNKRONE_API__KEYS": KEYS,
            "SYNKRONE_INTERNAL__PORT": str(port),
        }
    )

    async def typed(text: str) -> str:
        command = text.replace("8001", str(port))
        variables = {**os.environ, "PID": str(server.pid), "SYNKRONE_ADMIN_KEY": ADMIN_KEY}
        ran = await asyncio.create_subprocess_exec(
            "bash", "-c", command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return (await ran.communicate())[0].decode()

    secrets.write_text(SECOND)
    await typed(block(PAGE, "bash", "kill -HUP"))
    await until(lambda: len(server.records("reloaded")) == 1)
    secrets.write_text(THIRD)
    answer = json.loads(await typed(block(PAGE, "bash", "/admin/reload")))
    assert answer == {"changed": ["auth.secret"], "needs_restart": []}
    assert answer.keys() == json.loads(block(PAGE, "json", "needs_restart")).keys()
    assert {record["caller"] for record in server.records("reloaded")} == {"SIGHUP", "operator"}


@pytest.mark.gen_test(timeout=60)
async def test_a_terminal_that_is_closed_ends_the_server_and_a_signal_beside_it_does_not(tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        command = f'exec "{sys.executable}" -m entrypoints.serving >out 2>log'
        os.execve("/bin/sh", ["sh", "-c", command], environment(ONE_SECRET | {"SYNKRONE_PORT": "0"}))  # noqa: S606
    code: int | None = None
    try:
        await until(lambda: out.exists() and "listening" in out.read_text())
        os.kill(pid, signal.SIGHUP)
        await until(lambda: '"reloaded"' in log.read_text())
        os.close(terminal)
        code = os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])
    finally:
        if code is None:
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(os.waitpid, pid, 0)
    assert code == 0
    assert '"signal":"SIGHUP"' in log.read_text()
    assert log.read_text().count('"reloaded"') == 1


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_all_workers_reload_whoever_was_asked(serve: Serve, postgresql: Servers, tmp_path: Path) -> None:
    secrets, port = tmp_path / "secrets", port_to_keep()
    secrets.write_text(SECRET)
    own = {"SYNKRONE_AUTH__SECRET_FILE": str(secrets), "SYNKRONE_API__KEYS": KEYS, "SYNKRONE_INTERNAL__PORT": str(port)}
    server = serve_with_workers(
        lambda settings, **given: serve({k: v for k, v in settings.items() if k not in ONE_SECRET}, **given),
        postgresql,
        settings=own,
    )
    workers = workers_of(server)
    async with http_session() as session:
        peers = [await WebSocketPeer.open(session, server.url) for _ in range(6)]
        for peer in peers:
            await connected(peer, token("42"))
        secrets.write_text(f"{SECOND}\n{SECRET}")
        await reload(server, 2)
        assert {record["worker"] for record in server.records("reloaded")} == {1, 2}
        secrets.write_text("short")
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: bool(server.records("not reloaded")))
        secrets.write_text(SECOND)
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with session.post(f"http://127.0.0.1:{port + 1}/admin/reload", headers=headers) as answer:
            assert (answer.status, (await answer.json())["changed"]) == (200, ["auth.secret"])
        await until(lambda: len(server.records("reloaded")) == 4)
        for _ in range(6):
            assert await is_let_in(session, server, token("43", secret=SECOND))
            assert not await is_let_in(session, server, token("43", secret=SECRET))
        began = time.monotonic()
        await server.publish({"user": "42"}, id="after")
        for peer in peers:
            assert event(await peer.next())[1][0]["id"] == "after"
        assert time.monotonic() - began < 5
    assert workers_of(server) == workers
    assert len(server.records("not reloaded")) == 1
