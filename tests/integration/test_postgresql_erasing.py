"""Erasing from a PostgreSQL database leaves no row: in no table, and after a server that is gone in the middle."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from tornado.ioloop import IOLoop

from adapters.store.postgresql import connecting
from adapters.store.postgresql.database import Database, Written
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.postgresql.users import Registering
from adapters.store.times import second
from domain.model import Action, BlockUser, DisconnectUser, Room, UnblockUser, UserId
from tests.contract.inbox_deletions import has_content, tidy
from tests.contract.inbox_erasures import LATE, Late, found, use_inbox
from tests.contract.inbox_harness import COMPANY, HOUR, arrival, arrive, draft, ids_of, register
from tests.contract.inbox_schedule import later
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.integration.test_sqlite_deletions import MARKER as DELETED
from tests.integration.test_sqlite_deletions import delete
from tests.integration.test_sqlite_deletions import fill as fill_with_deleted
from tests.integration.test_sqlite_erasing import (
    MARKER,
    WHO,
    ZEBRA,
    assert_little_in_each_step,
    finish,
    name_thousands,
    notes,
)
from tests.postgresql import PostgresqlServer, Servers


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(15)


def store_of(server: PostgresqlServer, database: str) -> PostgresqlStore:
    clock = ManualClock()
    return PostgresqlStore(server.url(database), clock=clock, stamped_by=clock)


def remnants(server: PostgresqlServer, database: str) -> dict[str, int]:
    """In how many rows of each table something of them is found."""
    return rows_with(server, database, MARKER, WHO, WHO.replace("@", "_"))


def rows_with(server: PostgresqlServer, database: str, *texts: str) -> dict[str, int]:
    tables = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'synkrone'", database)
    found: dict[str, int] = {}
    found_in = " OR ".join(f"t::text LIKE '%{text}%'" for text in texts)
    for (table,) in tables:
        ((rows,),) = server.execute(
            f"SELECT count(*) FROM synkrone.{table} AS t WHERE {found_in}",  # noqa: S608
            database,
        )
        if rows:
            found[table] = rows
    return found


async def fill(store: PostgresqlStore) -> None:
    chance = random.Random(4)
    zebra, others = await register(store, WHO), [Room.of_user(f"other-{number}") for number in range(5)]
    for room in others:
        await register(store, room.removeprefix("user:"))
    ids = [f"{MARKER}-{number}-{WHO.replace('@', '_')}" for number in range(60)]
    await store.append([draft(id_, ZEBRA, body=MARKER * chance.choice((1, 1000))) for id_ in ids])
    await store.append([draft(f"k-{number}", ZEBRA, own_id=False, key=f"key {MARKER} {number}") for number in range(5)])
    await store.append([draft(f"many-{number}", ZEBRA, *others) for number in range(20)])
    for number in range(6):
        await store.change_members(f"topic-{number % 3}", [UserId("other-3"), WHO, UserId("other-4")], [], most=10)
        await store.append([draft(f"topic-{number}", Room.of_topic(f"topic-{number % 3}"))])
        if number != 4:
            await store.change_members(f"topic-{number % 3}", [], [WHO, UserId("other-4")], most=10)
    for action in (Action.SEEN, Action.READ, Action.ARCHIVE, Action.DELETE):
        await store.change(zebra, action, chance.sample(ids, 10), START, by=f"{MARKER} phone")
    await store.read_all(zebra, None, START, by=f"{MARKER} tablet")
    await store.recall(ids[0])
    await store.recall("many-3")
    for control in (DisconnectUser(WHO, reconnect=True), BlockUser(WHO, None, MARKER), UnblockUser(WHO)):
        await store.append_control(control)
    await store.forget_restrictions(issued_before=START, until=START)
    await store.acknowledge({(WHO, "company"): await store.head()})
    await store.record(notes())


def test_no_row_is_left(io_loop: IOLoop, server: PostgresqlServer, database: str) -> None:
    async def run() -> None:
        store = store_of(server, database)
        await store.open()
        await fill(store)
        other = await register(store, "other-3")
        before = await ids_of(store, other)
        assert remnants(server, database)
        await store.begin_erasure(WHO, "e", START)
        await store.tidy()
        # Another server goes on where this one is gone.
        await store.close()
        again = store_of(server, database)
        await again.open()
        await finish(again, "e")
        assert remnants(server, database) == {}
        assert await ids_of(again, other) == before
        await again.record(notes())
        await again.close()
        assert remnants(server, database) == {}

    io_loop.run_sync(run, timeout=60)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_what_was_under_way_at_another_server_leaves_no_row(
    server: PostgresqlServer, database: str, late: Late
) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        zebra = await register(other, WHO)
        before = await use_inbox(other, zebra)
        ids = [f"all-{number}" for number in range(38)]
        await other.append([draft(id_, COMPANY) for id_ in ids])
        snoozing = [asyncio.create_task(other.snooze(zebra, [id_], START + HOUR, START)) for id_ in ids]
        await erasing.begin_erasure(WHO, "e", START)
        await late(other, zebra, before)
        await asyncio.gather(*snoozing)
        await finish(erasing, "e")
        await late(other, zebra, before)
        assert remnants(server, database) == {}


@pytest.mark.gen_test(timeout=60)
async def test_whoever_is_erased_is_new_to_the_server_that_has_answered(
    server: PostgresqlServer, database: str
) -> None:
    url, clock = server.url(database), ManualClock()
    users = [UserId(f"user-{number}") for number in range(20)]
    async with opened(url, clock) as erasing, opened(url, clock) as other:

        async def append_elsewhere() -> None:
            for number in itertools.count():
                await other.append([draft(f"noise-{number}", ZEBRA)])

        for user in users:
            await register(erasing, user)
        await erasing.append([draft("a", COMPANY)])
        appending = asyncio.create_task(append_elsewhere())
        for user in users:
            await erasing.begin_erasure(user, user, START)
            subscriber = await register(erasing, user)
            assert subscriber.starts[Room.of_user(user)] == await erasing.erased_at(user) - 1
            assert await ids_of(erasing, subscriber) == []
        appending.cancel()
        with suppress(asyncio.CancelledError):
            await appending


@pytest.mark.gen_test(timeout=60)
async def test_of_what_names_thousands_little_is_gone_through_at_once(server: PostgresqlServer, database: str) -> None:
    def named() -> int:
        ((number,),) = server.execute(
            f"""
            SELECT count(*) FROM (
                SELECT coalesce(rooms, recalled) AS names FROM synkrone.contents
                UNION ALL SELECT rooms FROM synkrone.scheduled) AS each
            WHERE strpos(names, '{ZEBRA}') > 0""",  # noqa: S608
            database,
        )
        return int(number)

    async with opened(server.url(database), ManualClock()) as store:
        await name_thousands(store)
        await assert_little_in_each_step(store, named)


@pytest.mark.gen_test(timeout=60)
async def test_where_many_are_to_be_erased_what_is_due_is_not_late(server: PostgresqlServer, database: str) -> None:
    async with opened(server.url(database), ManualClock()) as store:
        await store.append([later(f"w-{number}", START + HOUR) for number in range(2)])
        many = """
            INSERT INTO synkrone.erasures (id, who, user_id, log_offset, begun_at, waits_upto)
            SELECT 'e-' || number, '', 'user-' || number, number, 0, 100
            FROM generate_series(1, 3000) AS given (number)"""
        server.execute(many, database)
        began = time.monotonic()
        assert len((await store.deliver_due(START + HOUR, 1)).late) == 1
        assert time.monotonic() - began < 0.2


async def all_wait(server: PostgresqlServer, database: str, *tasks: asyncio.Task[object]) -> None:
    """Until each of them waits for a lock in the database, or is over."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while server.execute(waiting, database) != [(sum(not task.done() for task in tasks),)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.gen_test(timeout=60)
