"""What an application publishes with a collapse key, in a transaction of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.model import NOTIFICATION_NEW, InboxQuery, Room
from tests.contract.inbox_harness import ids_of, reader
from tests.integration.outbox_harness import USER, Application, relaying
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

PUBLISH = "SELECT synkrone.synkrone_publish_collapsing(%s, %s, 'test', 't', id => %s)"


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(15)


@pytest.fixture
def application(server: PostgresqlServer, database: str) -> Iterator[Application]:
    with closing(server.connect(database)) as connection:
        yield connection


async def test_the_last_of_a_key_stays(server: PostgresqlServer, database: str, application: Application) -> None:
    async with relaying(server.url(database)) as relay:
        with application.transaction():
            for key, id_ in (("k", "a"), ("l", "b"), ("k", "c")):
                application.execute(PUBLISH, (key, USER, id_))
        await relay.titles(3)
        entries = relay.following.entries
        assert [json.loads(entry.payload)["collapse_key"] for entry in entries] == ["k", "l", "k"]
        assert [entry.event for entry in entries] == [NOTIFICATION_NEW] * 3
        assert entries[2].earlier == {Room("user:ann"): entries[0].position.offset}
        assert await ids_of(relay.store, reader()) == ["c", "b"]


async def test_one_for_a_time_of_its_own_replaces_by_then(
    server: PostgresqlServer, database: str, application: Application
) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    async with relaying(server.url(database)) as relay:
        with application.transaction():
            application.execute(f"{PUBLISH[:-1]}, deliver_at => %s)", ("k", USER, "a", due))
            application.execute(f"{PUBLISH[:-1]}, deliver_at => %s)", ("k", USER, "b", due - timedelta(days=1)))
            application.execute(PUBLISH, ("k", USER, "c"))
        await relay.titles(2)
        shown = await relay.store.scheduled("a")
        assert shown is not None
        assert shown.due == due
        assert await ids_of(relay.store, reader()) == ["c"]
        await relay.store.deliver_due(due, 9)
        await relay.titles(3)
        assert await ids_of(relay.store, reader()) == ["a"]
        entries = relay.following.entries
        assert entries[2].earlier == {Room("user:ann"): entries[1].position.offset}


@pytest.mark.parametrize("deliver_at", ["infinity", "0001-01-01+00"])
async def test_a_time_that_cannot_be_fails_the_statement(
    server: PostgresqlServer, database: str, application: Application, deliver_at: str
) -> None:
    async with relaying(server.url(database)):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="deliver_at"):
            application.execute(f"{PUBLISH[:-1]}, deliver_at => %s)", ("k", USER, "a", deliver_at))
        assert not application.execute("SELECT FROM synkrone.outbox").fetchall()


async def test_what_is_parked_and_put_back_keeps_its_key(
    server: PostgresqlServer, database: str, application: Application
) -> None:
    async with relaying(server.url(database)):
        pass
    application.execute(PUBLISH, ("k", USER, "a"))
    (row,) = application.execute("SELECT number, published_at FROM synkrone.outbox").fetchall()
    application.execute("SELECT synkrone.park(%s, %s, %s)", ([row[0]], [row[1]], ["why"]))
    application.execute("SELECT synkrone.retry_parked(NULL)")
    async with relaying(server.url(database)) as relay:
        await relay.titles(1)
        listing = await relay.store.list_items(reader(), InboxQuery())
        assert [json.loads(item.payload)["collapse_key"] for item in listing.items] == ["k"]


@pytest.mark.parametrize("key", ["", "a b", "a" * 129, None])
async def test_a_key_that_can_be_none_fails_the_statement(
    server: PostgresqlServer, database: str, application: Application, key: str | None
) -> None:
    async with relaying(server.url(database)):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="collapse_key"):
            application.execute(PUBLISH, (key, USER, "a"))
