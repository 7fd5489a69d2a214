"""The life of a token on a live connection: told before, closed at its end, and back with a fresh one."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.processes import ONE_SECRET, ServerProcess, token

NO_LEEWAY = ONE_SECRET | {"SYNKRONE_AUTH__LEEWAY": "0"}
CLOSED_WITHIN = 5.0
"""Seconds after the end of the token."""


@pytest.mark.gen_test(timeout=60)
async def test_the_stock_client_outlives_its_token(serve: Serve, clients: Clients) -> None:
    server = serve(NO_LEEWAY)
    await asyncio.gather(*(outlive_a_token(server, clients, transport) for transport in ("polling", "websocket")))


async def outlive_a_token(server: ServerProcess, clients: Clients, transport: str) -> None:
    exp = int(time.time()) + 8
    tokens = [{"token": token(transport, exp=exp)}, {"token": token(transport)}]
    client = await clients.js(server.url, tokens, {"transports": [transport]})
    ready, _ = await client.ready()

    (expiring,) = await client.event("session.expiring")
    assert time.time() < exp
    assert expiring == {"expires_at": ready["expires_at"]}
    assert datetime.fromisoformat(expiring["expires_at"]).timestamp() == exp

    (closing,) = await client.event("session.closing")
    assert exp <= time.time() < exp + CLOSED_WITHIN
    assert closing.pop("retry_after_ms") >= 0
    closing.pop("detail", None)
    title = "The token has expired."
    assert closing == {"code": "token_expired", "title": title, "retryable": True, "reconnect": True}

    gone = await client.expect("disconnect")
    # Not "io server disconnect", after which it would stay away.
    assert gone["reason"] in ("transport close", "transport error")
    assert gone["active"] is True
    await server.publish({"user": transport}, id=f"meanwhile-{transport}")
    fresh, _ = await client.back(recovered=True)
    assert fresh["recovered"] is True
    assert fresh["expires_at"] > ready["expires_at"]
    await server.publish({"user": transport}, id=f"after-{transport}")
    for when in ("meanwhile", "after"):
        assert (await client.event("notification.new"))[0]["id"] == f"{when}-{transport}"


@pytest.mark.gen_test(timeout=60)
async def test_a_connection_outlives_the_token_that_is_refreshed_in_time(serve: Serve, clients: Clients) -> None:
    server = serve(NO_LEEWAY)
    # Two clients start before it, each a process of its own.
    exp = int(time.time()) + 12
    first = token("42", exp=exp)
    refreshed = await clients.js(server.url, {"token": first})
    await refreshed.ready()
    for wrong, code in (
        (token("43"), "identity_mismatch"),
        (token("42", "company"), "identity_mismatch"),
        (token("42", ttl=-60), "token_expired"),
        ("rubbish", "invalid_token"),
    ):
        await refreshed.emit("auth.refresh", {"token": wrong})
        answer = await refreshed.ack()
        assert (answer["ok"], answer["error"]["code"]) == (False, code)
    later = exp + 3600
    await refreshed.emit("auth.refresh", {"token": token("42", exp=later)})
    answer = await refreshed.ack()
    assert answer["ok"] is True
    assert datetime.fromisoformat(answer["expires_at"]).timestamp() == later

    # Another with the first token, and not refreshed, is closed at its end.
    other = await clients.js(server.url, {"token": first}, {"reconnection": False})
    await other.ready()
    await other.event("session.expiring")
    assert (await other.event("session.closing"))[0]["code"] == "token_expired"
    await server.publish({"user": "42"}, id="still-there")
    assert (await refreshed.event("notification.new"))[0]["id"] == "still-there"
    assert refreshed.unseen() == []
