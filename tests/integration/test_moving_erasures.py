"""A move of a file from which users were erased, or are being erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.store.served import StoreUnusable
from adapters.store.sqlite.store import SqliteStore
from tests.contract.inbox_harness import CONFLICT, DUPLICATE, draft, outcomes
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.integration.test_sqlite_erasing import WHO, ZEBRA, finish
from tests.moving import RunningMove
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(15)


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    name = server.new_database()
    yield name
    server.drop_databases([name])


async def test_what_was_erased_does_not_come_back_after_a_move(
    server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "synkrone.db"
    store = SqliteStore(file, clock=ManualClock())
    await store.open()
    await store.append([draft("a", ZEBRA), draft("x", ZEBRA, own_id=False, key="k"), draft("b")])
    await store.begin_erasure(WHO, "e", START)
    await finish(store, "e")
    await store.close()
    move = RunningMove(file, server.url(database))
    await move.ended()
    assert move.error is None
    async with opened(server.url(database)) as moved:
        again = [draft("a", ZEBRA), draft("y", ZEBRA, own_id=False, key="k"), draft("b")]
        assert outcomes(await moved.append(again)) == [DUPLICATE] * 3
        assert outcomes(await moved.append([draft("a", ZEBRA, title="other")])) == [CONFLICT]


async def test_a_move_is_refused_while_a_user_is_being_erased(
    server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "synkrone.db"
    store = SqliteStore(file, clock=ManualClock())
    await store.open()
    await store.append([draft("a", ZEBRA)])
    await store.begin_erasure(WHO, "e", START)
    await store.close()
    move = RunningMove(file, server.url(database))
    await move.ended()
    assert isinstance(move.error, StoreUnusable)
    assert "is being erased" in str(move.error)
