"""The server as a real process, for tests that see it as operators, backends and clients do."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.forked import SERVER, Forked, run_forked

REPOSITORY = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-the-tests-that-has-48-characters-...."
API_KEY = "an-api-key-of-the-tests-that-has-44-chars-.."
ONE_SECRET = {"SYNKRONE_AUTH__SECRET": SECRET, "SYNKRONE_API__KEY": API_KEY}

START_SECONDS = 20.0
STOP_SECONDS = 30.0

_LISTENING = re.compile(r"^synkrone-socket is listening on ((?:https?://|unix:)\S+)$", re.MULTILINE)


def token(
    user: str,
    role: str = "freelance",
    *,
    ttl: float = 3600,
    secret: str = SECRET,
    algorithm: str = "HS256",
    **claims: Any,
) -> str:
    """A user's JWT; ``ttl`` is in seconds from now, and may be negative."""
    now = int(time.time())
    members = {"sub": user, "role": role, "iat": now, "exp": int(now + ttl)} | claims
    return jwt.encode({"alg": algorithm}, members, OctKey.import_key(secret), algorithms=[algorithm])


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with no ``SYNKRONE_*`` but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNKRONE_")}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), **settings}


def run_to_end(directory: Path, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to stop by itself, and wait until it has."""
    with tempfile.TemporaryDirectory() as outputs:
        return run_forked(
            SERVER,
            directory=directory,
            environment=environment({"SYNKRONE_PORT": "0"} | dict(settings)),
            outputs=Path(outputs),
            timeout=START_SECONDS,
        )


def _limited(descriptors: int, command: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]


def port_to_keep() -> int:
    """A free port that no outgoing connection is given while a server that is to come back to it is away."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first_ephemeral // 2, first_ephemeral)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _answers_at(path: str) -> bool:
    """Whether a server that listens on a Unix socket is ready."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(path)
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class ServerProcess:
    """One running server. ``url`` is the address that it printed."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str],
        *,
        ca: Path | None = None,
        descriptors: int | None = None,
        module: str | None = None,
        program: str = SERVER,
        anew: bool = False,
    ) -> None:
        """``ca`` is the certificate to trust where the server speaks TLS itself; ``descriptors`` limits its own.

        ``module`` has the commands of a server that is not the one of this project, and ``program`` is a module whose
        ``main`` serves in the place of this project's. ``anew``: started as an operator does, not forked, and so with
        the limits and the ignored signals of the test.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._settings = {"SYNKRONE_PORT": "0"} | dict(settings)
        self._program = program
        # Workers are more processes to start, and the second one waits for the first.
        self._start_seconds = START_SECONDS * int(self._settings.get("SYNKRONE_WORKERS", "1"))
        self._tls = ssl.create_default_context(cafile=ca) if ca is not None else None
        self._command: list[str] | None = None
        if module is not None:
            self._command = [sys.executable, "-m", module, "serve"]
        elif descriptors is not None:
            self._command = _limited(descriptors, [sys.executable, "-m", SERVER])
        elif anew:
            self._command = [sys.executable, "-m", SERVER]
        self.url = ""
        self._start()

    def _start(self) -> None:
        # What a server prints is its own; the log of one that is started again goes on.
        stdout, stderr = self.directory / "stdout", self.directory / "stderr"
        stdout.write_bytes(b"")
        stderr.touch()
        if self._command is None:
            self._process: Forked | subprocess.Popen[bytes] = Forked(
                self._program,
                directory=self.directory,
                environment=environment(self._settings),
                stdout=stdout,
                stderr=stderr,
            )
        else:
            with stdout.open("ab") as output, stderr.open("ab") as errors:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self.directory,
                    env=environment(self._settings),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                )
        self._told_to_stop = False

    def start_again(self) -> None:
        """After it has ended: on the same port, in the same directory and so with the same file, with its settings."""
        assert not self.is_running()
        self._settings["SYNKRONE_PORT"] = str(self.port)
        self._start()

    def change(self, settings: Mapping[str, str]) -> None:
        """From the next start on."""
        self._settings |= settings

    def back_up(self, backup: Path) -> None:
        """Copy its file, as it is at the moment."""
        with (
            contextlib.closing(sqlite3.connect(self.directory / "synkrone.db")) as source,
            contextlib.closing(sqlite3.connect(backup)) as target,
        ):
            source.backup(target)

    def restore(self, backup: Path) -> None:
        """After it has ended: put a backup in the place of its file."""
        assert not self.is_running()
        for file in self.directory.glob("synkrone.db*"):
            file.unlink()
        shutil.copy(backup, self.directory / "synkrone.db")

    def wait_until_ready(self) -> None:
        """Wait for the printed address, and for ``/health/ready`` behind it."""
        deadline = time.monotonic() + self._start_seconds
        while not self._is_ready():
            assert self._process.poll() is None, f"the server ended by itself:\n{self.log}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{self.log}"
            time.sleep(0.02)

    async def ready(self) -> None:
        """The same, while the test's own loop goes on."""
        await asyncio.to_thread(self.wait_until_ready)

    def _is_ready(self) -> bool:
        printed = _LISTENING.search(self.output)
        if printed is None:
            return False
        self.url = printed[1]
        if self.url.startswith("unix:"):
            return _answers_at(self.url.removeprefix("unix:"))
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5, context=self._tls):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def output(self) -> str:
        return (self.directory / "stdout").read_text()

    @property
    def log(self) -> str:
        return (self.directory / "stderr").read_text()

    def records(self, event: str) -> list[dict[str, Any]]:
        """The log's records of one kind, in order."""
        lines = [line for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [record for record in map(json.loads, lines) if record["event"] == event]

    async def publish(self, to: Mapping[str, object], **members: object) -> dict[str, Any]:
        """Publish as a backend does, of the type ``mission.assigned`` by default; the answer, which has to be a 201."""
        async with aiohttp.ClientSession() as session:
            status, answer = await self.post(session, {"to": to, "type": "mission.assigned", **members})
        assert status == 201, answer
        return answer

    async def post(
        self, session: aiohttp.ClientSession, body: Mapping[str, object], *, key: str = API_KEY
    ) -> tuple[int, dict[str, Any]]:
        """One ``POST /v1/notifications``: status and body of the answer."""
        async with session.post(
            f"{self.url}/v1/notifications",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            ssl=self._tls if self._tls is not None else True,
            timeout=aiohttp.ClientTimeout(total=10),
        ) as response:
            return response.status, await response.json(content_type=None)

    async def inbox(self, own: str, path: str = "", body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """``/v1/inbox`` and what is below, asked with a user's token: the answer, which has to be a 200."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {own}"}) as session,
            session.request("GET" if body is None else "POST", f"{self.url}/v1/inbox{path}", json=body) as response,
        ):
            answer: dict[str, Any] = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer

    async def connections(self, user: str, method: str = "GET", query: str = "") -> dict[str, Any]:
        """What operators see of a user's connections, or with DELETE do to them."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
            session.request(method, f"{self.url}/v1/users/{user}/connections{query}") as response,
        ):
            answer: dict[str, Any] = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer

    async def has_connections(self, user: str, number: int, within: float = 20.0) -> None:
        """Wait until the user has so many."""
        async with asyncio.timeout(within):
            while len((await self.connections(user))["connections"]) != number:  # noqa: ASYNC110, nothing tells of it
                await asyncio.sleep(0.05)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._told_to_stop = True
        self._process.send_signal(number)

    async def exit_code(self, within: float = STOP_SECONDS) -> int:
        """Wait for the end of the process, while the test's own loop goes on."""
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"the server has not ended within {within} s:\n{self.log}"
            await asyncio.sleep(0.02)
        return code

    def stop(self) -> int:
        """SIGTERM, unless that was sent before; the exit code."""
        if not self._told_to_stop:
            self.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.is_running():
            self._process.kill()
            self._process.wait(STOP_SECONDS)
