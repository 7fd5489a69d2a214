"""A client that was away presents its last cursor and gets what it missed: all of it, once, in order."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.clients import Client, Clients, JsClient
from tests.e2e.conftest import Serve
from tests.e2e.expectations import counts
from tests.e2e.line import Cut, Line
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep, token

QUICK = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
IN_MEMORY = ONE_SECRET | {"SYNKRONE_STORE": "memory://"}


async def publish(server: ServerProcess, ids: Sequence[str], user: str = "42") -> list[str]:
    """The cursors."""
    return [(await server.publish({"user": user}, id=identifier))["cursor"] for identifier in ids]


async def gets(client: Client, ids: Sequence[str]) -> str:
    """Expect them, one after the other and nothing else between: the last cursor."""
    cursor = ""
    for identifier in ids:
        notification, cursor = await client.event("notification.new")
        assert notification["id"] == identifier
    return cursor


def before(cursor: str) -> str:
    epoch, _, offset = cursor.rpartition(":")
    return f"{epoch}:{int(offset) - 1}"


def after(cursor: str, distance: int = 1) -> str:
    epoch, _, offset = cursor.rpartition(":")
    return f"{epoch}:{int(offset) + distance}"


@asynccontextmanager
async def line_to(server: ServerProcess) -> AsyncIterator[Line]:
    line = Line(server.port)
    await line.open()
    try:
        yield line
    finally:
        await line.close()


async def away(client: JsClient) -> None:
    gone = await client.expect("disconnect")
    assert gone["active"] is True


@pytest.mark.gen_test(timeout=60)
async def test_what_was_missed_comes_first_and_in_order(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.python(server.url, {"token": token("42")})
    await client.ready()
    await server.publish({"user": "42"}, id="seen")
    _, cursor = await client.event("notification.new")
    await client.close()

    missed = []
    for number in range(20):
        for to in ({"user": "42"}, {"user": "43"}, {"role": "freelance"}, {"role": "company"}, {"everyone": True}):
            published = await server.publish(to, data={"number": number})
            if to not in ({"user": "43"}, {"role": "company"}):
                missed.append((published["id"], published["cursor"]))

    returned = await clients.python(server.url, {"token": token("42"), "cursor": cursor})
    ready, continues_at = await returned.ready()
    assert (ready["recovered"], ready["reason"]) == (True, None)
    assert ready["counts"] == counts(61)
    assert continues_at != missed[-1][1]
    live = await server.publish({"user": "42"}, id="live")
    missed.append((live["id"], live["cursor"]))
    got = []
    for _ in missed:
        notification, at = await returned.event("notification.new")
        got.append((notification["id"], at))
    assert got == missed

    # Whoever was cut right after session.ready has missed nothing either.
    again = await clients.python(server.url, {"token": token("42"), "cursor": continues_at})
    assert (await again.ready())[0]["recovered"] is True
    for expected in missed:
        notification, at = await again.event("notification.new")
        assert (notification["id"], at) == expected
    assert returned.unseen() == again.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_client_that_missed_nothing(serve: Serve, clients: Clients) -> None:
    server = serve()
    published = await server.publish({"user": "42"})
    client = await clients.js(server.url, {"token": token("42"), "cursor": published["cursor"]})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (True, None, published["cursor"])
    await server.publish({"user": "42"}, id="next")
    assert (await client.event("notification.new"))[0]["id"] == "next"


# the stock client by itself


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("transports", [["polling", "websocket"], ["polling"]], ids=["default", "polling"])
async def test_the_stock_client_recovers_by_itself(serve: Serve, clients: Clients, transports: list[str]) -> None:
    server = serve()
    async with line_to(server) as line:
        client = await clients.js(line.url, {"token": token("42")}, QUICK | {"transports": transports})
        ready, _ = await client.ready()
        assert (ready["recovered"], ready["reason"]) == (False, None)
        await publish(server, ["a"])
        await gets(client, ["a"])
        await client.uses(transports[-1])
        for cut, missed in ((Cut.RESET, ["b", "c"]), (Cut.LOST, ["d"]), (Cut.CLOSE, [])):
            line.sever(cut)
            await away(client)
            await publish(server, missed)
            line.mend()
            ready, _ = await client.back(recovered=True)
            assert (ready["recovered"], ready["reason"]) == (True, None)
            await gets(client, missed)
        assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("first_lost", ["session.ready", "notification.new"])
async def test_a_cut_in_the_middle_of_a_recovery(serve: Serve, clients: Clients, first_lost: str) -> None:
    server = serve()
    async with line_to(server) as line:
        client = await clients.js(line.url, {"token": token("42")}, QUICK | {"transports": ["websocket"]})
        await client.ready()
        await publish(server, ["a"])
        await gets(client, ["a"])
        line.sever(Cut.RESET)
        await away(client)
        await publish(server, ["b", "c"])
        line.cut_before(f'42["{first_lost}"'.encode())
        line.mend()
        if first_lost == "session.ready":
            while (happening := await client.next())["what"] in ("reconnect_attempt", "connect_error"):
                pass
            assert happening == {"what": "connect", "recovered": True}
        else:
            await client.back(recovered=True)
        await away(client)
        assert line.was_cut.is_set()
        await client.back(recovered=True)
        await gets(client, ["b", "c"])
        assert client.unseen() == []


# without a cursor


@pytest.mark.gen_test(timeout=60)
async def test_without_a_cursor_what_nobody_received_is_replayed(serve: Serve, clients: Clients) -> None:
    server = serve()
    cursors = await publish(server, ["a", "b", "c"])
    await publish(server, ["of-another"], user="43")
    # It was there before the user ever was, and so does not exist for them.
    await server.publish({"role": "freelance"})
    client = await clients.python(server.url, {"token": token("42")})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (False, None, before(cursors[0]))
    assert ready["counts"] == counts(3)
    await gets(client, ["a", "b", "c"])

    # With the answer to its next ping, a second later, the server knows that they were received.
    deadline = time.monotonic() + 15
    while True:
        another = await clients.python(server.url, {"token": token("42")})
        _, cursor = await another.ready()
        if cursor != before(cursors[0]):
            break
        await another.close()
        assert time.monotonic() < deadline, "what was received is still replayed"
    await publish(server, ["live"])
    for device in (client, another):
        await gets(device, ["live"])
    assert client.unseen() == another.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_without_a_cursor_and_without_replay_a_connection_starts_at_the_head(
    serve: Serve, clients: Clients
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_REPLAY": "none"})
    published = await server.publish({"user": "42"})
    client = await clients.js(server.url, {"token": token("42")})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"], cursor) == (False, None, published["cursor"])
    # It lies in the inbox all the same.
    assert ready["counts"] == counts(1)
    await publish(server, ["next"])
    await gets(client, ["next"])


# cursors that lead nowhere


@pytest.mark.gen_test(timeout=60)
async def test_a_cursor_that_leads_nowhere_is_refused_with_the_reason(serve: Serve, clients: Clients) -> None:
    server = serve()
    users = [str(number) for number in range(6)]
    missed = await server.publish({"users": users}, id="missed")
    epoch, _, offset = missed["cursor"].rpartition(":")
    refused = []
    for user, (cursor, reason) in zip(
        users,
        (
            ("rubbish", "invalid"),
            (f"{epoch}:{int(offset) + 1}", "invalid"),
            (int(offset), "invalid"),
            (["a", "list"], "invalid"),
            (f"0{epoch}:{offset}", "unknown_epoch"),
            (f"unknown:{offset}", "unknown_epoch"),
        ),
        strict=True,
    ):
        client = await clients.python(server.url, {"token": token(user), "cursor": cursor})
        ready, continues_at = await client.ready()
        assert (ready["recovered"], ready["reason"]) == (False, reason), cursor
        # From there on it is as without a cursor.
        assert continues_at == before(missed["cursor"])
        await gets(client, ["missed"])
        refused.append(client)
    await server.publish({"users": users}, id="next")
    for client in refused:
        await gets(client, ["next"])
        assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_cursor_of_before_the_log_was_trimmed_is_refused(serve: Serve, clients: Clients) -> None:
    server = serve(IN_MEMORY | {"SYNKRONE_LIMITS__MEMORY_ENTRIES": "1000"})
    cursors = []
    async with aiohttp.ClientSession() as session:
        for number in range(1002):
            _, answer = await server.post(session, {"to": {"user": "42"}, "type": "t", "id": str(number)})
            cursors.append(answer["cursor"])
    client = await clients.python(server.url, {"token": token("42"), "cursor": cursors[0]})
    ready, cursor = await client.ready()
    assert (ready["recovered"], ready["reason"]) == (False, "trimmed")
    # Of what is left, all.
    left = cursors.index(after(cursor))
    assert left > 1
    await gets(client, [str(number) for number in range(left, 1002)])
    # It was the user's own room that lost entries: another user has missed none.
    other = await clients.python(server.url, {"token": token("43"), "cursor": cursors[0]})
    assert (await other.ready())[0]["recovered"] is True
    assert client.unseen() == other.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_store_that_was_restored_from_a_backup_refuses_the_cursors_of_what_it_lost(
    serve: Serve, clients: Clients, tmp_path: Path
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    stock = await clients.js(server.url, {"token": token("42")}, QUICK)
    await stock.ready()
    kept = await publish(server, ["a", "b"])
    await gets(stock, ["a", "b"])
    backup = tmp_path / "backup.db"
    server.back_up(backup)
    lost = await publish(server, ["lost-1", "lost-2"])
    await gets(stock, ["lost-1", "lost-2"])
    await restart(server)
    await away_and(stock, recovered=True)
    lost_later = await publish(server, ["lost-3"])
    await gets(stock, ["lost-3"])

    await restart(server, backup)
    # The stock client's own cursor is of an epoch that this store has never heard of.
    ready, _ = await away_and(stock, recovered=False)
    assert (ready["recovered"], ready["reason"]) == (False, "unknown_epoch")
    # By now the log is longer than it was when those cursors were given out.
    await publish(server, [f"new-{number}" for number in range(10)])
    for cursor, recovered, reason in (
        (kept[-1], True, None),
        (lost[0], False, "invalid"),
        (lost[-1], False, "invalid"),
        (lost_later[0], False, "unknown_epoch"),
    ):
        client = await clients.python(server.url, {"token": token("42"), "cursor": cursor})
        ready, _ = await client.ready()
        assert (ready["recovered"], ready["reason"]) == (recovered, reason), cursor
        if recovered:
            await gets(client, [f"new-{number}" for number in range(10)])
            assert client.unseen() == []
    items = (await server.inbox(token("42")))["items"]
    assert [item["id"] for item in reversed(items)] == ["a", "b", *(f"new-{number}" for number in range(10))]


async def restart(server: ServerProcess, backup: Path | None = None) -> None:
    """Stop it and start it again, with its file or with the one of the backup."""
    assert server.stop() == 0
    if backup is not None:
        server.restore(backup)
    server.start_again()
    await server.ready()


async def away_and(client: JsClient, *, recovered: bool) -> list[Any]:
    """Over the restart of the server, and back."""
    await client.event("session.closing")
    await away(client)
    return await client.back(recovered=recovered)


# another user on the same page


@pytest.mark.gen_test(timeout=60)
async def test_a_page_that_changes_user_gets_what_is_of_the_new_user_alone(serve: Serve, clients: Clients) -> None:
    server = serve()
    async with line_to(server) as line:
        page = await clients.js(line.url, {"token": token("ann")}, QUICK)
        await page.ready()
        await publish(server, ["for-bob"], user="bob")
        await publish(server, ["for-ann"], user="ann")
        await gets(page, ["for-ann"])

        await page.become({"token": token("bob")})
        assert (await page.expect("disconnect"))["reason"] == "io client disconnect"
        assert (await page.expect("connect"))["recovered"] is False
        ready, _ = await page.event("session.ready")
        assert ready["user"]["id"] == "bob"
        assert (ready["recovered"], ready["reason"], ready["counts"]) == (False, "identity_changed", counts(1))
        await gets(page, ["for-bob"])

        # From now on it recovers as the other.
        line.sever(Cut.RESET)
        await away(page)
        await publish(server, ["for-ann-too"], user="ann")
        await publish(server, ["for-bob-too"], user="bob")
        line.mend()
        ready, _ = await page.back(recovered=True)
        assert ready["user"]["id"] == "bob"
        await gets(page, ["for-bob-too"])
        assert page.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_a_page_that_changes_user_and_is_cut_before_it_hears_of_that(serve: Serve, clients: Clients) -> None:
    """It has the new user's pid then, and still the other one's cursor, which lies behind what the new one missed."""
    server = serve()
    async with line_to(server) as line:
        page = await clients.js(line.url, {"token": token("ann")}, QUICK | {"transports": ["websocket"]})
        await page.ready()
        await publish(server, ["for-bob-1", "for-bob-2"], user="bob")
        await publish(server, ["for-ann"], user="ann")
        await gets(page, ["for-ann"])

        line.cut_before(b'42["session.ready"')
        await page.become({"token": token("bob")})
        assert (await page.expect("disconnect"))["active"] is False
        assert (await page.expect("connect"))["recovered"] is False
        await away(page)
        assert line.was_cut.is_set()
        await publish(server, ["for-ann-too"], user="ann")
        ready, _ = await page.back(recovered=False)
        assert (ready["user"]["id"], ready["recovered"]) == ("bob", False)
        await gets(page, ["for-bob-1", "for-bob-2"])
        await publish(server, ["live"], user="bob")
        await gets(page, ["live"])
        assert page.unseen() == []
