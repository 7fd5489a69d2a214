"""Servers, clients and a certificate for the tests of the whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest
from tornado.ioloop import IOLoop

from tests.e2e.browser import Browser
from tests.e2e.certificates import Certificate, make_certificate
from tests.e2e.clients import Clients
from tests.e2e.npm import installed
from tests.processes import ONE_SECRET, ServerProcess
from tests.requirements import require

JAVASCRIPT = Path(__file__).parent / "js"

Serve: TypeAlias = Callable[..., ServerProcess]
Browse: TypeAlias = Callable[[str], None]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """``socket.io-client`` and what it needs, as the lock file names them; installed once for all processes."""
    return installed(JAVASCRIPT)


@pytest.fixture
def clients(node_modules: Path, io_loop: IOLoop) -> Iterator[Clients]:
    clients = Clients(JAVASCRIPT / "client.mjs")
    yield clients
    io_loop.run_sync(clients.close, timeout=30)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers; at the end each still running has to end with exit code 0. A failed test shows their logs."""
    servers: list[ServerProcess] = []
    numbers = count()

    def serve(
        settings: Mapping[str, str] = ONE_SECRET,
        *,
        ca: Path | None = None,
        descriptors: int | None = None,
        module: str | None = None,
        anew: bool = False,
    ) -> ServerProcess:
        directory = tmp_path / f"server-{next(numbers)}"
        server = ServerProcess(directory, settings, ca=ca, descriptors=descriptors, module=module, anew=anew)
        servers.append(server)
        server.wait_until_ready()
        return server

    try:
        yield serve
        for server in servers:
            if server.is_running():
                assert server.stop() == 0
            assert "Traceback" not in server.log
    finally:
        for server in servers:
            server.kill()
            print(server.log)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Browse]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require(chromium, "no Chromium is installed: apt-get install chromium")
    assert chromium is not None
    browsers: list[Browser] = []

    def browse(address: str) -> None:
        browsers.append(Browser(chromium, tmp_path / f"browser-{len(browsers)}", address))

    yield browse
    for browser in browsers:
        browser.close()
