"""The stream of Server-Sent Events: the same events as over a socket, and the same recovery, for whoever has curl."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.curl import Curl
from tests.e2e.expectations import assert_notification, assert_ready, counts
from tests.e2e.line import Cut, Line
from tests.e2e.polyfill import Polyfill
from tests.processes import API_KEY, token

Events: TypeAlias = AsyncGenerator[tuple[str, list[Any]], None]
WAIT_SECONDS = 15.0


async def hears(events: Events, name: str) -> list[Any]:
    """The arguments of the next event but ``inbox.counts``, which has to be that one."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (heard := await anext(events))[0] == "inbox.counts":
            pass
    assert heard[0] == name, heard
    return heard[1]


@pytest.mark.gen_test(timeout=60)
async def test_a_stream_hears_what_a_socket_hears(serve: Serve, clients: Clients) -> None:
    server = serve()
    exp = int(time.time()) + 3600
    own = token("42", exp=exp)
    socket = await clients.js(server.url, {"token": own})
    await socket.ready()
    async with Curl(server.url, own, query="?device=terminal") as curl, aclosing(curl.events()) as events:
        assert_ready(await hears(events, "session.ready"), user="42", role="freelance", expires_at=exp)
        data = {"big": 9007199254740991, "text": "a\nb\u2028c", "nested": [{}]}
        published = await server.publish({"user": "42"}, title="hello", data=data)
        arguments = await hears(events, "notification.new")
        assert_notification(arguments, published, audience="user", type="mission.assigned", title="hello", data=data)
        assert await socket.event("notification.new") == arguments
        await server.publish({"user": "43"})
        await server.inbox(own, "/read", {"ids": [published["id"]]})
        assert await hears(events, "notification.updated") == await socket.event("notification.updated")
        assert {info["device"] for info in (await server.connections("42"))["connections"]} == {None, "terminal"}


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("by", ["Last-Event-ID", "lastEventId", "cursor"])
async def test_a_stream_goes_on_after_the_last_event_id(serve: Serve, by: str) -> None:
    server = serve()
    own = token("42")
    async with Curl(server.url, own) as curl, aclosing(curl.events()) as events:
        await hears(events, "session.ready")
        await server.publish({"user": "42"}, id="a")
        _, last = await hears(events, "notification.new")
    for identifier in ("b", "c"):
        await server.publish({"user": "42"}, id=identifier)
    again = Curl(server.url, own, last) if by == "Last-Event-ID" else Curl(server.url, own, query=f"?{by}={last}")
    async with again as curl, aclosing(curl.events()) as events:
        ready, _ = await hears(events, "session.ready")
        assert (ready["recovered"], ready["reason"], ready["counts"]) == (True, None, counts(3))
        for identifier in ("b", "c"):
            assert (await hears(events, "notification.new"))[0]["id"] == identifier
        await server.publish({"user": "42"}, id="live")
        assert (await hears(events, "notification.new"))[0]["id"] == "live"


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_event_source_polyfill_is_cut_and_goes_on(serve: Serve, node_modules: Path) -> None:
    server = serve()
    line = Line(server.port)
    await line.open()
    async with Polyfill(node_modules.parent / "eventsource.mjs", line.url, token("42")) as page:
        await page.hears("session.ready")
        await server.publish({"user": "42"}, id="first")
        assert (await page.hears("notification.new"))["id"] == "first"
        for number, how in enumerate(Cut):
            line.sever(how)
            missed = [f"{number}:{which}" for which in ("missed", "missed-too")]
            for identifier in missed:
                await server.publish({"user": "42"}, id=identifier)
            line.mend()
            ready = await page.hears("session.ready")
            assert (ready["recovered"], ready["reason"]) == (True, None)
            for identifier in missed:
                assert (await page.hears("notification.new"))["id"] == identifier
        await server.publish({"user": "42"}, id="live")
        assert (await page.hears("notification.new"))["id"] == "live"
    await line.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_stream_is_told_why_it_ends(serve: Serve) -> None:
    server = serve()
    async with Curl(server.url, token("42")) as curl, aclosing(curl.events()) as events:
        await hears(events, "session.ready")
        await server.connections("42", "DELETE")
        (closing,) = await hears(events, "session.closing")
        assert (closing["code"], closing["reconnect"]) == ("disconnected_by_operator", False)
        assert await curl.exit_code() == 0
    async with Curl(server.url, token("42")) as curl, aclosing(curl.events()) as events:
        await hears(events, "session.ready")
        server.terminate()
        (closing,) = await hears(events, "session.closing")
        assert (closing["code"], closing["reconnect"]) == ("shutting_down", True)
        assert await curl.exit_code() == 0
    assert await server.exit_code() == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_stream_is_not_for_everybody(serve: Serve) -> None:
    server = serve()
    async with aiohttp.ClientSession() as session:
        for authorization, code in (
            ({}, "invalid_token"),
            ({"Authorization": "Bearer rubbish"}, "invalid_token"),
            ({"Authorization": f"Bearer {API_KEY}"}, "invalid_token"),
            ({"Authorization": f"Bearer {token('42', ttl=-60)}"}, "token_expired"),
        ):
            async with session.get(f"{server.url}/v1/stream", headers=authorization) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert (await answer.json(content_type="application/problem+json"))["code"] == code
