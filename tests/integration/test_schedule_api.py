"""Notifications for a time of their own, over HTTP, and what clients see of them."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.documents import answers
from tests.engine_io import WebSocketPeer, connected, event
from tests.integration.test_amendments_api import KEYS, Backend, editing
from tests.requirements import require
from tests.serving import API_KEY, token

READ_KEY = "a key that may read notifications, of 32 characters or more"
READING = {"name": "reader", "key": READ_KEY, "scopes": ["notifications:read"]}


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


async def report_of(backend: Backend, id_: str) -> dict[str, Any]:
    status, answer, _ = await backend.send("GET", f"notifications/{id_}", key=READ_KEY)
    assert status == 200, answer
    return dict(answer)


async def told(peer: WebSocketPeer) -> tuple[str, Any]:
    name, arguments = event(await peer.next())
    while name == "inbox.counts":
        name, arguments = event(await peer.next())
    return name, arguments[0]


SETTINGS: dict[str, Any] = {"api": {**KEYS, "keys": [*KEYS["keys"], READING]}}


@pytest.mark.gen_test
async def test_it_is_sent_when_it_is_due_as_it_is_by_then() -> None:
    async with editing(**SETTINGS) as backend:
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(peer, token("42"))
        far, due = in_seconds(3600), in_seconds(2.0)
        assert await backend.publish("far", deliver_at=far) == {"id": "far", "cursor": None, "duplicate": False}
        assert (await backend.publish("near", title="t", deliver_at=due))["cursor"] is None
        assert (await backend.publish("near", title="t", deliver_at=due))["duplicate"]
        report = await report_of(backend, "near")
        assert (report["state"], report["to"], report["notification"]["title"]) == ("scheduled", {"user": "42"}, "t")
        assert datetime.fromisoformat(report["deliver_at"]) == datetime.fromisoformat(due)
        assert report["counts"] == {"recipients": 1, "received": 0, "seen": 0, "read": 0, "archived": 0, "deleted": 0}
        assert await backend.revise("near", {"title": "other"}) == {"id": "near", "cursor": None}
        assert (await backend.inbox())["items"] == []
        name, notification = await told(peer)
        late = datetime.now(UTC) - datetime.fromisoformat(due)
        assert (name, notification["id"], notification["title"]) == ("notification.new", "near", "other")
        assert timedelta(0) <= late < timedelta(seconds=5)
        assert notification["created_at"] == report["deliver_at"]
        assert (await report_of(backend, "near"))["state"] == "sent"
        assert "deliver_at" not in await report_of(backend, "near")
        again = await backend.publish("near", title="t", deliver_at=due)
        assert (again["duplicate"], again["cursor"] is not None) == (True, True)
        assert [item["id"] for item in (await backend.inbox())["items"]] == ["near"]
        await peer.close()


@pytest.mark.gen_test
async def test_it_is_given_another_time() -> None:
    async with editing(**SETTINGS) as backend:
        first, second = in_seconds(3600), in_seconds(7200)
        for id_ in ("a", "b"):
            await backend.publish(id_, title="t", deliver_at=first)
        assert await backend.revise("a", {"deliver_at": second, "title": "u"}) == {"id": "a", "cursor": None}
        report = await report_of(backend, "a")
        assert (report["state"], report["notification"]["title"]) == ("scheduled", "u")
        for time in (report["deliver_at"], report["notification"]["created_at"]):
            assert datetime.fromisoformat(time) == datetime.fromisoformat(second)
        assert (await backend.publish("a", title="t", deliver_at=first))["duplicate"]
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(peer, token("42"))
        for id_, at_once in (("b", None), ("a", in_seconds(-5))):
            assert await backend.revise(id_, {"deliver_at": at_once}) == {"id": id_, "cursor": None}
            name, notification = await told(peer)
            assert (name, notification["id"]) == ("notification.new", id_)
            assert (await report_of(backend, id_))["state"] == "sent"
        for patch in ({"deliver_at": second}, {"deliver_at": None}, {"deliver_at": second, "title": "v"}):
            status, problem, _ = await backend.send("PATCH", "notifications/a", patch)
            assert (status, problem["code"]) == (409, "already_sent")
        assert (await report_of(backend, "a"))["notification"]["title"] == "u"
        await peer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("deliver_at", ["tomorrow", 5, "2999-01-01T00:00:00Z", "after it expires"])
async def test_another_time_that_cannot_be_is_refused(deliver_at: object) -> None:
    deliver_at = in_seconds(9000) if deliver_at == "after it expires" else deliver_at
    async with editing(**SETTINGS) as backend:
        await backend.publish("a", deliver_at=in_seconds(3600), expires_at=in_seconds(3650))
        status, problem, _ = await backend.send("PATCH", "notifications/a", {"deliver_at": deliver_at})
        assert status == 422
        assert problem["errors"][0]["path"] in ("deliver_at", "expires_at")


@pytest.mark.gen_test
async def test_no_more_wait_than_may() -> None:
    async with editing(**SETTINGS, limits={"scheduled": 1}) as backend:
        await backend.publish("a", deliver_at=in_seconds(3600))
        body = {"to": {"user": "42"}, "type": "t", "deliver_at": in_seconds(3600)}
        for path, sent in (
            ("notifications", body),
            ("notifications/batch", [{"to": {"user": "42"}, "type": "t"}, body]),
        ):
            status, problem, _ = await backend.send("POST", path, sent, key=API_KEY)
            assert (status, problem["code"], problem["retryable"]) == (507, "too_many_scheduled", True)
        assert (await backend.inbox())["items"] == []
        await backend.publish("b")
        await backend.recall("a")
        await backend.publish("c", deliver_at=in_seconds(3600))


@pytest.mark.gen_test
async def test_it_is_cancelled() -> None:
    async with editing(**SETTINGS) as backend:
        due = in_seconds(3600)
        await backend.publish("a", deliver_at=due)
        assert await backend.recall("a") == {"id": "a", "cursor": None}
        status, problem, _ = await backend.send("DELETE", "notifications/a")
        assert (status, problem["code"]) == (410, "recalled")
        report = await report_of(backend, "a")
        assert (report["state"], report["to"], report["notification"]) == ("cancelled", {"user": "42"}, None)
        assert datetime.fromisoformat(report["deliver_at"]) == datetime.fromisoformat(due)
        assert report["counts"] == {"recipients": 1, "received": 0, "seen": 0, "read": 0, "archived": 0, "deleted": 0}
        assert (await backend.publish("a", deliver_at=due))["duplicate"]
        status, problem, _ = await backend.send(
            "POST", "notifications", {"to": {"user": "42"}, "type": "t", "id": "a"}, key=API_KEY
        )
        assert (status, problem["code"]) == (409, "conflict")


async def recipients_of(backend: Backend, id_: str) -> list[list[dict[str, Any]]]:
    """Page by page."""
    pages: list[list[dict[str, Any]]] = []
    following = ""
    while following is not None:
        path = f"notifications/{id_}/recipients{following and f'?page={following}'}"
        status, answer, _ = await backend.send("GET", path, key=READ_KEY)
        assert status == 200, answer
        pages.append(answer["recipients"])
        following = answer["next"]
    return pages


@pytest.mark.gen_test
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
async def test_until_then_its_recipients_are_those_it_names(store: str) -> None:
    nothing = {"received_at": None, "seen_at": None, "read_at": None, "archived_at": None, "deleted_at": None}
    users = sorted(f"u-{number}" for number in range(120))
    named = [{"user": user, "received": False, "deleted": False, **nothing} for user in users]
    place = {"store": store} if store == "memory://" else {}
    async with editing(**SETTINGS, **place) as backend:
        for id_, to in (("few", users[:2]), ("many", users[::-1])):
            await backend.publish(id_, to={"users": to}, deliver_at=in_seconds(3600))
        for id_, group in (("role", {"role": "freelance"}), ("topic", {"topic": "t"}), ("all", {"everyone": True})):
            await backend.publish(id_, to=group, deliver_at=in_seconds(3600))
        many = [named[:50], named[50:100], named[100:]]
        assert await recipients_of(backend, "few") == [named[:2]]
        assert await recipients_of(backend, "many") == many
        for id_ in ("role", "topic", "all"):
            assert await recipients_of(backend, id_) == [[]]
        for id_ in ("few", "role"):
            await backend.recall(id_)
        assert await recipients_of(backend, "few") == [named[:2]]
        assert await recipients_of(backend, "role") == [[]]
        # A page leads to the next one also where it was sent in between.
        status, first, _ = await backend.send("GET", "notifications/many/recipients", key=READ_KEY)
        assert status == 200
        await backend.revise("many", {"deliver_at": None})
        async with asyncio.timeout(10):
            while True:
                if (await report_of(backend, "many"))["state"] == "sent":
                    break
                await asyncio.sleep(0.02)
        path = f"notifications/many/recipients?page={first['next']}"
        _, second, _ = await backend.send("GET", path, key=READ_KEY)
        assert (first["recipients"], second["recipients"]) == (many[0], many[1])
        status, problem, _ = await backend.send("GET", "notifications/none/recipients", key=READ_KEY)
        assert (status, problem["code"]) == (404, "not_found")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"deliver_at": "tomorrow"}, "deliver_at"),
        ({"deliver_at": 5}, "deliver_at"),
        ({"deliver_at": "2999-01-01T00:00:00Z"}, "deliver_at"),
        ({"deliver_at": in_seconds(3600), "expires_at": in_seconds(3500)}, "expires_at"),
    ],
)
async def test_a_time_that_cannot_be_is_refused(members: dict[str, Any], path: str) -> None:
    async with editing(**SETTINGS) as backend:
        body = {"to": {"user": "42"}, "type": "t", **members}
        status, problem, _ = await backend.send("POST", "notifications", body, key=API_KEY)
        assert (status, [error["path"] for error in problem["errors"]]) == (422, [path])
        status, problem, _ = await backend.send("POST", "notifications/batch", [body], key=API_KEY)
        assert (status, [error["path"] for error in problem["errors"]]) == (422, [f"[0].{path}"])


@pytest.mark.gen_test
async def test_a_batch_holds_some_of_both() -> None:
    async with editing(**SETTINGS) as backend:
        body = {"to": {"user": "42"}, "type": "t"}
        batch = [{**body, "id": "a"}, {**body, "id": "b", "deliver_at": in_seconds(3600)}, {**body, "id": "c"}]
        status, answer, _ = await backend.send("POST", "notifications/batch", batch, key=API_KEY)
        assert (status, answer["accepted"]) == (200, 3)
        assert [one["cursor"] is None for one in answer["results"]] == [False, True, False]
        assert [item["id"] for item in (await backend.inbox())["items"]] == ["c", "a"]


@pytest.mark.gen_test
async def test_what_the_page_says_to_type_schedules_it() -> None:
    require(shutil.which("curl") is not None, "there is no curl: apt-get install curl")
    async with editing(**SETTINGS) as backend:

        async def types(containing: str) -> list[Any]:
            return await answers("docs/how-to/schedule.md", containing, url=backend.server.url, key=API_KEY)

        assert await types("deliver_at") == [{"id": "shift-7", "cursor": None, "duplicate": False}]
        assert (await report_of(backend, "shift-7"))["state"] == "scheduled"
        assert await types("-X DELETE") == [{"id": "shift-7", "cursor": None}] * 2
        assert (await report_of(backend, "shift-7"))["state"] == "cancelled"
