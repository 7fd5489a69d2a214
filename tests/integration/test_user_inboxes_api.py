"""The inbox of a user as a backend looks after it over HTTP, and what the user's devices see of that."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from entrypoints.server import Server
from tests.engine_io import Asking, PollingPeer, WebSocketPeer, connected, http_session
from tests.serving import API_KEY, publish, serving, token

READ_KEY = "a key that may look into inboxes, of 32 characters or so"
WRITE_KEY = "a key that may change what is in inboxes, of 32 characters"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
OTHERS = ["publish", "notifications:read", "connections:read", "deliveries:read", "users:write", "admin"]
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "looks", "key": READ_KEY, "scopes": ["inbox:read"]},
        {"name": "marks", "key": WRITE_KEY, "scopes": ["inbox:write"]},
        {"name": "others", "key": OTHER_KEY, "scopes": OTHERS},
    ],
}
ACTIONS = ("read", "unread", "seen", "archive", "unarchive", "delete", "read_all")
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


class Backend:
    """A backend, for a user."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, user: str = "42") -> None:
        self.session = session
        self.server = server
        self.user = user

    def of(self, user: str) -> Backend:
        return Backend(self.session, self.server, user)

    async def send(
        self, method: str, path: str = "", body: object = None, *, key: str | None = API_KEY, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        address = URL(f"{self.server.url}/v1/users/{quote(self.user, safe='')}/inbox{path}", encoded=True)
        async with self.session.request(method, address, data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, dict(answer.headers)

    async def get(self, path: str = "") -> dict[str, Any]:
        status, answer, _ = await self.send("GET", path, key=READ_KEY)
        assert status == 200, answer
        return dict(answer)

    async def post(self, action: str, *ids: str, query: str = "") -> dict[str, Any]:
        body = {"ids": ids} if ids else None
        status, answer, _ = await self.send("POST", f"/{action}{query}", body, key=WRITE_KEY)
        assert status == 200, answer
        return dict(answer)

    async def refused(self, method: str, path: str, status: int, code: str, body: object = None) -> dict[str, Any]:
        found, answer, _ = await self.send(method, path, body)
        assert (found, answer["code"]) == (status, code), answer
        return dict(answer)

    async def ids(self, query: str = "") -> list[str]:
        return [item["id"] for item in (await self.get(query))["items"]]

    async def own(self, path: str = "", role: str = "freelance") -> dict[str, Any]:
        """What the user is answered."""
        headers = {"Authorization": f"Bearer {token(self.user, role)}"}
        async with self.session.get(f"{self.server.url}/v1/inbox{path}", headers=headers) as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def publish(self, *ids: str, **to: object) -> None:
        for id_ in ids:
            body = {"to": to or {"user": self.user}, "type": "t", "id": id_}
            assert (await publish(self.session, self.server.url, body))[0] == 201


@asynccontextmanager
async def backend_for_42(**settings: Any) -> AsyncIterator[Backend]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Backend(session, server)


@pytest.mark.gen_test
async def test_a_backend_sees_what_the_user_sees() -> None:
    async with backend_for_42() as backend:
        await backend.own()
        await backend.publish("a", "b")
        await backend.publish("role", role="freelance")
        await backend.publish("other-role", role="company")
        await backend.publish("all", everyone=True)
        await backend.of("43").publish("another")
        await backend.post("read", "a")
        await backend.post("archive", "b")
        for query in ("", "?state=unread", "?state=archived", "?state=all&limit=2", "?type=none", "?role=freelance"):
            assert await backend.get(query) == await backend.own(query.replace("?role=freelance", ""))
        assert await backend.ids("?state=all") == ["all", "role", "b", "a"]
        first = await backend.get("?state=all&limit=3")
        assert await backend.ids(f"?state=all&page={first['next']}") == ["a"]
        assert await backend.get("/count") == await backend.own("/count")
        assert (await backend.get("/count"))["counts"] == {"unread": 2, "unseen": 2, "total": 3}


@pytest.mark.gen_test
async def test_each_action_does_what_it_says() -> None:
    async with backend_for_42() as backend:
        await backend.publish("a", "b", "c")
        for action, unread, unseen, total in (
            ("seen", 3, 2, 3),
            ("read", 2, 2, 3),
            ("unread", 3, 2, 3),
            ("archive", 2, 2, 2),
            ("unarchive", 3, 2, 3),
            ("delete", 2, 2, 2),
        ):
            answer = await backend.post(action, "a", "a", "unknown")
            assert (action, answer["ok"], answer["changed"]) == (action, True, 1)
            assert answer["counts"] == {"unread": unread, "unseen": unseen, "total": total}
            assert (await backend.post(action, "a"))["changed"] == 0
        shown = (await backend.get())["as_of"]
        await backend.publish("d")
        status, answer, _ = await backend.send("POST", "/read_all", {"up_to": shown}, key=WRITE_KEY)
        assert (status, answer["changed"], answer["counts"]["unread"]) == (200, 2, 1)
        assert (await backend.post("read_all"))["changed"] == 1
        assert [item["read_at"] is None for item in (await backend.own())["items"]] == [False] * 3


@BOTH
@pytest.mark.gen_test
async def test_every_device_of_the_user_hears_of_it(peer_class: type[WebSocketPeer | PollingPeer]) -> None:
    async with backend_for_42() as backend:
        await backend.publish("a", "b")
        devices = []
        for _ in range(2):
            peer = await peer_class.open(backend.session, backend.server.url)
            await connected(peer, token("42"))
            devices.append(Asking(peer))
        another = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(another, token("43"))
        answer = await backend.post("read", "a")
        await backend.post("delete", "b")
        for device in devices:
            asked = await device.ask("inbox.count", {})
            assert asked["counts"] == {"unread": 0, "unseen": 0, "total": 1}
            told = [(name, arguments) for name, arguments in device.heard if name.startswith("notification.")]
            assert [name for name, _ in told] == [
                "notification.new", "notification.new", "notification.updated", "notification.deleted",
            ][-len(told) :]  # fmt: skip
            (_, (updated, cursor)), (_, (deleted, _)) = told[-2:]
            assert (updated["ids"], deleted["ids"], cursor) == (["a"], ["b"], answer["as_of"])
            assert set(updated["change"]) == {"read_at", "seen_at"}
        assert (await Asking(another).ask("inbox.count", {}))["counts"]["total"] == 0


@pytest.mark.gen_test
async def test_without_a_role_there_is_what_the_user_has_in_any() -> None:
    async with backend_for_42() as backend:
        await backend.own()
        await backend.own(role="company")
        await backend.publish("own")
        await backend.publish("freelance", role="freelance")
        await backend.publish("company", role="company")
        await backend.publish("admin", role="admin")
        assert await backend.ids() == ["company", "freelance", "own"]
        assert await backend.ids("?role=company") == ["company", "own"]
        assert await backend.ids("?role=freelance") == ["freelance", "own"]
        assert (await backend.post("read", "company", query="?role=freelance"))["changed"] == 0
        assert (await backend.post("read", "company", "own"))["changed"] == 2
        assert (await backend.get("/count?role=company"))["counts"]["unread"] == 0
        answer = await backend.refused("GET", "?role=admin", 422, "invalid_argument")
        assert answer["detail"].startswith("role: ")


@pytest.mark.gen_test
async def test_asking_about_whom_nobody_knows_makes_them_start_nowhere() -> None:
    async with backend_for_42() as backend:
        await backend.publish("own")
        assert await backend.ids() == ["own"]
        assert (await backend.post("seen", "own"))["changed"] == 1
        await backend.publish("before", everyone=True)
        assert [item["id"] for item in (await backend.own())["items"]] == ["own"]
        await backend.publish("after", everyone=True)
        assert await backend.ids() == ["after", "own"]
        assert await backend.of("never came").get("/count") == {
            **await backend.get("/count"), "counts": {"unread": 0, "unseen": 0, "total": 0},
        }  # fmt: skip


@pytest.mark.gen_test
async def test_each_scope_opens_its_own_and_no_other() -> None:
    async with backend_for_42() as backend:
        await backend.publish("a")
        for method, path, good, scope in (
            ("GET", "", READ_KEY, "inbox:read"),
            ("GET", "/count", READ_KEY, "inbox:read"),
            *(("POST", f"/{action}", WRITE_KEY, "inbox:write") for action in ACTIONS),
        ):
            body = None if method == "GET" or path == "/read_all" else {"ids": ["a"]}
            assert (await backend.send(method, path, body, key=good))[0] == 200
            for key in {READ_KEY, WRITE_KEY, OTHER_KEY} - {good}:
                status, answer, headers = await backend.send(method, path, body, key=key)
                assert (status, answer["code"]) == (403, "forbidden")
                assert f'scope="{scope}"' in headers["WWW-Authenticate"]
            for bad in (None, "a key that is none, but has 32 characters", token("42")):
                status, answer, _ = await backend.send(method, path, body, key=bad)
                assert (status, answer["code"]) == (401, "unauthenticated")
        for method, paths, allowed in (
            ("POST", ("", "/count"), "GET, HEAD"),
            ("GET", [f"/{action}" for action in ACTIONS], "POST"),
            ("DELETE", ("/read",), "POST"),
        ):
            for path in paths:
                status, _, headers = await backend.send(method, path)
                assert (status, headers["Allow"]) == (405, allowed)


@pytest.mark.gen_test
async def test_what_cannot_be_done_is_said_as_it_is_to_users() -> None:
    async with backend_for_42(limits={"message_bytes": 20_480}) as backend:
        bad: list[object] = [{"ids": []}, {"ids": ["x"] * 501}, {"ids": ["\n"]}, {"ids": ["a"], "more": 1}, [], "a"]
        for body in bad:
            await backend.refused("POST", "/read", 422, "invalid_argument", body)
        await backend.refused("POST", "/read", 422, "invalid_argument")
        await backend.refused("POST", "/read", 422, "invalid_argument", b'{"ids":["a"],"ids":["b"]}')
        await backend.refused("POST", "/read", 400, "invalid_json", b"{")
        await backend.refused("POST", "/read", 413, "too_large", b'{"ids":["' + b"x" * 30_000 + b'"]}')
        await backend.refused("POST", "/read_all", 422, "invalid_argument", {"up_to": "nonsense"})
        await backend.refused("POST", "/read?limit=1", 422, "invalid_argument", {"ids": ["a"]})
        for query in (
            "limit=0",
            "limit=101",
            "limit=x",
            "state=none",
            "page=0",
            "page=1&page=2",
            "other=1",
            "role=%0A",
        ):
            await backend.refused("GET", f"?{query}", 422, "invalid_argument")
        await backend.refused("GET", "/count?limit=1", 422, "invalid_argument")
        await backend.of("\n").refused("GET", "", 400, "invalid_argument")
        status, answer, _ = await backend.send("POST", "/read", b"a=1", **{"Content-Type": "text/plain"})
        assert (status, answer["code"]) == (415, "unsupported_media_type")
        await backend.refused("POST", "/other", 404, "not_found", {"ids": ["a"]})


@pytest.mark.gen_test
async def test_one_inbox_is_not_asked_for_faster_than_its_user_may() -> None:
    async with backend_for_42(limits={"requests_per_second": 1, "requests_burst": 2}) as backend:
        answers = [await backend.send("GET", "/count") for _ in range(4)]
        assert [status for status, *_ in answers][:2] == [200, 200]
        status, answer, headers = answers[-1]
        assert (status, answer["code"]) == (429, "rate_limited")
        assert int(headers["Retry-After"]) >= 1
        assert (await backend.of("43").send("GET", "/count"))[0] == 200
        # The user's own are others.
        await backend.own("/count")


@pytest.mark.gen_test
async def test_who_changed_something_is_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    async with backend_for_42() as backend:
        await backend.publish("a", "b")
        with caplog.at_level(logging.INFO, "synkrone.audit"):
            await backend.get()
            await backend.post("read", "a", "b", "unknown")
            await backend.post("read", "a")
        lines = [vars(record) for record in caplog.records if record.name == "synkrone.audit"]
        assert [(line["msg"], line["caller"], line["user"], line["detail"]) for line in lines] == [
            ("marked", "marks", "42", "read; notifications: 2")
        ]
