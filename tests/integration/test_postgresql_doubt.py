"""The line to the database breaks at every step of an exchange that stores something: what was answered is stored,
once, and of the rest a retry says whether it is."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator

import pytest

from adapters.store.postgresql import connecting, threads
from adapters.store.postgresql.store import PostgresqlStore
from domain.errors import StoreUnavailable
from domain.model import Action, AppendOutcome
from tests.contract.inbox_harness import ANN, DUPLICATE, STORED, Following, draft, reader
from tests.doubles import START
from tests.integration.postgresql_harness import opened
from tests.integration.postgresql_messages import Break, MessageLine, Towards, message_line_to
from tests.postgresql import PostgresqlServer, Servers

pytestmark = pytest.mark.check

APPEND, CHANGE = b"synkrone.append(", b"synkrone.append_changes("

Ask = Callable[[PostgresqlStore, str], Awaitable[object]]


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


@pytest.fixture
def line(server: PostgresqlServer) -> Iterator[MessageLine]:
    with message_line_to(server) as line:
        yield line


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting.Line, "answer_seconds", 1.0)


def breaks(counts: dict[Towards, int], *, vanishing: bool) -> Iterator[Break]:
    """Behind every message, and in the middle of each."""
    for towards in Towards:
        for messages, half in itertools.product(range(counts[towards] + 1), (False, True)):
            if messages < counts[towards] or not half:
                yield Break(towards, messages, half, vanishing)


async def steps_of(store: PostgresqlStore, line: MessageLine, begins: bytes, ask: Ask) -> dict[Towards, int]:
    """How many messages there are each way."""
    exchange = line.expect(begins)
    await ask(store, "whole")
    await asyncio.to_thread(exchange.is_over.wait, 5)
    assert min(exchange.counts.values()) >= 5
    return exchange.counts


async def publish(store: PostgresqlStore, id_: str) -> AppendOutcome:
    (appended,) = await store.append([draft(id_)])
    return appended.outcome


async def publish_without_id(store: PostgresqlStore, title: str) -> AppendOutcome:
    """Nothing but the store itself can tell whether it has it already."""
    (appended,) = await store.append([draft(f"made-{title}", own_id=False, title=title)])
    return appended.outcome


def stored(server: PostgresqlServer, database: str, id_: str) -> int:
    ids = [one for (one,) in server.execute("SELECT id FROM synkrone.contents", database)]
    return ids.count(id_)


@pytest.mark.parametrize("vanishing", [False, True], ids=["cut", "vanishing"])
@pytest.mark.gen_test(timeout=180)
async def test_what_is_published_as_the_line_breaks_is_stored_and_delivered_once(
    line: MessageLine, database: str, *, vanishing: bool
) -> None:
    async with opened(line.url(database)) as store:
        followed = Following(store, await store.head())
        steps = await steps_of(store, line, APPEND, publish_without_id)
        ids = ["made-whole"]
        for number, where in enumerate(breaks(steps, vanishing=vanishing)):
            exchange = line.expect(APPEND, where)
            assert await publish_without_id(store, f"n-{number}") is STORED, where
            assert await asyncio.to_thread(exchange.is_over.wait, 5), where
            ids.append(f"made-n-{number}")
        assert len(ids) == 1 + sum(2 * count + 1 for count in steps.values())
        await followed.until(len(ids))
        assert [entry_id(entry.payload) for entry in followed.entries] == ids


@pytest.mark.gen_test(timeout=180)
async def test_what_a_user_does_as_the_line_breaks_is_done_once(line: MessageLine, database: str) -> None:
    ann = reader(ANN)

    async def read_or_unread(store: PostgresqlStore, _: str) -> None:
        for action in (Action.READ, Action.UNREAD):
            changed = await store.change(ann, action, ["a"], START)
            assert changed.changed == 1

    async with opened(line.url(database)) as store:
        await store.append([draft("a")])
        head = await store.head()
        followed = Following(store, head)
        steps = await steps_of(store, line, CHANGE, read_or_unread)
        rounds = 1
        for where in breaks(steps, vanishing=False):
            line.expect(CHANGE, where)
            await read_or_unread(store, "")
            rounds += 1
        await followed.until(head.offset + 2 * rounds)
        assert (await store.head()).offset == head.offset + 2 * rounds


@pytest.mark.gen_test(timeout=180)
async def test_of_what_was_not_answered_a_retry_says_whether_it_is_stored(
    line: MessageLine, server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "DOUBT_SECONDS", 0.1)
    found = set()
    async with opened(line.url(database)) as store:
        followed = Following(store, await store.head())
        steps = await steps_of(store, line, APPEND, publish)
        ids = ["whole"]
        for number, where in enumerate(breaks(steps, vanishing=False)):
            id_ = f"n-{number}"
            line.expect(APPEND, where, severs=True)
            try:
                assert await publish(store, id_) is STORED
                before = 1
            except StoreUnavailable:
                before = stored(server, database, id_)
            line.mend()
            found.add(before)
            assert await publish(store, id_) is (DUPLICATE if before else STORED), where
            assert stored(server, database, id_) == 1
            ids.append(id_)
        await followed.until(len(ids))
        assert [entry_id(entry.payload) for entry in followed.entries] == ids
    assert found == {0, 1}


def entry_id(payload: bytes) -> str:
    return str(json.loads(payload)["id"])
