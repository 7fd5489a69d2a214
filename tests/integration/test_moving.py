"""A move from a SQLite file into a PostgreSQL database, step by step: what goes with it, and what it refuses."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from adapters.store.moving import moving
from adapters.store.moving.progress import Step
from adapters.store.moving.source import Source
from adapters.store.moving.target import Target
from adapters.store.postgresql import moved, opening
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.schema import migrate
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.served import StoreUnusable
from adapters.store.sqlite import changes
from adapters.store.sqlite.schema import APPLICATION_ID
from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from domain.model import Action, BlockUser, Checkpoint, RevokeTokens, Room, UnblockUser, UserId
from tests.contract.inbox_deletions import tidy
from tests.contract.inbox_harness import (
    ANN,
    COMPANY,
    DUPLICATE,
    HOUR,
    STORED,
    draft,
    ids_of,
    outcomes,
    pass_time,
    register,
)
from tests.contract.inbox_revisions import titled, to
from tests.contract.inbox_schedule import later
from tests.contract.moved_rows import rows_of_database, rows_of_file
from tests.documents import block
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.moving import RunningMove
from tests.postgresql import PostgresqlServer, Servers, running_server

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """With nothing in it."""
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


@asynccontextmanager
async def serving_from(file: Path, clock: ManualClock, **options: Any) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(file, clock=clock, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def fill(file: Path, number: int = 3) -> None:
    """As a server that has ended leaves it."""
    async with serving_from(file, ManualClock()) as store:
        await register(store)
        await store.append([draft(f"n-{one}") for one in range(number)])


async def read_all_twice(file: Path) -> None:
    async with serving_from(file, ManualClock()) as store:
        ann = await register(store)
        for _ in range(2):
            head = await store.head()
            await store.append([draft(f"after-{head.offset}")])
            await store.read_all(ann, None, ManualClock().now())


async def move(file: Path, url: str) -> RunningMove:
    """One without a server beside it."""
    move = RunningMove(file, url)
    await move.ended()
    return move


def refusal(move: RunningMove) -> str:
    assert isinstance(move.error, StoreUnusable)
    return str(move.error)


async def test_what_is_done_while_it_follows_goes_with_it(
    server: PostgresqlServer, database: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WATERMARKS_PER_USER", 2)
    clock = ManualClock()
    retention = {"retention_log": HOUR, "retention_inbox": 2 * HOUR}
    async with serving_from(file, clock, **retention) as store:
        ann = await register(store)
        many = draft("n-many", ANN, *(Room(f"user:u-{number}") for number in range(1500)))
        await store.append([draft("n-0"), draft("n-1", COMPANY, key="k-1"), many])
        await store.change(ann, Action.READ, ["n-0"], clock.now())
        await store.read_all(ann, None, clock.now())
        clock.advance(3600)
        await store.append([draft("n-2"), draft("n-3")])
        for user in ("ann", "bob", "cid"):
            await store.append_control(RevokeTokens(UserId(user), clock.now()))
        await store.append_control(BlockUser(UserId("bob"), None, 'a "reason" \u05d3'))
        move = RunningMove(file, server.url(database))
        await move.followed()
        copied = rows_of_database(server, database)
        assert copied["state"]
        assert len(copied["restrictions"]) == 3
        await store.append_control(UnblockUser(UserId("bob")))
        await store.append_control(BlockUser(UserId("ann"), clock.now() + HOUR, None))
        await store.forget_restrictions(issued_before=clock.now(), until=clock.now())
        await store.change(ann, Action.ARCHIVE, ["n-2"], clock.now())
        await store.change(ann, Action.UNARCHIVE, ["n-2"], clock.now())
        for number in range(3):
            await store.append([draft(f"more-{number}")])
            await store.read_all(ann, None, clock.now())
        await store.append(
            [draft("c-1", collapse_key="k"), draft("c-2", collapse_key="k"), later("w", clock.now() + HOUR)]
        )
        for topic in ("one", "two"):
            await store.change_members(topic, [UserId("ann"), UserId("bob")], [], most=10)
        await store.change_members("one", [], [UserId("bob")], most=10)
        await store.append([draft("n-4")], checkpoint=Checkpoint("feed", "r-4"))
        await store.recall("n-3")
        # It is taken along from the log, before that loses it.
        async with asyncio.timeout(20):
            while all(row[7] is not None for row in rows_of_database(server, database)["contents"]):  # noqa: ASYNC110 (another thread does it)
                await asyncio.sleep(0.05)
        await store.acknowledge({(ann.user, ann.role): await store.head()})
        await register(store, "bob")
        # Until of the oldest contents some have left their rooms, and others have not.
        clock.advance(3601)
        while await store.tidy():
            rooms = [row[6] for row in rows_of_file(file)["contents"] if row[3] == "n-many"]
            if rooms and rooms[0].count("\n") < 1000:
                break
        else:
            raise AssertionError("it went at once")
    await move.ended()
    assert move.moved is not None, move.error
    after = rows_of_database(server, database)
    assert after == rows_of_file(file)
    # Otherwise nothing of it was tried.
    for table in copied.keys() - {"epochs", "tombstones", "erasures"}:
        assert after[table] != copied[table], table
    assert any(row[3] == "n-many" for row in after["contents"])
    assert [row[7:] for row in after["contents"] if row[3] == "n-3"] == [(None, ANN, None)]
    async with opened(server.url(database), clock, **retention) as store:
        assert outcomes(await store.append([draft("n-4"), draft("x", COMPANY, key="k-1")])) == [DUPLICATE, STORED]
        assert await store.checkpoint("feed") == "r-4"
        await pass_time(store, clock, HOUR)


async def test_what_is_taken_back_between_two_runs_is_so_in_the_database(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    await fill(file)
    broken_off = RunningMove(file, server.url(database), break_off_at=2)
    await broken_off.ended()
    assert broken_off.moved is None
    assert len(rows_of_database(server, database)["contents"]) == 3
    async with serving_from(file, ManualClock()) as store:
        await store.recall("n-1")
    ended = await move(file, server.url(database))
    assert ended.moved is not None, ended.error
    assert rows_of_database(server, database) == rows_of_file(file)
    async with opened(server.url(database)) as moved_store:
        assert await ids_of(moved_store, await register(moved_store)) == ["n-2", "n-0"]


async def amend_and_trim(store: SqliteStore, clock: ManualClock) -> None:
    """Of what is done to notifications that are copied, the log has nothing any more."""
    await store.recall("n-1")
    await store.revise("n-2", titled("new"), clock.now())
    await store.revise("n-0", to(expires_at=clock.now() + 3 * HOUR), clock.now())
    await pass_time(store, clock, 2 * HOUR)


async def test_what_was_done_to_notifications_goes_along_though_the_log_has_lost_it_between_two_runs(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    await fill(file)
    broken_off = RunningMove(file, server.url(database), break_off_at=2)
    await broken_off.ended()
    clock = ManualClock()
    async with serving_from(file, clock, retention_log=HOUR) as store:
        await amend_and_trim(store, clock)
    assert not rows_of_file(file)["entries"]
    ended = await move(file, server.url(database))
    assert ended.moved is not None, ended.error
    assert rows_of_database(server, database) == rows_of_file(file)


async def test_what_was_done_to_notifications_goes_along_though_the_log_loses_it_before_it_is_read(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    clock = ManualClock()
    async with serving_from(file, clock, retention_log=HOUR) as store:
        await register(store)
        await store.append([draft(f"n-{one}") for one in range(3)])
        move = RunningMove(file, server.url(database), halt_at=Step.FOLLOWING)
        await move.halted()
        copied = rows_of_database(server, database)["contents"]
        await amend_and_trim(store, clock)
        assert not rows_of_file(file)["entries"]
    move.go_on()
    await move.ended()
    assert move.moved is not None, move.error
    after = rows_of_database(server, database)
    assert after == rows_of_file(file)
    assert not copied & after["contents"]


async def test_what_is_done_to_notifications_while_what_was_copied_is_verified_is_no_difference(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    await fill(file)
    broken_off = RunningMove(file, server.url(database), break_off_at=2)
    await broken_off.ended()
    async with serving_from(file, ManualClock()) as store:
        move = RunningMove(file, server.url(database), halt_at=Step.VERIFYING)
        await move.halted()
        await store.recall("n-1")
        await store.revise("n-2", to(title="new", expires_at=START + HOUR), START)
    move.go_on()
    await move.ended()
    assert move.moved is not None, move.error
    assert rows_of_database(server, database) == rows_of_file(file)


async def delete_a_revised_one(store: SqliteStore) -> None:
    ann = await register(store)
    await store.revise("n-1", titled("new"), START)
    assert (await store.change(ann, Action.DELETE, ["n-1"], START)).changed == 1
    await tidy(store)


@pytest.mark.parametrize("step", [None, Step.VERIFYING, Step.FOLLOWING])
async def test_what_all_have_deleted_is_moved_without_its_content(
    server: PostgresqlServer, database: str, file: Path, step: Step | None
) -> None:
    await fill(file)
    if step is not Step.FOLLOWING:
        broken_off = RunningMove(file, server.url(database), break_off_at=2)
        await broken_off.ended()
    async with serving_from(file, ManualClock()) as store:
        if step is None:
            await delete_a_revised_one(store)
        move = RunningMove(file, server.url(database), halt_at=step)
        if step is not None:
            await move.halted()
            await delete_a_revised_one(store)
    move.go_on()
    await move.ended()
    assert move.moved is not None, move.error
    assert rows_of_database(server, database) == rows_of_file(file)
    assert [row[7] is None for row in rows_of_file(file)["contents"] if row[3] == "n-1"] == [True]


async def test_a_cursor_of_the_file_goes_on_in_the_database_where_the_next_epoch_begins(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    await fill(file)
    async with serving_from(file, ManualClock()) as before:
        cursor, secret = await before.head(), await before.secret()
    assert (await move(file, server.url(database))).moved is not None
    async with opened(server.url(database)) as store:
        assert await store.secret() == secret
        ann = await register(store)
        (appended,) = await store.append([draft("next")])
        assert (appended.position.offset, appended.position.epoch == cursor.epoch) == (cursor.offset + 1, False)
        page = await store.read(ann, cursor, max_entries=10, max_bytes=1 << 20)
        assert [entry.position for entry in page.entries] == [appended.position]
        assert await ids_of(store, ann) == ["next", "n-2", "n-1", "n-0"]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_of_an_older_version_is_made_one_of_today_s_first(
    server: PostgresqlServer, database: str, file: Path, version: int
) -> None:
    if version == 1:
        shutil.copy(DATA / "inbox-1.sqlite", file)
    else:
        with closing(sqlite3.connect(file)) as db:
            db.executescript((DATA / "inbox-2.sql").read_text())
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA user_version = 2")
    ended = await move(file, server.url(database))
    assert ended.moved is not None, ended.error
    assert rows_of_database(server, database) == rows_of_file(file)


async def test_a_file_that_was_sealed_is_refused_and_says_where_the_store_is(
    server: PostgresqlServer, database: str, file: Path
) -> None:
    await fill(file)
    assert (await move(file, server.url(database))).moved is not None
    store = SqliteStore(file, clock=SystemClock())
    said = f"{file} was moved to {Address(server.url(database)).place}: name that in the setting store"
    for attempt in (store.check, store.migrate):
        with pytest.raises(StoreUnusable) as refused:
            attempt()
        assert str(refused.value) == said
    with pytest.raises(StoreUnusable) as refused:
        await store.open()
    assert str(refused.value) == said
    again = await move(file, server.url(database))
    assert again.moved is not None
    assert again.moved.before


@pytest.mark.parametrize("where", ["put_seal", "finish"])
async def test_one_that_breaks_off_around_the_seal_goes_forward(
    server: PostgresqlServer, database: str, file: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WATERMARKS_PER_USER", 2)
    await fill(file)
    await read_all_twice(file)
    with monkeypatch.context() as patch:

        def break_off(*_: object) -> None:
            raise StoreUnusable("broken off")

        patch.setattr(Target if where == "finish" else Source, where, break_off)
        assert refusal(await move(file, server.url(database))) == "broken off"
    database_store = PostgresqlStore(server.url(database), clock=SystemClock())
    unfinished = "is not finished: run synkrone-socket move again"
    with pytest.raises(StoreUnusable, match=unfinished):
        database_store.check()
    with pytest.raises(StoreUnusable, match=unfinished):
        await database_store.open()
    if where == "put_seal":
        # Whoever goes back may store more, and forget some, and move again.
        await fill(file, 5)
        await read_all_twice(file)
    else:
        with pytest.raises(StoreUnusable, match="was moved to"):
            await SqliteStore(file, clock=SystemClock()).open()
    again = await move(file, server.url(database))
    assert again.moved is not None, again.error
    assert Step.VERIFYING in again.steps
    assert rows_of_database(server, database) == rows_of_file(file)
    assert database_store.check() is None
    async with opened(server.url(database)) as store:
        assert len(await ids_of(store, await register(store))) == (9 if where == "put_seal" else 5)


async def test_the_rights_of_the_server_are_enough(server: PostgresqlServer, database: str, file: Path) -> None:
    role = f"of_{database}"
    migrate(Address(server.url(database)))
    server.execute(f"CREATE ROLE {role} LOGIN")
    grants = block("docs/how-to/postgresql.md", "sql", "GRANT").replace("TO synkrone;", f"TO {role};")
    for statement in grants.split(";\n"):
        server.execute(statement, database)
    await fill(file)
    ended = await move(file, server.url(database, role))
    assert ended.moved is not None, ended.error
    assert rows_of_database(server, database) == rows_of_file(file)
    server.execute(f"DROP OWNED BY {role}", database)
    server.execute(f"DROP ROLE {role}")


async def test_a_database_that_crashes_ends_the_move_which_goes_on_when_it_is_back(file: Path) -> None:
    with running_server(18) as server:
        database = server.new_database()
        await fill(file, 5000)
        async with serving_from(file, ManualClock()) as store:
            move = RunningMove(file, server.url(database))
            await move.followed()
            await asyncio.to_thread(server.stop, how=signal.SIGQUIT)
            await move.ended()
            assert refusal(move).endswith("run it again, and it goes on from there")
            await asyncio.to_thread(server.start)
            again = RunningMove(file, server.url(database))
            await again.followed()
            await store.append([draft("last")])
        await again.ended()
        assert again.moved is not None, again.error
        assert rows_of_database(server, database) == rows_of_file(file)


async def test_a_server_that_is_started_while_a_move_ends_waits_for_it(
    server: PostgresqlServer, database: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(file)
    async with serving_from(file, ManualClock()) as before:
        move = RunningMove(file, server.url(database))
        await move.followed()
        after = PostgresqlStore(server.url(database), clock=SystemClock())
        opening = asyncio.create_task(after.open())
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not server.execute(waiting, database):
            await asyncio.sleep(0.01)
            assert not opening.done()
        await before.append([draft("last")])
    await opening
    await move.ended()
    assert await ids_of(after, await register(after)) == ["last", "n-2", "n-1", "n-0"]
    await after.close()


async def test_a_server_that_is_started_too_early_says_so(
    server: PostgresqlServer, database: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved, "WAIT_SECONDS", 1)
    await fill(file)
    async with serving_from(file, ManualClock()):
        move = RunningMove(file, server.url(database))
        await move.followed()
        with pytest.raises(StoreUnusable, match="is under way: start again when it has ended"):
            await PostgresqlStore(server.url(database), clock=SystemClock()).open()
        refused = refusal(await move_beside(file, server.url(database)))
        assert refused == "another move or import into this database is under way"
    await move.ended()
    assert move.moved is not None


async def test_a_server_that_looked_just_before_a_move_began_opens_nothing(
    server: PostgresqlServer, database: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(file)
    async with serving_from(file, ManualClock()):
        move = RunningMove(file, server.url(database))
        await move.followed()
        monkeypatch.setattr(opening, "wait_for_move", lambda _: None)
        with pytest.raises(StoreUnusable, match="a move into this database is not finished"):
            await PostgresqlStore(server.url(database), clock=SystemClock()).open()
    await move.ended()
    assert rows_of_database(server, database) == rows_of_file(file)


async def move_beside(file: Path, url: str) -> RunningMove:
    second = RunningMove(file, url)
    await second.ended()
    return second


async def test_only_what_nobody_has_opened_is_moved_into(server: PostgresqlServer, database: str, file: Path) -> None:
    await fill(file)
    async with opened(server.url(database)):
        pass
    assert refusal(await move(file, server.url(database))).startswith("a server has stored in this database")
    async with serving_from(file, ManualClock()) as store:
        assert (await store.head()).offset == 3


async def test_a_move_belongs_to_one_file_and_one_database(
    server: PostgresqlServer, database: str, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    for one in (file, other):
        await fill(one)
    broken_off = RunningMove(file, server.url(database), break_off_at=1)
    await broken_off.ended()
    assert refusal(await move(other, server.url(database))).startswith("a move of another file than")
    assert (await move(file, server.url(database))).moved is not None
    assert "holds a store already" in refusal(await move(other, server.url(database)))
    second = server.new_database()
    assert f"was moved to {Address(server.url(database)).place}" in refusal(await move(file, server.url(second)))
    server.drop_databases([second])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE synkrone.contents SET payload = replace(payload, 'n-1', 'n-9') WHERE id = 'n-1'",
        "UPDATE synkrone.ids SET digest = NULL WHERE id = 'n-1'",
        "DELETE FROM synkrone.placed WHERE log_offset = 2",
        "DELETE FROM synkrone.entries WHERE log_offset = 2",
        "UPDATE synkrone.entries SET stored_at = stored_at + 1 WHERE log_offset = 2",
    ],
)
async def test_a_difference_in_what_was_copied_stops_it(
    server: PostgresqlServer, database: str, file: Path, damage: str
) -> None:
    await fill(file)
    broken_off = RunningMove(file, server.url(database), break_off_at=2)
    await broken_off.ended()
    server.execute(damage, database)
    said = refusal(await move(file, server.url(database)))
    assert "do not have the same between the offsets 0 and 3" in said
    assert "drop the schema synkrone" in said
    async with serving_from(file, ManualClock()) as store:
        assert (await store.head()).offset == 3


async def test_a_file_that_was_put_back_from_a_backup_is_noticed(
    server: PostgresqlServer, database: str, file: Path, tmp_path: Path
) -> None:
    await fill(file, 2)
    backup = Path(shutil.copy(file, tmp_path / "backup.db"))
    await fill(file, 4)
    broken_off = RunningMove(file, server.url(database), break_off_at=2)
    await broken_off.ended()
    shutil.copy(backup, file)
    assert "do not have the same between the offsets 2 and 4" in refusal(await move(file, server.url(database)))
    async with serving_from(file, ManualClock()) as store:
        await store.append([draft(f"other-{number}") for number in range(2)])
    assert "do not have the same between the offsets 0 and 4" in refusal(await move(file, server.url(database)))
