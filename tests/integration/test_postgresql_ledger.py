"""The ledger of several servers that share a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.store.postgresql.ledger import ENDED_AFTER, SILENT
from domain.model import SERVER_STOPPED, ConnectionId
from tests.contract.inbox_harness import pass_time, register
from tests.contract.inbox_ledger import ANN_ID, DESK, PHONE, connection, connections_of, later, notes
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    name = server.new_database()
    yield name
    server.drop_databases([name])


async def test_what_a_server_leaves_open_is_ended_by_the_others(server: PostgresqlServer, database: str) -> None:
    clock = ManualClock()
    async with opened(server.url(database), clock) as one, opened(server.url(database), clock) as other:
        await register(one)
        live = replace(connection(PHONE, 1, START), replayed=2, sent=2)
        still_replaying = replace(connection(ConnectionId("replaying"), 2, START), sent=1)
        await one.record(notes(START, live, still_replaying, delivered=2))
        await other.record(notes(START, connection(DESK, 1, START)))
        clock.advance(10)
        await one.record(notes(clock.now(), delivered=9))
        clock.advance(SILENT.total_seconds() - 1)
        await other.record(notes(clock.now()))
        await pass_time(other, clock, timedelta())
        assert {one.ended for one in await connections_of(other, ANN_ID, START)} == {None}
        await pass_time(other, clock, timedelta(seconds=1))
        found = {one.id: one for one in await connections_of(other, ANN_ID, START)}
        assert found[DESK].ended is None
        stopped = found[PHONE]
        assert (stopped.ended, stopped.until, stopped.sent) == (SERVER_STOPPED, later(10) + ENDED_AFTER, 9)
        assert found[ConnectionId("replaying")].sent == 1
        # It had only stood still, and says how it really ended.
        ended = replace(live, until=later(200), ended="unavailable", sent=11, received=10)
        await one.record(notes(later(200), ended, delivered=11))
        found = {one.id: one for one in await connections_of(other, ANN_ID, START)}
        assert found[PHONE] == ended