async def test_a_change_in_the_middle_of_its_commit_leaves_no_row(server: PostgresqlServer, database: str) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        zebra = await register(other, WHO)
        await use_inbox(other, zebra)
        with server.connect(database) as in_the_way:
            in_the_way.execute("BEGIN")
            in_the_way.execute(
                "INSERT INTO synkrone.state (user_id, log_offset, deleted) "
                "SELECT %s, log_offset, false FROM synkrone.ids WHERE id = 'shared'",
                (WHO,),
            )
            changing = asyncio.create_task(other.snooze(zebra, ["shared"], START + HOUR, START))
            await all_wait(server, database, changing)
            beginning = asyncio.create_task(erasing.begin_erasure(WHO, "e", START))
            await all_wait(server, database, changing, beginning)
            in_the_way.execute("ROLLBACK")
        await asyncio.gather(changing, beginning)
        await finish(erasing, "e")
        assert remnants(server, database) == {}


@pytest.mark.gen_test(timeout=60)
async def test_what_is_due_in_the_middle_of_an_erasure_leaves_no_row(server: PostgresqlServer, database: str) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        await use_inbox(other, await register(other, WHO))
        with server.connect(database) as in_the_way:
            in_the_way.execute("BEGIN; SELECT FROM synkrone.log FOR UPDATE")
            beginning = asyncio.create_task(erasing.begin_erasure(WHO, "e", START))
            await all_wait(server, database, beginning)
            delivering = asyncio.create_task(other.deliver_due(START + 2 * HOUR, 100))
            await all_wait(server, database, beginning, delivering)
            in_the_way.execute("ROLLBACK")
        await asyncio.gather(beginning, delivering)
        await finish(erasing, "e")
        assert remnants(server, database) == {}


