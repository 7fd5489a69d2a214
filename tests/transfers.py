"""Exports and imports in a test's own process: the places that a store may be in, and files that are taken apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest

from adapters.store.moving import exporting, importing
from adapters.store.moving.database_destination import DatabaseDestination
from adapters.store.moving.database_origin import DatabaseOrigin
from adapters.store.moving.destination import Destination
from adapters.store.moving.exporting import Exported
from adapters.store.moving.file_destination import FileDestination
from adapters.store.moving.file_origin import FileOrigin
from adapters.store.moving.importing import Imported
from adapters.store.moving.origin import LINE_OF, Origin
from adapters.store.moving.target import Database
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.store import SqliteStore
from domain.model import Action, BlockUser, Checkpoint, RevokeTokens, Room, UserId
from domain.ports import Clock
from tests.contract.inbox_harness import ANN, COMPANY, HOUR, OpenedStore, draft, register
from tests.doubles import ManualClock
from tests.postgresql import PostgresqlServer, Servers

CHECK_DIGITS = 16

Lines: TypeAlias = list[dict[str, Any]]

KINDS = ["file", pytest.param("database", marks=pytest.mark.check)]
"""Of places."""


class Place(Protocol):
    """Where a store is, or may be."""

    def origin(self) -> Origin: ...

    def destination(self) -> Destination: ...

    def store(self, clock: Clock, **options: Any) -> PostgresqlStore | SqliteStore:
        """Not open yet."""


class InFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def origin(self) -> Origin:
        return FileOrigin(self.path)

    def destination(self) -> Destination:
        return FileDestination(self.path)

    def store(self, clock: Clock, **options: Any) -> SqliteStore:
        return SqliteStore(self.path, clock=clock, **options)


class InDatabase:
    """One of its own, without a schema."""

    def __init__(self, server: PostgresqlServer) -> None:
        self.server = server
        self.name = server.new_database()
        self.url = server.url(self.name)

    @property
    def _database(self) -> Database:
        address = Address(self.url)
        return Database(address, address.place)

    def origin(self) -> Origin:
        return DatabaseOrigin(self._database)

    def destination(self) -> Destination:
        return DatabaseDestination(self._database)

    def store(self, clock: Clock, **options: Any) -> PostgresqlStore:
        return PostgresqlStore(self.url, clock=clock, stamped_by=clock, **options)

    def drop(self) -> None:
        self.server.drop_databases([self.name])


@contextmanager
def empty_place(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """Of the kind that is the parameter of a fixture, with nothing in it."""
    if request.param == "file":
        yield InFile(folder / "imported.db")
        return
    servers: Servers = request.getfixturevalue("postgresql")
    database = InDatabase(servers.of(15))
    yield database
    database.drop()


async def assert_nothing_is_served(place: Place) -> None:
    """Where an import was begun and has not ended."""
    store = place.store(ManualClock())
    with pytest.raises(StoreUnusable, match=r"import into .* is not finished: run synkrone-socket import again"):
        await store.open()


@asynccontextmanager
async def _opened(place: Place, clock: Clock, options: dict[str, Any]) -> AsyncIterator[OpenedStore]:
    store = place.store(clock, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def opened(place: Place, clock: Clock, **options: Any) -> AbstractAsyncContextManager[OpenedStore]:
    return _opened(place, clock, options)


def tell(_what: str, _done: int, _total: int | None) -> None:
    pass


def export(place: Place, file: Path) -> Exported:
    with closing(place.origin()) as origin, file.open("wb") as out:
        return exporting.export(origin, out, tell, version="1.2.3")


def import_(file: Path, place: Place) -> Imported:
    with file.open("rb") as source:
        return importing.import_(source, "FILE", file.stat().st_size, place.destination, tell)


def lines_of(file: Path) -> Lines:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def sealed(lines: Sequence[dict[str, Any]]) -> bytes:
    """A file with these lines, whose numbers, checks and digest are those that they have to have: as the
    documentation has it."""
    running = sha256()
    octets = b""
    for number, line in enumerate(lines, 1):
        said = line | {"line": number}
        said.pop("check", None)
        if "digest" in said and said["kind"] == "end":
            said["digest"] = running.hexdigest()
        body = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
        running.update(body)
        rest = f',"check":"{running.hexdigest()[:CHECK_DIGITS]}"}}\n'.encode()
        running.update(rest)
        octets += body + rest
    return octets


RETENTION = {"retention_log": HOUR, "retention_inbox": 3 * HOUR}


async def fill(place: Place, clock: ManualClock | None = None) -> None:
    """As servers leave it that have ended: two generations, of which the first has lost some entries."""
    clock = clock or ManualClock()
    async with opened(place, clock, **RETENTION) as store:
        await store.append([draft("n-lost", ANN)])
        clock.advance(2 * 3600)
        ann = await register(store)
        await register(store, "bob", "admin")
        awkward = 'a "quote",\na line, \\ \u2028 and \U0001f600'
        await store.append([draft("n-0", title=awkward, data=b'{\n "n": 1.50e2,\t"s": "\\u0000\\/"\n}')])
        await store.append([draft("n-1", COMPANY, key="k-1"), draft("n-2", ANN, Room("user:bob"), own_id=False)])
        await store.append([draft("n-3", expires_at=clock.now() + HOUR)], checkpoint=Checkpoint("feed", "r-1"))
        await store.change(ann, Action.READ, ["n-0"], clock.now(), by='the "phone"')
        await store.acknowledge({(ann.user, ann.role): await store.head()})
        await store.read_all(ann, None, clock.now(), by="desk")
        await _erase(store, clock)
        await store.append_control(RevokeTokens(UserId("ann"), clock.now()))
        await store.append_control(BlockUser(UserId("bob"), clock.now() + HOUR, 'a "reason" \u05d3'))
        clock.advance(2 * 3600)
        while await store.tidy():
            pass
        await store.append([draft("n-4")])
        await store.change(ann, Action.DELETE, ["n-1"], clock.now())
        await store.append([draft("n-6", collapse_key="k"), draft("n-7", collapse_key="k")])
        await store.change_members("team", [UserId("ann")], [], most=1)
        due = clock.now() + 24 * HOUR
        await store.append([replace(draft("n-8", created_at=due), deliver_at=due, waits=True)])
    async with opened(place, clock, **RETENTION) as store:
        await store.append([draft("n-5")])


async def _erase(store: OpenedStore, clock: ManualClock) -> None:
    """One who is gone, and one of whom something is left."""
    for user in ("dora", "emil"):
        await register(store, user)
        await store.append([draft(f"n-of-{user}", Room(f"user:{user}"), key=f"key-of-{user}")])
        await store.begin_erasure(UserId(user), f"erasure-of-{user}", clock.now())
        while user == "dora" and await store.tidy():
            pass


def filled_export(folder: Path) -> Path:
    """A file with lines of every kind, of a store beside it in ``synkrone.db``."""
    place, file = InFile(folder / "synkrone.db"), folder / "export.ndjson"
    asyncio.run(fill(place))
    export(place, file)
    assert {line["kind"] for line in lines_of(file)} >= {line.__struct_config__.tag for line in LINE_OF.values()}
    return file


def octets_of(file: Path) -> bytes:
    return file.read_bytes()


def taken_apart(octets: bytes) -> list[bytes]:
    return octets.splitlines(keepends=True)


def said(lines: Lines) -> list[str]:
    """What the lines say of the store, whatever their order: not that another generation was begun since."""
    header, *rest, _ = lines
    last = [line["epoch"] for line in lines if line["kind"] == "epoch"]
    kept = [
        {name: value for name, value in line.items() if name not in {"line", "check"}}
        for line in rest
        if not (line["kind"] == "epoch" and line["first"] > header["head"])
    ]
    assert header["epoch"] == last[-1]
    return sorted(json.dumps(line, sort_keys=True) for line in kept)


def first(lines: Lines, kind: str) -> dict[str, Any]:
    return next(line for line in lines if line["kind"] == kind)


def double(lines: Lines, kind: str) -> None:
    found = first(lines, kind)
    lines.insert(lines.index(found), dict(found))
    lines[-1]["counts"][kind] += 1
