"""A server that listens on a Unix socket, as a real process."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Serve
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.processes import ONE_SECRET, run_to_end, token


def at(path: Path) -> dict[str, str]:
    return ONE_SECRET | {"SYNKRONE_HOST": f"unix:{path}"}


async def is_served(path: Path) -> None:
    async with http_session(aiohttp.UnixConnector(str(path))) as session:
        await connected(await WebSocketPeer.open(session, "http://localhost"), token("42"))


@pytest.mark.gen_test(timeout=60)
async def test_a_server_says_where_it_listens_and_leaves_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    server = serve(at(path))
    assert server.output == f"synkrone-socket is listening on unix:{path}\n"
    await is_served(path)
    assert server.stop() == 0
    assert not path.exists()


@pytest.mark.gen_test(timeout=60)
async def test_after_kill_9_the_next_server_starts(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    serve(at(path)).kill()
    assert path.is_socket()
    serve(at(path))
    await is_served(path)


@pytest.mark.gen_test(timeout=60)
async def test_a_second_server_on_the_same_path_does_not_start(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    serve(at(path))
    second = run_to_end(tmp_path, at(path))
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"synkrone-socket: SYNKRONE_HOST: cannot listen on unix:{path}: Address already in use: "
        "stop what listens there, or name another path\n"
    )
    await is_served(path)
