"""What backends do to notifications that they have published, over HTTP, and what clients of every kind see of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from entrypoints.server import Server
from tests.documents import block
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session
from tests.requirements import require
from tests.serving import API_KEY, serving, token
from tests.sse_client import StreamClient

WRITE_KEY = "a key that may change notifications, of 32 characters or more"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "editor", "key": WRITE_KEY, "scopes": ["notifications:write"]},
        {
            "name": "others",
            "key": OTHER_KEY,
            "scopes": ["publish", "connections:read", "connections:write", "deliveries:read", "users:write", "admin"],
        },
    ],
}
PAGE = "docs/how-to/take-back.md"
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


class Backend:
    """Whoever holds API keys."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(
        self, method: str, path: str, body: Any = None, *, key: str = WRITE_KEY, **headers: str
    ) -> tuple[int, Any, Any]:
        address = URL(f"{self.server.url}/v1/{path}", encoded=True)
        headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        async with self.session.request(method, address, data=data, headers=headers) as answer:
            return answer.status, json.loads(await answer.text()), answer.headers

    async def publish(self, id_: str, **members: Any) -> dict[str, Any]:
        body = {"to": {"user": "42"}, "type": "t", "id": id_, **members}
        status, answer, _ = await self.send("POST", "notifications", body, key=API_KEY)
        assert status == 201, answer
        return dict(answer)

    async def recall(self, id_: str) -> dict[str, Any]:
        status, answer, _ = await self.send("DELETE", f"notifications/{id_}")
        assert status == 200, answer
        return dict(answer)

    async def revise(self, id_: str, patch: Any) -> dict[str, Any]:
        status, answer, _ = await self.send("PATCH", f"notifications/{id_}", patch)
        assert status == 200, answer
        return dict(answer)

    async def inbox(self, user: str = "42") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token(user)}"}
        async with self.session.get(f"{self.server.url}/v1/inbox", headers=headers) as answer:
            assert answer.status == 200
            return dict(await answer.json())


@asynccontextmanager
async def editing(**settings: Any) -> AsyncIterator[Backend]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Backend(session, server)


@BOTH
@pytest.mark.gen_test
async def test_what_is_taken_back_is_deleted_where_it_is_and_shown_nowhere_else(peer_class: Any) -> None:
    async with editing() as backend:
        session, server = backend.session, backend.server
        peer = await peer_class.open(session, server.url)
        _, before = await connected(peer, token("42"))
        for id_ in ("kept", "taken-back"):
            await backend.publish(id_)
            name, (notification, _) = event(await peer.next())
            assert (name, notification["id"]) == ("notification.new", id_)
        answer = await backend.recall("taken-back")
        assert answer.keys() == {"id", "cursor"}
        name, arguments = event(await peer.next())
        while name == "inbox.counts":
            name, arguments = event(await peer.next())
        assert (name, arguments) == (
            "notification.deleted",
            [{"ids": ["taken-back"], "by": "publisher"}, answer["cursor"]],
        )
        # Whoever comes from before it gets the rest, whole and in order.
        late = await peer_class.open(session, server.url)
        ready, _ = await connected(late, token("42"), cursor=before)
        assert ready["recovered"] is True
        assert ready["counts"] == {"unread": 1, "unseen": 1, "total": 1}
        told = [event(await late.next()) for _ in range(2)]
        assert [name for name, _ in told] == ["notification.new", "notification.deleted"]
        assert told[0][1][0]["id"] == "kept"
        listed = await backend.inbox()
        assert [item["id"] for item in listed["items"]] == ["kept"]
        assert listed["counts"] == {"unread": 1, "unseen": 1, "total": 1}


@pytest.mark.gen_test
async def test_a_stream_says_so_too() -> None:
    async with editing() as backend:
        client = await StreamClient.open(urlsplit(backend.server.url).port or 0)
        try:
            client.ask("/v1/stream", authorization=f"Bearer {token('42')}")
            assert await client.answer() == 200
            await client.event()
            await backend.publish("a")
            answer = await backend.recall("a")
            told = await client.event()
            while told.name in ("inbox.counts", "notification.new"):
                told = await client.event()
            assert (told.name, told.id) == ("notification.deleted", answer["cursor"])
            assert json.loads(told.data or "") == {"ids": ["a"], "by": "publisher"}
        finally:
            await client.close()


