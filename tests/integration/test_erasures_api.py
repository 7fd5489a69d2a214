"""Erasing a user, and giving them what is stored of them, as a backend asks for it over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.store.memory.store import MemoryStore
from domain.errors import StoreUnavailable
from domain.model import InboxQuery, Listing, Subscriber
from tests.documents import block
from tests.engine_io import WebSocketPeer, connected, event, http_session, until_closed
from tests.integration.test_schedule_api import in_seconds
from tests.requirements import require
from tests.serving import API_KEY, publish, serving, token

ERASE_KEY = "a key that may erase users and nothing else, 32 or more"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
OTHERS = ["publish", "inbox:read", "inbox:write", "users:write", "users:export", "admin"]
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "erases", "key": ERASE_KEY, "scopes": ["users:erase"]},
        {"name": "others", "key": OTHER_KEY, "scopes": OTHERS},
    ],
}
WITHIN = 10.0


async def ask(
    session: aiohttp.ClientSession, method: str, url: str, key: str | None = API_KEY
) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the lines of the answer."""
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    async with session.request(method, url, headers=headers) as answer:
        return answer.status, [json.loads(line) for line in (await answer.text()).splitlines()]


async def until_done(session: aiohttp.ClientSession, url: str, id_: str) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN):
        while True:
            status, (erasure,) = await ask(session, "GET", f"{url}/v1/erasures/{id_}")
            assert status == 200
            if erasure["state"] == "done":
                return erasure
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
async def test_a_user_is_erased_and_their_devices_are_told(store: str, tmp_path: Any) -> None:
    place = f"sqlite:///{tmp_path / 's.db'}" if store == "sqlite" else store
    async with serving(api=KEYS, store=place) as server, http_session() as session:
        for number in range(3):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": f"n-{number}", "title": "x"})
        peer = await WebSocketPeer.open(session, server.url)
        ready, cursor = await connected(peer, token("42"))
        assert ready["counts"]["total"] == 3
        status, (begun,) = await ask(session, "DELETE", f"{server.url}/v1/users/42", ERASE_KEY)
        assert status == 202
        assert set(begun) == {"id", "user", "state", "begun_at", "done_at", "left_in"}
        async with asyncio.timeout(WITHIN):
            packets = await until_closed(peer)
        closing = [event(packet) for packet in packets if "session.closing" in packet]
        assert [arguments[0]["reconnect"] for _, arguments in closing] == [True]
        again = await WebSocketPeer.open(session, server.url)
        ready, _ = await connected(again, token("42"), cursor=cursor)
        assert (ready["recovered"], ready["reason"], ready["counts"]["total"]) == (False, "trimmed", 0)
        await again.close()
        done = await until_done(session, server.url, begun["id"])
        assert (done["user"], done["state"], done["left_in"]) == (None, "done", [])
        status, (inbox,) = await ask(session, "GET", f"{server.url}/v1/users/42/inbox")
        assert (status, inbox["items"], inbox["counts"]["total"]) == (200, [], 0)
        answer = await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": "n-1", "title": "x"})
        assert answer[1]["duplicate"] is True


@pytest.mark.gen_test
async def test_whoever_may_not_is_refused() -> None:
    async with serving(api=KEYS) as server, http_session() as session:
        for method, path, key in (
            ("DELETE", "users/42", OTHER_KEY),
            ("GET", "erasures/e", OTHER_KEY),
            ("GET", "users/42/export", ERASE_KEY),
        ):
            assert (await ask(session, method, f"{server.url}/v1/{path}", key))[0] == 403
            assert (await ask(session, method, f"{server.url}/v1/{path}", None))[0] == 401
            assert (await ask(session, method, f"{server.url}/v1/{path}", token("42")))[0] in (401, 403)
        for unknown in ("unknown", "%00", "a%20b", "x" * 129):
            status, (problem,) = await ask(session, "GET", f"{server.url}/v1/erasures/{unknown}")
            assert (status, problem["code"]) == (404, "unknown_erasure")
        assert (await ask(session, "DELETE", f"{server.url}/v1/users/a%0Ab"))[0] == 400


