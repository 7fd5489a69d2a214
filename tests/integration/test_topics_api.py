"""Topics over HTTP: who is in one, and what its members get."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from entrypoints.server import Server
from tests.documents import block
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session
from tests.requirements import require
from tests.serving import API_KEY, publish, serving, token

TOPICS_KEY = "a key that may change topics and nothing else, of 32 or so"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "topics", "key": TOPICS_KEY, "scopes": ["topics:write"]},
        {"name": "others", "key": OTHER_KEY, "scopes": ["publish", "inbox:write", "users:write", "admin"]},
    ],
}


class Topics:
    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(
        self, method: str, path: str, body: object = None, *, key: str | None = TOPICS_KEY
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        if data is not None:
            headers["Content-Type"] = "application/json"
        address = URL(f"{self.server.url}/v1/topics/{path}", encoded=True)
        async with self.session.request(method, address, data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def publish(self, id_: str, to: object) -> None:
        assert (await publish(self.session, self.server.url, {"to": to, "type": "t", "id": id_}))[0] == 201

    async def ids(self, user: str) -> list[str]:
        headers = {"Authorization": f"Bearer {token(user)}"}
        async with self.session.get(f"{self.server.url}/v1/inbox", headers=headers) as answer:
            return [item["id"] for item in (await answer.json())["items"]]


@asynccontextmanager
async def topics(**settings: Any) -> AsyncIterator[Topics]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Topics(session, server)


@pytest.mark.gen_test
async def test_a_member_gets_what_comes_while_they_are_one() -> None:
    async with topics() as api:
        to = {"topic": "project-17"}
        await api.publish("before", to)
        for _ in range(2):
            assert await api.send("PUT", "project-17/members/42") == (204, None)
        await api.publish("during", to)
        for _ in range(2):
            assert await api.send("DELETE", "project-17/members/42") == (204, None)
        await api.publish("after", to)
        assert await api.ids("42") == ["during"]
        assert await api.ids("43") == []


@pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
@pytest.mark.gen_test
async def test_a_connection_follows_its_user(peer_class: Any) -> None:
    async with topics() as api:
        peer = await peer_class.open(api.session, api.server.url)
        await connected(peer, token("42"))
        await api.publish("1", {"topic": "p"})
        assert await api.send("POST", "p/members", {"add": ["42", "43"]}) == (204, None)
        await api.publish("2", {"topic": "p"})
        assert await api.send("POST", "p/members", {"add": ["44"], "remove": ["42"]}) == (204, None)
        await api.publish("3", {"topic": "p"})
        await api.publish("4", {"any_of": [{"topic": "p"}, {"role": "freelance"}]})
        told: list[dict[str, Any]] = []
        while not told or told[-1]["id"] != "4":
            name, arguments = event(await peer.next())
            if name == "notification.new":
                told.append(arguments[0])
        assert [(one["id"], one["audience"]) for one in told] == [("2", "topic"), ("4", "topic")]
        await peer.close()


@pytest.mark.gen_test
async def test_what_is_for_all_of_some_groups_is_for_who_is_in_each() -> None:
    async with topics() as api:
        to = {"all_of": [{"role": "freelance"}, {"topic": "p"}, {"topic": "q"}]}
        peers = {}
        for user, role in (("42", "freelance"), ("43", "freelance"), ("44", "company")):
            peers[user] = await WebSocketPeer.open(api.session, api.server.url)
            await connected(peers[user], token(user, role=role))
        assert await api.send("POST", "p/members", {"add": ["42", "43", "44"]}) == (204, None)
        assert await api.send("POST", "q/members", {"add": ["42", "44"]}) == (204, None)
        await api.publish("1", to)
        assert await api.send("POST", "q/members", {"add": ["43"], "remove": ["42"]}) == (204, None)
        await api.publish("2", to)
        await api.publish("last", {"everyone": True})
        told: dict[str, list[str]] = {user: [] for user in peers}
        for user, peer in peers.items():
            while not told[user] or told[user][-1] != "last":
                name, arguments = event(await peer.next())
                if name == "notification.new":
                    told[user].append(arguments[0]["id"])
            await peer.close()
        assert told == {"42": ["1", "last"], "43": ["2", "last"], "44": ["last"]}
        assert await api.ids("42") == ["last", "1"]
        assert await api.ids("43") == ["last", "2"]
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with api.session.get(f"{api.server.url}/v1/notifications/1", headers=headers) as answer:
            report = await answer.json()
        assert report["to"] == to
        assert report["counts"]["recipients"] is None
        async with api.session.get(f"{api.server.url}/v1/notifications/1/recipients", headers=headers) as answer:
            assert [one["user"] for one in (await answer.json())["recipients"]] == ["42"]
        for user, outcome in (("42", "sent"), ("43", "not_addressed"), ("44", "not_addressed")):
            address = f"{api.server.url}/v1/users/{user}/deliveries?id=1"
            async with api.session.get(address, headers=headers) as answer:
                (delivery,) = (await answer.json())["deliveries"]
            assert delivery["outcome"] in (outcome, "received" if outcome == "sent" else outcome)
            assert delivery["audience"] == "topic"
        assert "the role freelance and the topic p and the topic q" in delivery["sentence"]


@pytest.mark.gen_test
async def test_names_are_any_text() -> None:
    async with topics() as api:
        for name in ("a/b", "Größe 9:%", "x" * 128):
            assert (await api.send("PUT", f"{quote(name, safe='')}/members/42"))[0] == 204
            await api.publish(name.replace("/", ".")[:8].encode().hex(), {"topic": name})
        assert len(await api.ids("42")) == 3


@pytest.mark.gen_test
async def test_who_may_not_is_told_so_and_what_is_wrong() -> None:
    async with topics(limits={"topics_per_user": 1}) as api:
        for key, status in ((None, 401), (OTHER_KEY, 403), (token("42"), 401)):
            for method, path, asked in (
                ("PUT", "p/members/42", None),
                ("DELETE", "p/members/42", None),
                ("POST", "p/members", {"add": ["42"]}),
            ):
                assert (await api.send(method, path, asked, key=key))[0] == status
        long = "x" * 129
        bad: list[tuple[str, str, object, int]] = [
            ("PUT", f"{long}/members/42", None, 400),
            ("PUT", f"p/members/{long}", None, 400),
            ("PUT", "p%0a/members/42", None, 400),
            ("POST", "p/members", [], 422),
            ("POST", "p/members", {"more": []}, 422),
            ("POST", "p/members", {"add": "42"}, 422),
            ("POST", "p/members", {"add": [42]}, 422),
            ("POST", "p/members", {"add": [""]}, 422),
            ("POST", "p/members", {"add": ["42"], "remove": ["42"]}, 422),
            ("POST", "p/members", {"add": [str(number) for number in range(10_001)]}, 422),
        ]
        for method, path, body, status in bad:
            found, problem = await api.send(method, path, body)
            assert (found, problem["code"]) == (status, "invalid_argument"), (method, path, problem)
        assert (await api.send("GET", "p/members/42"))[0] == 405
        assert (await api.send("POST", "p/members", {}))[0] == 204
        assert (await api.send("PUT", "p/members/42"))[0] == 204
        found, problem = await api.send("POST", "q/members", {"add": ["43", "42"]})
        assert (found, problem["code"]) == (409, "too_many_topics")
        said = "42 is in as many topics as can be"
        assert problem["detail"] == f"add[1]: {said}"
        assert (problem["errors"], problem["errors_total"]) == ([{"path": "add[1]", "message": said}], 1)
        found, problem = await api.send("PUT", "q/members/42")
        assert (found, problem["detail"], problem.get("errors")) == (409, said, None)
        # Whoever is named again is named where they come first.
        found, problem = await api.send("POST", "q/members", {"add": ["43", "43", "42", "42"]})
        assert problem["errors"][0]["path"] == "add[2]"
        await api.publish("none", {"topic": "q"})
        assert await api.ids("43") == []


@pytest.mark.gen_test
async def test_ten_thousand_at_once() -> None:
    async with topics() as api:
        users = [f"user-{number}" for number in range(10_000)]
        assert (await api.send("POST", "all/members", {"add": users}))[0] == 204
        await api.publish("1", {"topic": "all"})
        assert await api.ids("user-9999") == ["1"]
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with api.session.get(f"{api.server.url}/v1/notifications/1", headers=headers) as answer:
            report = await answer.json()
        assert (report["to"], report["counts"]["recipients"]) == ({"topic": "all"}, None)


@pytest.mark.gen_test
async def test_what_the_page_says_to_type_makes_a_group() -> None:
    require(shutil.which("curl") is not None, "there is no curl: apt-get install curl")
    async with topics() as api:
        for number, what in enumerate(("-X PUT", "file.added", '"add"', "file.added")):
            text = block("docs/how-to/groups.md", "bash", what)
            await asyncio.to_thread(
                subprocess.run,
                ["bash", "-ec", text.replace("http://127.0.0.1:8000", api.server.url).replace("curl ", "curl -sSf ")],
                env={**os.environ, "SYNKRONE_API__KEY": API_KEY},
                capture_output=True,
                check=True,
                text=True,
            )
            # It comes and goes; then it is one of those who are added, and has what is published after that.
            assert len(await api.ids("42")) == (1 if number == 3 else 0)
            assert len(await api.ids("17")) == 0
