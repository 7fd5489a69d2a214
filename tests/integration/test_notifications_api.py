"""What became of a notification, as a backend asks over HTTP."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from domain.errors import StoreUnavailable
from domain.services.notification_reports import COUNTS_MOST, RECIPIENTS_AT_ONCE
from entrypoints.server import Server
from tests.documents import answers, block
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.serving import API_KEY, publish, serving, token

READ_KEY = "a key that may ask what became of notifications, 32+"
OTHER_KEY = "a key that may do all but that, of 32 characters or so"
OTHERS = ["publish", "connections:read", "connections:write", "deliveries:read", "inbox:read", "inbox:write", "admin"]
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "asks", "key": READ_KEY, "scopes": ["notifications:read"]},
        {"name": "others", "key": OTHER_KEY, "scopes": OTHERS},
    ],
}
PAGE = "docs/how-to/what-became.md"
NOTHING = {"received": 0, "seen": 0, "read": 0, "archived": 0, "deleted": 0}


class Publisher:
    """A backend that publishes, and asks what became of it."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def send(
        self, path: str, key: str | None = READ_KEY, *, method: str = "GET"
    ) -> tuple[int, Any, dict[str, str]]:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        address = URL(f"{self.server.url}/v1/notifications/{path}", encoded=True)
        async with self.session.request(method, address, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, dict(answer.headers)

    async def ask(self, path: str) -> dict[str, Any]:
        status, answer, _ = await self.send(path)
        assert status == 200, answer
        return dict(answer)

    async def refused(self, path: str, status: int, code: str, key: str | None = READ_KEY) -> dict[str, Any]:
        found, answer, headers = await self.send(path, key)
        assert (found, answer["code"]) == (status, code), answer
        assert headers["Content-Type"] == "application/problem+json"
        return dict(answer)

    async def counts(self, id_: str) -> dict[str, Any]:
        return dict((await self.ask(id_))["counts"])

    async def recipients(self, id_: str) -> list[dict[str, Any]]:
        """All of them, by page."""
        found: list[dict[str, Any]] = []
        page = None
        while True:
            answer = await self.ask(f"{id_}/recipients" + (f"?page={page}" if page is not None else ""))
            found += answer["recipients"]
            page = answer["next"]
            if page is None:
                return found
            assert len(answer["recipients"]) == RECIPIENTS_AT_ONCE

    async def publish(self, id_: str, to: dict[str, object], **members: object) -> None:
        status, answer = await publish(self.session, self.server.url, {"to": to, "type": "t", "id": id_, **members})
        assert status == 201, answer

    async def come(self, user: str, role: str = "freelance") -> dict[str, Any]:
        """As a user without a connection does it."""
        headers = {"Authorization": f"Bearer {token(user, role)}"}
        async with self.session.get(f"{self.server.url}/v1/inbox", headers=headers) as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def act(self, user: str, action: str, *ids: str, role: str = "freelance") -> None:
        headers = {"Authorization": f"Bearer {token(user, role)}"}
        address = f"{self.server.url}/v1/inbox/{action}"
        async with self.session.post(address, json={"ids": ids} if ids else {}, headers=headers) as answer:
            assert answer.status == 200


@asynccontextmanager
async def publishing(**settings: Any) -> AsyncIterator[Publisher]:
    async with serving(**{"api": KEYS, **settings}) as server, http_session() as session:
        yield Publisher(session, server)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.gen_test
async def test_of_what_was_taken_back_all_but_its_content_is_answered() -> None:
    async with publishing() as backend:
        await backend.come("42")
        await backend.publish("some", {"users": ["43", "42"]}, title="a secret")
        await backend.act("42", "read", "some")
        counts, recipients = await backend.counts("some"), await backend.recipients("some")
        status, _, _ = await backend.send("some", API_KEY, method="DELETE")
        assert status == 200
        assert await backend.ask("some") == {
            "notification": None,
            "to": {"users": ["42", "43"]},
            "state": "recalled",
            "counts": counts,
        }
        assert counts["read"] == 1
        assert await backend.recipients("some") == recipients


@pytest.mark.gen_test
async def test_a_backend_sees_what_it_published_and_for_whom() -> None:
    async with publishing() as backend:
        audiences: dict[str, dict[str, object]] = {
            "one": {"user": "42"},
            "some": {"users": ["43", "42", "43"]},
            "role": {"role": "freelance"},
            "all": {"everyone": True},
        }
        for id_, to in audiences.items():
            await backend.publish(id_, to, title="T", data={"n": [1]}, expires_at="2130-01-31T12:00:00Z")
        one = await backend.ask("one")
        created_at = one["notification"].pop("created_at")
        assert abs(at(created_at) - datetime.now(UTC)) < timedelta(minutes=1)
        assert one == {
            "notification": {
                "id": "one", "type": "t", "title": "T", "body": None, "data": {"n": [1]},
                "expires_at": "2130-01-31T12:00:00.000Z", "audience": "user",
                "read_at": None, "seen_at": None, "archived_at": None,
            },
            "to": {"user": "42"},
            "state": "sent",
            "counts": {"recipients": 1, **NOTHING},
        }  # fmt: skip
        some, role, everyone = [await backend.ask(id_) for id_ in ("some", "role", "all")]
        assert (some["to"], some["counts"]["recipients"]) == ({"users": ["42", "43"]}, 2)
        assert (role["to"], role["counts"]["recipients"]) == ({"role": "freelance"}, None)
        assert (everyone["to"], everyone["counts"]["recipients"]) == ({"everyone": True}, None)


@pytest.mark.gen_test
async def test_what_each_recipient_did_is_counted_and_listed_with_its_times() -> None:
    async with publishing() as backend:
        for user in ("41", "42", "43"):
            await backend.come(user)
        await backend.come("44", "company")
        before = datetime.now(UTC)
        await backend.publish("all", {"everyone": True})
        await backend.publish("role", {"role": "freelance"})
        await backend.publish("some", {"users": ["42", "never came"]})
        await backend.come("45")
        await backend.act("41", "seen", "all", "role")
        await backend.act("42", "read", "all", "some")
        await backend.act("42", "archive", "some")
        await backend.act("42", "delete", "all")
        await backend.act("44", "read_all", role="company")
        assert await backend.counts("all") == {
            "recipients": None, "received": 0, "seen": 3, "read": 2, "archived": 0, "deleted": 1,
        }  # fmt: skip
        assert await backend.counts("role") == {"recipients": None, **NOTHING, "seen": 1}
        assert await backend.counts("some") == {"recipients": 2, **NOTHING, "seen": 1, "read": 1, "archived": 1}
        everyone = {one["user"]: one for one in await backend.recipients("all")}
        assert sorted(everyone) == ["41", "42", "43", "44"]
        assert {one["user"] for one in await backend.recipients("role")} == {"41", "42", "43"}
        gone = everyone["42"]
        assert (gone["received"], gone["received_at"], gone["archived_at"], gone["deleted"]) == (
            False,
            None,
            None,
            True,
        )
        for name in ("seen_at", "read_at", "deleted_at"):
            assert before - timedelta(seconds=1) < at(gone[name]) < datetime.now(UTC) + timedelta(seconds=1)
        assert everyone["43"] == {
            "user": "43", "received": False, "received_at": None, "seen_at": None, "read_at": None,
            "archived_at": None, "deleted": False, "deleted_at": None,
        }  # fmt: skip
        known, unknown = await backend.recipients("some")
        assert (known["user"], unknown) == ("42", {**everyone["43"], "user": "never came"})
        assert known["archived_at"] is not None


@pytest.mark.gen_test
@pytest.mark.parametrize("keeps", [True, False], ids=["with the ledger", "without"])
async def test_it_is_received_once_a_device_has_it_and_says_when_where_that_is_kept(*, keeps: bool) -> None:
    async with publishing(retention={} if keeps else {"deliveries": "0s"}) as backend:
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await connected(peer, token("42"))
        before = datetime.now(UTC)
        await backend.publish("a", {"users": ["42", "43"]})
        answering = asyncio.create_task(_answer_pings(peer))
        try:
            async with asyncio.timeout(10):
                has, has_not = await backend.recipients("a")
                while not has["received"] or (keeps and has["received_at"] is None):
                    has, has_not = await backend.recipients("a")
        finally:
            answering.cancel()
        assert (await backend.counts("a"))["received"] == 1
        assert (has["user"], has["received"]) == ("42", True)
        if keeps:
            # To the second, rounded up.
            second = timedelta(seconds=1)
            assert before - second < at(has["received_at"]) < datetime.now(UTC) + second
        else:
            assert has["received_at"] is None
        assert (has_not["user"], has_not["received"], has_not["received_at"]) == ("43", False, None)


async def _answer_pings(peer: WebSocketPeer) -> None:
    while True:
        if await peer.next() == "2":
            await peer.send("3")


@pytest.mark.gen_test
async def test_of_more_than_a_page_each_is_listed_once() -> None:
    async with publishing() as backend:
        users = [f"é{number:03}" for number in range(2 * RECIPIENTS_AT_ONCE + 1)]
        await backend.publish("a", {"users": users})
        assert [one["user"] for one in await backend.recipients("a")] == users
        answer = await backend.ask("a/recipients")
        assert len(answer["recipients"]) == RECIPIENTS_AT_ONCE
        assert answer["next"] == quote(answer["next"], safe="")


@pytest.mark.gen_test
async def test_what_no_notification_has_is_not_found() -> None:
    async with publishing() as backend:
        for id_ in ("unknown", "%20", "a%0Ab", "x" * 129, "%ff"):
            for path in (id_, f"{id_}/recipients"):
                status, answer, _ = await backend.send(path)
                assert (status, answer["code"]) in ((404, "not_found"), (400, "bad_request")), answer
                assert status == 404 or id_ == "%ff"


@pytest.mark.gen_test
async def test_a_page_that_no_answer_gave_is_refused() -> None:
    async with publishing() as backend:
        await backend.publish("a", {"everyone": True})
        bad = [b"1", b"1:", b"-1:a", b"01:a", b"1:\n", b"\xff", b"1:" + b"x" * 129]
        pages = ["", "*", "a", "=", "x" * 2000, *(urlsafe_b64encode(one).decode().rstrip("=") for one in bad)]
        for page in pages:
            answer = await backend.refused(f"a/recipients?page={quote(page)}", 400, "invalid_argument")
            assert answer["detail"].startswith("page: ")
        await backend.refused("a/recipients?page=MDph&page=MDph", 400, "invalid_argument")
        await backend.refused("a/recipients?limit=2", 400, "invalid_argument")
        assert await backend.ask("a/recipients?page=MDph") == {"recipients": [], "next": None}


@pytest.mark.gen_test
async def test_only_a_key_with_the_scope_is_told() -> None:
    async with publishing() as backend:
        await backend.publish("a", {"user": "42"})
        for path in ("a", "a/recipients", "unknown"):
            await backend.refused(path, 401, "unauthenticated", None)
            await backend.refused(path, 401, "unauthenticated", "a key that is none, but has 32 characters")
            await backend.refused(path, 401, "unauthenticated", token("42"))
            _, answer, headers = await backend.send(path, OTHER_KEY)
            assert (answer["status"], answer["code"]) == (403, "forbidden")
            assert 'scope="notifications:read"' in headers["WWW-Authenticate"]
        for path, methods in (("a", "GET, PATCH, DELETE, HEAD"), ("a/recipients", "GET, HEAD")):
            assert (await backend.send(path, API_KEY))[0] == 200
            assert (await backend.send(path, method="HEAD"))[:2] == (200, None)
            status, _, headers = await backend.send(path, method="PUT")
            assert (status, headers["Allow"]) == (405, methods)


@pytest.mark.gen_test
async def test_no_more_than_so_many_rooms_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing(store="memory://") as backend:
        await backend.publish("all", {"everyone": True})
        await backend.publish("one", {"user": "42"})
        store = backend.server.container.store()
        counting, go_on, tally = asyncio.Semaphore(0), asyncio.Event(), store.tally

        async def held(*arguments: Any) -> Any:
            counting.release()
            await go_on.wait()
            return await tally(*arguments)

        monkeypatch.setattr(store, "tally", held)
        asked = [asyncio.create_task(backend.send("all")) for _ in range(COUNTS_MOST)]
        async with asyncio.timeout(5):
            for _ in asked:
                await counting.acquire()
        status, answer, headers = await backend.send("all")
        assert (status, answer["code"], answer["retryable"], headers["Retry-After"]) == (429, "rate_limited", True, "1")
        alone = asyncio.create_task(backend.send("one"))
        go_on.set()
        assert [(await one)[0] for one in (*asked, alone)] == [200] * (COUNTS_MOST + 1)
        assert (await backend.send("all"))[0] == 200


@pytest.mark.gen_test
async def test_while_the_store_is_gone_it_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing(store="memory://") as backend:
        await backend.publish("a", {"user": "42"})
        store = backend.server.container.store()

        async def gone(*_arguments: Any) -> Any:
            raise StoreUnavailable

        monkeypatch.setattr(store, "published", gone)
        for path in ("a", "a/recipients"):
            answer = await backend.refused(path, 503, "store_unavailable")
            assert answer["retryable"]


@pytest.mark.gen_test
async def test_what_was_counted_outlives_a_restart(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'synkrone.db'}"
    async with publishing(store=store) as backend:
        await backend.come("42")
        await backend.publish("all", {"everyone": True})
        await backend.act("42", "delete", "all")
        before = await backend.recipients("all")
    async with publishing(store=store) as backend:
        assert await backend.recipients("all") == before
        assert (await backend.counts("all"))["deleted"] == 1


@pytest.mark.gen_test
async def test_what_the_page_says_to_type_answers_as_it_shows() -> None:
    async with publishing() as backend:

        async def types(containing: str) -> list[Any]:
            return await answers(PAGE, containing, url=backend.server.url, key=API_KEY)

        await backend.publish("mission-8.assigned", {"users": ["42", "43"]})
        report, recipients = await types("/recipients")
        listed, counted, marked = await types("/inbox/read")
        assert [item["id"] for item in listed["items"]] == ["mission-8.assigned"]
        assert (counted["counts"]["unread"], marked["changed"]) == (1, 1)
        assert (await backend.counts("mission-8.assigned"))["read"] == 1
        shown_report, shown_recipients = (
            json.loads(block(PAGE, "json", name)) for name in ('"counts"', '"deleted_at"')
        )
        assert set(shown_report["notification"]) - {"…"} < set(report["notification"])
        for shown, answered in (
            (shown_report, report),
            (shown_report["counts"], report["counts"]),
            (shown_recipients, recipients),
            (shown_recipients["recipients"][0], recipients["recipients"][0]),
        ):
            assert list(shown) == list(answered)
        assert (shown_report["to"], shown_report["state"]) == (report["to"], report["state"])
