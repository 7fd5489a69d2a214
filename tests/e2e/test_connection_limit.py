"""A user's connections are limited: the oldest goes, and does not come back to push out another."""

from __future__ import annotations

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.processes import ONE_SECRET, token


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("transports", [["polling", "websocket"], ["polling"]], ids=["default", "polling"])
async def test_the_oldest_of_too_many_goes_and_stays_away(
    serve: Serve, clients: Clients, transports: list[str]
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__CONNECTIONS_PER_USER": "2"})
    options = {"reconnectionDelay": 1, "reconnectionDelayMax": 1, "transports": transports}
    oldest = await clients.js(server.url, {"token": token("42")}, options)
    await oldest.ready()
    another_user = await clients.js(server.url, {"token": token("43")}, options)
    await another_user.ready()
    second = await clients.js(server.url, {"token": token("42")}, options)
    await second.ready()
    third = await clients.js(server.url, {"token": token("42")}, options)
    await third.ready()

    (closing,) = await oldest.event("session.closing")
    assert closing["retry_after_ms"] >= 0
    assert (closing["code"], closing["retryable"], closing["reconnect"]) == ("too_many_connections", False, False)
    gone = await oldest.expect("disconnect")
    assert (gone["reason"], gone["active"]) == ("io server disconnect", False)

    await server.publish({"everyone": True}, id="all")
    for client in (second, third, another_user):
        assert (await client.event("notification.new"))[0]["id"] == "all"
    # Had it come back it would have pushed out the second by now.
    assert [client.unseen() for client in (oldest, second, third)] == [[], [], []]
    assert len(server.records("connected")) == 4
