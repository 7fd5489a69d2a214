"""Why somebody got a notification, or did not: what operators ask over HTTP and at a terminal."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from yarl import URL

from entrypoints.server import Server
from tests.documents import block
from tests.engine_io import WebSocketPeer, connected, event, http_session
from tests.forked import CLI, run_forked
from tests.processes import environment
from tests.serving import API_KEY, SECRET, eventually, publish, serving, token

READ_KEY = "a key that may ask about deliveries, of 32 characters"
PUBLISH_KEY = "a key that may only publish, of 32 characters or so"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "asks", "key": READ_KEY, "scopes": ["deliveries:read"]},
        {"name": "publishes", "key": PUBLISH_KEY, "scopes": ["publish"]},
    ],
}
PAGE = "docs/how-to/why.md"
PING, PONG = "2", "3"


class Support:
    """Whoever is asked why something did not arrive."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(self, user: str, key: str | None = READ_KEY, **query: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        path = f"{self.server.url}/v1/users/{quote(user, safe='')}/deliveries?{urlencode(query)}"
        async with self.session.get(URL(path, encoded=True), headers=headers) as answer:
            return answer.status, json.loads(await answer.text())

    async def asks(self, user: str, **query: str) -> list[dict[str, Any]]:
        status, answer = await self.send(user, **query)
        assert (status, answer["user"]) == (200, user), answer
        return list(answer["deliveries"])

    async def publish(self, id_: str, to: dict[str, object], **members: object) -> None:
        body = {"to": to, "type": "t", "id": id_, **members}
        status, answer = await publish(self.session, self.server.url, body)
        assert status == 201, answer

    async def until(self, user: str, id_: str, outcome: str) -> dict[str, Any]:
        """Its delivery, once that is what became of it."""
        async with asyncio.timeout(10):
            while True:
                (delivery,) = await self.asks(user, id=id_)
                if delivery["outcome"] == outcome:
                    return delivery
                await asyncio.sleep(0.05)


@asynccontextmanager
async def supporting(**settings: Any) -> AsyncIterator[Support]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Support(session, server)


async def notified(peer: WebSocketPeer) -> str:
    """The id of the next notification, before which there may be a ping."""
    while True:
        packet = await peer.next()
        if packet == PING:
            await peer.send(PONG)
            continue
        name, arguments = event(packet)
        if name == "notification.new":
            return str(arguments[0]["id"])


async def answer_pings(peer: WebSocketPeer) -> None:
    while True:
        if await peer.next() == PING:
            await peer.send(PONG)


@pytest.mark.gen_test
async def test_what_arrived_says_when_and_by_what_and_who_read_it() -> None:
    async with supporting() as support:
        before = datetime.now(UTC)
        peer = await WebSocketPeer.open(support.session, support.server.url)
        await connected(peer, token("42"), device="phone")
        await support.publish("a", {"users": ["42", "43"]})
        assert await notified(peer) == "a"
        answering = asyncio.create_task(answer_pings(peer))
        try:
            delivery = await support.until("42", "a", "received")
            await peer.send('42["notification.read",{"ids":["a"]}]')
            async with asyncio.timeout(5):
                while delivery["read_at"] is None:
                    (delivery,) = await support.asks("42", id="a")
        finally:
            answering.cancel()
        (connection,) = delivery.pop("connections")
        assert (delivery["audience"], delivery["read_by"]) == ("user", "phone")
        assert delivery["sentence"].startswith("It was sent to the device “phone” over websocket at ")
        assert delivery["sentence"].endswith(" by the device “phone”.")
        assert (connection["device"], connection["transport"]) == ("phone", "websocket")
        assert (connection["until"], connection["ended"]) == (None, None)
        times = [datetime.fromisoformat(connection[name]) for name in ("since", "sent_at", "received_at")]
        assert before - timedelta(seconds=1) <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
        (other,) = await support.asks("43", id="a")
        assert (other["outcome"], other["connections"], other["read_at"]) == ("waiting", [], None)
        (stranger,) = await support.asks("44", id="a")
        assert (stranger["outcome"], stranger["sentence"]) == (
            "not_addressed", "It was published for other users, and not for 44.",
        )  # fmt: skip
        assert await support.asks("42", id="unknown") == []