@pytest.mark.gen_test
async def test_it_is_gone_once_and_unknown_otherwise() -> None:
    async with editing() as backend:
        await backend.publish("a")
        await backend.recall("a")
        status, problem, _ = await backend.send("DELETE", "notifications/a")
        assert (status, problem["code"], problem["retryable"]) == (410, "recalled", False)
        for id_ in ("b", "A", "a%2Fb", "%00", "x" * 200, "%C3%A9"):
            status, problem, _ = await backend.send("DELETE", f"notifications/{id_}")
            assert (status, problem["code"]) == (404, "not_found"), id_
        # Its publisher's retry brings nothing back.
        assert (await backend.publish("a"))["duplicate"] is True
        assert (await backend.inbox())["items"] == []


@pytest.mark.gen_test
async def test_a_key_without_the_scope_changes_nothing() -> None:
    async with editing() as backend:
        await backend.publish("a")
        status, problem, headers = await backend.send("DELETE", "notifications/a", key=OTHER_KEY)
        assert (status, problem["code"]) == (403, "forbidden")
        assert 'scope="notifications:write"' in headers["WWW-Authenticate"]
        for key in (token("42"), "nonsense"):
            status, problem, _ = await backend.send("DELETE", "notifications/a", key=key)
            assert status == 401
        assert [item["id"] for item in (await backend.inbox())["items"]] == ["a"]
        status, _, _ = await backend.send("POST", "notifications", {"to": {"user": "42"}, "type": "t"})
        assert status == 403
        # The one key of the simple case may.
        status, _, _ = await backend.send("DELETE", "notifications/a", key=API_KEY)
        assert status == 200


@pytest.mark.gen_test
async def test_the_batch_is_no_notification() -> None:
    async with editing() as backend:
        status, _, headers = await backend.send("DELETE", "notifications/batch")
        assert (status, headers["Allow"]) == (405, "POST")
        status, _, headers = await backend.send("POST", "notifications/a")
        assert status == 405
        assert "DELETE" in headers["Allow"]


@pytest.mark.gen_test
async def test_who_took_it_back_is_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="synkrone.audit")
    async with editing() as backend:
        await backend.publish("a", title="a title that nobody logs")
        await backend.recall("a")
    (record,) = [record for record in caplog.records if record.name == "synkrone.audit"]
    said = vars(record)
    assert (record.getMessage(), said["caller"], said["user"], said["detail"]) == ("recalled", "editor", None, "a")


@pytest.mark.gen_test
async def test_why_somebody_did_not_get_it_says_that_it_was_taken_back() -> None:
    async with editing() as backend:
        await backend.publish("a")
        await backend.recall("a")
        status, found, _ = await backend.send("GET", "users/42/deliveries?id=a", key=OTHER_KEY)
        assert status == 200
        (delivery,) = found["deliveries"]
        assert delivery["outcome"] == "deleted"
        assert "Its publisher took it back. It was over at " in delivery["sentence"]


@BOTH
@pytest.mark.gen_test
async def test_what_is_revised_is_revised_where_it_is_and_new_to_whoever_has_not_had_it(peer_class: Any) -> None:
    async with editing() as backend:
        session, server = backend.session, backend.server
        peer = await peer_class.open(session, server.url)
        _, before = await connected(peer, token("42"))
        await backend.publish("a", title="one", body="b", data={"city": "Oslo", "street": "X", "n": 1.0})
        first = await entry(peer)
        await backend.revise("a", {"title": "two"})
        answer = await backend.revise(
            "a", {"title": "three", "body": None, "data": {"city": "Bergen", "street": None, "n": 1.0}}
        )
        second, third = await entry(peer), await entry(peer)
        assert [name for name, _, _ in (first, second, third)] == ["notification.new", *["notification.revised"] * 2]
        assert (second[1]["title"], second[1]["body"]) == ("two", "b")
        revised_at = third[1].pop("revised_at")
        assert datetime.fromisoformat(revised_at) > datetime.fromisoformat(third[1]["created_at"])
        assert third[1] == first[1] | {"title": "three", "body": None, "data": {"city": "Bergen", "n": 1.0}}
        assert third[2] == answer["cursor"]
        # From before the original: the last content alone, as new, at the place of the revision.
        late = await peer_class.open(session, server.url)
        ready, _ = await connected(late, token("42"), cursor=before)
        assert (ready["recovered"], ready["counts"]["unread"]) == (True, 1)
        assert await entry(late) == ("notification.new", {**third[1], "revised_at": revised_at}, answer["cursor"])
        # From behind it: revised.
        later = await peer_class.open(session, server.url)
        await connected(later, token("42"), cursor=first[2])
        assert await entry(later) == ("notification.revised", {**third[1], "revised_at": revised_at}, answer["cursor"])
        (item,) = (await backend.inbox())["items"]
        assert (item["title"], item["data"], item["revised_at"]) == ("three", {"city": "Bergen", "n": 1.0}, revised_at)


