"""A PgBouncer for tests, which gives every transaction whichever connection of the server's is free."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.postgresql import NOBODY, START_SECONDS, PostgresqlServer
from tests.requirements import require

HOW_TO_GET = "there is no PgBouncer: apt-get install pgbouncer"
PORT = 6432
_SETTINGS = """
[databases]
* = host={server} port={port}

[pgbouncer]
listen_addr =
listen_port = {own_port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
"""


class Pgbouncer:
    """In front of a server, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@/{database}?host={self._folder}&port={PORT}"


@contextmanager
def running_pgbouncer(server: PostgresqlServer) -> Iterator[Pgbouncer]:
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    require(program, HOW_TO_GET)
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    try:
        settings = folder / "settings"
        settings.write_text(
            _SETTINGS.format(server=Path(server.socket).parent, port=server.port, own_port=PORT, folder=folder)
        )
        (folder / "users").write_text('"owner" ""\n')
        # It refuses to run as root.
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            for path in (folder, settings, folder / "users"):
                os.chown(path, NOBODY, NOBODY)
            as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_nobody
            )
        try:
            bouncer = Pgbouncer(folder)
            _wait_until_accepting(bouncer, process, folder)
            yield bouncer
        finally:
            process.kill()
            process.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_accepting(bouncer: Pgbouncer, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(bouncer.url("postgres"), autocommit=True, connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None:
                raise AssertionError((folder / "log").read_text()) from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
