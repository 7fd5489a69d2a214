"""A store in PostgreSQL that was small when its server first asked for everything: the plans that the server keeps of
then read no whole table of now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tornado.ioloop import IOLoop

from adapters.store.postgresql.store import PostgresqlStore
from domain.model import EVERYONE, Action, BlockUser, DeliveriesQuery, InboxQuery, Room, UserId
from tests.contract.inbox_harness import HOUR, arrival, draft, register
from tests.doubles import ManualClock
from tests.postgresql import PostgresqlServer, Servers

pytestmark = pytest.mark.check

ROWS = 20_000
TIMES_BEFORE = 12
"""After five of them a plan is kept, whatever it is asked with."""

STATE = f"""
    INSERT INTO synkrone.state (user_id, log_offset, read_at, seen_at, read_by, deleted, snoozed_until)
    SELECT 'u' || n % 2000, n, 1, 1, NULL, false, CASE WHEN n % 2 = 0 THEN 9e15::bigint END
    FROM generate_series(1, {ROWS}) AS n"""  # noqa: S608
READS = """
    SELECT relname, indexrelname, idx_tup_read FROM pg_stat_user_indexes WHERE idx_tup_read > 0
    UNION ALL SELECT relname, NULL, seq_tup_read FROM pg_stat_user_tables WHERE seq_tup_read > 0
    ORDER BY 3 DESC"""


@pytest.fixture(params=[15, 18], ids=str)
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


def store_of(server: PostgresqlServer, database: str, clock: ManualClock) -> PostgresqlStore:
    return PostgresqlStore(
        server.url(database),
        clock=clock,
        stamped_by=clock,
        retention_log=timedelta(9999),
        retention_inbox=timedelta(9999),
    )


async def do_everything(store: PostgresqlStore, name: str, clock: ManualClock) -> None:
    """What users and backends ask for; of each a little, and for users and groups of its own."""
    now, topic, role = clock.now(), Room.of_topic(f"{name}-team"), Room.of_role(f"{name}-role")
    ann, bob = await register(store, f"{name}-ann", f"{name}-role"), await register(store, f"{name}-bob")
    to_ann, to_bob = Room.of_user(ann.user), Room.of_user(bob.user)
    await store.change_members(f"{name}-team", [ann.user, bob.user], [], most=9)
    start = await store.head()
    await store.append(
        [
            draft(f"{name}-own", to_ann, to_bob, key=f"{name}-key"),
            draft(f"{name}-role", role, expires_at=now + HOUR),
            draft(f"{name}-topic", topic),
            draft(f"{name}-all-of", Room.of_all([topic, role])),
        ]
    )
    await store.append([draft(f"{name}-own", to_ann, to_bob, key=f"{name}-key")])
    for number in range(2):
        await store.append([draft(f"{name}-collapse-{number}", to_ann, EVERYONE, collapse_key=f"{name}-k")])
    waiting = [replace(draft(f"{name}-due-{n}", to_ann), deliver_at=now + HOUR, waits=True) for n in range(4)]
    await store.append(waiting)
    await store.cancel(f"{name}-due-0")
    await store.revise_scheduled(f"{name}-due-1", lambda one: replace(one, title="other"), now)
    await store.snooze(ann, [f"{name}-own", f"{name}-role"], now + HOUR, now)
    await store.snooze(ann, [f"{name}-topic"], now + HOUR, now)
    await store.snooze(ann, [f"{name}-topic"], now, now)
    clock.advance(3600)
    assert len((await store.deliver_due(clock.now(), 100)).late) == 5
    await store.revise(f"{name}-own", lambda one: replace(one, title="other"), now)
    await store.recall(f"{name}-due-2")
    await store.change(ann, Action.READ, [f"{name}-own", f"{name}-role"], now)
    await store.change(ann, Action.DELETE, [f"{name}-role"], now)
    await store.read_all(ann, None, now)
    await store.acknowledge({(ann.user, ann.role): await store.head()})
    await store.arrive([arrival(ann.user, ann.role, start)])
    await store.read(ann, start, max_entries=10, max_bytes=1 << 20)
    await store.count(ann)
    await store.list_items(ann, InboxQuery(limit=5))
    await store.addressed(ann.user, DeliveriesQuery(limit=5))
    published = await store.published(f"{name}-topic")
    assert published is not None
    await store.recipients(published, None, 5)
    await store.append_control(BlockUser(UserId(f"{name}-carl"), clock.now(), None))
    await store.begin_erasure(bob.user, f"{name}-erasure", now)
    while await store.tidy():
        pass
    await store.change_members(f"{name}-team", [], [ann.user], most=9)


async def grow(store: PostgresqlStore, now: ManualClock) -> None:
    for first in range(0, ROWS, 500):
        numbers = range(first, first + 500)
        far = now.now() + timedelta(9999)
        await store.append([draft(f"grown-{n}", Room(f"user:u{n % 2000}"), collapse_key=f"k{n}") for n in numbers])
        waiting = [draft(f"waits-{n}", Room(f"user:u{n % 2000}"), key=f"k{n}") for n in numbers]
        await store.append([replace(one, deliver_at=far, waits=True) for one in waiting])
        await store.change_members(f"t{first}", [UserId(f"u{n}") for n in numbers], [], most=1000)


def test_what_was_planned_when_it_was_small_reads_no_whole_table(
    io_loop: IOLoop, server: PostgresqlServer, database: str
) -> None:
    async def work() -> None:
        clock = ManualClock()
        store, other = store_of(server, database, clock), store_of(server, database, clock)
        await store.open()
        for number in range(TIMES_BEFORE):
            if number == TIMES_BEFORE // 2:
                server.execute("VACUUM ANALYZE", database)
            await do_everything(store, f"small-{number}", clock)
        await other.open()
        await grow(other, clock)
        await other.close()
        server.execute(STATE, database)
        server.execute("SELECT pg_stat_reset()", database)
        for number in range(3):
            await do_everything(store, f"large-{number}", clock)
        await store.close()

    io_loop.run_sync(work, timeout=120)
    reads = server.execute(READS, database)
    assert reads
    # What the other one has appended is followed once.
    assert [row for row in reads if row[2] >= 2 * ROWS] == []
