"""Who publishes, or asks for an inbox, faster than they may is told when to come back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from entrypoints.settings import SettingsError, validate_settings
from tests.engine_io import http_session
from tests.serving import API_KEY, SECRET, serving, token

SLOW_KEY = "a key with a rate of its own, of 32 characters or more"
FREE_KEY = "a key with no rate at all, of 32 characters or more"
ORIGIN = "https://app.example"


def api(**of_slow: Any) -> dict[str, Any]:
    slow = {"name": "slow", "key": SLOW_KEY, **of_slow}
    return {"key": API_KEY, "keys": [slow, {"name": "free", "key": FREE_KEY}]}


def body(number: int) -> dict[str, Any]:
    return {"to": {"user": "42"}, "type": "t", "id": f"n-{number}"}


class Backend:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def publish(self, number: int, key: str = SLOW_KEY) -> tuple[int, Any, Mapping[str, str]]:
        return await self.send("", json.dumps(body(number)).encode(), key)

    async def batch(self, numbers: range, key: str = SLOW_KEY) -> tuple[int, Any, Mapping[str, str]]:
        return await self.send("/batch", json.dumps([body(number) for number in numbers]).encode(), key)

    async def amend(self, method: str, number: int, patch: Any = None) -> tuple[int, Any, Mapping[str, str]]:
        octets = json.dumps(patch).encode() if patch is not None else None
        return await self.send(f"/n-{number}", octets, API_KEY, method)

    async def send(
        self, path: str, octets: bytes | None, key: str, method: str = "POST"
    ) -> tuple[int, Any, Mapping[str, str]]:
        return await self.ask(method, f"notifications{path}", octets, key)

    async def ask(self, method: str, path: str, octets: bytes | None, key: str) -> tuple[int, Any, Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with self.session.request(method, f"{self.url}/v1/{path}", data=octets, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def stored(self) -> int:
        headers = {"Authorization": f"Bearer {token('42')}"}
        async with self.session.get(f"{self.url}/v1/inbox/count", headers=headers) as answer:
            return int((await answer.json())["counts"]["total"])


@pytest.mark.gen_test
async def test_a_key_publishes_at_its_rate_and_others_as_they_like() -> None:
    async with serving(api=api(publish_per_second=5, publish_burst=3)) as server, http_session() as session:
        backend = Backend(session, server.url)
        since, number = time.monotonic(), 0
        while (answer := await backend.publish(number))[0] == 201:
            number += 1
        # Of the burst, and of the rate while that was published.
        assert 3 <= number <= 3 + 5 * (time.monotonic() - since)
        status, problem, headers = answer
        assert (status, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
        assert problem["detail"] == "5 notifications a second are allowed, 3 at once"
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["Retry-After"] == "1"
        # What was refused is not stored, and what else there is goes on.
        for other in range(500, 510):
            for key in (FREE_KEY, API_KEY):
                assert (await backend.publish(other, key))[0] == 201
        assert await backend.stored() == number + 10
        await asyncio.sleep(int(headers["Retry-After"]))
        assert (await backend.publish(number))[0] == 201
        taken = 0
        while time.monotonic() < since + 3:
            taken += (await backend.publish(100 + taken))[0] == 201
        assert number + 1 + taken <= 3 + 5 * (time.monotonic() - since)


@pytest.mark.gen_test
async def test_each_of_a_batch_counts_and_a_large_one_is_taken_and_paid_off() -> None:
    async with serving(api=api(publish_per_second=2, publish_burst=4)) as server, http_session() as session:
        backend = Backend(session, server.url)
        assert (await backend.batch(range(3)))[0] == 200
        status, problem, headers = await backend.batch(range(3, 6))
        assert (status, problem["code"], headers["Retry-After"]) == (429, "rate_limited", "1")
        assert await backend.stored() == 3
        await asyncio.sleep(1.6)
        # More than the burst, as soon as that is full.
        assert (await backend.batch(range(3, 103)))[0] == 200
        status, _, headers = await backend.publish(200)
        assert status == 429
        assert 47 <= int(headers["Retry-After"]) <= 49
        assert await backend.stored() == 103


@pytest.mark.parametrize(
    ("path", "octets"), [("", b"{"), ("", b"{}"), ("/batch", b"{"), ("/batch", b"[]"), ("/batch", b"[{}]")]
)
@pytest.mark.gen_test
async def test_what_is_not_valid_counts_too(path: str, octets: bytes) -> None:
    rate = {"publish_per_second": 0.1, "publish_burst": 2}
    async with serving(api={"key": API_KEY, **rate}) as server, http_session() as session:
        backend = Backend(session, server.url)
        answers = [(await backend.send(path, octets, API_KEY))[0] for _ in range(3)]
        assert set(answers[:2]) <= {400, 422}
        assert answers[2] == 429
        assert (await backend.publish(0, API_KEY))[0] == 429


LONG = "x" * 129


@pytest.mark.parametrize(
    ("method", "path", "octets"),
    [
        ("POST", "topics/t/members", b"{"),
        ("POST", "topics/t/members", b'{"add": [42]}'),
        ("POST", "topics/t/members", b'{"add": [""]}'),
        ("POST", f"topics/{LONG}/members", b"{}"),
        ("PUT", f"topics/t/members/{LONG}", None),
        ("DELETE", f"topics/{LONG}/members/42", None),
        ("PATCH", "notifications/n-0", b"{"),
        ("PATCH", "notifications/unknown", b"{}"),
        ("DELETE", f"notifications/{LONG}", None),
    ],
)
@pytest.mark.gen_test
async def test_a_change_that_is_not_valid_counts_too(method: str, path: str, octets: bytes | None) -> None:
    rate = {"publish_per_second": 0.1, "publish_burst": 2}
    async with serving(api={"key": API_KEY, **rate}) as server, http_session() as session:
        backend = Backend(session, server.url)
        answers = [(await backend.ask(method, path, octets, API_KEY))[0] for _ in range(3)]
        assert set(answers[:2]) <= {400, 404, 422}
        assert answers[2] == 429
        assert (await backend.publish(0, API_KEY))[0] == 429


@pytest.mark.parametrize(
    ("method", "path", "octets"),
    [
        ("GET", "inbox?limit=many", None),
        ("GET", "inbox?unknown=1", None),
        ("GET", f"inbox/count?role={LONG}", None),
        ("POST", "inbox/read", b"{"),
        ("POST", "inbox/read", b"{}"),
        ("POST", "inbox/read?unknown=1", b'{"ids": ["a"]}'),
    ],
)
@pytest.mark.gen_test
async def test_what_is_not_valid_of_the_inbox_of_a_user_counts_too(
    method: str, path: str, octets: bytes | None
) -> None:
    limits = {"requests_per_second": 0.1, "requests_burst": 2}
    async with serving(limits=limits) as server, http_session() as session:
        backend = Backend(session, server.url)
        answers = [(await backend.ask(method, f"users/42/{path}", octets, API_KEY))[0] for _ in range(3)]
        assert set(answers[:2]) <= {400, 422}
        assert answers[2] == 429
        assert (await backend.ask("GET", "users/42/inbox", None, API_KEY))[0] == 429
        assert (await backend.ask("GET", "users/43/inbox", None, API_KEY))[0] == 200


@pytest.mark.gen_test
async def test_changing_and_taking_back_count_as_publishing_does() -> None:
    rate = {"publish_per_second": 0.1, "publish_burst": 4}
    async with serving(api={"key": API_KEY, **rate}) as server, http_session() as session:
        backend = Backend(session, server.url)
        assert [(await backend.publish(number, API_KEY))[0] for number in range(2)] == [201, 201]
        assert (await backend.amend("PATCH", 0, {"title": "new"}))[0] == 200
        assert (await backend.amend("DELETE", 0))[0] == 200
        for method, patch in (("PATCH", {"title": "newer"}), ("DELETE", None)):
            status, problem, headers = await backend.amend(method, 1, patch)
            assert (status, problem["code"]) == (429, "rate_limited")
            assert 8 <= int(headers["Retry-After"]) <= 10


@pytest.mark.gen_test
async def test_the_one_key_has_a_rate_too_with_the_burst_of_a_second() -> None:
    async with serving(api={"key": API_KEY, "publish_per_second": 1.5}) as server, http_session() as session:
        backend = Backend(session, server.url)
        assert [(await backend.publish(number, API_KEY))[0] for number in range(3)] == [201, 201, 429]


@pytest.mark.gen_test
async def test_a_user_who_asks_too_fast_is_told_when_to_come_back_and_nobody_else() -> None:
    limits = {"requests_per_second": 1, "requests_burst": 4}
    async with serving(limits=limits, cors_origins=[ORIGIN]) as server, http_session() as session:

        async def ask(method: str, path: str, user: str) -> tuple[int, Any, Mapping[str, str]]:
            headers = {"Authorization": f"Bearer {token(user)}", "Origin": ORIGIN}
            async with session.request(method, f"{server.url}/v1/inbox{path}", headers=headers) as answer:
                return answer.status, await answer.json(content_type=None), answer.headers

        for method, path in (("GET", ""), ("GET", "/count"), ("POST", "/read_all"), ("GET", "")):
            assert (await ask(method, path, "42"))[0] == 200
        status, problem, headers = await ask("GET", "/count", "42")
        assert (status, problem["code"], headers["Retry-After"]) == (429, "rate_limited", "1")
        # Which the page that asked may read.
        assert "Retry-After" in headers["Access-Control-Expose-Headers"]
        assert headers["Access-Control-Allow-Origin"] == ORIGIN
        assert (await ask("GET", "/count", "43"))[0] == 200
        await asyncio.sleep(1.05)
        assert (await ask("GET", "/count", "42"))[0] == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"publish_burst": 3}, "api.publish_burst: needs publish_per_second"),
        ({"key": None, "publish_per_second": 3}, "api.publish_per_second: is for api.key"),
        ({"publish_per_second": 0}, "api.publish_per_second: "),
        ({"keys": [{"name": "a", "key": SLOW_KEY, "publish_burst": 3}]}, "api.keys[0].publish_burst: needs"),
    ],
)
def test_rates_that_mean_nothing_are_no_settings(settings: dict[str, Any], said: str) -> None:
    api = {name: value for name, value in {"key": API_KEY, **settings}.items() if value is not None}
    with pytest.raises(SettingsError) as error:
        validate_settings({"auth": {"secret": SECRET}, "api": api})
    assert str(error.value).startswith(said)
