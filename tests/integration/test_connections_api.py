"""Who is connected, and sending them away: what operators ask over HTTP, and what the clients see of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from yarl import URL

from domain.errors import StoreUnavailable
from entrypoints.server import Server
from tests.engine_io import (
    PollingPeer,
    WebSocketPeer,
    connected,
    event,
    http_session,
    refused,
    until_closed,
)
from tests.integration.test_service_tokens_api import issuer, service_token, user_token
from tests.serving import API_KEY, SECRET, eventually, publish, serving, token
from tests.sse_client import StreamClient

READ_KEY = "a key that may only look, of 32 characters or more"
WRITE_KEY = "a key that may only disconnect, of 32 characters"
PUBLISH_KEY = "a key that may only publish, of 32 characters or so"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "looks", "key": READ_KEY, "scopes": ["connections:read"]},
        {"name": "disconnects", "key": WRITE_KEY, "scopes": ["connections:write"]},
        {"name": "publishes", "key": PUBLISH_KEY, "scopes": ["publish"]},
    ],
}
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
BEARER = 'Bearer realm="synkrone-socket"'
STRANGE_IDS = [
    "\u200fדנה\u00a0א",
    "\U0001f468\u200d\U0001f469",
    "\u202ea",
    "\U0001fae8",
    "a/b",
    "a b",
    "é😀",
    "100%",
    "a?b#c",
    "../x",
    ".",
    "a%2Fb",
    "a+b",
    '"',
    "x" * 128,
]


class Operator:
    """Whoever holds an API key."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(
        self, method: str, user: str, query: str = "", *, key: str | None = API_KEY
    ) -> tuple[int, Any, dict[str, str]]:
        """``user`` stands in the path as it is."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        # Not encoded: aiohttp would write the path in its own way.
        address = URL(f"{self.server.url}/v1/users/{user}/connections{query}", encoded=True)
        async with self.session.request(method, address, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, dict(answer.headers)

    async def connections(self, user: str) -> list[dict[str, Any]]:
        status, answer, _ = await self.send("GET", quote(user, safe=""))
        assert (status, list(answer)) == (200, ["connections"])
        return list(answer["connections"])

    async def disconnect(self, user: str, query: str = "") -> int:
        """How many connections that closed."""
        status, answer, _ = await self.send("DELETE", quote(user, safe=""), query)
        assert (status, answer) == (200, {"disconnected": answer["disconnected"], "tokens_revoked": False})
        return int(answer["disconnected"])


@asynccontextmanager
async def operating(**settings: Any) -> AsyncIterator[Operator]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Operator(session, server)


@asynccontextmanager
async def streaming(server: Server, own: str, query: str = "") -> AsyncIterator[StreamClient]:
    """A client of Server-Sent Events, which has been told that it is ready."""
    client = await StreamClient.open(urlsplit(server.url).port or 0)
    client.ask(f"/v1/stream{query}", authorization=f"Bearer {own}")
    assert await client.answer() == 200
    assert (await client.event()).name == "session.ready"
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.gen_test
async def test_nobody_is_connected() -> None:
    async with operating() as operator:
        assert await operator.connections("42") == []
        assert await operator.disconnect("42") == 0
        assert await operator.disconnect("42", "?reconnect=true") == 0


@pytest.mark.gen_test
async def test_all_devices_by_all_transports_are_shown_the_oldest_first() -> None:
    async with operating() as operator:
        session, server = operator.session, operator.server
        before = datetime.now(UTC)
        phone = await PollingPeer.open(session, server.url)
        await connected(phone, token("42"), device="phone é")
        laptop = await WebSocketPeer.open(session, server.url)
        await connected(laptop, token("42", "company"), device="laptop")
        await connected(await WebSocketPeer.open(session, server.url), token("43"))
        # It has asked for nothing yet.
        await WebSocketPeer.open(session, server.url)
        async with streaming(server, token("42"), "?device=script"):
            shown = await operator.connections("42")
            since = [datetime.fromisoformat(connection.pop("since")) for connection in shown]
            assert before - timedelta(seconds=1) <= since[0] <= since[1] <= since[2] <= datetime.now(UTC)
            assert shown == [
                {
                    "device": "phone é",
                    "role": "freelance",
                    "roles": ["freelance"],
                    "transport": "polling",
                    "remote_address": "127.0.0.1",
                },
                {
                    "device": "laptop",
                    "role": "company",
                    "roles": ["company"],
                    "transport": "websocket",
                    "remote_address": "127.0.0.1",
                },
                {
                    "device": "script",
                    "role": "freelance",
                    "roles": ["freelance"],
                    "transport": "sse",
                    "remote_address": "127.0.0.1",
                },
            ]
            assert [connection["device"] for connection in await operator.connections("43")] == [None]
            await phone.close()
            await eventually(lambda: server.container.connections().open_connections == 3)
            assert [connection["device"] for connection in await operator.connections("42")] == ["laptop", "script"]
        await eventually(lambda: server.container.connections().open_connections == 2)
        assert [connection["device"] for connection in await operator.connections("42")] == ["laptop"]


@pytest.mark.gen_test
async def test_of_several_roles_all_are_shown() -> None:
    issuer_of_several = {
        "issuer": "i",
        "secret": SECRET,
        "role_claim": "groups",
        "multiple_roles": True,
        "roles": ["company", "admin"],
    }
    async with operating(auth={"issuers": [issuer_of_several]}) as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await connected(peer, token("42", iss="i", groups=["admin", "company"]))
        (shown,) = await operator.connections("42")
        assert (shown["role"], shown["roles"]) == ("company", ["company", "admin"])


@pytest.mark.gen_test
async def test_the_address_behind_a_trusted_proxy_is_the_client_s() -> None:
    async with operating(trusted_proxies=["127.0.0.1"]) as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url, **{"X-Forwarded-For": "203.0.113.7"})
        await connected(peer, token("42"))
        assert [connection["remote_address"] for connection in await operator.connections("42")] == ["203.0.113.7"]


@pytest.mark.parametrize("query", ["", "?reconnect=false"])
@BOTH
@pytest.mark.gen_test
async def test_who_is_disconnected_is_told_to_stay_away(peer_class: Any, query: str) -> None:
    async with operating() as operator:
        peer = await peer_class.open(operator.session, operator.server.url)
        await connected(peer, token("42"))
        assert await operator.disconnect("42", query) == 1
        closing, disconnect = await until_closed(peer)
        name, (problem,) = event(closing)
        assert (name, problem["code"], problem["reconnect"]) == ("session.closing", "disconnected_by_operator", False)
        assert isinstance(problem["title"], str)
        # After which the stock client does not come back by itself.
        assert disconnect == "41"
        assert await operator.connections("42") == []
        assert await operator.disconnect("42") == 0


@BOTH
@pytest.mark.gen_test
async def test_who_is_only_cut_off_is_told_to_come_back_and_misses_nothing(peer_class: Any) -> None:
    async with operating() as operator:
        session, url = operator.session, operator.server.url
        peer = await peer_class.open(session, url)
        _, cursor = await connected(peer, token("42"))
        assert await operator.disconnect("42", "?reconnect=true") == 1
        # No DISCONNECT: the transport ends, and the stock client returns.
        (closing,) = await until_closed(peer)
        name, (problem,) = event(closing)
        assert (name, problem["code"], problem["reconnect"]) == ("session.closing", "disconnected_by_operator", True)
        assert problem["retry_after_ms"] >= 1000
        await publish(session, url, {"to": {"user": "42"}, "type": "t", "id": "missed"})
        peer = await peer_class.open(session, url)
        ready, _ = await connected(peer, token("42"), cursor=cursor)
        assert ready["recovered"] is True
        assert event(await peer.next())[1][0]["id"] == "missed"


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.gen_test
async def test_a_stream_is_ended_with_the_same_words(reconnect: bool) -> None:  # noqa: FBT001
    async with operating() as operator, streaming(operator.server, token("42")) as client:
        assert await operator.disconnect("42", f"?reconnect={str(reconnect).lower()}") == 1
        closing = await client.event()
        assert (closing.name, closing.id) == ("session.closing", None)
        problem = json.loads(closing.data or "")
        assert (problem["code"], problem["reconnect"]) == ("disconnected_by_operator", reconnect)
        assert (closing.retry is not None) is reconnect
        assert await client.ended()


@pytest.mark.gen_test
async def test_all_of_a_user_s_devices_go_and_nobody_else_s() -> None:
    async with operating() as operator:
        session, server = operator.session, operator.server
        peers = [await peer_class.open(session, server.url) for peer_class in (WebSocketPeer, PollingPeer)]
        for peer in peers:
            await connected(peer, token("42"))
        other = await WebSocketPeer.open(session, server.url)
        await connected(other, token("43"))
        async with streaming(server, token("42")) as stream:
            assert await operator.disconnect("42") == 3
            for peer in peers:
                assert (await until_closed(peer))[-1] == "41"
            assert (await stream.event()).name == "session.closing"
            assert await stream.ended()
        assert await operator.connections("42") == []
        await publish(session, server.url, {"to": {"users": ["42", "43"]}, "type": "t", "id": "n-1"})
        assert event(await other.next())[1][0]["id"] == "n-1"
        assert len(await operator.connections("43")) == 1


@pytest.mark.gen_test
async def test_a_token_is_not_revoked_and_the_answer_says_so() -> None:
    async with operating() as operator:
        own = token("42")
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await connected(peer, own)
        assert await operator.disconnect("42") == 1
        await until_closed(peer)
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), own)
        assert len(await operator.connections("42")) == 1


@pytest.mark.gen_test
async def test_without_a_store_they_go_but_it_is_said_that_this_was_not_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "synkrone.audit")
    async with operating() as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await connected(peer, token("42"))

        async def unavailable(*_: object) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(operator.server.container.store(), "append_control", unavailable)
        status, problem, _ = await operator.send("DELETE", "42")
        assert (status, problem["code"]) == (503, "store_unavailable")
        assert (await until_closed(peer))[-1] == "41"
        (record,) = [record for record in caplog.records if record.name == "synkrone.audit"]
        assert (record.message, record.__dict__["user"]) == ("disconnected", "42")
        assert record.__dict__["detail"].startswith("those of this server alone")


@pytest.mark.gen_test
async def test_who_sent_somebody_away_is_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "synkrone.audit")
    async with operating() as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await connected(peer, token("42"))
        await operator.send("DELETE", "42", "?reconnect=true", key=WRITE_KEY)
        await operator.send("DELETE", "42", key=READ_KEY)
        await operator.send("GET", "42", key=READ_KEY)
    (record,) = [record for record in caplog.records if record.name == "synkrone.audit"]
    told = record.__dict__
    assert (record.message, told["caller"], told["user"]) == ("disconnected", "disconnects", "42")
    assert told["detail"] == "connections: 1; clients come back"


# ids


@pytest.mark.parametrize("user", STRANGE_IDS)
@pytest.mark.gen_test
async def test_an_id_is_whatever_a_token_may_say(user: str) -> None:
    async with operating() as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        ready, _ = await connected(peer, token(user))
        assert ready["user"]["id"] == user
        assert len(await operator.connections(user)) == 1
        assert await operator.disconnect(user) == 1
        assert (await until_closed(peer))[-1] == "41"


@pytest.mark.parametrize("user", ["x" * 129, "%00", "a%0Ab", "%7F", "%E2%80%A8", "%ED%A0%80", "%FF", "%C3"])
@pytest.mark.gen_test
async def test_what_no_token_may_say_is_no_id(user: str) -> None:
    async with operating() as operator:
        for method in ("GET", "DELETE"):
            status, problem, headers = await operator.send(method, user)
            assert (status, headers["Content-Type"]) == (400, "application/problem+json")
            assert problem["code"] in ("invalid_argument", "bad_request")


@pytest.mark.gen_test
async def test_paths_that_name_no_user_are_not_found() -> None:
    async with operating() as operator:
        for path in ("", "a/b", "a/"):
            status, problem, _ = await operator.send("GET", path)
            assert (path, status, problem["code"]) == (path, 404, "not_found")


@pytest.mark.gen_test
async def test_a_wrong_query_disconnects_nobody() -> None:
    async with operating() as operator:
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), token("42"))
        for value in ("", "yes", "1", "True", "maybe", "true%20x"):
            status, problem, _ = await operator.send("DELETE", "42", f"?reconnect={value}")
            assert (value, status, problem["code"]) == (value, 400, "invalid_argument")
            assert problem["detail"].startswith("reconnect: ")
        assert len(await operator.connections("42")) == 1


@pytest.mark.gen_test
async def test_other_methods_are_refused() -> None:
    async with operating() as operator:
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), token("42"))
        for method in ("POST", "PUT", "PATCH", "OPTIONS"):
            status, _, headers = await operator.send(method, "42")
            assert (method, status, headers["Allow"]) == (method, 405, "GET, DELETE, HEAD")
        assert len(await operator.connections("42")) == 1


@pytest.mark.gen_test
async def test_head_is_get_without_the_answer_and_disconnects_nobody() -> None:
    async with operating() as operator:
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), token("42"))
        status, body, headers = await operator.send("HEAD", "42", key=READ_KEY)
        assert (status, body) == (200, None)
        assert int(headers["Content-Length"]) > 0
        assert (await operator.send("HEAD", "42", key=WRITE_KEY))[0] == 403
        assert len(await operator.connections("42")) == 1


# who may ask


@pytest.mark.gen_test
async def test_each_method_needs_its_scope() -> None:
    async with operating() as operator:
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), token("42"))
        for method, scope, keys in (
            ("GET", "connections:read", (WRITE_KEY, PUBLISH_KEY)),
            ("DELETE", "connections:write", (READ_KEY, PUBLISH_KEY)),
        ):
            for key in keys:
                status, problem, headers = await operator.send(method, "42", key=key)
                assert (status, problem["code"]) == (403, "forbidden")
                assert headers["WWW-Authenticate"] == f'{BEARER}, error="insufficient_scope", scope="{scope}"'
        assert (await operator.send("GET", "42", key=READ_KEY))[1]["connections"] != []
        assert (await operator.send("DELETE", "42", key=WRITE_KEY))[1]["disconnected"] == 1


@pytest.mark.gen_test
async def test_without_a_key_nothing_is_told_and_nobody_goes() -> None:
    async with operating() as operator:
        await connected(await WebSocketPeer.open(operator.session, operator.server.url), token("42"))
        for method in ("GET", "DELETE"):
            for user in ("42", "nobody"):
                for key, challenge in (
                    (None, BEARER),
                    ("x" * 40, f'{BEARER}, error="invalid_token"'),
                    (token("42"), f'{BEARER}, error="invalid_token"'),
                ):
                    status, problem, headers = await operator.send(method, user, key=key)
                    assert (status, problem["code"]) == (401, "unauthenticated")
                    assert headers["WWW-Authenticate"] == challenge
        assert len(await operator.connections("42")) == 1


@pytest.mark.gen_test
async def test_without_any_keys_the_routes_are_closed() -> None:
    async with operating(api={}) as operator:
        for method in ("GET", "DELETE"):
            status, problem, _ = await operator.send(method, "42")
            assert (status, problem["code"]) == (403, "forbidden")


@pytest.mark.gen_test
async def test_a_service_needs_the_scope_in_its_token_and_in_the_settings() -> None:
    async with operating(auth={"issuers": [issuer()]}, api={}) as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await connected(peer, user_token())
        # "billing" may look, and not disconnect; a user may neither.
        looks = service_token(scope="connections:read")
        assert len((await operator.send("GET", "app-42", key=looks))[1]["connections"]) == 1
        for method, credential, status in (
            ("GET", service_token(scope="publish"), 403),
            ("DELETE", service_token(scope="connections:write"), 403),
            ("DELETE", looks, 403),
            ("GET", user_token(), 401),
            ("DELETE", user_token(), 401),
        ):
            assert (await operator.send(method, "app-42", key=credential))[0] == status
        assert len((await operator.send("GET", "app-42", key=looks))[1]["connections"]) == 1


@pytest.mark.gen_test
async def test_who_was_refused_was_never_connected() -> None:
    async with operating() as operator:
        peer = await WebSocketPeer.open(operator.session, operator.server.url)
        await refused(peer, json.dumps({"token": token("42", ttl=-60)}))
        assert await operator.connections("42") == []
        assert await operator.disconnect("42") == 0
