"""The operator's page: who is let in, what is asked of whoever is not, and what operators see and do."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.api.ops.sessions import ATTEMPTS
from adapters.telemetry.shown import SHOWN
from entrypoints.container import build_container
from entrypoints.server import Server
from entrypoints.settings import SettingsError, validate_settings
from tests.documents import block
from tests.engine_io import WebSocketPeer, connected, event, http_session, until_closed
from tests.serving import API_KEY, SECRET, publish, serving, token

ADMIN_KEY = "a key of operators, of at least 32 characters"
LOOK_KEY = "a key that only looks, of at least 32 chars"
API = {
    "key": API_KEY,
    "keys": [
        {"name": "night-shift", "key": ADMIN_KEY, "scopes": ["admin"]},
        {"name": "looks", "key": LOOK_KEY, "scopes": ["connections:read"]},
    ],
}


class Page:
    """Something that asks as a browser with the page does, or nearly so."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        assert server.internal_url is not None
        self.session = session
        self.server = server
        self.url = server.internal_url
        self.cookies: dict[str, str] = {}
        self.answer: aiohttp.ClientResponse

    async def ask(self, method: str, path: str, body: object = None, **headers: str | None) -> tuple[int, Any]:
        """The status and the answer. A header that is None is left out."""
        given: dict[str, str | None] = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            given.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        sent = {name: value for name, value in given.items() if value is not None}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as answer:
            self.answer = answer
            return answer.status, await answer.json(content_type=None) if answer.headers["Content-Type"].endswith(
                "json"
            ) else await answer.text()

    async def log_in(self, key: str = ADMIN_KEY, **headers: str | None) -> int:
        status, _ = await self.ask("POST", "/ops/login", {"key": key}, **headers)
        if status == 200:
            for morsel in self.set_cookie().values():
                self.cookies[morsel.key] = morsel.value
        return status

    def set_cookie(self) -> SimpleCookie:
        return SimpleCookie("\r\n".join(self.answer.headers.getall("Set-Cookie", [])))


@asynccontextmanager
async def page(**settings: Any) -> AsyncIterator[Page]:
    internal = {"port": 0, "ops": True} | settings.pop("internal", {})
    async with serving(api=API, internal=internal, **settings) as server, http_session() as session:
        yield Page(session, server)


@asynccontextmanager
async def operating(**settings: Any) -> AsyncIterator[Page]:
    async with page(**settings) as browser:
        assert await browser.log_in() == 200
        yield browser


def audited(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    """Who did what to whom, in order."""
    records = [vars(record) for record in caplog.records if record.name == "synkrone.audit"]
    return [(record["caller"], record["message"], record["user"]) for record in records]


# where it is


@pytest.mark.gen_test
async def test_there_is_no_page_unless_it_is_wanted_and_never_where_clients_come() -> None:
    async with page() as browser:
        for path in ("/ops", "/ops/ops.css", "/ops/api/state", "/ops/login"):
            async with browser.session.get(browser.server.url + path) as answer:
                assert answer.status == 404
    async with page(internal={"ops": False}) as browser:
        for path in ("/ops", "/ops/ops.css", "/ops/api/state"):
            assert (await browser.ask("GET", path))[0] == 404
        assert await browser.log_in() == 404


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"internal": {"ops": True}}, "internal.port: is needed for internal.ops"),
        (
            {"api": {"key": API_KEY}},
            "api.keys: one of them needs the scope admin, to log in to the page of internal.ops",
        ),
    ],
)
def test_a_page_that_nobody_could_use_is_refused_at_the_start(changes: dict[str, Any], message: str) -> None:
    values = {"auth": {"secret": SECRET}, "api": API, "internal": {"port": 0, "ops": True}}
    with pytest.raises(SettingsError) as error:
        validate_settings(values | changes)
    assert str(error.value) == message


def made_key(script: str) -> str:
    """The key that the script leaves in its file."""
    subprocess.run(["bash", "-ec", script], check=True, timeout=10)
    return Path("ann.key").read_text().strip()


@pytest.mark.gen_test
async def test_the_settings_of_the_document_serve_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = "docs/how-to/ops-page.md"
    monkeypatch.chdir(tmp_path)
    key = made_key(block(document, "bash", "urandom"))
    settings = tomllib.loads(block(document, "toml", "ops = true"))
    settings["internal"]["port"] = 0
    async with serving(**settings) as server, http_session() as session:
        assert await Page(session, server).log_in(key) == 200


