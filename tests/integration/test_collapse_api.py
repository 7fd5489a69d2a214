"""Notifications that take the place of others, over HTTP, and what clients of every kind see of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.documents import block
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event
from tests.integration.test_amendments_api import Backend, editing
from tests.requirements import require
from tests.serving import API_KEY, token
from tests.sse_client import StreamClient

PAGE = "docs/how-to/collapse.md"
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


async def next_of(peer: Any) -> tuple[str, str, str]:
    """The event, the id and the cursor of what comes next but counts."""
    name, arguments = event(await peer.next())
    while name == "inbox.counts":
        name, arguments = event(await peer.next())
    notification, cursor = arguments
    return name, notification.get("id") or notification["ids"], cursor


@BOTH
@pytest.mark.gen_test
async def test_whoever_has_the_earlier_one_is_told_of_a_revision(peer_class: Any) -> None:
    async with editing() as backend:
        session, server = backend.session, backend.server
        peer = await peer_class.open(session, server.url)
        _, before = await connected(peer, token("42"))
        first = await backend.publish("a", collapse_key="k")
        assert await next_of(peer) == ("notification.new", "a", first["cursor"])
        other = await backend.publish("b", to={"everyone": True}, collapse_key="other")
        assert await next_of(peer) == ("notification.new", "b", other["cursor"])
        last = await backend.publish("c", to={"everyone": True}, collapse_key="k")
        assert await next_of(peer) == ("notification.revised", "c", last["cursor"])
        between = await peer_class.open(session, server.url)
        ready, _ = await connected(between, token("42"), cursor=first["cursor"])
        assert ready["recovered"] is True
        assert ready["counts"] == {"unread": 2, "unseen": 2, "total": 2}
        assert [await next_of(between) for _ in range(2)] == [
            ("notification.new", "b", other["cursor"]),
            ("notification.revised", "c", last["cursor"]),
        ]
        late = await peer_class.open(session, server.url)
        await connected(late, token("42"), cursor=before)
        assert [await next_of(late) for _ in range(2)] == [
            ("notification.new", "b", other["cursor"]),
            ("notification.new", "c", last["cursor"]),
        ]
        listed = await backend.inbox()
        assert [item["id"] for item in listed["items"]] == ["c", "b"]
        assert listed["items"][0]["collapse_key"] == "k"


@pytest.mark.gen_test
async def test_of_one_for_all_each_hears_what_is_so_for_them() -> None:
    async with editing() as backend:
        peers = {}
        for user in ("42", "43"):
            peers[user] = await WebSocketPeer.open(backend.session, backend.server.url)
            await connected(peers[user], token(user))
        await backend.publish("own", collapse_key="k")
        last = await backend.publish("all", to={"everyone": True}, collapse_key="k")
        assert (await next_of(peers["42"]))[:2] == ("notification.new", "own")
        assert await next_of(peers["42"]) == ("notification.revised", "all", last["cursor"])
        assert await next_of(peers["43"]) == ("notification.new", "all", last["cursor"])
        own = await backend.publish("own-again", collapse_key="k")
        assert await next_of(peers["42"]) == ("notification.revised", "own-again", own["cursor"])
        # What 42 has another one of is 43's alone.
        await backend.revise("all", {"title": "changed"})
        await backend.publish("end", to={"everyone": True})
        assert (await next_of(peers["42"]))[:2] == ("notification.new", "end")
        assert (await next_of(peers["43"]))[:2] == ("notification.revised", "all")
        await backend.recall("own-again")
        name, (said, _) = event(await peers["42"].next())
        while name == "inbox.counts":
            name, (said, *_) = event(await peers["42"].next())
        assert said == {"ids": ["own-again"], "by": "publisher", "collapse_key": "k"}


@pytest.mark.gen_test
async def test_a_stream_says_so_too() -> None:
    async with editing() as backend:
        client = await StreamClient.open(urlsplit(backend.server.url).port or 0)
        try:
            client.ask("/v1/stream", authorization=f"Bearer {token('42')}")
            assert await client.answer() == 200
            await client.event()
            for id_ in "ab":
                await backend.publish(id_, collapse_key="k")
            told: list[str | None] = []
            while len(told) < 2:
                said = await client.event()
                if said.name != "inbox.counts":
                    told.append(said.name)
            assert told == ["notification.new", "notification.revised"]
        finally:
            await client.close()


@pytest.mark.gen_test
async def test_the_last_count_told_is_that_of_what_is_left() -> None:
    async with editing() as backend:
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(peer, token("42"))
        peer.hears_counts = True
        await backend.publish("x")
        for id_ in "abc":
            await backend.publish(id_, collapse_key="k")
        async with asyncio.timeout(10):
            counts: list[Any] = []
            while counts != [{"unread": 2, "unseen": 2, "total": 2}]:
                name, arguments = event(await peer.next())
                counts = arguments if name == "inbox.counts" else counts


@pytest.mark.parametrize("key", ["", "a b", "a" * 129, "é", 7])
@pytest.mark.gen_test
async def test_a_key_that_can_be_none_is_named(key: Any) -> None:
    async with editing() as backend:
        body = {"to": {"user": "42"}, "type": "t", "collapse_key": key}
        status, answer, _ = await backend.send("POST", "notifications", body, key=API_KEY)
        assert (status, [error["path"] for error in answer["errors"]]) == (422, ["collapse_key"])
        status, answer, _ = await backend.send("POST", "notifications/batch", [body], key=API_KEY)
        assert (status, [error["path"] for error in answer["errors"]]) == (422, ["[0].collapse_key"])


@pytest.mark.gen_test
async def test_a_retry_says_the_key_too() -> None:
    async with editing() as backend:
        body = {"to": {"user": "42"}, "type": "t", "id": "a", "collapse_key": "k"}
        statuses = [
            (await backend.send("POST", "notifications", {**body, "collapse_key": key}, key=API_KEY))[0]
            for key in ("k", "k", "other", None)
        ]
        assert statuses == [201, 201, 409, 409]


async def typed(backend: Backend) -> None:
    environment = os.environ | {"SYNKRONE_API__KEY": API_KEY}
    script = block(PAGE, "bash", "collapse_key").replace("http://127.0.0.1:8000", backend.server.url)
    ran = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.gen_test
async def test_what_the_page_says_to_type_replaces_it() -> None:
    require(shutil.which("curl") is not None, "curl is not there: install it")
    require(shutil.which("node") is not None, "node is not there: install Node.js 20 or later")
    async with editing() as backend:
        await typed(backend)
        listed = (await backend.inbox())["items"]
        assert [item["title"] for item in listed] == ["3 new messages"]
        script = f"""
            {block(PAGE, "js", "held")}
            const one = {{ id: "a", collapse_key: "k", title: "1", read_at: "t" }}, two = {{ id: "b", title: "2" }};
            console.log(JSON.stringify([
                receive([two, one], {{ id: "c", collapse_key: "k", read_at: null }}),
                receive([two, one], {{ id: "a", collapse_key: "k", title: "3", read_at: null }}),
                receive([two, one], {{ id: "d" }}),
            ]));"""
        ran = await asyncio.to_thread(
            subprocess.run, ["node", "-e", script], capture_output=True, text=True, timeout=30, check=False
        )
        replaced, revised, new = json.loads(ran.stdout)
        assert [one["id"] for one in replaced] == ["c", "b"]
        assert [(one["id"], one.get("title"), one.get("read_at")) for one in revised] == [
            ("b", "2", None),
            ("a", "3", "t"),
        ]
        assert [one["id"] for one in new] == ["d", "b", "a"]
