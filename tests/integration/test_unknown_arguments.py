"""What an address asks for and its route does not know is refused, and nothing is done: somebody meant it."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.description import Description
from tests.engine_io import http_session
from tests.integration.test_what_a_database_cannot_hold import (
    DOCUMENT,
    KNOWN,
    METHODS,
    QUICKLY,
    a_body,
    filled,
    parameters,
)
from tests.serving import API_KEY, publish, serving, token

DESCRIPTION = Description(DOCUMENT)
OPERATIONS = [
    (method, path)
    for path, item in DOCUMENT["paths"].items()
    # What stands behind the path of a stream may be put there by libraries that know no better.
    if path.startswith("/v1/") and path != "/v1/stream"
    for method in METHODS
    if method in item
]


async def ask(session: aiohttp.ClientSession, url: str, method: str, path: str, query: str) -> tuple[int, Any]:
    """Of what is there, and with a body that is good. A refusal has to be as described."""
    item = DOCUMENT["paths"][path]
    places = {name: KNOWN if "/notifications/" in path or name == "topic" else "42" for name in ("id", "topic", "user")}
    body, media_type = a_body(item[method])
    who = token("42") if path.startswith("/v1/inbox") else API_KEY
    headers = {"Authorization": f"Bearer {who}", **({"Content-Type": media_type} if media_type else {})}
    octets = json.dumps(body).encode() if media_type else None
    address = filled(path, places)
    async with session.request(method, f"{url}{address}?{query}", data=octets, headers=headers) as answer:
        text = await answer.text()
        value = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
        if not answer.ok:
            DESCRIPTION.check(method, address, answer.status, answer.headers, value)
        return answer.status, value


@pytest.mark.gen_test(timeout=30)
async def test_no_route_passes_over_what_it_does_not_know() -> None:
    async with serving(store="memory://", limits=QUICKLY) as server, http_session() as session:
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": KNOWN, "title": "as it was"})
        _, before = await ask(session, server.url, "get", "/v1/users/{id}/inbox", "")
        passed: list[str] = []
        for method, path in OPERATIONS:
            for query in ("dry_run=true", "dry_run"):
                status, problem = await ask(session, server.url, method, path, query)
                is_refused = status in (400, 422) and problem["code"] == "invalid_argument"
                if not is_refused or problem["detail"] != "dry_run: is not known":
                    passed.append(f"{method} {path}?{query}: {status} {problem}")
        assert not passed, "\n".join(passed)
        _, after = await ask(session, server.url, "get", "/v1/users/{id}/inbox", "")
        assert after == before
        assert len(after["items"]) == 1
        assert len(OPERATIONS) > 30


@pytest.mark.gen_test(timeout=30)
async def test_what_is_known_is_given_once() -> None:
    async with serving(store="memory://", limits=QUICKLY) as server, http_session() as session:
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": KNOWN})
        asked = 0
        for method, path in OPERATIONS:
            for name in parameters(DOCUMENT["paths"][path], method, "query"):
                status, problem = await ask(session, server.url, method, path, f"{name}=1&{name}=1")
                assert (status, problem["code"]) in ((400, "invalid_argument"), (422, "invalid_argument")), path
                assert problem["detail"] == f"{name}: is given more than once"
                asked += 1
        assert asked > 10