@pytest.mark.gen_test(timeout=60)
async def test_a_registration_in_the_middle_of_its_commit_is_before_or_behind(
    server: PostgresqlServer, database: str
) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        await register(erasing, WHO)
        await other.append([draft("a", COMPANY)])
        with server.connect(database) as in_the_way:
            in_the_way.execute("BEGIN")
            in_the_way.execute("INSERT INTO synkrone.marks VALUES (%s, 'manager', 0)", (WHO,))
            registering = asyncio.create_task(register(other, WHO, "manager"))
            await all_wait(server, database, registering)
            beginning = asyncio.create_task(erasing.begin_erasure(WHO, "e", START))
            await all_wait(server, database, registering, beginning)
            in_the_way.execute("ROLLBACK")
        await asyncio.gather(registering, beginning)
        await finish(erasing, "e")
        subscriber = await register(erasing, WHO, "manager")
        assert subscriber.starts == dict.fromkeys(subscriber.starts, 2) | {ZEBRA: 1}


@pytest.mark.gen_test(timeout=60)
async def test_what_is_noted_in_the_middle_of_an_erasure_leaves_no_row(server: PostgresqlServer, database: str) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        await use_inbox(other, await register(other, WHO))
        with server.connect(database) as in_the_way:
            in_the_way.execute("BEGIN")
            at = second(START)
            in_the_way.execute("INSERT INTO synkrone.ledger_receipts VALUES (%s, %s, '{}')", (WHO, at))
            noting = asyncio.create_task(other.record(notes()))
            await all_wait(server, database, noting)
            await erasing.begin_erasure(WHO, "e", START)
            in_the_way.execute("ROLLBACK")
        await noting
        assert remnants(server, database).keys() >= {"ledger_connections", "ledger_receipts"}
        await finish(erasing, "e")
        assert remnants(server, database) == {}


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("arrives", [False, True])
async def test_who_is_erased_before_they_are_found_is_registered_again(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch, *, arrives: bool
) -> None:
    url, clock = server.url(database), ManualClock()
    async with opened(url, clock) as erasing, opened(url, clock) as other:
        registering = Registering.run
        ids = iter(["e"])

        def register_and_erase(self: Registering, db: Database) -> Written:
            written = registering(self, db)
            for id_ in ids:
                asyncio.run_coroutine_threadsafe(erasing.begin_erasure(WHO, id_, START), loop).result()
            return written

        loop = asyncio.get_running_loop()
        await other.append([draft("a", COMPANY)])
        monkeypatch.setattr(Registering, "run", register_and_erase)
        if arrives:
            subscriber = (await arrive(other, arrival(WHO, "company"))).subscriber
        else:
            subscriber = await register(other, WHO)
        assert subscriber.starts == dict.fromkeys(subscriber.starts, 2) | {ZEBRA: 1}