async def entry(peer: Any) -> tuple[str, Any, str]:
    """The next event of the log."""
    name, arguments = event(await peer.next())
    while not name.startswith("notification."):
        name, arguments = event(await peer.next())
    return name, arguments[0], arguments[1]


@pytest.mark.gen_test
async def test_the_same_patch_again_changes_nothing() -> None:
    async with editing() as backend:
        await backend.publish("a", title="one")
        first = await backend.revise("a", {"title": "two"})
        assert await backend.revise("a", {"title": "two"}) == first
        assert (await backend.revise("a", {}))["cursor"] == first["cursor"]
        assert (await backend.publish("a", title="one"))["duplicate"] is True


@pytest.mark.parametrize(
    ("patch", "status", "code", "paths"),
    [
        (b"{", 400, "invalid_json", []),
        ([], 422, "invalid_notification", ["body"]),
        ({"id": "b"}, 422, "invalid_notification", ["id"]),
        ({"to": {"user": "43"}}, 422, "invalid_notification", ["to"]),
        ({"type": None, "title": 3}, 422, "invalid_notification", ["type", "title"]),
        ({"data": [1], "expires_at": "soon"}, 422, "invalid_notification", ["data", "expires_at"]),
        ({"title": "two", "expires_at": "2020-01-01T00:00:00Z"}, 422, "invalid_notification", ["expires_at"]),
        (b'{"data": {"a": 1, "a": 2}}', 422, "invalid_notification", ["body"]),
        ({"body": "x" * 70_000}, 413, "too_large", []),
    ],
)
@pytest.mark.gen_test
async def test_a_bad_patch_is_refused_whole(patch: Any, status: int, code: str, paths: list[str]) -> None:
    async with editing() as backend:
        await backend.publish("a", title="one")
        found, problem, _ = await backend.send("PATCH", "notifications/a", patch)
        assert (found, problem["code"]) == (status, code), problem
        assert [error["path"] for error in problem.get("errors", [])] == paths
        (item,) = (await backend.inbox())["items"]
        assert item["title"] == "one"


@pytest.mark.gen_test
async def test_what_is_gone_is_not_revised() -> None:
    async with editing() as backend:
        await backend.publish("a")
        await backend.recall("a")
        await backend.publish("b", expires_at="2020-01-01T00:00:00Z")
        for id_, expected in (("a", (410, "recalled")), ("b", (410, "expired")), ("c", (404, "not_found"))):
            status, problem, _ = await backend.send("PATCH", f"notifications/{id_}", {"title": "x"})
            assert (status, problem["code"]) == expected
        status, problem, _ = await backend.send("PATCH", "notifications/b", {"title": "x"}, key=OTHER_KEY)
        assert status == 403


@pytest.mark.gen_test
async def test_a_patch_has_its_media_type_or_that_of_json() -> None:
    async with editing() as backend:
        await backend.publish("a")
        for media_type, expected in (
            ("application/merge-patch+json", 200),
            ("application/json; charset=utf-8", 200),
            ("application/json-patch+json", 415),
        ):
            status, _, _ = await backend.send("PATCH", "notifications/a", {}, **{"Content-Type": media_type})
            assert status == expected


@pytest.mark.gen_test(timeout=30)
async def test_what_the_page_says_to_type_changes_it_and_takes_it_back() -> None:
    require(shutil.which("curl") is not None, "curl is not there: install it")
    async with editing() as backend:

        async def types(containing: str) -> Any:
            text = block(PAGE, "bash", containing).replace("http://127.0.0.1:8000", backend.server.url)
            done = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-ec", text.replace("curl ", "curl -sSf ")],
                env={**os.environ, "SYNKRONE_API__KEY": API_KEY},
                capture_output=True,
                check=True,
                text=True,
            )
            return json.loads(done.stdout)

        await backend.publish("mission-7.assigned", title="Oslo", data={"street": "X", "n": 1})
        changed = await types("PATCH")
        (item,) = (await backend.inbox())["items"]
        assert (changed["id"], item["title"], item["data"]) == (
            "mission-7.assigned",
            "Your mission is in Bergen",
            {"n": 1},
        )
        assert (await types("DELETE"))["id"] == "mission-7.assigned"
        assert (await backend.inbox())["items"] == []
