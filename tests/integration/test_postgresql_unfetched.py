"""What one node appends, as another one is given it that shares the database: with what is in it where somebody there
is to get it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.contract.events import notification_json
from adapters.store.postgresql import watching
from adapters.store.postgresql.arrivals import Arriving
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.postgresql.threads import Readers
from adapters.system.clock import SystemClock
from domain.errors import EntriesMissing, StoreUnavailable
from domain.model import EVERYONE, Action, DisconnectUser, Entry, Json, Position, Room, TailEntry, Unfetched, UserId
from tests.contract.inbox_harness import ANN, BOB, HOUR, arrival, arrive, at, draft, offsets_of, reader, rooms_of
from tests.doubles import START
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


class Member:
    """Who is at a node, and what it is given of the log."""

    def __init__(self, store: PostgresqlStore, after: Position, *rooms: Room) -> None:
        self.store = store
        self.rooms = set(rooms)
        self.given: list[TailEntry] = []
        self._batches = store.tail(after, lambda some: not self.rooms.isdisjoint(some))

    async def until(self, offset: int) -> Sequence[TailEntry]:
        async with asyncio.timeout(10):
            while not self.given or self.given[-1].position.offset < offset:
                self.given.extend(await anext(self._batches))
        return self.given

    async def has_heard(self, offset: int) -> None:
        """Though it was not given it yet."""
        async with asyncio.timeout(10):
            while (await self.store.head()).offset < offset:
                await self.store.tidy()


async def missing_in(store: PostgresqlStore) -> int | None:
    try:
        await store.ensure_writable()
    except EntriesMissing as error:
        return error.offset
    return None


@asynccontextmanager
async def two_nodes(server: PostgresqlServer, database: str, **options: Any) -> AsyncIterator[list[PostgresqlStore]]:
    async with opened(server.url(database), **options) as one, opened(server.url(database), **options) as other:
        yield [one, other]


async def test_what_is_for_nobody_at_a_node_comes_without_its_payload(server: PostgresqlServer, database: str) -> None:
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start, ANN, EVERYONE)
        waiting = asyncio.create_task(member.until(start.offset + 5))
        drafts = [draft("a", ANN), draft("b", BOB, expires_at=START + HOUR), draft("c", BOB, EVERYONE)]
        await one.append(drafts)
        await one.change(reader(BOB, user="bob"), Action.READ, ["b"], START)
        await one.append_control(DisconnectUser(UserId("carl"), reconnect=True))
        a, b, c, changed, control = await waiting
        notifications = [notification_json(each.notification) for each in drafts]
        assert a == Entry(at(start, 1), frozenset((ANN,)), "notification.new", notifications[0])
        # By the clock of the database, which is that of this machine.
        assert isinstance(a, Entry)
        assert a.stored_at is not None
        assert abs(SystemClock().now() - a.stored_at) < timedelta(minutes=1)
        assert b == Unfetched(at(start, 2), frozenset((BOB,)), "notification.new", len(notifications[1]), START + HOUR)
        assert c == Entry(at(start, 3), frozenset((BOB, EVERYONE)), "notification.new", notifications[2])
        assert isinstance(changed, Unfetched)
        assert (changed.event, changed.rooms) == ("notification.updated", frozenset((BOB,)))
        assert isinstance(control, Entry)
        assert control.control == DisconnectUser(UserId("carl"), reconnect=True)


async def test_what_comes_to_be_wanted_before_it_is_given_has_its_payload(
    server: PostgresqlServer, database: str
) -> None:
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        first = asyncio.create_task(member.until(start.offset + 1))
        await one.append([draft("a", ANN)])
        assert isinstance((await first)[0], Unfetched)
        await one.append([draft(f"b-{number}", BOB if number % 2 else ANN) for number in range(700)])
        await member.has_heard(start.offset + 701)
        member.rooms.add(BOB)
        given = (await member.until(start.offset + 701))[1:]
        assert [entry.position for entry in given] == [at(start, number) for number in range(2, 702)]
        assert {isinstance(entry, Entry) for entry in given if BOB in entry.rooms} == {True}
        assert {isinstance(entry, Entry) for entry in given if ANN in entry.rooms} == {False}


async def test_what_a_node_has_without_its_payload_is_read_by_who_comes(
    server: PostgresqlServer, database: str
) -> None:
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start, BOB)
        await one.append([draft("a", ANN), draft("b", BOB), draft("c", ANN), draft("d", BOB)])
        await member.until(start.offset + 4)
        ann = await arrive(other, arrival("ann", "company", start, rooms=rooms_of("ann", "company")))
        assert [entry.position for entry in ann.page.entries] == [at(start, 1), at(start, 3)]
        assert all(entry.payload for entry in ann.page.entries)
        for whom, offsets in ((ANN, [1, 3]), (BOB, [2, 4])):
            assert await offsets_of(other, reader(whom), start) == [start.offset + number for number in offsets]


async def test_what_came_behind_its_reading_is_on_the_page_of_who_comes(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail gets it, without its payload, between the question and its answer."""
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        read = Readers.do

        async def late(readers: Any, operation: Any, argument: Any) -> Any:
            if isinstance(argument, Arriving) and argument.tail_floors is not None:
                await one.append([draft("a", ANN)])
                await member.has_heard(start.offset + 1)
            return await read(readers, operation, argument)

        monkeypatch.setattr(Readers, "do", late)
        ann = await arrive(other, arrival("ann", "company", start, rooms=rooms_of("ann", "company")))
        assert [entry.position for entry in ann.page.entries] == [at(start, 1)]


