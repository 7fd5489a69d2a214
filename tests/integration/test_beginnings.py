from __future__ import annotations

import pytest

import entrypoints.server
from domain.model import DeliveriesQuery, UserId
from entrypoints.supervisor import until
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.in_time import in_time
from tests.serving import publish, serving, token

pytestmark = pytest.mark.gen_test


async def test_a_server_stores_that_a_connection_began_without_waiting_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entrypoints.server, "TICK_SECONDS", 3600.0)
    async with serving() as server, http_session() as session:
        store, user = server.container.store(), UserId("42")
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        await publish(session, server.url, {"id": "n-1", "type": "t", "to": {"user": "42"}})
        addressed = (await store.addressed(user, DeliveriesQuery())).notifications

        async def is_known() -> bool:
            return bool((await store.history(user, addressed)).connections)

        await in_time(until(is_known), 10)