def test_what_is_parked_names_them_no_more(io_loop: IOLoop, server: PostgresqlServer, database: str) -> None:
    async def run() -> None:
        store = store_of(server, database)
        await store.open()
        recipients = [{"user": WHO}, {"users": [WHO]}, {"users": ["other-1", WHO, "other-2"]}, {"users": ["other-1"]}]
        for number, recipient in enumerate(recipients):
            server.execute(
                f"""
                INSERT INTO synkrone.parked (number, published_at, weight, recipient, type, parked_at, reason)
                VALUES ({number}, 0, 1, '{json.dumps(recipient)}', 't', 0, 'is none')""",  # noqa: S608
                database,
            )
        await store.begin_erasure(WHO, "e", START)
        await finish(store, "e")
        assert remnants(server, database) == {}
        left = server.execute("SELECT number, recipient FROM synkrone.parked ORDER BY number", database)
        assert [*left] == [(2, {"users": ["other-1", "other-2"]}), (3, {"users": ["other-1"]})]
        await store.close()

    io_loop.run_sync(run, timeout=60)


@contextmanager
def nothing_is_vacuumed(server: PostgresqlServer, database: str) -> Iterator[None]:
    """Meanwhile."""
    with server.connect(database) as in_the_way:
        in_the_way.execute("BEGIN; LOCK TABLE synkrone.appends IN SHARE UPDATE EXCLUSIVE MODE")
        yield
        in_the_way.execute("ROLLBACK")


def vacuuming(server: PostgresqlServer, database: str) -> int:
    """How many wait for it."""
    waiting = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE 'VACUUM%' AND datname = current_database()"""
    ((number,),) = server.execute(waiting, database)
    return int(number)


@pytest.mark.gen_test(timeout=60)
async def test_a_vacuum_takes_as_long_as_it_takes_beside_the_rest(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url, clock = server.url(database), ManualClock()
    others = [UserId(f"other-{number}") for number in range(3)]
    monkeypatch.setattr(connecting.Line, "answer_seconds", 1.0)
    async with opened(url, clock) as store, opened(url, clock) as other:
        await store.append([draft(user, Room.of_user(user)) for user in others])
        await store.begin_erasure(WHO, "e", START)
        with nothing_is_vacuumed(server, database):
            async with asyncio.timeout(10):
                while not vacuuming(server, database):
                    await asyncio.gather(store.tidy(), other.tidy())
                began = time.monotonic()
                for user in others:
                    await store.begin_erasure(user, user, START)
                while any([(await found(store, user)).user is not None for user in others]):
                    await store.tidy()
                while time.monotonic() - began < 1.5:
                    await asyncio.gather(store.tidy(), other.tidy())
            assert vacuuming(server, database) == 1
            assert (await found(store, "e")).done_at is None
        await finish(store, "e")
        done = [await finish(store, user) for user in others]
        assert done[1:] == [0, 0]
        assert "could not be vacuumed" not in caplog.text


def test_a_store_that_is_closed_leaves_the_vacuum_for_later(server: PostgresqlServer, database: str) -> None:
    async def erase() -> None:
        async with opened(server.url(database), ManualClock()) as store:
            await store.begin_erasure(WHO, "e", START)
            tidying = asyncio.create_task(finish(store, "e"))
            async with asyncio.timeout(10):
                while not vacuuming(server, database):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            tidying.cancel()
            with suppress(asyncio.CancelledError):
                await tidying

    async def go_on() -> None:
        async with opened(server.url(database), ManualClock()) as store:
            await finish(store, "e")

    with nothing_is_vacuumed(server, database):
        began = time.monotonic()
        # It waits for the threads of its loop.
        asyncio.run(erase())
        assert time.monotonic() - began < connecting.LOCK_SECONDS - 1
    asyncio.run(go_on())


def test_no_row_has_what_all_have_deleted(io_loop: IOLoop, server: PostgresqlServer, database: str) -> None:
    async def run() -> None:
        store = store_of(server, database)
        await store.open()
        who_has = await fill_with_deleted(store, random.Random(5), 60)
        assert rows_with(server, database, DELETED)
        await delete(store, who_has, chance=random.Random(6))
        # Another server goes on where this one is gone.
        await store.close()
        again = store_of(server, database)
        await again.open()
        await tidy(again)
        assert rows_with(server, database, DELETED) == {}
        assert not any([await has_content(again, id_) for id_ in who_has])
        await again.close()

    io_loop.run_sync(run, timeout=60)
