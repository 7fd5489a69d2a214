"""Stores from which users were erased, or are being erased, moved and exported: nothing comes back elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.store.moving import moving
from adapters.store.sqlite.store import SqliteStore
from domain.model import Action, Erasure, RecoveryReason, Room
from tests.contract.inbox_harness import (
    CONFLICT,
    DUPLICATE,
    HOUR,
    OpenedStore,
    arrival,
    arrive,
    draft,
    ids_of,
    outcomes,
    register,
)
from tests.contract.inbox_schedule import later
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.integration.test_postgresql_erasing import remnants as rows_left
from tests.integration.test_sqlite_erasing import MARKER, WHO, ZEBRA, finish
from tests.integration.test_sqlite_erasing import remnants as bytes_left
from tests.moving import BrokenOff, RunningMove
from tests.postgresql import PostgresqlServer, Servers
from tests.transfers import InDatabase, InFile, export, import_
from tests.transfers import opened as opened_at

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

OTHER = Room.of_user("other")
AGAIN = [
    draft(f"{MARKER}-a", ZEBRA),
    draft("y", ZEBRA, own_id=False, key=f"key {MARKER}"),
    draft("b", ZEBRA, OTHER, body="for both"),
    later(f"{MARKER}-later", START + HOUR, ZEBRA),
]


def anywhere(erasure: Erasure | None) -> Erasure | None:
    """Without what a kind of store cannot overwrite."""
    return replace(erasure, left_in=()) if erasure is not None else None


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(15)


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    name = server.new_database()
    yield name
    server.drop_databases([name])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "synkrone.db"


@pytest.fixture(autouse=True)
def fast_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(moving, "ROUND_SHARE", 1)


async def fill(store: OpenedStore) -> None:
    """With what is for the one, for another, for both, and what waits for its time; and enough to take steps."""
    zebra, other = await register(store, WHO), await register(store, "other")
    await store.append([AGAIN[0], draft("x", ZEBRA, own_id=False, key=f"key {MARKER}"), *AGAIN[2:], draft("c", OTHER)])
    many = [f"{MARKER}-{number}" for number in range(1200)]
    await store.append([draft(id_, ZEBRA, body=MARKER) for id_ in many])
    await store.change(zebra, Action.READ, many[:500], START, by=f"{MARKER} phone")
    await store.change(other, Action.READ, ["b"], START, by="phone")
    await store.recall(many[0])
    await store.change_members("topic", [WHO, other.user], [], most=10)
    await store.append([draft("to-all", Room.of_topic("topic"))])


async def assert_stays_away(store: OpenedStore, erased: Erasure) -> None:
    assert anywhere(await store.erasure(erased.id)) == anywhere(erased)
    assert outcomes(await store.append(AGAIN)) == [DUPLICATE] * 4
    assert outcomes(await store.append([draft(f"{MARKER}-a", ZEBRA, title="other")])) == [CONFLICT]
    other, zebra = await register(store, "other"), await register(store, WHO)
    assert await ids_of(store, zebra) == []
    assert await ids_of(store, other) == ["to-all", "c", "b"]
    assert (await store.count(other)).counts.unread == 2


async def begun(store: OpenedStore, steps: int) -> Erasure:
    """An erasure, so many steps on."""
    await store.begin_erasure(WHO, "e", START)
    for _ in range(steps):
        await store.tidy()
    return await found(store)


async def found(store: OpenedStore) -> Erasure:
    erasure = await store.erasure("e")
    assert erasure is not None
    return erasure


@pytest.mark.parametrize("steps", [0, 2, 5, 60])
async def test_an_erasure_goes_on_after_a_move(steps: int, server: PostgresqlServer, database: str, file: Path) -> None:
    store = SqliteStore(file, clock=ManualClock())
    await store.open()
    await fill(store)
    before = await store.head()
    erasure = await begun(store, steps)
    await store.close()
    move = RunningMove(file, server.url(database))
    await move.ended()
    assert move.error is None
    async with opened(server.url(database)) as moved:
        assert anywhere(await moved.erasure("e")) == anywhere(erasure)
        cursor = await moved.head()
        await finish(moved, "e")
        assert rows_left(server, database) == {}
        await assert_stays_away(moved, await found(moved))
        assert (await arrive(moved, arrival(WHO, "company", cursor))).recovered
        assert (await arrive(moved, arrival(WHO, "company", before))).reason is RecoveryReason.TRIMMED


@pytest.mark.parametrize("kept", [0, 3, 40])
async def test_a_user_is_erased_while_the_move_follows(
    kept: int, server: PostgresqlServer, database: str, file: Path
) -> None:
    """Of whom all was copied before; the server ends in the middle of it, or behind that."""
    store = SqliteStore(file, clock=ManualClock())
    await store.open()
    await fill(store)
    move = RunningMove(file, server.url(database))
    await move.followed()
    erasure = await begun(store, kept)
    await register(store, "later")
    await store.append([draft("d", Room.of_user("later"))])
    await store.close()
    await move.ended()
    assert move.error is None
    async with opened(server.url(database)) as moved:
        assert anywhere(await moved.erasure("e")) == anywhere(erasure)
        assert await ids_of(moved, await register(moved, "later")) == ["d"]
        await finish(moved, "e")
        assert rows_left(server, database) == {}
        await assert_stays_away(moved, await found(moved))


@pytest.mark.parametrize("reports", [1, 2, 3])
async def test_one_that_broke_off_goes_on_though_somebody_was_erased_since(
    reports: int, server: PostgresqlServer, database: str, file: Path
) -> None:
    store = SqliteStore(file, clock=ManualClock())
    await store.open()
    await fill(store)
    await store.close()
    move = RunningMove(file, server.url(database), reports)
    await move.ended()
    assert isinstance(move.error, BrokenOff)
    await store.open()
    await store.begin_erasure(WHO, "e", START)
    await finish(store, "e")
    erasure = await found(store)
    await store.close()
    again = RunningMove(file, server.url(database))
    await again.ended()
    assert again.error is None
    async with opened(server.url(database)) as moved:
        assert rows_left(server, database) == {}
        await assert_stays_away(moved, erasure)


WAYS = pytest.mark.parametrize("way", ["file to file", "file to database", "database to file", "database to database"])


def places_of(way: str, server: PostgresqlServer, file: Path) -> tuple[InFile | InDatabase, InFile | InDatabase]:
    """From where to where."""
    file.with_name("imported").mkdir()
    source, destination = way.split(" to ")
    return (
        InFile(file) if source == "file" else InDatabase(server),
        InFile(file.parent / "imported" / "synkrone.db") if destination == "file" else InDatabase(server),
    )


@pytest.mark.parametrize("steps", [0, 2, 5, 60])
@WAYS
async def test_an_erasure_goes_on_after_an_export(way: str, steps: int, server: PostgresqlServer, file: Path) -> None:
    places = source, destination = places_of(way, server, file)
    clock, exported = ManualClock(), file.with_name("export.ndjson")
    async with opened_at(source, clock) as store:
        await fill(store)
        erasure = await begun(store, steps)
    export(source, exported)
    import_(exported, destination)
    async with opened_at(destination, clock) as imported:
        assert anywhere(await imported.erasure("e")) == anywhere(erasure)
        await finish(imported, "e")
        if isinstance(destination, InFile):
            assert bytes_left(destination.path) == {}
        else:
            assert rows_left(server, destination.name) == {}
        await assert_stays_away(imported, await found(imported))
    for place in places:
        if isinstance(place, InDatabase):
            place.drop()


BETWEEN = [draft(f"{MARKER}-between", ZEBRA), later(f"{MARKER}-between-later", START + HOUR, ZEBRA)]
SINCE = [draft("since", ZEBRA), later("since-later", START + HOUR, ZEBRA)]


@pytest.mark.parametrize("is_back", [False, True])
@pytest.mark.parametrize("steps", [0, 2, 60])
@WAYS
async def test_two_erasures_of_one_user_go_on_after_an_export(
    way: str,
    steps: int,
    is_back: bool,  # noqa: FBT001 (a parameter of the test)
    server: PostgresqlServer,
    file: Path,
) -> None:
    """Each has what came before it, and what came since the second one is the user's."""
    places = source, destination = places_of(way, server, file)
    clock, exported = ManualClock(), file.with_name("export.ndjson")
    async with opened_at(source, clock) as store:
        await fill(store)
        await begun(store, steps)
        await register(store, WHO)
        await store.append(BETWEEN)
        assert (await store.begin_erasure(WHO, "again", START)).id == "again"
        if is_back:
            await register(store, WHO)
            await store.append(SINCE)
    export(source, exported)
    import_(exported, destination)
    async with opened_at(destination, clock) as imported:
        await finish(imported, "e")
        for draft_ in AGAIN:
            assert await imported.published(draft_.notification.id) is None or draft_.rooms != {ZEBRA}
        await finish(imported, "again")
        if is_back:
            zebra = await register(imported, WHO)
            assert await ids_of(imported, zebra) == ["since"]
            await imported.deliver_due(START + HOUR, 10)
            assert await ids_of(imported, zebra) == ["since-later", "since"]
        elif isinstance(destination, InFile):
            assert bytes_left(destination.path) == {}
        else:
            assert rows_left(server, destination.name) == {}
        assert outcomes(await imported.append([*AGAIN, *BETWEEN])) == [DUPLICATE] * 6
    for place in places:
        if isinstance(place, InDatabase):
            place.drop()
