"""Revoking and blocking over HTTP, and what clients of every kind see of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from yarl import URL

from entrypoints.server import Server
from tests.engine_io import (
    PollingPeer,
    WebSocketPeer,
    acknowledged,
    connected,
    event,
    http_session,
    refused,
    until_closed,
)
from tests.serving import API_KEY, publish, serving, token
from tests.sse_client import StreamClient

WRITE_KEY = "a key that may restrict users, of 32 characters or more"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "guard", "key": WRITE_KEY, "scopes": ["users:write"]},
        {"name": "others", "key": OTHER_KEY, "scopes": ["publish", "connections:read", "connections:write", "admin"]},
    ],
}
BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
FREE = {"blocked": False, "until": None, "reason": None, "disconnected": 0}
HOUR = 3600


class Guard:
    """Whoever holds an API key with the scope."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(
        self, method: str, path: str, body: Any = None, *, user: str = "42", key: str = WRITE_KEY, **headers: str
    ) -> tuple[int, Any]:
        address = URL(f"{self.server.url}/v1/users/{user}/{path}", encoded=True)
        headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        async with self.session.request(method, address, data=data, headers=headers) as answer:
            return answer.status, json.loads(await answer.text())

    async def does(self, method: str, path: str, body: Any = None, *, user: str = "42") -> dict[str, Any]:
        status, answer = await self.send(method, path, body, user=user)
        assert status == 200, answer
        return dict(answer)

    async def inbox(self, own: str) -> tuple[int, Any]:
        """What is answered to the user's own request."""
        headers = {"Authorization": f"Bearer {own}"}
        async with self.session.get(f"{self.server.url}/v1/inbox", headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def is_let_in(self, own: str) -> bool:
        return (await self.inbox(own))[0] == 200


@asynccontextmanager
async def guarding(**settings: Any) -> AsyncIterator[Guard]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Guard(session, server)


async def refusal_of_stream(server: Server, own: str) -> tuple[int, Any]:
    client = await StreamClient.open(urlsplit(server.url).port or 0)
    try:
        client.ask("/v1/stream", authorization=f"Bearer {own}")
        status = await client.answer()
        return status, client.headers
    finally:
        await client.close()


@BOTH
@pytest.mark.gen_test
async def test_a_revoked_token_is_refused_everywhere_and_one_issued_later_is_good(peer_class: Any) -> None:
    async with guarding() as guard:
        session, server = guard.session, guard.server
        own, newer = token("42"), token("42", iat=int(time.time()) + 2)
        peer = await peer_class.open(session, server.url)
        _, cursor = await connected(peer, own)
        stays = await WebSocketPeer.open(session, server.url)
        await connected(stays, newer)
        before = datetime.now(UTC)
        answer = await guard.does("POST", "revoke")
        assert answer["disconnected"] == 1
        revoked_at = datetime.fromisoformat(answer["issued_before"])
        assert before - timedelta(seconds=1) < revoked_at <= datetime.now(UTC)
        # It comes back by itself, and what it then has to show is another token.
        (closing,) = await until_closed(peer)
        name, (problem,) = event(closing)
        assert (name, problem["code"], problem["reconnect"]) == ("session.closing", "token_revoked", True)
        peer = await peer_class.open(session, server.url)
        problem = await refused(peer, json.dumps({"token": own}))
        assert problem == {"code": "invalid_token", "title": "The token is not valid.", "retryable": False}
        status, problem = await guard.inbox(own)
        assert (status, problem["code"], "detail" in problem) == (401, "invalid_token", False)
        assert (await refusal_of_stream(server, own))[0] == 401
        # What is published in the meantime is not lost.
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": "missed"})
        peer = await peer_class.open(session, server.url)
        ready, _ = await connected(peer, newer, cursor=cursor)
        assert ready["recovered"] is True
        assert event(await peer.next())[1][0]["id"] == "missed"
        assert event(await stays.next())[1][0]["id"] == "missed"
        assert await guard.is_let_in(newer)
        assert await guard.is_let_in(token("43"))


@pytest.mark.gen_test
async def test_a_connection_that_was_given_a_new_token_stays_and_cannot_go_back() -> None:
    async with guarding() as guard:
        own, newer = token("42"), token("42", iat=int(time.time()) + 2)
        peer = await WebSocketPeer.open(guard.session, guard.server.url)
        await connected(peer, own)
        await peer.send('420["auth.refresh",' + json.dumps({"token": newer}) + "]")
        assert acknowledged(await peer.next())[1]["ok"] is True
        assert (await guard.does("POST", "revoke"))["disconnected"] == 0
        await peer.send('421["auth.refresh",' + json.dumps({"token": own}) + "]")
        answer = acknowledged(await peer.next())[1]
        assert (answer["ok"], answer["error"]["code"]) == (False, "invalid_token")


@pytest.mark.gen_test
async def test_what_was_issued_by_a_time_of_before_is_revoked_and_never_less_again() -> None:
    async with guarding() as guard:
        now = int(time.time())
        older, younger, without = token("42", iat=now - HOUR), token("42", iat=now), token("42", iat=None)
        at = datetime.fromtimestamp(now - HOUR, UTC).isoformat()
        assert (await guard.does("POST", "revoke", {"issued_before": at}))["issued_before"] == at.replace(
            "+00:00", ".000Z"
        )
        assert [await guard.is_let_in(one) for one in (older, younger, without)] == [False, True, False]
        long_ago = datetime.fromtimestamp(now - 2 * HOUR, UTC).isoformat()
        await guard.does("POST", "revoke", {"issued_before": long_ago})
        assert [await guard.is_let_in(one) for one in (older, younger, without)] == [False, True, False]


@BOTH
@pytest.mark.gen_test
async def test_a_blocked_user_is_kept_out_until_the_block_is_taken_back(peer_class: Any) -> None:
    async with guarding() as guard:
        session, server, own = guard.session, guard.server, token("42")
        assert await guard.does("GET", "block") == FREE
        peer = await peer_class.open(session, server.url)
        await connected(peer, own)
        blocked = {"blocked": True, "until": None, "reason": "spam, ticket 7"}
        assert await guard.does("POST", "block", {"reason": "spam, ticket 7"}) == {**blocked, "disconnected": 1}
        closing, disconnect = await until_closed(peer)
        name, (problem,) = event(closing)
        assert (name, problem["code"], problem["reconnect"]) == ("session.closing", "blocked", False)
        assert disconnect == "41"
        # Whoever it is about is not told why.
        assert "spam" not in closing
        assert await guard.does("GET", "block") == {**blocked, "disconnected": 0}
        for good in (own, token("42", iat=int(time.time()) + 2)):
            problem = await refused(await peer_class.open(session, server.url), json.dumps({"token": good}))
            assert problem == {"code": "blocked", "title": "The user is blocked.", "retryable": False}
            status, problem = await guard.inbox(good)
            assert (status, problem["code"]) == (403, "blocked")
            assert (await refusal_of_stream(server, good))[0] == 403
        assert await guard.does("DELETE", "block") == FREE
        assert await guard.does("GET", "block") == FREE
        await connected(await peer_class.open(session, server.url), own)
        assert await guard.does("DELETE", "block") == FREE


@pytest.mark.gen_test
async def test_a_block_ends_by_itself() -> None:
    async with guarding() as guard:
        until = (datetime.now(UTC) + timedelta(seconds=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        answer = await guard.does("POST", "block", {"until": until})
        assert answer == {"blocked": True, "until": until, "reason": None, "disconnected": 0}
        assert not await guard.is_let_in(token("42"))
        ends = datetime.fromisoformat(until)
        while not await guard.is_let_in(token("42")):
            assert datetime.now(UTC) < ends + timedelta(seconds=2)
        assert datetime.now(UTC) >= ends
        assert await guard.does("GET", "block") == FREE


@pytest.mark.parametrize("path", ["revoke", "block"])
@pytest.mark.gen_test
async def test_a_stream_is_ended_with_the_same_words(path: str) -> None:
    async with guarding() as guard:
        client = await StreamClient.open(urlsplit(guard.server.url).port or 0)
        client.ask("/v1/stream", authorization=f"Bearer {token('42')}")
        assert await client.answer() == 200
        assert (await client.event()).name == "session.ready"
        assert (await guard.does("POST", path))["disconnected"] == 1
        closing = await client.event()
        problem = json.loads(closing.data or "")
        expected = ("token_revoked", True) if path == "revoke" else ("blocked", False)
        assert (problem["code"], problem["reconnect"]) == expected
        assert (closing.retry is not None) is expected[1]
        assert await client.ended()
        await client.close()


@pytest.mark.gen_test
async def test_it_holds_over_a_restart(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'synkrone.db'}"
    own, newer = token("42"), token("42", iat=int(time.time()) + 2)
    async with guarding(store=store) as guard:
        await guard.does("POST", "revoke")
        await guard.does("POST", "block", {"reason": "r"}, user="43")
    async with guarding(store=store) as guard:
        assert [await guard.is_let_in(one) for one in (own, newer, token("43"))] == [False, True, False]
        assert (await guard.does("GET", "block", user="43"))["reason"] == "r"
        await guard.does("DELETE", "block", user="43")
    async with guarding(store=store) as guard:
        assert [await guard.is_let_in(one) for one in (own, newer, token("43"))] == [False, True, True]


@pytest.mark.gen_test
async def test_a_token_that_lives_too_long_is_refused_and_the_log_names_the_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="synkrone")
    auth = {"secret": "a secret of the tests, long enough for HS256", "longest_life": "1h"}
    async with guarding(auth=auth) as guard:
        assert await guard.is_let_in(token("42", ttl=HOUR))
        assert not await guard.is_let_in(token("42", ttl=HOUR + 1))
    assert "auth.longest_life" in str([vars(record).get("reason") for record in caplog.records])


# what may be asked, by whom


@pytest.mark.gen_test
async def test_what_is_wrong_is_named_and_changes_nothing() -> None:
    async with guarding() as guard:
        soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        for path, body, field in (
            ("revoke", {"issued_before": soon}, "issued_before"),
            ("revoke", {"issued_before": "yesterday"}, "issued_before"),
            ("revoke", {"issued_before": 7}, "issued_before"),
            ("revoke", {"until": soon}, "body"),
            ("revoke", [], "body"),
            ("block", {"until": "2001-01-01T00:00:00Z"}, "until"),
            ("block", {"until": "2001-02-30T00:00:00Z"}, "until"),
            ("block", {"reason": ""}, "reason"),
            ("block", {"reason": "a\nb"}, "reason"),
            ("block", {"reason": "x" * 257}, "reason"),
            ("block", {"reason": 7}, "reason"),
            ("block", b'{"reason": "a", "reason": "b"}', "body"),
        ):
            status, problem = await guard.send("POST", path, body)
            assert (status, problem["code"]) == (422, "invalid_argument"), (path, body, problem)
            assert problem["detail"].startswith(f"{field}: ")
        for path, body, detail in (
            ("revoke", {"issued_before": soon}, "issued_before: must not be in the future"),
            ("block", {"until": "2001-01-01T00:00:00Z"}, "until: must be in the future"),
        ):
            _, problem = await guard.send("POST", path, body)
            assert problem["detail"] == detail
        for body, headers, status in (
            (b"{", {}, 400),
            (b"{}", {"Content-Type": "text/plain"}, 415),
            (b'{"reason": "' + b"x" * 70_000 + b'"}', {}, 413),
        ):
            assert (await guard.send("POST", "block", body, **headers))[0] == status
        assert await guard.is_let_in(token("42"))
        assert await guard.does("GET", "block") == FREE


@pytest.mark.gen_test
async def test_null_is_as_good_as_nothing() -> None:
    async with guarding() as guard:
        assert (await guard.does("POST", "block", {"until": None, "reason": None}))["blocked"] is True
        assert "issued_before" in await guard.does("POST", "revoke", {"issued_before": None})


@pytest.mark.parametrize("user", ["\u200fדנה\u00a0א", "a/b", "100%", "../x", "x" * 128])
@pytest.mark.gen_test
async def test_an_id_is_whatever_a_token_may_say(user: str) -> None:
    async with guarding() as guard:
        await guard.does("POST", "block", user=quote(user, safe=""))
        assert not await guard.is_let_in(token(user))
        assert await guard.is_let_in(token("42"))


@pytest.mark.gen_test
async def test_it_needs_its_scope_which_the_one_key_has(caplog: pytest.LogCaptureFixture) -> None:
    async with guarding() as guard:
        for method, path in (("POST", "revoke"), ("POST", "block"), ("DELETE", "block"), ("GET", "block")):
            for key, status in ((OTHER_KEY, 403), ("x" * 40, 401), (token("42"), 401)):
                assert (await guard.send(method, path, key=key))[0] == status
        assert await guard.is_let_in(token("42"))
        assert (await guard.send("POST", "block", key=API_KEY))[0] == 200


@pytest.mark.gen_test
async def test_one_line_says_who_did_what_to_whom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="synkrone.audit")
    async with guarding() as guard:
        for method, path in (("POST", "revoke"), ("POST", "block"), ("DELETE", "block"), ("GET", "block")):
            await guard.does(method, path)
        await guard.send("POST", "block", {"until": "2001-01-01T00:00:00Z"})
        await guard.send("DELETE", "connections", user="43", key=API_KEY)
    lines = [record for record in caplog.records if record.name == "synkrone.audit"]
    assert [(line.getMessage(), vars(line)["caller"], vars(line)["user"]) for line in lines] == [
        ("revoked", "guard", "42"),
        ("blocked", "guard", "42"),
        ("unblocked", "guard", "42"),
        ("disconnected", "api.key", "43"),
    ]


@pytest.mark.gen_test
async def test_the_audit_log_keeps_why_somebody_was_blocked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="synkrone.audit")
    async with guarding() as guard:
        await guard.send("POST", "block", {"reason": "abuse; connections: 7"})
    (line,) = [record for record in caplog.records if record.name == "synkrone.audit"]
    assert vars(line)["detail"] == "until taken back; reason: 'abuse; connections: 7'; connections: 0"


@pytest.mark.gen_test
async def test_no_more_users_are_restricted_than_may_be() -> None:
    async with guarding(limits={"restrictions": 1}) as guard:
        await guard.does("POST", "revoke")
        status, problem = await guard.send("POST", "block", user="43")
        assert (status, problem["code"]) == (507, "too_many_restrictions")
        assert "limits.restrictions" in problem["detail"]
        await guard.does("POST", "block")
