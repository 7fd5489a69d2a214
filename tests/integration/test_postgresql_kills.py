"""Connections of a store in PostgreSQL are ended at random moments while much is asked of it: what was answered is what
lies in the log, once."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
from datetime import timedelta

import pytest

from adapters.contract.events import item_json
from adapters.store.postgresql.store import PostgresqlStore
from domain.model import EVERYONE, Action, Appended, AppendOutcome, Changed, InboxQuery, ItemState, Subscriber
from tests.contract.inbox_harness import ANN, BOB, Following, draft, register
from tests.contract.inbox_recount import recount
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import Line, line_to, opened
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.campaign]

CUTS = 300 if os.environ.get("CAMPAIGN") == "full" else 30
PUBLISHERS = 8
ENDS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}' AND random() < 0.5"


async def end_connections(server: PostgresqlServer, database: str, line: Line, over: asyncio.Event) -> None:
    """Of the store, again and again: by the server, on the way, or just as what was stored is about to be answered."""
    for _ in range(CUTS):
        # Longer than it takes to connect and to do one thing, on a busy machine too.
        await asyncio.sleep(random.uniform(0.02, 0.4))
        match random.randrange(3):
            case 0:
                await asyncio.to_thread(server.execute, ENDS.format(database))
            case 1:
                line.cut()
            case _:
                came = line.hold_answers_to(b"synkrone.append")
                await asyncio.to_thread(came.wait, 0.2)
                line.cut()
    over.set()


async def publish(store: PostgresqlStore, name: str, over: asyncio.Event) -> list[Appended]:
    """Without ids of its own: nothing but the store itself can tell whether it has one already."""
    answers: list[Appended] = []
    for number in itertools.count():
        batch = [draft(f"{name}-{number}-{n}", (ANN, BOB, EVERYONE)[n], own_id=False) for n in range(3)]
        answers += await store.append(batch[: random.randint(1, 3)], all_or_nothing=True)
        if over.is_set():
            break
        await asyncio.sleep(0.01)
    return answers


async def mark(store: PostgresqlStore, subscriber: Subscriber, over: asyncio.Event) -> list[Changed]:
    answers: list[Changed] = []
    while not over.is_set():
        newest = (await store.head()).offset // (2 * PUBLISHERS) + 1
        ids = [f"p{random.randrange(PUBLISHERS)}-{random.randrange(newest)}-{n}" for n in range(3)]
        answers.append(await store.change(subscriber, random.choice(list(Action)), ids, START))
        if random.random() < 0.1:
            answers.append(await store.read_all(subscriber, None, START))
    return answers


@pytest.mark.gen_test(timeout=600)
async def test_what_is_answered_is_in_the_log_once_however_often_connections_end(postgresql: Servers) -> None:
    server = postgresql.of(18)
    database = server.new_store()
    with line_to(server) as line:
        await answer_everything_once(server, database, line)
    server.drop_databases([database])


async def answer_everything_once(server: PostgresqlServer, database: str, line: Line) -> None:
    over = asyncio.Event()
    async with opened(line.url(database), ManualClock()) as store:
        start = await store.head()
        following = Following(store, start)
        ann, bob = await register(store, "ann"), await register(store, "bob")
        async with asyncio.TaskGroup() as group:
            group.create_task(end_connections(server, database, line, over))
            publishing = [group.create_task(publish(store, f"p{number}", over)) for number in range(PUBLISHERS)]
            marking = [group.create_task(mark(store, subscriber, over)) for subscriber in (ann, bob)]
        stored = [appended for task in publishing for appended in task.result()]
        marked = [changed for task in marking for changed in task.result()]
        assert {one.outcome for one in stored} == {AppendOutcome.STORED}
        head = await store.head()
        await following.until(head.offset)
        new = {
            json.loads(entry.payload)["id"]: entry.position
            for entry in following.entries
            if entry.event == "notification.new"
        }
        assert following.offsets == list(range(1, head.offset + 1))
        assert sorted((one.id, one.position.offset) for one in stored) == sorted(
            (id_, position.offset) for id_, position in new.items()
        )
        # A change that was logged twice would be one that was answered less often than it is there.
        assert sum(one.changed > 0 for one in marked) == sum(
            entry.event != "notification.new" for entry in following.entries
        )
        for subscriber in (ann, bob):
            expected = recount(following.entries, subscriber, START, per_user=10_000, retention=timedelta(days=365))
            query = InboxQuery(limit=10_000, max_bytes=1 << 30, state=ItemState.ALL)
            listing = await store.list_items(subscriber, query)
            assert [json.loads(item_json(item)) for item in listing.items] == expected.items
