"""Pages of other origins, on every route that pages use: what they may send and read, and what is logged of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from entrypoints.server import Server
from tests.engine_io import http_session
from tests.serving import serving, token

ORIGIN = "https://app.example"
POLLING = "/socket.io/?EIO=4&transport=polling"
ROUTES = [
    ("GET", POLLING),
    ("POST", POLLING + "&sid=unknown"),
    ("GET", "/v1/inbox"),
    ("GET", "/v1/inbox/count"),
    ("POST", "/v1/inbox/read"),
    ("POST", "/v1/inbox/read_all"),
    ("GET", "/v1/stream"),
]
OF_PAGES = pytest.mark.parametrize(("method", "path"), ROUTES)
CORS = "Access-Control-"
LOG_SECONDS = 1.05
"""After which one more line of a kind may be logged."""


class Page:
    """Something that asks the server, with an Origin or without one."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def ask(self, method: str, path: str, origin: str | None = None, **headers: str) -> aiohttp.ClientResponse:
        """The head of the answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if origin is not None:
            sent["Origin"] = origin
        async with self.session.request(method, self.server.url + path, headers=sent) as answer:
            return answer


@asynccontextmanager
async def page(**settings: object) -> AsyncIterator[Page]:
    async with serving(**{"cors_origins": [ORIGIN], **settings}) as server, http_session() as session:
        yield Page(session, server)


def cors(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(CORS)}


@pytest.fixture
def refused(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, "synkrone")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record) if record.msg == "origin refused" else None  # type: ignore[method-assign]
    logging.getLogger("synkrone").addHandler(handler)
    yield records
    logging.getLogger("synkrone").removeHandler(handler)


@OF_PAGES
@pytest.mark.gen_test
async def test_a_preflight_allows_what_it_asks_for(method: str, path: str) -> None:
    asked = "authorization,content-type,last-event-id,traceparent,ngrok-skip-browser-warning,x-own"
    async with page() as browser:
        answer = await browser.ask(
            "OPTIONS", path, ORIGIN, Access_Control_Request_Method=method, Access_Control_Request_Headers=asked
        )
        assert answer.status in (200, 204)
        assert answer.headers[f"{CORS}Allow-Origin"] == ORIGIN
        assert answer.headers[f"{CORS}Allow-Credentials"] == "true"
        assert method in answer.headers[f"{CORS}Allow-Methods"].split(", ")
        allowed = answer.headers[f"{CORS}Allow-Headers"].lower().split(", ")
        assert set(asked.split(",")) <= set(allowed)
        assert int(answer.headers[f"{CORS}Max-Age"]) > 0
        assert answer.headers["Vary"] == "Origin, Access-Control-Request-Headers"
        foreign = await browser.ask("OPTIONS", path, "https://evil.example", Access_Control_Request_Method=method)
        assert (foreign.status, cors(foreign)) == (403, {})
        assert foreign.headers["Vary"] == "Origin"


@OF_PAGES
@pytest.mark.parametrize("authorization", [None, "Bearer rubbish", "good"])
@pytest.mark.gen_test
async def test_every_answer_can_be_read_by_the_page_with_and_without_credentials(
    method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.replace("good", f"Bearer {token('42')}")}
    async with page() as browser:
        answer = await browser.ask(method, path, ORIGIN, **headers)
        assert cors(answer) == {
            f"{CORS}Allow-Origin": ORIGIN,
            f"{CORS}Allow-Credentials": "true",
            f"{CORS}Expose-Headers": "Retry-After, WWW-Authenticate",
        }
        for other in (None, "https://evil.example"):
            answer = await browser.ask(method, path, other, **headers)
            assert cors(answer) == {}
            assert answer.headers["Vary"] == "Origin", "a cache would give this answer to a page"


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/v1/notifications", "/v1/users/42/connections", "/x"]
)
@pytest.mark.gen_test
async def test_no_page_is_let_into_what_is_for_backends_and_operators(path: str) -> None:
    async with page() as browser:
        for method in ("GET", "POST", "OPTIONS"):
            assert cors(await browser.ask(method, path, ORIGIN, Access_Control_Request_Method="GET")) == {}


@OF_PAGES
@pytest.mark.parametrize(
    "origin",
    ["http://localhost.", "ws://localhost:80", "capacitor://localhost", "null", "file://", "https://a.pages.example"],
)
@pytest.mark.gen_test
async def test_the_same_origins_are_let_in_everywhere(method: str, path: str, origin: str) -> None:
    allowed = ["http://localhost:80", "capacitor://localhost", "null", "file://", "https://*.pages.example"]
    async with page(cors_origins=allowed) as browser:
        assert (await browser.ask(method, path, origin)).headers[f"{CORS}Allow-Origin"] == origin
        assert (await browser.ask(method, path, browser.server.url.replace("http", "ws"))).status != 403
    async with page() as browser:
        assert (await browser.ask(method, path, origin)).status == 403


@OF_PAGES
@pytest.mark.gen_test
async def test_behind_proxies_that_end_tls_the_own_origin_is_https(method: str, path: str) -> None:
    async with page(trusted_proxies=["127.0.0.1"]) as browser:
        own = browser.server.url.replace("http", "https")
        for proto in ("https", "wss", "https,https", "HTTPS"):
            assert (await browser.ask(method, path, own, X_Forwarded_Proto=proto)).status != 403, proto
        assert (await browser.ask(method, path, own, Forwarded="for=203.0.113.7;proto=https")).status != 403
        assert (await browser.ask(method, path, own, X_Forwarded_Proto="http")).status == 403
    async with page() as browser:
        own = browser.server.url.replace("http", "https")
        for headers in ({"X_Forwarded_Proto": "https"}, {"Forwarded": "for=203.0.113.7;proto=https"}):
            assert (await browser.ask(method, path, own, **headers)).status == 403


@OF_PAGES
@pytest.mark.gen_test
async def test_a_refused_origin_is_logged_once_with_what_would_allow_it(
    method: str, path: str, refused: list[logging.LogRecord]
) -> None:
    async with page() as browser:
        own = browser.server.url
        for _ in range(3):
            await browser.ask(method, path, "https://evil.example", Authorization=f"Bearer {token('42')}")
        await browser.ask(method, path, own.replace("http", "https"), X_Forwarded_Proto="https")
        await browser.ask("OPTIONS", path, ORIGIN, Access_Control_Request_Method=method)
        await asyncio.sleep(LOG_SECONDS)
        await browser.ask(method, path, "null")
    lines = [vars(record) for record in refused]
    names = ("levelname", "origin", "own_origin", "address", "setting", "suppressed_before")
    assert [tuple(line.get(name) for name in names) for line in lines] == [
        ("WARNING", "https://evil.example", own, "127.0.0.1", "cors_origins", None),
        ("WARNING", own.replace("http", "https"), own, "127.0.0.1", "trusted_proxies", None),
        ("WARNING", "null", own, "127.0.0.1", "cors_origins", 2),
    ]


@pytest.mark.gen_test
async def test_backends_that_are_refused_are_logged_with_their_own_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "synkrone")
    async with page(trusted_proxies=["127.0.0.1"]) as backend:
        await backend.ask("POST", "/v1/notifications", Authorization="Bearer x", X_Forwarded_For="203.0.113.7:4711")
    (line,) = [vars(record) for record in caplog.records if record.msg == "caller refused"]
    assert line["address"] == "203.0.113.7"
