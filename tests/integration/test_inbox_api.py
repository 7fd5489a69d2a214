"""A user's own inbox over HTTP, as a page, an app or a server that renders for a user meets it."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from domain.errors import StoreUnavailable
from entrypoints.server import Server
from tests.engine_io import Asking, WebSocketPeer, connected, event, http_session
from tests.integration.test_service_tokens_api import issuer, service_token, user_token
from tests.serving import API_KEY, SECRET, publish, serving, token

ORIGIN = "https://app.example"
FOREIGN = "https://evil.example"
JSON = "application/json"
MESSAGE_BYTES = 20_480
ACTIONS = ["read", "unread", "seen", "archive", "unarchive", "delete", "read_all"]
ROUTES = [("GET", ""), ("GET", "/count"), *(("POST", f"/{action}") for action in ACTIONS)]
BEARER = 'Bearer realm="synkrone-socket"'
INVALID_TOKEN = f'{BEARER}, error="invalid_token"'
NEEDS_A_USER = "this needs the token of a user; backends, with an API key, ask at /v1/users/{id}/inbox"

EVERY_ROUTE = pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{method}{path}" for method, path in ROUTES])


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    def refused(self, status: int, code: str) -> dict[str, Any]:
        """The problem object, which has to look as RFC 9457 says, and to be read by the page that asked."""
        assert self.status == status, self
        assert self.headers["Content-Type"] == "application/problem+json"
        assert (self.body["status"], self.body["code"]) == (status, code)
        assert self.body["title"]
        return dict(self.body)


class Inbox:
    """The inbox of a user, behind a token."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, own: str | None) -> None:
        self.session = session
        self.server = server
        self._token = own

    def of(self, own: str | None) -> Inbox:
        """The inbox of whoever has this token."""
        return Inbox(self.session, self.server, own)

    async def send(
        self, method: str, path: str, body: object = None, *, media_type: str | None = JSON, **headers: str
    ) -> Answer:
        """``body`` is sent as JSON unless it is bytes; None, with POST, is an empty object."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token is not None:
            named.setdefault("Authorization", f"Bearer {self._token}")
        data: bytes | None = None
        if method == "POST":
            data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
            if media_type is not None:
                named["Content-Type"] = media_type
        async with self.session.request(
            method, f"{self.server.url}/v1/inbox{path}", data=data, headers=named, skip_auto_headers=["Content-Type"]
        ) as answer:
            text = await answer.text()
            return Answer(answer.status, json.loads(text) if text else None, dict(answer.headers))

    async def get(self, path: str = "", **query: object) -> dict[str, Any]:
        """The answer to a question that is all right."""
        asked = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        return self._good(await self.send("GET", f"{path}?{asked}" if asked else path))

    async def post(self, action: str, body: object = None) -> dict[str, Any]:
        return self._good(await self.send("POST", f"/{action}", body))

    @staticmethod
    def _good(answer: Answer) -> dict[str, Any]:
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == JSON
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.body["ok"] is True
        return dict(answer.body)

    async def ids(self, **query: object) -> list[str]:
        return [item["id"] for item in (await self.get("", **query))["items"]]

    async def publish(self, *ids: str, user: str = "42", kind: str = "t", **members: object) -> None:
        """One notification after the other, for a user unless it says for whom."""
        for identifier in ids:
            body = {"to": {"user": user}, "type": kind, "id": identifier, **members}
            assert (await publish(self.session, self.server.url, body))[0] == 201


def good_body(path: str) -> dict[str, object]:
    return {} if path == "/read_all" else {"ids": ["n-1"]}


@asynccontextmanager
async def inbox_of_42(**settings: Any) -> AsyncIterator[Inbox]:
    async with serving(**settings) as server, http_session() as session:
        yield Inbox(session, server, token("42"))


COUNTS = ("unread", "unseen", "total")


def counts(answer: Mapping[str, Any]) -> tuple[int, int, int]:
    assert set(answer["counts"]) == set(COUNTS)
    unread, unseen, total = (answer["counts"][name] for name in COUNTS)
    return unread, unseen, total


@pytest.mark.gen_test
async def test_what_was_published_lies_in_the_inbox() -> None:
    async with inbox_of_42() as inbox:
        empty = await inbox.get()
        assert (empty["items"], empty["next"], counts(empty)) == ([], None, (0, 0, 0))
        await inbox.publish("n-1", title="A", data={"f": 1.5, "n": None}, expires_at="2099-01-31T12:00:00Z")
        await inbox.publish("n-2", kind="u")
        listed = await inbox.get()
        newest, oldest = listed["items"]
        assert (newest["id"], newest["type"]) == ("n-2", "u")
        assert oldest.pop("created_at").endswith("Z")
        assert oldest == {
            "id": "n-1",
            "type": "t",
            "title": "A",
            "body": None,
            "data": {"f": 1.5, "n": None},
            "expires_at": "2099-01-31T12:00:00.000Z",
            "audience": "user",
            "read_at": None,
            "seen_at": None,
            "archived_at": None,
        }
        assert set(listed) == {"ok", "items", "next", "counts", "as_of"}
        assert counts(listed) == (2, 2, 2)
        counted = await inbox.get("/count")
        assert counted == {"ok": True, "counts": listed["counts"], "as_of": listed["as_of"]}


@pytest.mark.gen_test
async def test_each_action_does_what_it_says_once() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1", "n-2", "n-3")
        for action, changed, left in (
            ("seen", 1, (3, 2, 3)),
            ("read", 1, (2, 2, 3)),
            ("unread", 1, (3, 2, 3)),
            ("archive", 1, (2, 2, 2)),
            ("unarchive", 1, (3, 2, 3)),
            ("delete", 1, (2, 2, 2)),
        ):
            answer = await inbox.post(action, {"ids": ["n-1", "n-1", "unknown"]})
            assert set(answer) == {"ok", "changed", "counts", "as_of"}
            assert (action, answer["changed"], counts(answer)) == (action, changed, left)
            again = await inbox.post(action, {"ids": ["n-1"]})
            assert (action, again["changed"], counts(again)) == (action, 0, left)
            assert again["as_of"] == answer["as_of"], "nothing was logged for what changed nothing"
        assert await inbox.ids(state="all") == ["n-3", "n-2"]
        answer = await inbox.post("read_all")
        assert (answer["changed"], counts(answer)) == (2, (0, 0, 2))
        assert (await inbox.post("read_all"))["changed"] == 0
        for item in (await inbox.get())["items"]:
            assert item["read_at"] is not None
            assert item["seen_at"] is not None


@pytest.mark.gen_test
async def test_reading_all_up_to_a_cursor_leaves_what_came_later() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1", "n-2")
        shown = (await inbox.get())["as_of"]
        await inbox.publish("n-3")
        answer = await inbox.post("read_all", {"up_to": shown})
        assert (answer["changed"], counts(answer)) == (2, (1, 1, 3))
        assert await inbox.ids(state="unread") == ["n-3"]
        epoch, _, offset = shown.rpartition(":")
        for cursor in (f"{epoch}:{int(offset) + 1000}", f"another:{offset}", "nonsense"):
            problem = (await inbox.send("POST", "/read_all", {"up_to": cursor})).refused(422, "invalid_argument")
            assert problem["detail"].startswith("up_to: ")
        assert await inbox.ids(state="unread") == ["n-3"]


@pytest.mark.gen_test
async def test_states_and_types_are_parts_of_the_list() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("read", "unread", "archived")
        await inbox.publish("other", kind="ö/ 1&2")
        await inbox.post("read", {"ids": ["read"]})
        await inbox.post("archive", {"ids": ["archived"]})
        assert await inbox.ids() == ["other", "unread", "read"]
        assert await inbox.ids(state="unread") == ["other", "unread"]
        assert await inbox.ids(state="read") == ["read"]
        assert await inbox.ids(state="archived") == ["archived"]
        assert await inbox.ids(state="all") == ["other", "archived", "unread", "read"]
        assert await inbox.ids(type="ö/ 1&2") == ["other"]
        assert await inbox.ids(type="t", state="unread") == ["unread"]
        assert await inbox.ids(type="nobody.has.this") == []


@pytest.mark.gen_test
async def test_pages_are_walked_to_the_end_whatever_comes_meanwhile() -> None:
    async with inbox_of_42() as inbox:
        ids = [f"n-{number}" for number in range(45)]
        await inbox.publish(*ids)
        assert await inbox.ids() == ids[:-21:-1], "20 where no limit is given"
        seen: list[str] = []
        sizes, page = [], None
        while True:
            answer = await inbox.get("", limit=7, **({"page": page} if page is not None else {}))
            sizes.append(len(answer["items"]))
            seen += [item["id"] for item in answer["items"]]
            # What comes while somebody reads moves nothing from one page to the next.
            await inbox.publish(f"late-{len(sizes)}")
            page = answer["next"]
            if page is None:
                break
            assert isinstance(page, str)
        assert seen == ids[::-1]
        assert sizes == [7] * 6 + [3]
        assert len(await inbox.ids(limit=100)) == 45 + len(sizes)
        assert (await inbox.get("", limit=1, page="1"))["items"] == []


@pytest.mark.gen_test
async def test_a_page_that_holds_just_what_is_left_is_the_last() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1", "n-2", "n-3", "n-4")
        first = await inbox.get("", limit=2)
        last = await inbox.get("", limit=2, page=first["next"])
        assert [item["id"] for item in last["items"]] == ["n-2", "n-1"]
        assert last["next"] is None


@pytest.mark.gen_test
async def test_another_user_s_notifications_are_as_if_they_did_not_exist() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1")
        other, same_user_in_another_role = inbox.of(token("43")), inbox.of(token("42", "company"))
        assert await other.ids(state="all") == []
        for action in ACTIONS:
            answers = [await other.post(action, good_body(f"/{action}"))]
            if action != "read_all":
                answers.append(await other.post(action, {"ids": ["never-published"]}))
            for answer in answers:
                assert (answer["changed"], counts(answer)) == (0, (0, 0, 0))
        (item,) = (await inbox.get("", state="all"))["items"]
        assert (item["read_at"], item["seen_at"], item["archived_at"]) == (None, None, None)
        assert await same_user_in_another_role.ids() == ["n-1"]
        for entered in (other, same_user_in_another_role):
            await entered.get()
        await inbox.publish("for-the-role", to={"role": "company"})
        assert await inbox.ids() == ["n-1"]
        assert await same_user_in_another_role.ids() == ["for-the-role", "n-1"]
        await inbox.publish("for-everyone", to={"everyone": True})
        assert await other.ids() == ["for-everyone"]
        # What one of them reads the other has not.
        await other.post("read", {"ids": ["for-everyone"]})
        assert await inbox.ids(state="unread") == ["for-everyone", "n-1"]


@pytest.mark.gen_test
async def test_the_answers_are_the_acks_of_a_connection() -> None:
    async with inbox_of_42() as inbox:
        peer = await WebSocketPeer.open(inbox.session, inbox.server.url)
        await connected(peer, token("42"))
        socket = Asking(peer)
        await inbox.publish(*(f"n-{number}" for number in range(5)))
        await inbox.post("read", {"ids": ["n-3"]})
        for query in ({}, {"limit": 2}, {"limit": 2, "page": "4"}, {"state": "read"}, {"type": "t", "state": "all"}):
            assert await inbox.get("", **query) == await socket.ask("inbox.list", query)
        assert await inbox.get("/count") == await socket.ask("inbox.count", {})
        for action in ACTIONS:
            # Over HTTP it changes nothing any more: the answers are the same all the same, but for that.
            done = await socket.ask(f"notification.{action}", {} if action == "read_all" else {"ids": ["n-1", "x"]})
            again = await inbox.post(action, {} if action == "read_all" else {"ids": ["n-1", "x"]})
            assert {**again, "changed": done["changed"]} == done
        for path, name, argument in (
            ("?limit=0", "inbox.list", {"limit": 0}),
            ("?colour=red", "inbox.list", {"colour": "red"}),
            ("?state=red", "inbox.list", {"state": "red"}),
            ("?page=x", "inbox.list", {"page": "x"}),
        ):
            problem = (await inbox.send("GET", path)).refused(422, "invalid_argument")
            del problem["status"]
            assert await socket.ask(name, argument) == {"ok": False, "error": problem}


@pytest.mark.gen_test
async def test_a_list_that_was_rendered_elsewhere_is_continued_without_a_gap_or_a_double() -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1", "n-2")
        await inbox.post("read", {"ids": ["n-1"]})
        as_of = (await inbox.get())["as_of"]
        await inbox.publish("n-3")
        await inbox.post("delete", {"ids": ["n-2"]})
        peer = await WebSocketPeer.open(inbox.session, inbox.server.url)
        ready, _ = await connected(peer, token("42"), cursor=as_of)
        assert (ready["recovered"], ready["reason"], counts(ready)) == (True, None, (1, 1, 2))
        name, (notification, _) = event(await peer.next())
        assert (name, notification["id"]) == ("notification.new", "n-3")
        assert event(await peer.next())[:1] == ("notification.deleted",)
        await inbox.publish("n-4")
        assert event(await peer.next())[1][0]["id"] == "n-4"


@pytest.mark.gen_test
async def test_what_is_done_over_http_is_heard_by_the_devices() -> None:
    async with inbox_of_42() as inbox:
        peer = await WebSocketPeer.open(inbox.session, inbox.server.url)
        await connected(peer, token("42"))
        device = Asking(peer)
        await inbox.publish("n-1")
        await device.hear("notification.new")
        answer = await inbox.post("read", {"ids": ["n-1"]})
        updated, cursor = await device.hear("notification.updated")
        assert (updated["ids"], cursor) == (["n-1"], answer["as_of"])
        assert updated["change"].keys() == {"read_at", "seen_at"}
        answer = await inbox.post("delete", {"ids": ["n-1"]})
        assert await device.hear("notification.deleted") == [{"ids": ["n-1"]}, answer["as_of"]]


# who may ask


@EVERY_ROUTE
@pytest.mark.gen_test
async def test_without_a_good_token_there_is_nothing(method: str, path: str) -> None:
    async with inbox_of_42(cors_origins=[ORIGIN]) as inbox:
        for own, code, challenge, detail in (
            (None, "unauthenticated", BEARER, "needs Authorization: Bearer <the user's token>"),
            ("nonsense", "invalid_token", INVALID_TOKEN, NEEDS_A_USER),
            (token("42", secret="another secret, long enough for HS256"), "invalid_token", INVALID_TOKEN, None),
            (token("42", ttl=-60), "token_expired", INVALID_TOKEN, None),
            (API_KEY, "invalid_token", INVALID_TOKEN, NEEDS_A_USER),
        ):
            answer = await inbox.of(own).send(method, path, good_body(path), Origin=ORIGIN)
            problem = answer.refused(401, code)
            assert problem["retryable"] is (code == "token_expired")
            assert problem.get("detail") == detail
            assert answer.headers["WWW-Authenticate"] == challenge
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        basic = await inbox.of(None).send(method, path, good_body(path), Authorization="Basic NDI6NDI=")
        basic.refused(401, "unauthenticated")
        assert basic.headers["WWW-Authenticate"] == BEARER


@pytest.mark.gen_test
async def test_the_token_is_not_taken_from_the_address() -> None:
    async with inbox_of_42() as inbox:
        answer = await inbox.of(None).send("GET", f"?token={token('42')}&access_token={token('42')}")
        answer.refused(401, "unauthenticated")


@EVERY_ROUTE
@pytest.mark.gen_test
async def test_a_service_is_no_user(method: str, path: str) -> None:
    async with inbox_of_42(auth={"issuers": [issuer()]}) as inbox:
        for credential in (service_token(), service_token(sub="42"), API_KEY):
            answer = await inbox.of(credential).send(method, path, good_body(path))
            answer.refused(401, "invalid_token")
        assert (await inbox.of(user_token()).send(method, path, good_body(path))).status == 200


# what is asked


@EVERY_ROUTE
@pytest.mark.gen_test
async def test_other_methods_are_refused(method: str, path: str) -> None:
    async with inbox_of_42() as inbox:
        allowed = {"GET": ("GET", "HEAD")}.get(method, (method,))
        for other in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}.difference(allowed):
            answer = await inbox.send(other, path)
            assert (other, answer.status, answer.headers["Allow"]) == (other, 405, ", ".join(allowed))
            if other != "HEAD":
                answer.refused(405, "method_not_allowed")


@pytest.mark.gen_test
async def test_other_paths_are_not_found() -> None:
    async with inbox_of_42() as inbox:
        for path in ("/", "/count/", "/read/", "/refresh", "/new", "/READ", "/read_all/42", "/list"):
            for method in ("GET", "POST"):
                (await inbox.send(method, path)).refused(404, "not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"limit={value}", "limit") for value in ("", "0", "101", "-1", "1.0", "1e1", "x", "%D9%A3", "9" * 400)),
        *((f"page={value}", "page") for value in ("", "0", "-1", "x", "1.5", "9" * 19, "%D9%A3")),
        *((f"state={value}", "state") for value in ("", "UNREAD", "current", "deleted", "unread,read")),
        *((f"type={value}", "type") for value in ("", "a%00b", "a%0Ab", "t%0A", "x" * 129)),
        *((f"{name}=x", name) for name in ("offset", "user", "Limit", "ids", "limit[]")),
        *(
            (f"{name}={value}&{name}={value}", name)
            for name, value in (("limit", "1"), ("state", "all"), ("type", "t"))
        ),
    ],
)
@pytest.mark.gen_test
async def test_a_wrong_query_is_named(query: str, field: str) -> None:
    async with inbox_of_42(store="memory://") as inbox:
        problem = (await inbox.send("GET", f"?{query}")).refused(422, "invalid_argument")
        assert problem["detail"].startswith(f"{field}: ")
        assert problem["retryable"] is False


@pytest.mark.gen_test
async def test_a_query_at_its_limits_is_good() -> None:
    async with inbox_of_42() as inbox:
        for query in ("limit=1", "limit=100", "limit=007", "page=1", "page=" + "9" * 18, "type=" + "x" * 128, ""):
            assert (await inbox.send("GET", f"?{query}")).status == 200, query
        (await inbox.send("GET", "?type=%ff")).refused(400, "bad_request")


BAD_BODIES: list[tuple[bytes, int, str, str]] = [
    (b"{", 400, "invalid_json", ""),
    (b"ids=n-1", 400, "invalid_json", ""),
    (b'{"ids":[NaN]}', 400, "invalid_json", ""),
    (b'{"ids":["\xff"]}', 400, "invalid_json", ""),
    (b'{"ids":["n-1"]} x', 400, "invalid_json", ""),
    (b'{"ids":["\\ud800"]}', 400, "invalid_json", ""),
    (b"[" * 20_000 + b"]" * 20_000, 400, "invalid_json", ""),
    (b"[]", 422, "invalid_argument", "argument"),
    (b'"n-1"', 422, "invalid_argument", "argument"),
    (b"42", 422, "invalid_argument", "argument"),
    (b"{}", 422, "invalid_argument", "ids"),
    (b'{"ids":null}', 422, "invalid_argument", "ids"),
    (b'{"ids":[]}', 422, "invalid_argument", "ids"),
    (b'{"ids":"n-1"}', 422, "invalid_argument", "ids"),
    (b'{"ids":{"0":"n-1"}}', 422, "invalid_argument", "ids"),
    (b'{"ids":[1]}', 422, "invalid_argument", "ids[0]"),
    (b'{"ids":["n-1",""]}', 422, "invalid_argument", "ids[1]"),
    (b'{"ids":["n-1","%s"]}' % (b"x" * 129), 422, "invalid_argument", "ids[1]"),
    (b'{"ids":["a\\u0000b"]}', 422, "invalid_argument", "ids[0]"),
    (b'{"ids":["n-1"],"up_to":"e:1"}', 422, "invalid_argument", "up_to"),
    (b'{"id":"n-1"}', 422, "invalid_argument", "id"),
    (b'{"ids":["n-2"],"ids":["n-1"]}', 422, "invalid_argument", "ids"),
    (b'{"ids":["n-2"],"\\u0069ds":["n-1"]}', 422, "invalid_argument", "ids"),
]


@pytest.mark.parametrize(("body", "status", "code", "field"), BAD_BODIES, ids=lambda value: repr(value)[:40])
@pytest.mark.gen_test
async def test_a_wrong_body_is_named(body: bytes, status: int, code: str, field: str) -> None:
    async with inbox_of_42() as inbox:
        await inbox.publish("n-1")
        for action in ACTIONS[:-1]:
            problem = (await inbox.send("POST", f"/{action}", body)).refused(status, code)
            if field:
                assert problem["detail"].startswith(f"{field}: ")
        assert counts(await inbox.get("/count")) == (1, 1, 1)


@pytest.mark.gen_test
async def test_500_ids_are_enough() -> None:
    async with inbox_of_42() as inbox:
        ids = [f"n-{number}" for number in range(501)]
        await inbox.publish("n-500")
        assert (await inbox.post("read", {"ids": ids[1:]}))["changed"] == 1
        problem = (await inbox.send("POST", "/read", {"ids": ids})).refused(422, "invalid_argument")
        assert problem["detail"].startswith("ids: ")


@pytest.mark.gen_test
async def test_a_body_of_another_type_or_too_large_is_not_looked_at() -> None:
    async with inbox_of_42(limits={"message_bytes": MESSAGE_BYTES}, cors_origins=[ORIGIN]) as inbox:
        await inbox.publish("n-1")
        body = json.dumps({"ids": ["n-1"]}).encode()
        for action in ACTIONS:
            for media_type in (None, "text/plain", "application/x-www-form-urlencoded", "application/x-ndjson"):
                answer = await inbox.send("POST", f"/{action}", body, media_type=media_type)
                answer.refused(415, "unsupported_media_type")
            answer = await inbox.send("POST", f"/{action}", gzip.compress(body), Content_Encoding="gzip")
            assert "must not be compressed" in answer.refused(415, "unsupported_media_type")["detail"]
            assert answer.headers["Accept-Encoding"] == "identity"
            answer = await inbox.send("POST", f"/{action}", body.ljust(MESSAGE_BYTES + 1), Origin=ORIGIN)
            assert str(MESSAGE_BYTES) in answer.refused(413, "too_large")["detail"]
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            (await inbox.send("POST", f"/{action}", b" " * 2 * MESSAGE_BYTES)).refused(413, "too_large")
        assert counts(await inbox.get("/count")) == (1, 1, 1)
        good = await inbox.send(
            "POST", "/read", body.ljust(MESSAGE_BYTES), media_type="application/json; charset=utf-8"
        )
        assert (good.status, good.body["changed"]) == (200, 1)


# while something is wrong


@pytest.mark.gen_test
async def test_while_the_store_is_down_it_says_so_and_works_again_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_arguments: object, **_options: object) -> object:
        raise StoreUnavailable

    async with inbox_of_42(cors_origins=[ORIGIN]) as inbox:
        await inbox.publish("n-1")
        store = inbox.server.container.store()
        for broken in (["register"], ["count", "list_items", "change", "read_all"]):
            with monkeypatch.context() as patch:
                for name in broken:
                    patch.setattr(store, name, down)
                for method, path in ROUTES:
                    answer = await inbox.send(method, path, good_body(path), Origin=ORIGIN)
                    assert answer.refused(503, "store_unavailable")["retryable"] is True
                    assert int(answer.headers["Retry-After"]) > 0
                    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert counts(await inbox.get("/count")) == (1, 1, 1)


# pages of other origins


@EVERY_ROUTE
@pytest.mark.gen_test
async def test_pages_of_allowed_origins_may_ask_and_no_others(method: str, path: str) -> None:
    async with inbox_of_42(cors_origins=[ORIGIN]) as inbox:
        for allowed in (ORIGIN, inbox.server.url):
            answer = await inbox.send(method, path, good_body(path), Origin=allowed)
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, allowed)
            assert answer.headers["Vary"] == "Origin"
        await inbox.publish("n-1")
        for foreign in (FOREIGN, "null", f"{ORIGIN}.evil.example", ORIGIN.replace("https", "http"), "*"):
            answer = await inbox.send(method, path, good_body(path), Origin=foreign)
            answer.refused(403, "foreign_origin")
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
        assert counts(await inbox.get("/count")) == (1, 1, 1)
        assert "Access-Control-Allow-Origin" not in (await inbox.send(method, path, good_body(path))).headers


@EVERY_ROUTE
@pytest.mark.gen_test
async def test_what_browsers_ask_before(method: str, path: str) -> None:
    async with inbox_of_42(cors_origins=[ORIGIN]) as inbox:
        asked = {
            "Access_Control_Request_Method": method,
            "Access_Control_Request_Headers": "authorization,content-type",
        }
        # Browsers send no token with it.
        answer = await inbox.of(None).send("OPTIONS", path, Origin=ORIGIN, **asked)
        assert (answer.status, answer.body) == (204, None)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "content-type"} <= set(allowed)
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        foreign = await inbox.of(None).send("OPTIONS", path, Origin=FOREIGN, **asked)
        foreign.refused(403, "foreign_origin")
        assert "Access-Control-Allow-Origin" not in foreign.headers


@pytest.mark.gen_test
async def test_refused_tokens_are_logged_with_the_route_and_a_flood_of_one_kind_hides_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    expired, no_role = token("42", ttl=-60), token("42", role=None)  # type: ignore[arg-type]
    async with inbox_of_42(trusted_proxies=["127.0.0.1"]) as inbox:
        for number in range(20):
            await inbox.of(expired).send("GET", f"?limit={number + 1}", X_Forwarded_For="203.0.113.9")
        await inbox.of(no_role).send("GET", "/count")
        await inbox.of(token("42", secret="another secret, long enough for HS256")).send("POST", "/read")
        await inbox.of(None).send("POST", "/read_all")
        assert (await inbox.send("GET", "", X_Forwarded_For="203.0.113.9")).status == 200
    refused = [record.__dict__ for record in caplog.records if record.message == "refused"]
    assert [(record["route"], record["code"], record["reason"], record["address"]) for record in refused] == [
        ("GET /v1/inbox", "token_expired", "exp is past", "203.0.113.9"),
        (
            "GET /v1/inbox/count",
            "invalid_token",
            "the token has no claim 'role', which is to hold the role",
            "127.0.0.1",
        ),
        ("POST /v1/inbox/read", "invalid_token", "the signature is not good", "127.0.0.1"),
        ("POST /v1/inbox/read_all", "unauthenticated", "needs Authorization: Bearer <the user's token>", "127.0.0.1"),
    ]
    for sent in (expired, no_role):
        assert not any(part in caplog.text for part in sent.split(".")[1:])


@pytest.mark.gen_test
async def test_a_claim_that_is_missing_is_named_as_in_the_settings(caplog: pytest.LogCaptureFixture) -> None:
    auth = {"secret": SECRET, "user_claim": "account.id", "role_claim": "account.kind"}
    async with inbox_of_42(auth=auth) as inbox:
        for claims in ({}, {"account": {"id": "42"}}, {"account": {"id": "42", "kind": 7}}):
            (await inbox.of(token("x", **claims)).send("GET", "")).refused(401, "invalid_token")
    assert [record.__dict__["reason"] for record in caplog.records if record.message == "refused"] == [
        "the token has no claim 'account.id', which is to hold the user id",
        "the token has no claim 'account.kind', which is to hold the role",
        "the role claim is not a role",
    ]
