"""Operators see who is connected, and send them away: for good, or to come back."""

from __future__ import annotations

import pytest

from tests.e2e.clients import Clients, JsClient
from tests.e2e.conftest import Serve
from tests.e2e.expectations import assert_recent
from tests.processes import token

QUICK = {"reconnectionDelay": 1, "reconnectionDelayMax": 1}


async def closed(client: JsClient, *, reconnect: bool) -> None:
    (closing,) = await client.event("session.closing")
    assert closing["retry_after_ms"] >= 0
    assert (closing["code"], closing["reconnect"]) == ("disconnected_by_operator", reconnect)
    assert (await client.expect("disconnect"))["active"] is reconnect


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("transports", [["polling", "websocket"], ["polling"]], ids=["default", "polling"])
async def test_who_is_sent_away_stays_away_unless_they_are_to_come_back(
    serve: Serve, clients: Clients, transports: list[str]
) -> None:
    server = serve()
    options = QUICK | {"transports": transports}
    phone = await clients.js(server.url, {"token": token("42"), "device": "phone"}, options)
    await phone.ready()
    laptop = await clients.js(server.url, {"token": token("42")}, options)
    await laptop.ready()
    other = await clients.js(server.url, {"token": token("43")}, options)
    await other.ready()

    seen = (await server.connections("42"))["connections"]
    assert [(info["device"], info["role"], info["remote_address"]) for info in seen] == [
        ("phone", "freelance", "127.0.0.1"),
        (None, "freelance", "127.0.0.1"),
    ]
    for info in seen:
        assert_recent(info["since"])

    answer = await server.connections("42", "DELETE", "?reconnect=true")
    assert answer == {"disconnected": 2, "tokens_revoked": False}
    for client in (phone, laptop):
        await closed(client, reconnect=True)
    await server.publish({"user": "42"}, id="meanwhile")
    for client in (phone, laptop):
        ready, _ = await client.back(recovered=True)
        assert ready["recovered"] is True
        assert (await client.event("notification.new"))[0]["id"] == "meanwhile"

    assert (await server.connections("42", "DELETE"))["disconnected"] == 2
    for client in (phone, laptop):
        await closed(client, reconnect=False)
    assert (await server.connections("42")) == {"connections": []}
    assert (await server.connections("42", "DELETE"))["disconnected"] == 0

    # The token is still good: whoever asks again is let in, where it was.
    await server.publish({"everyone": True}, id="later")
    await phone.connect({"token": token("42")})
    ready, _ = await phone.ready()
    assert ready["recovered"] is True
    for client in (phone, other):
        assert (await client.event("notification.new"))[0]["id"] == "later"
    assert [client.unseen() for client in (phone, laptop, other)] == [[], [], []]