@pytest.mark.gen_test
async def test_every_answer_says_that_nothing_of_elsewhere_belongs_to_it() -> None:
    async with page() as browser:
        for path in ("/ops", "/ops/"):
            assert (await browser.ask("GET", path))[0] == 200
            policy = browser.answer.headers["Content-Security-Policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= {*policy}
            assert not any("unsafe" in rule or "http" in rule or "*" in rule for rule in policy)
        for path in ("/ops", "/ops/api/state", "/ops/api/nothing"):
            await browser.ask("GET", path)
            assert browser.answer.headers["X-Content-Type-Options"] == "nosniff"
            assert browser.answer.headers["Cache-Control"] == "no-store"


# logging in


@pytest.mark.parametrize(
    ("key", "status"), [(API_KEY, 403), (LOOK_KEY, 403), ("x" * 40, 401), (ADMIN_KEY + "x", 401), (ADMIN_KEY, 200)]
)
@pytest.mark.gen_test
async def test_a_key_with_the_scope_lets_in_and_no_other_does(key: str, status: int) -> None:
    async with page() as browser:
        assert await browser.log_in(key) == status
        assert ("Set-Cookie" in browser.answer.headers) == (status == 200)
        assert (await browser.ask("GET", "/ops/api/state"))[0] == (200 if status == 200 else 401)


@pytest.mark.gen_test
async def test_a_service_s_token_and_a_user_s_are_no_keys() -> None:
    async with page() as browser:
        assert await browser.log_in(token("42")) == 401
        bodies: list[object] = [{}, {"key": None}, {"key": ["x"]}, [], "x", {"key": ""}]
        for body in bodies:
            assert (await browser.ask("POST", "/ops/login", body))[0] == 400


@pytest.mark.gen_test
async def test_nothing_is_shown_or_done_without_a_session() -> None:
    async with page() as browser:
        asked = [
            ("GET", "/ops/api/state"),
            ("GET", "/ops/api/nodes"),
            ("GET", "/ops/api/users/42/look/connections"),
            ("GET", "/ops/api/users/42/look/inbox"),
            ("POST", "/ops/api/users/42/do/close"),
        ]
        for cookie in (None, "synkrone-ops=", "=x", "x" * 4000):
            for method, path in asked:
                assert (await browser.ask(method, path, Cookie=cookie))[0] == 401, (method, path)
        # A key is for the form, and in no header.
        assert (await browser.ask("GET", "/ops/api/state", Authorization=f"Bearer {ADMIN_KEY}"))[0] == 401


@pytest.mark.gen_test
async def test_the_cookie_is_for_this_page_of_this_server_alone() -> None:
    async with page() as browser:
        await browser.log_in()
        ((name, morsel),) = browser.set_cookie().items()
        assert name == f"synkrone-ops-{browser.url.rpartition(':')[2]}"
        assert (morsel["path"], morsel["samesite"], bool(morsel["httponly"])) == ("/ops", "Strict", True)
        assert not morsel["domain"]
        assert not morsel["secure"]
        assert len(morsel.value) >= 43, "256 bits"
        before = morsel.value
        await browser.log_in()
        assert browser.cookies[name] != before, "a session never goes on in another"


@pytest.mark.gen_test
async def test_under_tls_the_cookie_is_secure() -> None:
    async with page(trusted_proxies=["127.0.0.1"]) as browser:
        behind = {"X_Forwarded_Proto": "https", "Origin": browser.url.replace("http", "https")}
        assert await browser.log_in(**behind) == 200
        ((name, morsel),) = browser.set_cookie().items()
        assert name.startswith("__Secure-")
        assert morsel["secure"]


@pytest.mark.gen_test
async def test_keys_cannot_be_tried_one_after_the_other(caplog: pytest.LogCaptureFixture) -> None:
    async with page() as browser:
        wrong = [f"a guess, of at least 32 characters: {number}" for number in range(ATTEMPTS)]
        assert [await browser.log_in(key) for key in wrong] == [401] * ATTEMPTS
        for key in ("another guess", ADMIN_KEY):
            assert await browser.log_in(key) == 429
            assert 0 < int(browser.answer.headers["Retry-After"]) <= 60
        assert "Set-Cookie" not in browser.answer.headers
    refused = [vars(record) for record in caplog.records if record.msg == "caller refused"]
    assert refused[0]["address"] == "127.0.0.1"
    assert not any(key in caplog.text for key in (*wrong, ADMIN_KEY))


@pytest.mark.gen_test
async def test_keys_cannot_be_tried_at_once() -> None:
    async with page() as browser:
        others = [Page(browser.session, browser.server) for _ in range(4 * ATTEMPTS)]
        statuses = await asyncio.gather(*(other.log_in("x" * 40) for other in others))
        assert sorted(statuses) == [401] * ATTEMPTS + [429] * 3 * ATTEMPTS


@pytest.mark.gen_test
async def test_whoever_logs_out_is_out() -> None:
    async with operating() as browser:
        assert (await browser.ask("GET", "/ops/api/state"))[0] == 200
        assert (await browser.ask("POST", "/ops/logout"))[0] == 200
        assert (await browser.ask("GET", "/ops/api/state"))[0] == 401
        assert (await browser.ask("POST", "/ops/logout"))[0] == 200


@pytest.mark.gen_test
async def test_whoever_loses_the_key_or_its_scope_is_out() -> None:
    for scopes, status in ((None, 401), (["publish"], 401), (["admin"], 200)):
        async with operating() as browser:
            keys = [{"name": "night-shift", "key": ADMIN_KEY, "scopes": scopes}] if scopes is not None else []
            changed = validate_settings({"auth": {"secret": SECRET}, "api": {"key": API_KEY, "keys": keys}})
            backend = browser.server.container.backend()
            object.__setattr__(backend, "callers", build_container(changed).callers())
            assert (await browser.ask("GET", "/ops/api/state"))[0] == status
            assert await browser.log_in() == {401: 401 if scopes is None else 403, 200: 200}[status]


# pages of others


FOREIGN: list[dict[str, str | None]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "https://evil.example", "Sec_Fetch_Site": None},
    {"Origin": "null", "Sec_Fetch_Site": None},
    # To browsers another port of the machine is the same site, and SameSite no help.
    {"Origin": "http://127.0.0.1:1", "Sec_Fetch_Site": "same-site"},
    {"Origin": None, "Sec_Fetch_Site": "same-site"},
    {"Origin": None, "Sec_Fetch_Site": "cross-site"},
    {"Origin": None, "Sec_Fetch_Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.gen_test
async def test_a_page_of_another_origin_gets_nothing_and_does_nothing(headers: dict[str, str | None]) -> None:
    # That an origin may talk to the server says nothing about this page.
    async with operating(cors_origins=["https://evil.example"]) as browser:
        peer = await WebSocketPeer.open(browser.session, browser.server.url)
        await connected(peer, token("42"))
        for method, path, body in (
            ("GET", "/ops/api/state", None),
            ("GET", "/ops/api/users/42/look/inbox?titles=true", None),
            ("POST", "/ops/api/users/42/do/close", {}),
            ("POST", "/ops/login", {"key": ADMIN_KEY}),
            ("POST", "/ops/logout", None),
        ):
            status, problem = await browser.ask(method, path, body, **headers)
            assert (status, problem["code"]) == (403, "foreign_origin"), path
            assert not any(name.startswith("Access-Control-") for name in browser.answer.headers)
        assert browser.server.open_connections == 1
        assert (await browser.ask("GET", "/ops/api/state"))[0] == 200


@pytest.mark.gen_test
async def test_what_no_browser_sends_does_nothing() -> None:
    async with operating() as browser:
        bare: dict[str, str | None] = {"Origin": None, "Sec_Fetch_Site": None}
        assert (await browser.ask("POST", "/ops/api/users/42/do/close", {}, **bare))[0] == 403
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            status, _ = await browser.ask("POST", "/ops/api/users/42/do/close", {}, Content_Type=media_type)
            assert status == 415
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await browser.ask(method, "/ops/api/users/42/do/close"))[0] == 405
        assert (await browser.ask("GET", "/ops/api/users/42/do/close"))[0] == 405
        assert (await browser.ask("POST", "/ops/api/state"))[0] == 405


# what operators see and do


@pytest.mark.gen_test
async def test_how_the_server_is() -> None:
    async with operating() as browser:
        status, state = await browser.ask("GET", "/ops/api/state")
        assert status == 200
        assert (state["operator"], state["faults"]) == ("night-shift", {})
        assert state["actions"] == ["block", "close", "revoke", "unblock"]
        assert state["looks"] == ["block", "connections", "deliveries", "inbox"]
        assert state["server"]["address"] == browser.server.url
        assert state["server"]["boot"] is None
        assert (await browser.ask("GET", "/ops/api/nodes"))[1] == {"nodes": None}
        history = browser.server.container.history()
        history.sample()
        history.sample()
        samples = (await browser.ask("GET", "/ops/api/state"))[1]["samples"]
        assert [point[0] for point in samples["points"]] == [1, 2]
        assert {len(point) for point in samples["points"]} == {2 + len(samples["names"])}
        newer = (await browser.ask("GET", "/ops/api/state?after=1"))[1]["samples"]
        assert [point[0] for point in newer["points"]] == [2]
        for after in ("x", "-1", "1" * 13, "\u0661"):
            assert (await browser.ask("GET", f"/ops/api/state?after={after}"))[0] == 400


def exported(server: Server) -> set[str]:
    """The lines that the server's metrics have, or will have once there is something to count."""
    endings = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    return {metric.name + endings[metric.type] for metric in server.container.counted().collect()}


@pytest.mark.gen_test
async def test_the_charts_are_of_what_the_server_measures() -> None:
    async with operating() as browser:
        missing = {name for series in SHOWN.values() for name in series.names} - exported(browser.server)
        assert missing == set()
        history = browser.server.container.history()
        history.sample()
        peer = await WebSocketPeer.open(browser.session, browser.server.url)
        await connected(peer, token("42"))
        body = {"to": {"user": "42"}, "type": "x"}
        assert (await publish(browser.session, browser.server.url, body))[0] == 201
        while not (await peer.next()).startswith('42["notification.new"'):
            pass
        history.sample()
        samples = (await browser.ask("GET", "/ops/api/state"))[1]["samples"]
        last = dict(zip(samples["names"], samples["points"][-1][2:], strict=True))
        assert last["connections"] == 1
        assert last["connect_refusals"] == last["slow_readers"] == 0
        rose = ("connects", "notifications", "deliveries", "commits", "store_bytes")
        assert [name for name in rose if not last[name]] == []
        took = ("to_socket_p50", "to_commit_p99", "commit_p50")
        assert [name for name in took if not last[name]] == []


@pytest.mark.gen_test
async def test_a_user_s_connections_are_seen_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synkrone.audit")
    async with operating() as browser:
        peers = [await WebSocketPeer.open(browser.session, browser.server.url) for _ in range(2)]
        await connected(peers[0], token("a/b 42"))
        await connected(peers[1], token("43"))
        _, seen = await browser.ask("GET", "/ops/api/users/a%2Fb%2042/look/connections")
        assert [one["role"] for one in seen["connections"]] == ["freelance"]
        assert await browser.ask("POST", "/ops/api/users/a%2Fb%2042/do/close", {}) == (200, {"disconnected": 1})
        told = [event(packet) for packet in await until_closed(peers[0]) if packet.startswith("42")]
        assert told[-1][1][0]["code"] == "disconnected_by_operator"
        assert (await browser.ask("GET", "/ops/api/users/43/look/connections"))[1]["connections"]
    assert audited(caplog) == [("night-shift", "logged_in", None), ("night-shift", "disconnected", "a/b 42")]


@pytest.mark.gen_test
async def test_a_user_is_blocked_and_unblocked_and_tokens_are_revoked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synkrone.audit")
    async with operating() as browser:
        url, user = browser.server.url, "/ops/api/users/42"
        peer = await WebSocketPeer.open(browser.session, url)
        await connected(peer, token("42"))
        assert (await browser.ask("GET", f"{user}/look/block"))[1]["blocked"] is False
        status, done = await browser.ask("POST", f"{user}/do/block", {"reason": "lost a phone"})
        assert (status, done["disconnected"]) == (200, 1)
        await until_closed(peer)
        _, seen = await browser.ask("GET", f"{user}/look/block")
        assert (seen["blocked"], seen["until"], seen["reason"]) == (True, None, "lost a phone")
        assert (await browser.ask("POST", f"{user}/do/unblock", {}))[0] == 200
        assert (await browser.ask("GET", f"{user}/look/block"))[1]["blocked"] is False
        old = token("42")
        assert (await browser.ask("POST", f"{user}/do/revoke", {}))[0] == 200
        async with browser.session.get(f"{url}/v1/inbox", headers={"Authorization": f"Bearer {old}"}) as answer:
            assert answer.status == 401
        for action, body in (("block", {"until": "yesterday"}), ("revoke", {"all": True}), ("close", {"reconnect": 1})):
            assert (await browser.ask("POST", f"{user}/do/{action}", body))[0] == 400, action
    did = [("night-shift", action, "42") for action in ("blocked", "unblocked", "revoked")]
    assert audited(caplog) == [("night-shift", "logged_in", None), *did]


@pytest.mark.gen_test
async def test_a_reason_adds_nothing_to_what_the_audit_log_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synkrone.audit")
    async with operating() as browser:
        reason = {"reason": "lost, disconnected: 7"}
        assert (await browser.ask("POST", "/ops/api/users/42/do/block", reason))[0] == 200
    *_, record = [vars(one) for one in caplog.records if one.name == "synkrone.audit"]
    assert "reason: 'lost, disconnected: 7', disconnected: 0" in record["detail"]


@pytest.mark.gen_test
async def test_an_inbox_is_seen_without_its_content_unless_titles_are_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "synkrone.audit")
    async with operating() as browser:
        for number in range(25):
            body = {
                "to": {"user": "42"},
                "type": "x",
                "title": f"Title {number}",
                "body": "Body",
                "data": {"secret": 1},
            }
            assert (await publish(browser.session, browser.server.url, body))[0] == 201
        path = "/ops/api/users/42/look/inbox"
        _, seen = await browser.ask("GET", path)
        assert (seen["roles"], seen["role"], seen["counts"]["total"], len(seen["items"])) == ([], None, 25, 20)
        assert not any(word in str(seen) for word in ("Title", "Body", "secret"))
        assert audited(caplog) == [("night-shift", "logged_in", None)]
        _, became = await browser.ask("GET", "/ops/api/users/42/look/deliveries")
        assert [one["outcome"] for one in became["deliveries"]] == ["waiting"] * 20
        assert not any(word in str(became) for word in ("Title", "Body", "secret"))
        _, older = await browser.ask("GET", f"/ops/api/users/42/look/deliveries?page={became['next']}")
        assert (len(older["deliveries"]), older["next"]) == (5, None)
        newest = became["deliveries"][0]
        for query, number in ((f"id={newest['id']}", 1), ("since=2999-01-01T00:00:00Z", 0)):
            _, narrowed = await browser.ask("GET", f"/ops/api/users/42/look/deliveries?{query}")
            assert narrowed["deliveries"] == [newest] * number
        for query in ("page=x", "id=a%20b", "since=yesterday"):
            assert (await browser.ask("GET", f"/ops/api/users/42/look/deliveries?{query}"))[0] == 400
        _, rest = await browser.ask("GET", f"{path}?titles=true&page={seen['next']}")
        assert [item["title"] for item in rest["items"]] == [f"Title {number}" for number in range(4, -1, -1)]
        assert "Body" not in str(rest)
        assert rest["next"] is None
        for query in ("role=admin", "page=x", "page=" + "1" * 19):
            assert (await browser.ask("GET", f"{path}?{query}"))[0] == 400
        assert (await browser.ask("GET", "/ops/api/users/42/look/everything"))[0] == 404
        assert (await browser.ask("GET", "/ops/api/users/%0A/look/inbox"))[0] == 400
    assert audited(caplog)[-1] == ("night-shift", "titles_read", "42")


@pytest.mark.gen_test
async def test_a_session_that_nobody_uses_ends_though_the_page_goes_on_asking() -> None:
    async with operating(internal={"ops_idle": "300ms"}) as browser:
        async with asyncio.timeout(10):
            while (await browser.ask("GET", "/ops/api/state"))[0] == 200:
                pass
        assert (await browser.ask("GET", "/ops/api/users/42/look/inbox"))[0] == 401
