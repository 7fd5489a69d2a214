"""What a service manager is told, over a socket of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrypoints.service_manager import ServiceManager

ME = 4_711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """What it listens on, and the address as it tells it."""
    address = f"@synkrone-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1))
        listening.setblocking(False)
        yield listening, address


def test_it_is_told_how_the_process_fares(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    told = ServiceManager.taken(environ, ME)
    assert environ == {"PATH": "/bin"}
    told.ready("listening on http://127.0.0.1:8000")
    told.reloading()
    told.stopping("draining")
    assert listening.recv(4096) == b"READY=1\nSTATUS=listening on http://127.0.0.1:8000"
    state, _, since = listening.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert state == b"RELOADING=1"
    assert int(since) > 0
    assert listening.recv(4096) == b"STOPPING=1\nSTATUS=draining"


@pytest.mark.parametrize(
    ("variables", "is_watched"),
    [
        ({"WATCHDOG_USEC": "20000"}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(ME)}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
def test_signs_of_life_are_given_where_they_are_expected(
    manager: tuple[socket.socket, str], variables: dict[str, str], *, is_watched: bool
) -> None:
    listening, address = manager
    told = ServiceManager.taken({"NOTIFY_SOCKET": address, **variables}, ME)

    async def three_signs() -> list[bytes]:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(told.watch())
        try:
            async with asyncio.timeout(10):
                if not is_watched:
                    await watching
                    return []
                return [await loop.sock_recv(listening, 4096) for _ in range(3)]
        finally:
            watching.cancel()

    assert asyncio.run(three_signs()) == ([b"WATCHDOG=1"] * 3 if is_watched else [])


@pytest.mark.parametrize("variables", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_where_nobody_asks_nothing_is_told(variables: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    told = ServiceManager.taken(variables, ME)
    told.ready("")
    told.stopping("")
    assert caplog.records == []


def test_one_that_has_gone_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = ServiceManager(str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING):
        told.ready("")
        told.stopping("")
    assert [record.message for record in caplog.records] == ["the service manager cannot be told"]
