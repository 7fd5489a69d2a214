"""A server on sockets that it was given: whoever gave them keeps them, and the queue in front of them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.service import LAUNCHER, SERVE
from tests.e2e.workers import PATIENCE, shared_store
from tests.postgresql import Servers
from tests.processes import ONE_SECRET, environment, port_to_keep
from tests.requirements import require

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(
    processes: ExitStack, folder: Path, command: Sequence[str], settings: Mapping[str, str], *descriptors: int
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(ONE_SECRET | dict(settings)),
        pass_fds=descriptors,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.enter_context(process)
    processes.callback(process.kill)
    return process


def serving(
    processes: ExitStack, folder: Path, listening: socket.socket, settings: Mapping[str, str], *arguments: str
) -> tuple[subprocess.Popen[str], str]:
    """A server on a socket of this process, and the address that it prints."""
    descriptor = listening.fileno()
    command = [sys.executable, str(LAUNCHER), str(descriptor), *SERVE, *arguments]
    process = start(processes, folder, command, settings, descriptor)
    assert process.stdout is not None
    return process, process.stdout.readline().rpartition(" ")[2].strip()


def asked(client: socket.socket) -> bytes:
    """What the server answers to a request that was sent before."""
    client.settimeout(PATIENCE)
    answer = b""
    while octets := client.recv(4096):
        answer += octets
    return answer


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(number)
    assert process.wait(PATIENCE) == (0 if number is signal.SIGTERM else -number)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_who_comes_while_a_server_is_away_waits_for_the_next_one(
    processes: ExitStack, tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "given.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        first, url = serving(processes, tmp_path, listening, {})
        assert url == f"unix:{path}"
        stop(first, how)
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(LIVE)
            second, _ = serving(processes, tmp_path, listening, {})
            assert asked(client).startswith(b"HTTP/1.1 200 ")
        stop(second)


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_workers_serve_a_socket_that_they_were_given(
    processes: ExitStack, tmp_path: Path, postgresql: Servers
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        address = listening.getsockname()
        process, url = await asyncio.to_thread(
            serving, processes, tmp_path, listening, shared_store(postgresql), "--workers", "2"
        )
        assert url == f"http://127.0.0.1:{address[1]}"
        for _ in range(10):
            with socket.create_connection(address) as client:
                client.sendall(LIVE)
                assert asked(client).startswith(b"HTTP/1.1 200 ")
        stop(process)
        with socket.create_connection(address):
            pass


@pytest.mark.check
def test_systemd_activates_it(processes: ExitStack, tmp_path: Path) -> None:
    activate = shutil.which("systemd-socket-activate")
    require(activate, "systemd-socket-activate is not installed: apt-get install systemd")
    assert activate is not None
    port = port_to_keep()
    passed = ["PATH", "PYTHONPATH", *ONE_SECRET]
    variables = [f"--setenv={name}" for name in passed]
    process = start(processes, tmp_path, [activate, f"--listen=127.0.0.1:{port}", *variables, *SERVE], {})
    client = connection_to(port, process)
    with client:
        client.sendall(LIVE)
        assert asked(client).startswith(b"HTTP/1.1 200 ")
    assert process.stdout is not None
    assert process.stdout.readline() == f"synkrone-socket is listening on http://127.0.0.1:{port}\n"
    stop(process)


def connection_to(port: int, process: subprocess.Popen[str]) -> socket.socket:
    """Once somebody listens there."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert process.poll() is None
