"""A PostgreSQL server for nodes to share: started when it is first needed, its data on the disk, and flushed."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Self

from tests.benchmarks.servers import Cores, starting_on
from tests.postgresql import PostgresqlServer

VERSION = 18
_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}
_CHUNK = 65_536
_STATEMENT = rb"LOG:  (?:statement|execute [^:\n]*): "


class Databases:
    """Of one server, which ends with the context. ``logs`` are the names of those that a long log was put into, by its
    length."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._server: PostgresqlServer | None = None
        self.logs: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop(how=signal.SIGQUIT)
            shutil.rmtree(self._server.folder, ignore_errors=True)

    @property
    def server(self) -> PostgresqlServer:
        if self._server is None:
            # Not below a folder that is closed to others: it does not run as root.
            folder = Path(tempfile.mkdtemp(prefix="pg-"))
            with starting_on(None, self._cores):
                server = PostgresqlServer(VERSION, folder, settings=_SETTINGS)
                server.start()
            self._server = server
        return self._server

    @contextmanager
    def new_store(self) -> Iterator[str]:
        """A database with the schema and nothing in it, until the end of the context; its name."""
        name = self.server.new_store()
        try:
            yield name
        finally:
            self.server.drop_databases([name])


def head(server: PostgresqlServer, database: str) -> int:
    """The offset of the last entry."""
    ((offset,),) = server.execute("SELECT synkrone.head()", database)
    return int(offset)


def commits_after(server: PostgresqlServer, database: str, offset: int) -> int:
    """How many have appended what is behind an offset: entries of one commit have one time, in microseconds."""
    ((commits,),) = server.execute(
        f"SELECT count(DISTINCT stored_at) FROM synkrone.entries WHERE log_offset > {offset}",  # noqa: S608
        database,
    )
    return int(commits)


def transactions(server: PostgresqlServer) -> int:
    """How many have written something, or given a hint, since the server was made."""
    ((number,),) = server.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return int(number)


async def all_nodes_at(server: PostgresqlServer, database: str, offset: int) -> None:
    """Wait until every node has said, as it renewed its lease, that it has the log up to an offset."""
    while True:
        ((least,),) = await asyncio.to_thread(server.execute, "SELECT min(log_offset) FROM synkrone.nodes", database)
        if least >= offset:
            return
        await asyncio.sleep(0.1)


@contextmanager
def held_transaction(server: PostgresqlServer, database: str) -> Iterator[None]:
    """One that has a number of its own, and does nothing."""
    with closing(server.connect(database)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT pg_current_xact_id()")
        yield


class Statements:
    """What is asked of the server from its making on, until ``count``."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self._log = server.folder / "log"
        server.set("log_statement", "all")
        self._from = self._log.stat().st_size

    def count(self) -> tuple[int, int, int]:
        """All statements, the hints among them, and the renewals of leases."""
        said = self._log.read_bytes()[self._from :]
        self._server.set("log_statement", "none")
        hints = re.findall(_STATEMENT + rb"\s*NOTIFY ", said)
        return len(re.findall(_STATEMENT, said)), len(hints), said.count(b"FROM synkrone.renew_lease(")


class CountedLine:
    """Leads to a server, and counts the ``octets`` that come from it."""

    def __init__(self, server: PostgresqlServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.octets = 0

    def url(self, database: str) -> str:
        return f"postgresql://owner@/{database}?host={self._folder}&port={self._server.port}"

    @property
    def socket(self) -> Path:
        return self._folder / Path(self._server.socket).name

    async def carry(self, from_node: asyncio.StreamReader, to_node: asyncio.StreamWriter) -> None:
        from_database, to_database = await asyncio.open_unix_connection(self._server.socket)
        forth = asyncio.create_task(_copy(from_node, to_database))
        try:
            while octets := await from_database.read(_CHUNK):
                self.octets += len(octets)
                to_node.write(octets)
        finally:
            forth.cancel()
            to_node.close()
            to_database.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(_CHUNK):
        writer.write(octets)
    writer.close()


@asynccontextmanager
async def counted_line(server: PostgresqlServer) -> AsyncIterator[CountedLine]:
    with tempfile.TemporaryDirectory() as folder:
        line = CountedLine(server, Path(folder))
        listening = await asyncio.start_unix_server(line.carry, line.socket)
        try:
            yield line
        finally:
            listening.close()