async def test_what_is_gone_as_it_is_fetched_is_an_alarm(server: PostgresqlServer, database: str) -> None:
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        await one.append([draft("a", ANN), draft("b", ANN)])
        await member.has_heard(start.offset + 2)
        server.execute("DELETE FROM synkrone.contents WHERE log_offset = 1", database)
        member.rooms.add(ANN)
        with pytest.raises(StoreUnavailable):
            await member.until(start.offset + 2)
        assert member.given == []
        async with asyncio.timeout(10):
            while await missing_in(other) != start.offset + 1:
                await other.tidy()


async def test_what_was_erased_is_nobodys(server: PostgresqlServer, database: str) -> None:
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        await one.append([draft("a", ANN), draft("b", ANN)])
        await member.has_heard(start.offset + 2)
        server.execute("UPDATE synkrone.contents SET rooms = NULL, payload = NULL WHERE log_offset = 1", database)
        member.rooms.add(ANN)
        a, b = await member.until(start.offset + 2)
        assert isinstance(a, Entry)
        assert (a.rooms, a.payload, a.position) == (frozenset(), b"", at(start, 1))
        assert isinstance(b, Entry)
        assert b.rooms == {ANN}


async def test_what_is_gone_as_it_is_fetched_says_so_before_what_revises_it(
    server: PostgresqlServer, database: str
) -> None:
    """The revision was looked at while it was wanted, and before it was taken back."""
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        await one.append([draft("a", ANN)])
        await member.has_heard(start.offset + 1)
        member.rooms.add(ANN)
        await one.revise("a", lambda present: replace(present, title="b"), START)
        await member.has_heard(start.offset + 2)
        server.execute("UPDATE synkrone.contents SET rooms = NULL, payload = NULL WHERE log_offset = 1", database)
        gone, revision = await member.until(start.offset + 2)
        assert gone == Entry(at(start, 1), frozenset(), "notification.deleted", Json(b""), about=start.offset + 1)
        assert (revision.event, revision.rooms) == ("notification.revised", frozenset((ANN,)))


async def test_nothing_of_another_epoch_is_taken_for_what_was_there(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks the database is replaced by one that has something else at the same offset."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 60.0)
    async with two_nodes(server, database) as (one, other):
        start = await one.head()
        member = Member(other, start)
        await one.append([draft("a", ANN)])
        await member.has_heard(start.offset + 1)
        server.execute(
            "INSERT INTO synkrone.epochs SELECT number + 1, 'other', first, opened_at, incarnation "
            "FROM synkrone.epochs ORDER BY number DESC LIMIT 1",
            database,
        )
        member.rooms.add(ANN)
        with pytest.raises(StoreUnavailable, match="not in it any more"):
            await member.until(start.offset + 1)
        assert member.given == []
