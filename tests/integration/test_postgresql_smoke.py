"""That a store in PostgreSQL works at all, at every run; what it has to do is tried under ``make check``."""

from __future__ import annotations

import pytest

from domain.model import Action
from tests.contract.inbox_harness import ANN, DUPLICATE, STORED, Following, at, draft, ids_of, outcomes, reader
from tests.doubles import START
from tests.integration.outbox_harness import publish, relaying
from tests.integration.postgresql_harness import opened
from tests.postgresql import Servers


@pytest.mark.gen_test(timeout=60)
async def test_what_was_published_is_delivered_listed_marked_and_there_after_a_restart(postgresql: Servers) -> None:
    server = postgresql.of(18)
    url = server.url(server.new_database())
    async with opened(url) as store:
        start = await store.head()
        following = Following(store, start)
        assert outcomes(await store.append([draft("a"), draft("b"), draft("a")])) == [STORED, STORED, DUPLICATE]
        assert (await store.change(reader(ANN), Action.READ, ["a"], START)).counts.unread == 1
        assert await following.until(3) == [1, 2, 3]
    async with opened(url) as store:
        assert await store.head() == at(start, 3)
        assert await ids_of(store, reader(ANN)) == ["b", "a"]
        assert await Following(store, start).until(3) == [1, 2, 3]


@pytest.mark.gen_test(timeout=60)
async def test_what_an_application_publishes_in_its_transaction_is_published(postgresql: Servers) -> None:
    server = postgresql.of(18)
    database = server.new_store()
    async with relaying(server.url(database)) as relay:
        with server.connect(database) as application:
            with application.transaction(force_rollback=True):
                publish(application, "rolled back")
            with application.transaction():
                publish(application, "a", "b")
        assert await relay.titles(2) == ["a", "b"]
