"""What all routes below ``/v1/users/{id}`` have in common; which these are is read from the description."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from adapters.api.description.openapi import openapi
from tests.serving import API_KEY, serving

PREFIX = "/v1/users/{id}/"
ROUTES = [
    (method.upper(), path.removeprefix(PREFIX), operation)
    for path, item in openapi("1.0", pages=[])["paths"].items()
    if path.startswith(PREFIX)
    for method, operation in item.items()
    if method != "parameters"
]
TOO_LONG = "x" * 129


async def asked(session: aiohttp.ClientSession, url: str, method: str, user: str, what: str) -> tuple[int, Any]:
    body = b"{}" if method == "POST" else None
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    address = URL(f"{url}/v1/users/{user}/{what}", encoded=True)
    async with session.request(method, address, data=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.text())


@pytest.mark.parametrize("user", [TOO_LONG, "%00", "a%0Ab", "%7F", "%E2%80%A8", "%ED%A0%80", "%FF", ""])
@pytest.mark.gen_test
async def test_an_id_that_no_token_may_say_is_answered_alike_by_all(user: str) -> None:
    async with serving() as server, aiohttp.ClientSession() as session:
        answers = [await asked(session, server.url, method, user, what) for method, what, _ in ROUTES]
        assert len(answers) == 18
        assert [answer for answer in answers if answer != answers[0]] == []
        assert answers[0][0] == (400 if user else 404)


@pytest.mark.gen_test
async def test_the_answer_says_what_is_wrong_with_it_and_is_described() -> None:
    async with serving() as server, aiohttp.ClientSession() as session:
        for method, what, operation in ROUTES:
            status, problem = await asked(session, server.url, method, TOO_LONG, what)
            assert (status, problem["code"]) == (400, "invalid_argument"), (method, what)
            assert problem["detail"].startswith("user id: ")
            described = operation["responses"]["400"]["content"]["application/problem+json"]["examples"]
            assert "invalid_argument" in described, (method, what)
            # What is asked of an inbox, or of its export, is answered as it is to its user, and of a block alike by all
            # methods.
            has_body, is_inbox = "requestBody" in operation, what.startswith("inbox")
            has_422 = has_body or is_inbox or what in ("block", "export")
            assert ("422" in operation["responses"]) == has_422, (method, what)
            if has_body and not is_inbox:
                ok, _ = await asked(session, server.url, method, "42", what)
                assert ok == 200, "what is wrong is the id, and not what it is asked with"