@pytest.mark.gen_test
async def test_of_what_arrived_it_is_said_too_why_it_is_not_shown_any_more() -> None:
    async with supporting() as support:
        peer = await WebSocketPeer.open(support.session, support.server.url)
        await connected(peer, token("42"), device="phone")
        await support.publish("replaced", {"user": "42"}, collapse_key="k")
        for id_ in ("recalled", "snoozed"):
            await support.publish(id_, {"user": "42"})
        assert [await notified(peer) for _ in range(3)] == ["replaced", "recalled", "snoozed"]
        answering = asyncio.create_task(answer_pings(peer))
        try:
            await support.until("42", "snoozed", "received")
        finally:
            answering.cancel()
        await support.publish("later", {"user": "42"}, collapse_key="k")
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with support.session.delete(f"{support.server.url}/v1/notifications/recalled", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        body = {"ids": ["snoozed"], "until": until.isoformat()}
        address = f"{support.server.url}/v1/users/42/inbox/snooze"
        async with support.session.post(address, headers=headers, json=body) as answer:
            assert answer.status == 200, await answer.text()
        for id_, said in (
            ("replaced", r"One that was published at .* UTC has taken its place\."),
            ("recalled", r"Its publisher took it back\. It was over at .* UTC\."),
            ("snoozed", rf"They snoozed it until {until:%Y-%m-%d %H:%M:%S} UTC\."),
        ):
            (delivery,) = await support.asks("42", id=id_)
            assert delivery["outcome"] == "received"
            assert re.search(rf"and had arrived by .* UTC\. {said}$", delivery["sentence"]), delivery["sentence"]


@pytest.mark.gen_test
async def test_of_whoever_only_asks_over_http_it_is_said_what_is_so() -> None:
    async with supporting() as support:
        for id_ in ("before", "since"):
            await support.publish(id_, {"everyone": True})
            headers = {"Authorization": f"Bearer {token('42')}"}
            async with support.session.get(f"{support.server.url}/v1/inbox", headers=headers) as answer:
                assert answer.status == 200
        (before,), (since,) = [await support.asks("42", id=id_) for id_ in ("before", "since")]
        assert before["sentence"].endswith(
            "and by then 42 had never come, neither by a connection nor over HTTP: "
            "what is older does not exist for them."
        )
        assert "They had no connection since. It is sent as soon as they connect." in since["sentence"]


@pytest.mark.gen_test
async def test_those_since_a_time_come_page_by_page() -> None:
    async with supporting() as support:
        await support.publish("before", {"user": "42"})
        await asyncio.sleep(0.01)
        since = datetime.now(UTC).isoformat()
        for number in range(45):
            await support.publish(f"n-{number}", {"user": "42"})
        pages: list[list[str]] = []
        query = {"since": since}
        while True:
            _, answer = await support.send("42", **query)
            pages.append([delivery["id"] for delivery in answer["deliveries"]])
            if answer["next"] is None:
                break
            query["page"] = answer["next"]
        assert [len(page) for page in pages] == [20, 20, 5]
        assert [id_ for page in pages for id_ in page] == [f"n-{number}" for number in reversed(range(45))]
        assert await support.asks("nobody", since=since) == []


@pytest.mark.gen_test
async def test_an_id_and_a_time_and_a_page_hold_together() -> None:
    async with supporting() as support:
        await support.publish("a", {"user": "42"})
        ((stored_at, cursor),) = [(one["stored_at"], one["cursor"]) for one in await support.asks("42", id="a")]
        at, offset = datetime.fromisoformat(stored_at), int(cursor.rpartition(":")[2])
        for query, there in (
            ({"since": at.isoformat()}, True),
            ({"since": (at + timedelta(milliseconds=1)).isoformat()}, False),
            ({"page": str(offset + 1)}, True),
            ({"page": str(offset)}, False),
        ):
            assert [one["id"] for one in await support.asks("42", id="a", **query)] == ["a"] * there, query


@pytest.mark.gen_test
async def test_who_may_ask_and_what() -> None:
    async with supporting() as support:
        assert (await support.send("42", None))[0] == 401
        status, problem = await support.send("42", PUBLISH_KEY)
        assert (status, problem["code"]) == (403, "forbidden")
        assert (await support.send("42", API_KEY))[0] == 200
        for query in (
            {"id": "not an id"}, {"since": "yesterday"}, {"since": "2030-01-31"}, {"page": "0"}, {"page": "x"},
            {"limit": "5"},
        ):  # fmt: skip
            status, problem = await support.send("42", **query)
            assert (status, problem["code"]) == (400, "invalid_argument"), query
            assert next(iter(query)) in problem["detail"]
        for user in ("\u200fדנה", "a/b", "a b", "100%", "a?b#c", "x" * 128):
            assert await support.asks(user) == []


@pytest.mark.gen_test
async def test_where_nothing_is_kept_marks_say_what_can_be_said() -> None:
    async with supporting(retention={"deliveries": "0s"}) as support:
        peer = await WebSocketPeer.open(support.session, support.server.url)
        await connected(peer, token("42"), device="phone")
        await support.publish("a", {"user": "42"})
        assert await notified(peer) == "a"
        answering = asyncio.create_task(answer_pings(peer))
        try:
            delivery = await support.until("42", "a", "received")
        finally:
            answering.cancel()
        assert delivery["outcome"] == "received"
        await peer.close()
        await support.publish("b", {"user": "42"})
        (waiting,) = await support.asks("42", id="b")
        assert waiting["outcome"] == "waiting"


@pytest.mark.gen_test
async def test_of_whoever_is_blocked_it_is_said_for_how_long() -> None:
    async with supporting() as support:
        await support.publish("a", {"user": "42"})
        until = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
        address = f"{support.server.url}/v1/users/42/block"
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with support.session.post(address, headers=headers, json={"until": until.isoformat()}) as answer:
            assert answer.status == 200, await answer.text()
        (delivery,) = await support.asks("42", id="a")
        assert delivery["outcome"] == "waiting"
        end = f"{until:%Y-%m-%d %H:%M:%S} UTC"
        assert delivery["sentence"].endswith(
            f"42 is blocked until {end}: it is sent after that, as soon as they connect."
        )
        async with support.session.delete(address, headers=headers) as answer:
            assert answer.status == 200
        (delivery,) = await support.asks("42", id="a")
        assert delivery["sentence"].endswith("They have not connected. It is sent as soon as they connect.")


@pytest.mark.gen_test(timeout=60)
async def test_the_command_says_what_the_page_shows(tmp_path: Path) -> None:
    """With other times, and a cut of the line that is made here."""
    async with supporting() as support:
        peer = await WebSocketPeer.open(support.session, support.server.url)
        await connected(peer, token("42"), device="phone")
        await support.publish("mission-7", {"user": "42"})
        assert await notified(peer) == "mission-7"
        peer.abort()
        await eventually(lambda: support.server.open_connections == 0, within=5)
        said = await run(support, tmp_path, *block(PAGE, "bash", "why --user 42").split()[1:])
        assert timeless(said) == timeless(block(PAGE, "text", "mission-7"))
        as_json = json.loads(await run(support, tmp_path, "why", "--user", "42", "--since", "1h", "--json"))
        assert as_json == {
            "user": "42",
            "deliveries": await support.asks("42", id="mission-7"),
            "scheduled": None,
            "next": None,
        }
        both = await run(support, tmp_path, "why", "--user", "42", "--id", "mission-7", "--since", "1h")
        assert both == said
        later = ["why", "--user", "42", "--id", "mission-7", "--since", "2100-01-01T00:00:00Z"]
        assert (await command(support.server.url, tmp_path, *later)).returncode == 1
        unknown = ["why", "--user", "42", "--id", "other"]
        for options, output in (([], ""), (["--json"], '{"user":"42","deliveries":[],"scheduled":null,"next":null}\n')):
            done = await command(support.server.url, tmp_path, *unknown, *options)
            assert (done.returncode, done.stdout) == (1, output)
            assert done.stderr == (
                "synkrone-socket: no notification other is known: it was never published, or is too old\n"
            )
        # A path would be another with the last two left as they are.
        for user in ("a/b", ".", ".."):
            assert await run(support, tmp_path, "why", "--user", user) == nothing_for(user)


def nothing_for(user: str) -> str:
    return (
        f"Nothing that is still there was published for {user} in that time.\n"
        "Ask with --id about what was taken back, replaced or scheduled.\n"
    )


@pytest.mark.gen_test(timeout=60)
async def test_without_an_id_it_is_not_denied_that_there_was_what_is_gone(tmp_path: Path) -> None:
    async with supporting() as support:
        await support.publish("replaced", {"user": "42"}, collapse_key="k")
        await support.publish("recalled", {"user": "42"}, collapse_key="k")
        await support.publish("scheduled", {"user": "42"}, deliver_at=(datetime.now(UTC) + timedelta(1)).isoformat())
        address = f"{support.server.url}/v1/notifications/recalled"
        async with support.session.delete(address, headers={"Authorization": f"Bearer {API_KEY}"}) as answer:
            assert answer.status == 200, await answer.text()
        assert await run(support, tmp_path, "why", "--user", "42") == nothing_for("42")
        for id_, became in (("replaced", "deleted"), ("recalled", "deleted"), ("scheduled", "scheduled")):
            told = await run(support, tmp_path, "why", "--user", "42", "--id", id_)
            assert told.startswith(f"{id_}: {became}\n"), told


@pytest.mark.gen_test(timeout=60)
async def test_of_what_was_not_sent_yet_it_is_said_when_it_is_and_that_it_was_cancelled(tmp_path: Path) -> None:
    async with supporting() as support:
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        for id_ in ("shift-7", "shift-8"):
            await support.publish(id_, {"user": "42"}, deliver_at=due.isoformat())
        address = f"{support.server.url}/v1/notifications/shift-8"
        async with support.session.delete(address, headers={"Authorization": f"Bearer {API_KEY}"}) as answer:
            assert answer.status == 200, await answer.text()
        at = f"{due:%Y-%m-%d %H:%M:%S} UTC"
        said = {
            ("42", "shift-7"): ("scheduled", f"It is scheduled: it is sent at {at}."),
            ("42", "shift-8"): ("cancelled", f"It was cancelled before it was sent: it was to be sent at {at}."),
            ("43", "shift-7"): ("scheduled", f"It is scheduled: it is sent at {at}, to other users, and not to 43."),
        }
        for (user, id_), (state, sentence) in said.items():
            _, answer = await support.send(user, id=id_)
            assert (answer["deliveries"], answer["next"]) == ([], None)
            scheduled = answer["scheduled"]
            assert datetime.fromisoformat(scheduled.pop("deliver_at")) == due
            assert scheduled == {"id": id_, "state": state, "audience": "user", "sentence": sentence}
            told = await run(support, tmp_path, "why", "--user", user, "--id", id_)
            assert told == f"{id_}: {state}\n  {sentence}\n"
        for query, there in (
            ({"since": due.isoformat()}, True),
            ({"since": (due + timedelta(milliseconds=1)).isoformat()}, False),
            ({"page": "1"}, False),
        ):
            _, answer = await support.send("42", id="shift-7", **query)
            assert (answer["scheduled"] is not None) is there, query
        _, answer = await support.send("42")
        assert (answer["deliveries"], answer["scheduled"]) == ([], None)


class Stranger(tornado.web.RequestHandler):
    def initialize(self, *, body: bytes) -> None:
        self._body = body

    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(self._body)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a proxy's page</html>",
        b"",
        b"null",
        b"\xff",
        b"{}",
        b'{"user": "42", "deliveries": [{}], "next": null}',
        b'{"deliveries": [], "scheduled": {}, "next": null}',
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_the_command_says_in_one_line_that_something_else_answers(tmp_path: Path, body: bytes) -> None:
    (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(tornado.web.Application([(r".*", Stranger, {"body": body})]))
    server.add_sockets([socket])
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        done = await command(url, tmp_path, "why", "--user", "42")
    finally:
        server.stop()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"synkrone-socket: {url} does not answer as this program's server does\n"


async def run(support: Support, folder: Path, *arguments: str) -> str:
    """What a command prints that ends well."""
    done = await command(support.server.url, folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


async def command(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"SYNKRONE_AUTH__SECRET": SECRET, "SYNKRONE_API__KEY": API_KEY}
    for name in ("stdout", "stderr"):
        (folder / name).unlink(missing_ok=True)
    return await asyncio.to_thread(
        run_forked,
        CLI,
        *arguments,
        "--url",
        url,
        directory=folder,
        environment=environment(settings),
        outputs=folder,
        timeout=20,
    )


def timeless(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)


@pytest.mark.gen_test(timeout=30)
async def test_what_a_server_leaves_open_that_is_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    """The file is as it was at that moment: it is copied from under the first server."""
    first, second = tmp_path / "synkrone.db", tmp_path / "killed.db"
    async with supporting(store=f"sqlite:///{first}") as support:
        peer = await WebSocketPeer.open(support.session, support.server.url)
        _, place = await connected(peer, token("42"), device="phone")
        await support.publish("a", {"user": "42"})
        assert await notified(peer) == "a"
        await eventually(lambda: noted(first), within=10)
        await support.publish("b", {"user": "42"})
        with closing(sqlite3.connect(first)) as source, closing(sqlite3.connect(second)) as target:
            source.backup(target)
    async with supporting(store=f"sqlite:///{second}") as support:
        (a,) = await support.asks("42", id="a")
        (b,) = await support.asks("42", id="b")
        assert a["connections"][0]["ended"] == "server_stopped"
        assert (a["outcome"], b["outcome"]) == ("sent", "waiting")
        assert "as the server stopped without a word" in a["sentence"]
        peer = await WebSocketPeer.open(support.session, support.server.url)
        await connected(peer, token("42"), device="phone", cursor=place.rpartition(":")[0] + ":2")
        for id_ in ("a", "b"):
            (delivery,) = await support.asks("42", id=id_)
            assert delivery["outcome"] == "received", delivery["sentence"]


def noted(path: Path) -> bool:
    """Whether the file knows of a connection, and that everything up to the first entry was delivered."""
    with closing(sqlite3.connect(path)) as db:
        (number,) = db.execute(
            "SELECT count(*) FROM ledger_connections JOIN ledger_runs AS run ON run.number = run WHERE delivered >= 1"
        ).fetchone()
    return bool(number)
