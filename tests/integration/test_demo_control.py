"""The demo's control port: for its own page alone, with the key of the link, and for nothing but what it offers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from entrypoints.demo.child import ServerChild
from entrypoints.demo.control import MAX_BODY, Control
from entrypoints.demo.line import Line
from entrypoints.demo.people import PEOPLE
from entrypoints.demo.publisher import Publisher
from entrypoints.demo.socket_io import PINNED

KEY = "the-key-of-the-link"
JSON = {"Content-Type": "application/json"}
WITH_KEY = {"Authorization": f"Bearer {KEY}"}


class Page:
    """Something that asks the control port of a demo whose server is away."""

    def __init__(self, session: aiohttp.ClientSession, control: Control, lines: dict[str, Line]) -> None:
        self.control = control
        self.lines = lines
        self._session = session

    async def ask(
        self, method: str, path: str, *, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, object]]:
        fields = WITH_KEY | JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, f"{self.control.origin}{path}", data=body, headers=fields) as answer:
            if answer.content_type not in ("application/json", "application/problem+json"):
                return answer.status, {}
            assert (answer.content_type == "application/json") == answer.ok
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def a_page() -> AsyncIterator[Page]:
    child = ServerChild({})
    lines = {person.id: Line(lambda: child.open_port) for person in PEOPLE}
    async with aiohttp.ClientSession() as session:
        control = Control(child, lines, Publisher(session, lambda: None, "api-key"), PINNED, KEY)
        await control.open()
        for line in lines.values():
            await line.open()
        control.introduce({person.id: "token" for person in PEOPLE}, "api-key")
        try:
            yield Page(session, control, lines)
        finally:
            for line in lines.values():
                await line.close()
            await control.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/control/setup"),
        ("GET", "/control/state"),
        ("POST", "/control/publish"),
        ("POST", "/control/automatic"),
        ("POST", "/control/lines/42"),
        ("POST", "/control/kill"),
        ("GET", "/control/unheard-of"),
    ],
)
async def test_who_has_not_the_key_is_told_nothing_and_does_nothing(method: str, path: str) -> None:
    async with a_page() as page:
        for authorization in ("", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x"):
            status, problem = await page.ask(method, path, body='{"open": false}', Authorization=authorization)
            assert (status, problem["code"]) == (401, "unauthorized")
        assert page.lines["42"].is_open


@pytest.mark.gen_test
async def test_another_name_for_this_machine_and_another_page_are_refused() -> None:
    async with a_page() as page:
        for path in ("/", "/control/setup"):
            for host in ("attacker.example", "localhost", "127.0.0.1"):
                status, problem = await page.ask("GET", path, Host=host)
                assert (status, problem["code"]) == (421, "misdirected_request")
            for origin in ("https://attacker.example", "null", "http://127.0.0.1:1"):
                status, problem = await page.ask("GET", path, Origin=origin)
                assert (status, problem["code"]) == (403, "forbidden")
            assert (await page.ask("GET", path, Origin=page.control.origin))[0] == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("publish", "{"),
        ("publish", "[]"),
        ("publish", "[" * 50_000),
        ("publish", '{"to": {"user": "44"}, "title": "t"}'),
        ("publish", '{"to": {"user": "42", "role": "company"}, "title": "t"}'),
        ("publish", '{"to": {"everyone": false}, "title": "t"}'),
        ("publish", '{"to": "42", "title": "t"}'),
        ("publish", '{"to": {"user": "42"}, "title": " "}'),
        ("publish", '{"to": {"user": "42"}, "title": 7}'),
        ("publish", '{"to": {"user": "42"}, "title": "%s"}' % ("t" * 201)),
        ("publish", '{"to": {"user": "42"}, "title": "t", "body": "%s"}' % ("t" * 2001)),
        ("publish", '{"to": {"user": "42"}, "title": "t", "id": "mine"}'),
        ("automatic", '{"rate": 51}'),
        ("automatic", '{"rate": -1}'),
        ("automatic", '{"rate": 0.5}'),
        ("automatic", '{"rate": true}'),
        ("automatic", "{}"),
        ("lines/42", '{"open": "no"}'),
        ("kill", '{"signal": 9}'),
    ],
)
async def test_bad_input_is_answered_with_a_problem(path: str, body: str) -> None:
    async with a_page() as page:
        status, problem = await page.ask("POST", f"/control/{path}", body=body)
        assert (status, problem["code"], problem["retryable"]) == (400, "bad_request", False)
        assert problem["detail"]


@pytest.mark.gen_test
async def test_other_bad_requests_are_answered_with_problems_too() -> None:
    async with a_page() as page:
        assert (await page.ask("POST", "/control/lines/44", body='{"open": true}'))[0] == 404
        assert (await page.ask("POST", "/control/kill", body="{}"))[0] == 409
        assert (await page.ask("POST", "/control/kill", body="{}", Content_Type="text/plain"))[0] == 415
        assert (await page.ask("POST", "/control/publish", body=" " * (MAX_BODY + 1)))[0] == 413
        assert (await page.ask("GET", "/control/kill"))[0] == 405
        assert (await page.ask("GET", "/control/state?after=-1"))[0] == 400
        assert (await page.ask("GET", "/../pyproject.toml"))[0] == 404


@pytest.mark.gen_test
async def test_the_page_may_load_and_reach_nothing_but_what_it_needs() -> None:
    async with a_page() as page, aiohttp.ClientSession() as session, session.get(page.control.origin) as answer:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        urls = [line.url for line in page.lines.values()]
        reached = {"'self'", *urls, *(url.replace("http", "ws", 1) for url in urls)}
        assert set(policy.pop("connect-src").split()) == reached
        assert policy == {
            "default-src": "'self'",
            "script-src": f"'self' {PINNED.url}",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert "<script>" not in await answer.text()


@pytest.mark.gen_test
async def test_a_switch_cuts_the_line_of_its_user_alone() -> None:
    async with a_page() as page:
        await page.ask("POST", "/control/lines/42", body='{"open": false}')
        _, state = await page.ask("GET", "/control/state")
        assert state["lines"] == {"42": False, "43": True}
        await page.ask("POST", "/control/lines/42", body='{"open": true}')
        _, state = await page.ask("GET", "/control/state")
        assert state["lines"] == {"42": True, "43": True}