@pytest.mark.gen_test(timeout=30)
async def test_an_export_is_the_inbox() -> None:
    async with serving(api=KEYS) as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        await peer.close()
        for number in range(230):
            to = {"user": "42"} if number % 5 else {"everyone": True}
            await publish(session, server.url, {"to": to, "type": "t", "id": f"n-{number}", "title": f"{number}"})
        await publish(session, server.url, {"to": {"user": "43"}, "type": "t", "id": "other", "title": "other"})
        listed: list[dict[str, Any]] = []
        page = ""
        while True:
            _, (found,) = await ask(session, "GET", f"{server.url}/v1/users/42/inbox?state=all&limit=100{page}")
            listed += found["items"]
            if found["next"] is None:
                break
            page = f"&page={found['next']}"
        status, (about, *lines) = await ask(session, "GET", f"{server.url}/v1/users/42/export", OTHER_KEY)
        assert status == 200
        assert about["user"] == "42"
        assert about["counts"]["total"] == 230
        assert [one["roles"] for one in about["roles"]] == [["freelance"]]
        assert [line["notification"] for line in lines] == listed
        assert len(listed) == 230


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
async def test_an_export_has_what_is_snoozed_and_not_what_is_scheduled(store: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 's.db'}" if store == "sqlite" else store
    async with serving(api=KEYS, store=place) as server, http_session() as session:
        user, until = f"{server.url}/v1/users/42", in_seconds(60).replace("+00:00", "Z")
        for number in range(230):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": f"n-{number}"})
        later = {"to": {"user": "42"}, "type": "t", "id": "later", "deliver_at": in_seconds(30)}
        await publish(session, server.url, later)
        ids = [f"n-{number}" for number in range(0, 230, 2)]
        await snooze(session, server.url, {"ids": ids, "until": until})
        _, (about, *lines) = await ask(session, "GET", f"{user}/export", OTHER_KEY)
        exported = [line["notification"] for line in lines]
        # First what is snoozed, each the newest first.
        assert [(item["id"], item["snoozed_until"]) for item in exported[:115]] == [(id_, until) for id_ in ids[::-1]]
        assert [item["id"] for item in exported[115:]] == [f"n-{number}" for number in range(229, 0, -2)]
        assert all("snoozed_until" not in item for item in exported[115:])
        assert about["counts"] == {"unread": 115, "unseen": 115, "total": 115}
        _, (listed,) = await ask(session, "GET", f"{user}/inbox?state=snoozed&limit=100")
        assert listed["items"] == exported[:100]
        assert listed["as_of"] == about["as_of"]


@pytest.mark.gen_test(timeout=30)
async def test_an_export_has_once_what_is_snoozed_or_comes_back_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = MemoryStore.list_items, 0
    async with serving(api=KEYS, store="memory://") as server, http_session() as session:

        async def list_items(store: MemoryStore, subscriber: Subscriber, query: InboxQuery) -> Listing:
            nonlocal asked
            listing = await before(store, subscriber, query)
            asked += 1
            if asked == 1:
                await snooze(session, server.url, {"ids": ["n-0", "n-1"], "until": in_seconds(-1)})
            elif asked == 2:
                await snooze(session, server.url, {"ids": ["n-3", "n-149"], "until": in_seconds(60)})
            return listing

        for number in range(150):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": f"n-{number}"})
        await snooze(session, server.url, {"ids": ["n-0", "n-1", "n-2"], "until": in_seconds(60)})
        monkeypatch.setattr(MemoryStore, "list_items", list_items)
        _, (_, *lines) = await ask(session, "GET", f"{server.url}/v1/users/42/export", OTHER_KEY)
        exported = [line["notification"] for line in lines]
        ids = [item["id"] for item in exported]
        assert ids == ["n-2", "n-1", "n-0", *(f"n-{number}" for number in range(149, 2, -1))]
        # As each was when it was read.
        assert [item["id"] for item in exported if "snoozed_until" in item] == ["n-2", "n-1", "n-0", "n-3"]


