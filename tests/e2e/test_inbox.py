"""A user's inbox on several devices and over HTTP: what is done on one shows on all, and the counts agree."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from tests.e2e.clients import Client, Clients, JsClient
from tests.e2e.conftest import Serve
from tests.e2e.expectations import CURSOR, assert_recent, counts
from tests.feed_server import eventually
from tests.processes import ServerProcess, token

RETRIES = 50


async def publish(server: ServerProcess, clients: Sequence[Client], ids: Sequence[str], user: str = "42") -> None:
    """Publish, and wait until they have arrived."""
    for identifier in ids:
        await server.publish({"user": user}, id=identifier)
    for client in clients:
        for identifier in ids:
            assert (await client.event("notification.new"))[0]["id"] == identifier


async def change(client: JsClient, action: str, argument: Mapping[str, object]) -> tuple[dict[str, Any], list[Any]]:
    """Do it on a device: the answer, and the event that the device itself gets before."""
    await client.emit(f"notification.{action}", argument)
    happening = await client.expect("event")
    assert happening["name"] in ("notification.updated", "notification.deleted")
    answer = await client.ack()
    assert answer["as_of"] == happening["args"][-1]
    return answer, [happening["name"], *happening["args"]]


@pytest.mark.gen_test(timeout=60)
async def test_what_one_device_reads_is_read_on_all(serve: Serve, clients: Clients) -> None:
    server = serve()
    own = token("42")
    phone = await clients.js(server.url, {"token": own})
    laptop = await clients.js(server.url, {"token": own}, {"transports": ["polling"]})
    away = await clients.python(server.url, {"token": own})
    for device in (phone, laptop, away):
        ready, _ = await device.ready()
        assert ready["counts"] == counts(0)
    await publish(server, (phone, laptop, away), ["a", "b", "c"])
    for device in (phone, laptop, away):
        await device.hears_counts(counts(3))
    last_seen = (await server.inbox(own))["as_of"]
    await away.close()

    answer, updated = await change(phone, "read", {"ids": ["a", "b", "a", "of-nobody"]})
    left = counts(1, total=3)
    assert (answer["ok"], answer["changed"], answer["counts"]) == (True, 2, left)
    name, which, cursor = updated
    assert (name, which["ids"]) == ("notification.updated", ["a", "b"])
    assert which["change"].keys() == {"read_at", "seen_at"}
    read_at = which["change"]["read_at"]
    assert_recent(read_at)
    assert CURSOR.fullmatch(cursor)
    assert await laptop.event("notification.updated") == [which, cursor]
    for device in (phone, laptop):
        await device.hears_counts(left)

    # What was done meanwhile comes to a device on its return, in its place among the rest.
    await publish(server, (phone, laptop), ["d"])
    back = await clients.python(server.url, {"token": own, "cursor": last_seen})
    ready, _ = await back.ready()
    assert (ready["recovered"], ready["counts"]) == (True, counts(2, total=4))
    assert await back.event("notification.updated") == [which, cursor]
    assert (await back.event("notification.new"))[0]["id"] == "d"

    # The same, whoever asks and how.
    await laptop.emit("inbox.count", {})
    assert (await laptop.ack())["counts"] == ready["counts"]
    assert (await server.inbox(own, "/count"))["counts"] == ready["counts"]
    await phone.emit("inbox.list", {})
    listed = await phone.ack()
    assert listed == await server.inbox(own)
    assert [(item["id"], item["read_at"]) for item in listed["items"]] == [
        ("d", None),
        ("c", None),
        ("b", read_at),
        ("a", read_at),
    ]
    assert (listed["counts"], listed["next"]) == (ready["counts"], None)
    assert [device.unseen() for device in (phone, laptop, back)] == [[], [], []]


@pytest.mark.gen_test(timeout=60)
async def test_whatever_a_user_does_the_other_device_can_follow(serve: Serve, clients: Clients) -> None:
    """It keeps its own copy of the inbox by the events alone, which has to be what the server lists in the end."""
    server = serve()
    own = token("42")
    acting, following = [await clients.js(server.url, {"token": own}) for _ in range(2)]
    for device in (acting, following):
        await device.ready()
    ids = ["a", "b", "c", "d"]
    await publish(server, (acting, following), ids)
    copy: dict[str, dict[str, Any]] = {identifier: {} for identifier in ids}

    async def do(action: str, argument: Mapping[str, object], expected: dict[str, int]) -> None:
        answer, event = await change(acting, action, argument)
        assert answer["counts"] == expected, action
        assert [(await following.expect("event"))["args"]] == [event[1:]], action
        which = event[1]
        for identifier in list(copy) if which.get("all") else which["ids"]:
            if event[0] == "notification.deleted":
                del copy[identifier]
            else:
                for name, time in which["change"].items():
                    # A time that is set stays, and null takes it away.
                    copy[identifier][name] = time and (copy[identifier].get(name) or time)

    await do("seen", {"ids": ["a", "b"]}, counts(4, unseen=2))
    await do("read", {"ids": ["c"]}, counts(3, unseen=1, total=4))
    await do("unread", {"ids": ["c"]}, counts(4, unseen=1))
    await do("archive", {"ids": ["b"]}, counts(3, unseen=1))
    await do("unarchive", {"ids": ["b"]}, counts(4, unseen=1))
    await do("archive", {"ids": ["a", "d"]}, counts(2, unseen=0))
    await do("delete", {"ids": ["c"]}, counts(1, unseen=0))
    # Whatever is listed under "all" is read then, what was archived too.
    await do("read_all", {}, counts(0, total=1))

    listed = (await server.inbox(own, "?state=all"))["items"]
    assert [item["id"] for item in listed] == ["d", "b", "a"]
    for item in listed:
        for name in ("read_at", "seen_at", "archived_at"):
            assert item[name] == copy[item["id"]].get(name), (item["id"], name)
    for state, expected in (("archived", ["d", "a"]), ("read", ["b"]), ("unread", [])):
        assert [item["id"] for item in (await server.inbox(own, f"?state={state}"))["items"]] == expected


@pytest.mark.gen_test(timeout=60)
async def test_the_ids_of_others_are_as_ids_of_nobody(serve: Serve, clients: Clients) -> None:
    server = serve()
    mine = await clients.js(server.url, {"token": token("42")})
    theirs = await clients.js(server.url, {"token": token("43")})
    for client in (mine, theirs):
        await client.ready()
    await publish(server, (theirs,), ["theirs"], user="43")
    await publish(server, (mine,), ["mine"])
    for action in ("read", "unread", "seen", "archive", "unarchive", "delete"):
        answers = []
        for identifier in ("theirs", "of-nobody"):
            await mine.emit(f"notification.{action}", {"ids": [identifier]})
            answers.append(await mine.ack())
        assert answers[0] == answers[1]
        assert (answers[0]["ok"], answers[0]["changed"], answers[0]["counts"]) == (True, 0, counts(1)), action
        over_http = await server.inbox(token("42"), f"/{action}", {"ids": ["theirs"]})
        assert over_http == answers[0]
    await mine.emit("notification.read_all", {})
    assert (await mine.event("notification.updated"))[0]["all"] is True
    assert (await mine.ack())["changed"] == 1
    (item,) = (await server.inbox(token("43")))["items"]
    assert (item["id"], item["read_at"], item["seen_at"], item["archived_at"]) == ("theirs", None, None, None)
    assert [client.unseen() for client in (mine, theirs)] == [[], []]


@pytest.mark.gen_test(timeout=60)
async def test_what_nobody_can_do_is_answered_and_the_connection_stays(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    for event, argument, code in (
        ("notification.forget", {"ids": ["a"]}, "unknown_event"),
        ("notification.read", {"ids": []}, "invalid_argument"),
        ("notification.read", {"ids": [str(number) for number in range(501)]}, "invalid_argument"),
        ("notification.read", {"ids": [None]}, "invalid_argument"),
        ("notification.read", ["a"], "invalid_argument"),
        ("notification.read_all", {"up_to": "0:1"}, "invalid_argument"),
        ("inbox.list", {"limit": 101}, "invalid_argument"),
        ("inbox.list", {"page": "first"}, "invalid_argument"),
        ("inbox.list", {"state": "lost"}, "invalid_argument"),
        ("inbox.count", {"of": "43"}, "invalid_argument"),
        ("auth.refresh", {"token": "rubbish"}, "invalid_token"),
    ):
        await client.emit(event, argument)
        answer = await client.ack()
        assert (answer["ok"], answer["error"]["code"], answer["error"]["retryable"]) == (False, code, False), event
    await publish(server, (client,), ["still-there"])


@pytest.mark.gen_test(timeout=60)
async def test_a_list_from_a_server_is_continued_by_a_connection(serve: Serve, clients: Clients) -> None:
    """A page rendered on a server, then connected from ``as_of``: with what it shows, every notification once."""
    server = serve()
    own = token("42")
    published: list[str] = []
    stopping = asyncio.Event()

    async def publish_on() -> None:
        async with aiohttp.ClientSession() as session:
            while not stopping.is_set():
                status, answer = await server.post(session, {"to": {"user": "42"}, "type": "t"})
                assert status == 201
                published.append(answer["id"])

    publishing = asyncio.create_task(publish_on())
    await eventually(lambda: len(published) >= 120)
    rendered = await server.inbox(own, "?limit=100")
    shown, page = list(rendered["items"]), rendered["next"]
    while page is not None:
        following = await server.inbox(own, f"?limit=100&page={page}")
        shown += following["items"]
        page = following["next"]
    behind = len(published) + 20
    await eventually(lambda: len(published) >= behind)
    client = await clients.js(server.url, {"token": own, "cursor": rendered["as_of"]})
    ready, _ = await client.ready()
    assert (ready["recovered"], ready["reason"]) == (True, None)
    stopping.set()
    await publishing
    listed = [item["id"] for item in reversed(shown)]
    assert len(listed) >= 120
    assert listed == published[: len(listed)]
    for identifier in published[len(listed) :]:
        assert (await client.event("notification.new"))[0]["id"] == identifier
    await client.hears_counts(counts(len(published)))
    assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_publish_that_is_tried_again_by_many_at_once_is_one(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    body = {"to": {"user": "42"}, "type": "mission.assigned", "id": "once", "data": {"n": 1}}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(*(server.post(session, body) for _ in range(RETRIES)))
    assert {status for status, _ in answers} == {201}
    assert {(answer["id"], answer["cursor"]) for _, answer in answers} == {("once", answers[0][1]["cursor"])}
    assert sum(not answer["duplicate"] for _, answer in answers) == 1
    assert (await client.event("notification.new"))[0]["id"] == "once"
    await publish(server, (client,), ["next"])
    assert [item["id"] for item in (await server.inbox(token("42")))["items"]] == ["next", "once"]
    assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_what_a_user_deleted_does_not_come_back_with_a_retry(serve: Serve, clients: Clients) -> None:
    server = serve()
    own = token("42")
    client = await clients.js(server.url, {"token": own})
    await client.ready()
    first = await server.publish({"user": "42"}, id="gone")
    await client.event("notification.new")
    answer, event = await change(client, "delete", {"ids": ["gone"]})
    assert (event[0], event[1]) == ("notification.deleted", {"ids": ["gone"]})
    assert (answer["changed"], answer["counts"]) == (1, counts(0))
    again = await server.publish({"user": "42"}, id="gone")
    assert again == {**first, "duplicate": True}
    await publish(server, (client,), ["next"])
    await client.hears_counts(counts(1))
    assert [item["id"] for item in (await server.inbox(own, "?state=all"))["items"]] == ["next"]
    assert client.unseen() == []
