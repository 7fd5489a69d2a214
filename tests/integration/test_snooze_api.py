"""Snoozing over HTTP and over a connection, on a running server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine_io import WebSocketPeer, connected, event
from tests.integration.test_amendments_api import BOTH, OTHER_KEY, Backend, editing
from tests.integration.test_description import DESCRIPTION
from tests.integration.test_requests import house
from tests.integration.test_schedule_api import in_seconds
from tests.serving import API_KEY, token


async def snoozes(backend: Backend, path: str, body: Any, key: str) -> tuple[int, Any]:
    address = f"{backend.server.url}{path}"
    async with backend.session.post(address, json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
        return answer.status, await answer.json(content_type=None)


async def told(peer: WebSocketPeer) -> tuple[str, Any]:
    name, arguments = event(await peer.next())
    while name == "inbox.counts":
        name, arguments = event(await peer.next())
    return name, arguments[0]


@pytest.mark.gen_test
@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/synkrone.db"])
async def test_it_is_gone_and_comes_back_when_it_is_due(store: str, tmp_path: Any) -> None:
    async with editing(store=store.format(tmp_path)) as backend:
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(peer, token("42"))
        for id_ in ("a", "b"):
            await backend.publish(id_)
            assert (await told(peer))[0] == "notification.new"
        until = in_seconds(2.0)
        status, answer = await snoozes(
            backend, "/v1/inbox/snooze", {"ids": ["a", "unknown"], "until": until}, token("42")
        )
        assert (status, answer["changed"], answer["counts"]["total"]) == (200, 1, 1)
        name, change = await told(peer)
        assert (name, change["ids"], [*change["change"]]) == ("notification.updated", ["a"], ["snoozed_until"])
        assert [item["id"] for item in (await backend.inbox())["items"]] == ["b"]
        name, notification = await told(peer)
        assert (name, notification["id"]) == ("notification.new", "a")
        assert [item["id"] for item in (await backend.inbox())["items"]] == ["a", "b"]
        await peer.close()


@pytest.mark.gen_test
async def test_a_backend_does_it_for_a_user() -> None:
    async with editing() as backend:
        await backend.publish("a")
        path = "/v1/users/42/inbox/snooze"
        status, answer = await snoozes(backend, path, {"ids": ["a"], "until": in_seconds(60)}, API_KEY)
        assert (status, answer["changed"], answer["counts"]["total"]) == (200, 1, 0)
        status, answer = await snoozes(backend, path, {"ids": ["a"], "until": in_seconds(-1)}, API_KEY)
        assert (status, answer["changed"], answer["counts"]["unread"]) == (200, 1, 1)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "body", [{"ids": ["a"]}, {"ids": ["a"], "until": "soon"}, {"ids": [], "until": "2030-01-01T00:00:00Z"}]
)
async def test_what_is_wrong_is_refused(body: Any) -> None:
    async with editing() as backend:
        status, problem = await snoozes(backend, "/v1/inbox/snooze", body, token("42"))
        assert (status, problem["code"]) == (422, "invalid_argument")


@BOTH
@pytest.mark.gen_test
async def test_what_is_snoozed_is_listed_over_a_connection(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client, other = await it.connect(), await it.connect("43")
        await it.publish("a", "b", "c")
        until = in_seconds(60).replace("+00:00", "Z")
        await client.ask("notification.read", {"ids": ["a"]})
        listed = {item["id"]: item for item in (await client.ask("inbox.list", {}))["items"]}
        await client.ask("notification.snooze", {"ids": ["a", "c"], "until": until})
        answer = await client.ask("inbox.list", {"state": "snoozed"})
        assert list(answer) == ["ok", "items", "next", "counts", "as_of"]
        assert answer["items"] == [listed[id_] | {"snoozed_until": until} for id_ in ("c", "a")]
        assert answer["counts"] == {"unread": 1, "unseen": 1, "total": 1}
        assert not DESCRIPTION.problems({"$ref": "#/components/schemas/Listing"}, answer)
        page = await client.ask("inbox.list", {"state": "snoozed", "limit": 1})
        rest = await client.ask("inbox.list", {"state": "snoozed", "limit": 1, "page": page["next"]})
        assert (page["items"] + rest["items"], rest["next"]) == (answer["items"], None)
        assert (await client.ask("inbox.list", {"state": "all"}))["items"] == [listed["b"]]
        assert (await other.ask("inbox.list", {"state": "snoozed"}))["items"] == []
        # By what it has another device brings it back.
        second = await it.connect()
        ids = [item["id"] for item in (await second.ask("inbox.list", {"state": "snoozed"}))["items"]]
        assert (await second.ask("notification.snooze", {"ids": ids, "until": in_seconds(-1)}))["changed"] == 2
        assert (await second.ask("inbox.list", {"state": "snoozed"}))["items"] == []
        back = (await second.ask("inbox.list", {}))["items"]
        assert [(item["id"], item["read_at"]) for item in back[:2]] == [("a", None), ("c", None)]
        assert all("snoozed_until" not in item for item in back)


@pytest.mark.gen_test
@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/synkrone.db"])
async def test_what_is_snoozed_is_listed_for_users_and_backends(store: str, tmp_path: Any) -> None:
    keys = {"key": API_KEY, "keys": [{"name": "other", "key": OTHER_KEY, "scopes": ["inbox:write"]}]}
    async with editing(store=store.format(tmp_path), api=keys) as backend:
        until = in_seconds(60).replace("+00:00", "Z")
        for id_ in ("a", "b", "c"):
            await backend.publish(id_, to={"user": "42"}, type="y" if id_ == "c" else "x")
        await snoozes(backend, "/v1/inbox/snooze", {"ids": ["a", "c"], "until": until}, token("42"))
        whole = await lists(backend, "/v1/inbox?state=snoozed", token("42"))
        assert [(item["id"], item["snoozed_until"]) for item in whole["items"]] == [("c", until), ("a", until)]
        assert not DESCRIPTION.problems({"$ref": "#/components/schemas/Listing"}, whole)
        assert await lists(backend, "/v1/users/42/inbox?state=snoozed", API_KEY) == whole
        typed = await lists(backend, "/v1/users/42/inbox?state=snoozed&type=x&limit=1", API_KEY)
        assert ([item["id"] for item in typed["items"]], typed["next"]) == (["a"], None)
        first = await lists(backend, "/v1/inbox?state=snoozed&limit=1", token("42"))
        rest = await lists(backend, f"/v1/inbox?state=snoozed&limit=1&page={first['next']}", token("42"))
        assert first["items"] + rest["items"] == whole["items"]
        assert (await lists(backend, "/v1/inbox?state=snoozed", token("43")))["items"] == []
        assert (await lists(backend, "/v1/users/43/inbox?state=snoozed", API_KEY))["items"] == []
        status, _, _ = await backend.send("GET", "users/42/inbox?state=snoozed", key=OTHER_KEY)
        assert status == 403
        # That is for exports alone.
        status, problem, _ = await backend.send("GET", "users/42/inbox?state=all_and_snoozed", key=API_KEY)
        assert (status, problem["code"]) == (422, "invalid_argument")


async def lists(backend: Backend, path: str, key: str) -> Any:
    async with backend.session.get(f"{backend.server.url}{path}", headers={"Authorization": f"Bearer {key}"}) as answer:
        assert answer.status == 200
        return await answer.json()
