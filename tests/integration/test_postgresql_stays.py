"""A user's stays in topics, in whatever order a PostgreSQL server comes upon them."""

from __future__ import annotations

import pytest

from domain.delivery.reach import Reach
from domain.model import Room, UserId
from tests.contract.inbox_harness import arrival, arrive
from tests.integration.postgresql_harness import opened
from tests.postgresql import Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

NEWEST_FIRST = """
    WITH gone AS (DELETE FROM synkrone.memberships RETURNING *)
    INSERT INTO synkrone.memberships SELECT * FROM gone ORDER BY after_offset DESC"""


@pytest.mark.parametrize("version", [15, 18])
async def test_who_came_again_is_a_member(postgresql: Servers, version: int) -> None:
    server = postgresql.of(version)
    database = server.new_store()
    # As the server does by itself for a user with many stays: it reads them where they lie, and not by the index.
    server.execute(f"ALTER DATABASE {database} SET enable_indexscan = off")
    ann, topic = UserId("ann"), Room.of_topic("p")
    async with opened(server.url(database)) as store:
        for add, remove in (([ann], []), ([], [ann]), ([ann], [])):
            last = await store.change_members("p", add, remove, most=1)
        # A vacuum leaves room before others for what is stored next.
        server.execute(NEWEST_FIRST, database)
        arrived = await arrive(store, arrival("ann"))
    reach = Reach()
    reach.begin(arrived.subscriber.starts, arrived.spans, arrived.counted.as_of.offset)
    assert [span.upto for span in arrived.spans] == [None, last.offset - 1]
    assert reach.topics == {topic}
    server.drop_databases([database])
