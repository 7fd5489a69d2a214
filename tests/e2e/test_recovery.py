"""A client that was away presents its last cursor and gets what it missed: all of it, once, in order."""

from __future__ import annotations

import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.processes import ONE_SECRET, token


@pytest.mark.gen_test(timeout=60)
async def test_what_was_missed_comes_first_and_in_order(serve: Serve, clients: Clients) -> None:
    server = serve()
    before = await clients.python(server.url, {"token": token("42")})
    await before.ready()
    await server.publish({"user": "42"}, id="seen")
    _, cursor = await before.event("notification.new")
    await before.close()

    missed = []
    for number in range(20):
        for to in ({"user": "42"}, {"user": "43"}, {"role": "freelance"}, {"role": "company"}, {"everyone": True}):
            published = await server.publish(to, data={"number": number})
            if to not in ({"user": "43"}, {"role": "company"}):
                missed.append((published["id"], published["cursor"]))

    after = await clients.python(server.url, {"token": token("42"), "cursor": cursor})
    ready, continues_at = await after.ready()
    assert (ready["recovered"], ready["reason"]) == (True, None)
    assert continues_at != missed[-1][1]
    live = await server.publish({"user": "42"}, id="live")
    missed.append((live["id"], live["cursor"]))
    got = []
    for _ in missed:
        notification, at = await after.event("notification.new")
        got.append((notification["id"], at))
    assert got == missed

    # Whoever was cut right after session.ready has missed nothing either.
    again = await clients.python(server.url, {"token": token("42"), "cursor": continues_at})
    assert (await again.ready())[0]["recovered"] is True
    for expected in missed:
        notification, at = await again.event("notification.new")
        assert (notification["id"], at) == expected
    assert after.unseen() == again.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_client_that_missed_nothing(serve: Serve, clients: Clients) -> None:
    server = serve()
    published = await server.publish({"user": "42"})
    client = await clients.js(server.url, {"token": token("42"), "cursor": published["cursor"]})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (True, None, published["cursor"])
    await server.publish({"user": "42"}, id="next")
    assert (await client.event("notification.new"))[0]["id"] == "next"


@pytest.mark.gen_test(timeout=60)
async def test_without_a_cursor_a_connection_starts_at_the_head(serve: Serve, clients: Clients) -> None:
    server = serve()
    published = await server.publish({"user": "42"})
    client = await clients.js(server.url, {"token": token("42")})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (False, None, published["cursor"])
    await server.publish({"user": "42"}, id="next")
    assert (await client.event("notification.new"))[0]["id"] == "next"


@pytest.mark.gen_test(timeout=60)
async def test_a_cursor_that_leads_nowhere_is_refused_with_the_reason(serve: Serve, clients: Clients) -> None:
    server = serve()
    published = await server.publish({"user": "42"})
    epoch, _, offset = published["cursor"].rpartition(":")
    refused = []
    for cursor, reason in (
        ("rubbish", "invalid"),
        (f"{epoch}:{int(offset) + 1}", "invalid"),
        (int(offset), "invalid"),
        (f"0{epoch}:{offset}", "unknown_epoch"),
    ):
        client = await clients.python(server.url, {"token": token("42"), "cursor": cursor})
        ready, continues_at = await client.ready()
        assert (ready["recovered"], ready["reason"], continues_at) == (False, reason, published["cursor"])
        refused.append(client)
    await server.publish({"user": "42"}, id="next")
    for client in refused:
        assert (await client.event("notification.new"))[0]["id"] == "next"


@pytest.mark.gen_test(timeout=60)
async def test_a_cursor_of_before_the_log_was_trimmed_is_refused(serve: Serve, clients: Clients) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_LIMITS__MEMORY_ENTRIES": "1000"})
    first = await server.publish({"user": "42"})
    for _ in range(1001):
        last = await server.publish({"user": "42"})
    client = await clients.python(server.url, {"token": token("42"), "cursor": first["cursor"]})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (False, "trimmed", last["cursor"])
    # It was the user's own room that lost entries: another user has missed none.
    other = await clients.python(server.url, {"token": token("43"), "cursor": first["cursor"]})
    assert (await other.ready())[0]["recovered"] is True
