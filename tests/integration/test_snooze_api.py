"""Snoozing over HTTP and over a connection, on a running server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine_io import WebSocketPeer, connected, event
from tests.integration.test_amendments_api import Backend, editing
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
        until = in_seconds(0.7)
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
