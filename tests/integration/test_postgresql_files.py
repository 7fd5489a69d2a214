"""What is left of an erased user in the files of a PostgreSQL server: what the page on erasing says, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from domain.model import LeftIn
from tests.contract.inbox_deletions import tidy
from tests.documents import block
from tests.doubles import START
from tests.integration.test_postgresql_erasing import fill, store_of
from tests.integration.test_sqlite_erasing import MARKER, WHO, finish
from tests.postgresql import PostgresqlServer, running_server

pytestmark = pytest.mark.check

PAGE = "docs/how-to/erase.md"
SECRETS = (MARKER.encode(), WHO.encode(), WHO.replace("@", "_").encode())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    # As it is by default: whole pages are in the write-ahead log, too.
    with running_server(15, full_page_writes="on") as server:
        yield server


def remnants(server: PostgresqlServer, folder: str = ".") -> int:
    found = 0
    for path in (server.data / folder).rglob("*"):
        found += sum(map(bytes_of(path).count, SECRETS))
    return found


def bytes_of(path: Path) -> bytes:
    """Of a file that may be gone by now."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:
        return b""


def run(server: PostgresqlServer, database: str, containing: str) -> None:
    """The statements of a block of the page, one after the other."""
    statements = block(PAGE, "sql", containing).split(";")
    with closing(server.connect(database)) as line:
        for statement in filter(None, map(str.strip, statements)):
            line.execute(statement.encode())


def test_nothing_is_left_behind_what_the_page_says(io_loop: IOLoop, server: PostgresqlServer) -> None:
    database = server.new_store()

    async def fill_and_erase() -> None:
        store = store_of(server, database)
        await store.open()
        await fill(store)
        server.execute("ANALYZE", database)
        await store.begin_erasure(WHO, "e", START)
        await finish(store, "e")
        erasure = await store.erasure("e")
        assert erasure is not None
        assert erasure.left_in == (LeftIn.UNUSED_SPACE, LeftIn.WRITE_AHEAD_LOG)
        await tidy(store)
        await store.close()

    io_loop.run_sync(fill_and_erase, timeout=120)
    server.execute("CHECKPOINT")
    # If this were not so the page would ask for too much.
    assert remnants(server, "base")
    run(server, database, "VACUUM FULL")
    assert remnants(server, "base") == 0
    assert remnants(server, "pg_wal")
    ((files,),) = server.execute("SELECT count(*) FROM pg_ls_waldir()")
    for _ in range(files + 1):
        run(server, database, "pg_switch_wal")
    assert remnants(server) == 0