async def snooze(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with session.post(f"{url}/v1/users/42/inbox/snooze", json=body, headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
async def test_an_export_says_which_topics_they_were_in(store: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 's.db'}" if store == "sqlite" else store
    async with serving(api=KEYS, store=place) as server, http_session() as session:
        exported = f"{server.url}/v1/users/42/export"

        async def member(method: str, topic: str) -> None:
            status, _ = await ask(session, method, f"{server.url}/v1/topics/{topic}/members/42")
            assert status == 204

        async def send(topic: str, id_: str) -> None:
            await publish(session, server.url, {"to": {"topic": topic}, "type": "t", "id": id_})

        status, (about,) = await ask(session, "GET", exported, OTHER_KEY)
        assert (status, about["topics"]) == (200, [])
        await member("PUT", "p:1")
        await send("p:1", "a")
        await member("PUT", "q")
        await member("DELETE", "p:1")
        await send("p:1", "b")
        await send("q", "c")
        await member("PUT", "p:1")
        _, (about, *lines) = await ask(session, "GET", exported, OTHER_KEY)
        assert about["topics"] == [
            {"topic": "p:1", "since": 1, "until": 4},
            {"topic": "q", "since": 3, "until": None},
            {"topic": "p:1", "since": 7, "until": None},
        ]
        _, (inbox,) = await ask(session, "GET", f"{server.url}/v1/users/42/inbox?state=all")
        assert [line["notification"] for line in lines] == inbox["items"]
        assert [item["id"] for item in inbox["items"]] == ["c", "a"]


@pytest.mark.gen_test
@pytest.mark.parametrize("pages", [0, 1, 2])
async def test_an_export_that_fails_does_not_look_whole(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    list_items, asked = MemoryStore.list_items, 0

    async def fail_later(self: MemoryStore, subscriber: Subscriber, query: InboxQuery) -> Listing:
        nonlocal asked
        asked += 1
        if asked > pages:
            raise StoreUnavailable
        return await list_items(self, subscriber, query)

    monkeypatch.setattr(MemoryStore, "list_items", fail_later)
    async with serving(api=KEYS, store="memory://") as server, http_session() as session:
        for number in range(101):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": f"n-{number}"})
        url = f"{server.url}/v1/users/42/export"
        # The first is of what is snoozed, and nothing was written by then.
        if pages > 1:
            with pytest.raises(aiohttp.ClientPayloadError):
                await ask(session, "GET", url, OTHER_KEY)
        else:
            status, (problem,) = await ask(session, "GET", url, OTHER_KEY)
            assert (status, problem["code"]) == (503, "store_unavailable")


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("has_come", [False, True])
async def test_an_export_during_which_the_user_is_erased_does_not_look_whole(
    monkeypatch: pytest.MonkeyPatch, *, has_come: bool, comes_back: bool
) -> None:
    before = MemoryStore.list_items
    async with serving(api=KEYS, store="memory://") as server, http_session() as session:

        async def come() -> None:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, token("42"))
            await peer.close()

        async def list_items(store: MemoryStore, subscriber: Subscriber, query: InboxQuery) -> Listing:
            listing = await before(store, subscriber, query)
            if listing.items:
                await ask(session, "DELETE", f"{server.url}/v1/users/42", ERASE_KEY)
                if comes_back:
                    await come()
            return listing

        if has_come:
            await come()
        for number in range(150):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": f"n-{number}"})
        monkeypatch.setattr(MemoryStore, "list_items", list_items)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(session, "GET", f"{server.url}/v1/users/42/export")


@pytest.mark.gen_test
async def test_who_was_erased_before_has_an_export_as_anybody() -> None:
    async with serving(api=KEYS) as server, http_session() as session:
        await ask(session, "DELETE", f"{server.url}/v1/users/42", ERASE_KEY)
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": "since"})
        status, (about, line) = await ask(session, "GET", f"{server.url}/v1/users/42/export", OTHER_KEY)
        assert (status, about["user"], line["notification"]["id"]) == (200, "42", "since")


@pytest.mark.gen_test(timeout=30)
async def test_what_the_page_says_to_type_exports_and_erases(tmp_path: Path) -> None:
    require(shutil.which("curl") is not None, "there is no curl: apt-get install curl")

    async def typed(text: str, url: str) -> str:
        ran = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-ec", text.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -sSf ")],
            env={**os.environ, "SYNKRONE_API__KEY": API_KEY},
            cwd=tmp_path,
            capture_output=True,
            check=True,
            text=True,
        )
        return ran.stdout

    async with serving(api=KEYS) as server, http_session() as session:
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": "n-1", "title": "x"})
        await typed(block("docs/how-to/erase.md", "bash", "/export"), server.url)
        about, line = map(json.loads, (tmp_path / "42.ndjson").read_text(encoding="utf-8").splitlines())
        assert (about["user"], line["notification"]["id"]) == ("42", "n-1")
        begun = json.loads(await typed(block("docs/how-to/erase.md", "bash", "-X DELETE"), server.url))
        await until_done(session, server.url, begun["id"])
        assert len((await ask(session, "GET", f"{server.url}/v1/users/42/export"))[1]) == 1
