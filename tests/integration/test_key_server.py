"""A key server that is down, slow, hostile, or asked for by a flood of tokens with unknown keys."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.auth.compact import parse
from adapters.auth.fetching import Fetcher
from adapters.auth.issuers import Issuer, Issuers
from adapters.auth.jwks import MAX_ARRIVALS, RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import Discovery, JwksUrl, Location
from domain.errors import InvalidToken, KeysUnavailable, TokenExpired
from tests.doubles import ManualClock
from tests.tokens import NOW, KeyServer, claims, key_for, mint, poll, public_jwk

DAY = 86_400
LONG = NOW + 10 * DAY
QUICK = Fetcher(timeout=timedelta(seconds=0.3), max_bytes=65_536)


@dataclass(frozen=True)
class House:
    server: KeyServer
    clock: ManualClock
    keys: RemoteKeys
    verifier: JwtVerifier

    def token(self, kid: str = "k1", owner: str = "issuer") -> str:
        content = claims(iss=self.server.origin, exp=LONG)
        return mint(content, "ES256", key_for("ES256", owner), kid=kid)

    async def answer(self, token: str) -> str:
        """What is made of a token: "good", "refused" for good, or "come back"."""
        try:
            await self.verifier.verify(token)
        except InvalidToken:
            return "refused"
        except KeysUnavailable:
            return "come back"
        return "good"

    async def passes(self, kid: str = "k1", owner: str = "issuer") -> bool:
        try:
            return (await self.verifier.verify(self.token(kid, owner))).user == "42"
        except TokenExpired:
            raise
        except InvalidToken:
            return False


@asynccontextmanager
async def house(location: Location | None = None, fetcher: Fetcher = QUICK) -> AsyncIterator[House]:
    async with KeyServer() as server:
        server.publish(public_jwk(key_for("ES256")))
        clock = ManualClock()
        keys = RemoteKeys(location or JwksUrl(server.url()), clock, fetcher=fetcher)
        issuers = Issuers([Issuer(issuer=server.origin, keys=keys, algorithms=["ES256"])])
        try:
            yield House(server, clock, keys, JwtVerifier(issuers, clock))
        finally:
            await issuers.close()


@pytest.mark.gen_test
async def test_nothing_is_fetched_before_the_first_token() -> None:
    async with house() as h:
        assert h.server.requests == []
        assert await h.passes()
        assert h.server.asked() == 1


@pytest.mark.gen_test
async def test_what_is_not_of_the_issuer_fetches_nothing() -> None:
    async with house() as h:
        for token in ("", "a.b.c", mint(claims(iss="https://other.example"), "ES256"), mint(claims(), "RS256")):
            with pytest.raises(InvalidToken):
                await h.verifier.verify(token)
        assert h.server.requests == []


@pytest.mark.gen_test
async def test_all_who_wait_share_one_fetch() -> None:
    async with house() as h:
        h.server.stuck = True
        waiting = [asyncio.create_task(h.passes()) for _ in range(100)]
        await poll(lambda: h.server.asked() == 1)
        for impatient in waiting[:50]:
            impatient.cancel()
        h.server.release()
        assert all(await asyncio.gather(*waiting[50:]))
        assert h.server.asked() == 1


@pytest.mark.gen_test
async def test_a_flood_of_unknown_keys_is_one_fetch_in_30_seconds() -> None:
    async with house() as h:
        assert await h.passes()
        for second in range(120):
            answers = {await h.answer(h.token(f"unknown-{second}-{number}", "mallory")) for number in range(20)}
            # Those of the very instant of a fetch have had their key asked for.
            assert answers == {"refused" if second % 30 == 0 else "come back"}
            assert await h.passes()
            assert h.keys.are_unavailable() is False
            h.clock.advance(1)
        # At 0 the first, then at 30, 60 and 90.
        assert h.server.asked() == 4


@pytest.mark.gen_test
async def test_a_key_rotated_just_after_a_fetch_is_come_back_for() -> None:
    async with house() as h:
        assert await h.passes()
        h.server.publish(public_jwk(key_for("ES256")), public_jwk(key_for("ES256", "new"), "k2"))
        token, stale = h.token("k2", "new"), h.token("k0", "retired")
        for _ in range(10):
            h.clock.advance(2.9)
            assert await h.answer(token) == "come back"
            assert await h.answer(stale) == "come back"
        h.clock.advance(1)
        assert await h.answer(token) == "good"
        # The fetch of the other began after this one had come, too.
        assert await h.answer(stale) == "refused"
        h.clock.advance(29)
        assert await h.answer(stale) == "refused"
        assert h.server.asked() == 2


@pytest.mark.gen_test
async def test_whoever_guesses_the_name_of_the_next_key_has_nobody_refused() -> None:
    async with house() as h:
        assert await h.passes()
        h.clock.advance(30)
        assert await h.answer(h.token("2026-12", "mallory")) == "refused"
        h.server.publish(public_jwk(key_for("ES256")), public_jwk(key_for("ES256", "new"), "2026-12"))
        h.clock.advance(1)
        assert await h.answer(h.token("2026-12", "new")) == "come back"
        h.clock.advance(29)
        assert await h.answer(h.token("2026-12", "new")) == "good"


@pytest.mark.gen_test
async def test_a_fetch_under_way_may_have_missed_the_key() -> None:
    async with house(fetcher=Fetcher(timeout=timedelta(seconds=15))) as h:
        assert await h.passes()
        h.clock.advance(31)
        h.server.stuck = True
        first = asyncio.create_task(h.answer(h.token("unknown-1", "mallory")))
        await poll(lambda: h.server.asked() == 2)
        h.clock.advance(1)
        later = asyncio.create_task(h.answer(h.token("unknown-2", "mallory")))
        await asyncio.sleep(0)
        h.server.release()
        assert (await first, await later) == ("refused", "come back")


@pytest.mark.gen_test
async def test_a_fetch_that_fails_refuses_nobody_for_good() -> None:
    async with house() as h:
        assert await h.passes()
        stale = h.token("k0", "retired")
        h.server.broken = True
        for _ in range(4):
            h.clock.advance(31)
            assert await h.answer(stale) == "come back"
            assert h.keys.are_unavailable() is False
        h.server.broken = False
        h.clock.advance(31)
        assert await h.answer(stale) == "refused"


@pytest.mark.gen_test
async def test_what_is_remembered_of_a_flood_has_an_end_and_what_is_forgotten_is_not_refused() -> None:
    async with house() as h:
        assert await h.passes()
        h.clock.advance(1)
        first = h.token("k0", "retired")
        assert await h.answer(first) == "come back"
        flood = [h.token(f"unknown-{number}", "mallory") for number in range(MAX_ARRIVALS + 100)]
        assert {await h.answer(token) for token in flood} == {"come back"}
        assert len(h.keys._arrivals) == MAX_ARRIVALS
        h.clock.advance(29)
        assert await h.answer(flood[-1]) == "refused"
        h.clock.advance(1)
        assert await h.answer(first) == "come back"
        assert await h.answer(flood[-2]) == "refused"
        assert h.server.asked() == 2


@pytest.mark.gen_test(timeout=60)
async def test_a_thousand_unknown_keys_in_one_second() -> None:
    async with house() as h:
        assert await h.passes()
        h.clock.advance(31)
        results = await asyncio.gather(*(h.passes(f"unknown-{n}", "mallory") for n in range(1000)), h.passes())
        assert results == [*[False] * 1000, True]
        assert h.server.asked() == 2


@pytest.mark.gen_test
async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    async with house() as h:
        assert await h.passes()
        h.server.publish(public_jwk(key_for("ES256")), public_jwk(key_for("ES256", "new"), "k2"))
        h.clock.advance(1)
        assert await h.answer(h.token("k2", "new")) == "come back"
        h.clock.advance(29)
        assert await h.passes("k2", "new")
        assert h.server.asked() == 2


@pytest.mark.gen_test
async def test_nothing_cached_and_the_server_down() -> None:
    async with house() as h:
        h.server.broken = True
        for second in range(60):
            with pytest.raises(KeysUnavailable):
                await h.passes()
            assert h.server.asked() == second // 30 + 1
            h.clock.advance(1)
        h.server.broken = False
        assert await h.passes()


@pytest.mark.gen_test
async def test_that_there_are_no_keys_is_known_until_they_may_be_asked_for_again() -> None:
    async with house() as h:
        users = Issuer(issuer=h.server.origin, keys=h.keys, algorithms=["ES256"])
        issuers = Issuers([users])
        assert issuers.fault is None
        h.server.stuck = True
        waiting = asyncio.create_task(h.passes())
        await poll(lambda: h.server.asked() == 1)
        assert issuers.fault is None
        h.server.broken = True
        h.server.release()
        with pytest.raises(KeysUnavailable):
            await waiting
        assert issuers.fault == KeysUnavailable.code
        other = Issuer(
            issuer="https://staff.example",
            keys=StaticKeys.from_secret(b"the secret of the staff, just long enough"),
            algorithms=["HS256"],
        )
        assert Issuers([users, other], shared_user_ids=True).fault is None
        h.clock.advance(29)
        assert issuers.fault == KeysUnavailable.code
        h.clock.advance(1)
        assert issuers.fault is None
        h.server.broken = False
        assert await h.passes()
        h.server.broken = True
        h.clock.advance(DAY - 1)
        assert await h.answer(h.token("unknown", "mallory")) == "come back"
        assert issuers.fault is None
        h.clock.advance(1)
        assert issuers.fault == KeysUnavailable.code


@pytest.mark.gen_test
async def test_cached_keys_outlive_a_server_that_is_down_by_24_hours() -> None:
    async with house() as h:
        assert await h.passes()
        h.server.broken = True
        h.clock.advance(1)
        for _ in range(24):
            assert await h.passes()
            assert await h.answer(h.token("unknown", "mallory")) == "come back"
            h.clock.advance(3599)
        assert await h.passes()
        h.clock.advance(60)
        with pytest.raises(KeysUnavailable):
            await h.passes()
        h.server.broken = False
        h.clock.advance(30)
        assert await h.passes()


@pytest.mark.gen_test
async def test_a_slow_server_never_holds_up_a_known_token() -> None:
    async with house(fetcher=Fetcher(timeout=timedelta(seconds=15))) as h:
        assert await h.passes()
        h.server.stuck = True
        h.clock.advance(601)
        stranger = asyncio.create_task(h.passes("unknown", "mallory"))
        async with asyncio.timeout(2):
            assert await h.passes()
            await poll(lambda: h.server.asked() == 2)
            assert await h.passes()
        assert not stranger.done()
        h.server.release()
        assert not await stranger


@pytest.mark.gen_test
async def test_a_server_that_does_not_answer_is_given_up_on() -> None:
    async with house() as h:
        h.server.stuck = True
        async with asyncio.timeout(3):
            with pytest.raises(KeysUnavailable):
                await h.passes()


@pytest.mark.gen_test
async def test_a_key_taken_back_is_refused_after_the_refresh() -> None:
    async with house() as h:
        assert await h.passes()
        h.server.publish(public_jwk(key_for("ES256", "new"), "k2"))
        h.clock.advance(599)
        assert await h.passes()
        assert h.server.asked() == 1
        h.clock.advance(2)
        assert await h.passes(), "the refresh is in the background"
        await poll(lambda: h.server.asked() == 2)
        assert await h.passes("k2", "new")
        assert not await h.passes()


@pytest.mark.gen_test
async def test_the_wall_clock_has_no_say() -> None:
    async with house() as h:
        assert await h.passes()
        h.clock.jump(timedelta(hours=25))
        assert await h.passes()
        h.clock.jump(timedelta(hours=-25))
        assert not await h.passes("unknown", "mallory")
        assert h.server.asked() == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b'{"keys":[]}', b"\xff", b'{"keys":[{"kty":"oct","k":"AAAA"}]}', b" " * 65_537]
)
async def test_an_answer_without_keys_changes_nothing(document: bytes) -> None:
    async with house() as h:
        assert await h.passes()
        h.server.documents["/jwks.json"] = document
        h.clock.advance(31)
        assert await h.answer(h.token("unknown", "mallory")) == "come back"
        assert h.server.asked() == 2
        assert await h.passes()


@pytest.mark.gen_test
async def test_an_endless_answer_is_cut_at_its_bound() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        # Stops by itself long after the bound, so that a missing one is seen and not waited for.
        while sent < 64 * 1_048_576:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    app = web.Application()
    app.router.add_get("/jwks.json", endless)
    async with TestServer(app) as server, house(JwksUrl(str(server.make_url("/jwks.json"))), Fetcher()) as h:
        with pytest.raises(KeysUnavailable):
            await h.passes()
    assert sent < 32 * 1_048_576


@pytest.mark.gen_test
async def test_a_redirect_is_not_followed() -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    app = web.Application()
    app.router.add_get("/jwks.json", redirect)
    async with TestServer(app) as server, KeyServer() as target:
        target.publish(public_jwk(key_for("ES256")))
        url = str(server.make_url("/jwks.json").with_query(to=target.url()))
        async with house(JwksUrl(url)) as h:
            with pytest.raises(KeysUnavailable):
                await h.passes()
        assert target.requests == []


@pytest.mark.gen_test
async def test_nothing_is_fetched_after_closing() -> None:
    async with house() as h:
        h.server.stuck = True
        waiting = asyncio.create_task(h.passes())
        await poll(lambda: h.server.asked() == 1)
        await h.keys.close()
        with pytest.raises(KeysUnavailable):
            await waiting
        h.clock.advance(60)
        with pytest.raises(KeysUnavailable):
            await h.passes()
        assert h.server.asked() == 1


@pytest.mark.gen_test
async def test_the_log_says_what_is_wrong_and_nothing_of_a_token(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as h:
        caplog.set_level(logging.DEBUG, "synkrone.auth")
        h.server.broken = True
        for _ in range(5):
            with pytest.raises(KeysUnavailable):
                await h.passes("a-name-nobody-may-see")
        messages = [record.getMessage() for record in caplog.records if record.name == "synkrone.auth"]
        assert len(messages) == 1
        assert "503" in messages[0]
        assert "a-name-nobody-may-see" not in messages[0]


class TestDiscovery:
    @staticmethod
    @asynccontextmanager
    async def discovered() -> AsyncIterator[House]:
        async with KeyServer() as server:
            server.publish(public_jwk(key_for("ES256")))
            clock = ManualClock()
            keys = RemoteKeys(Discovery(server.origin), clock, fetcher=QUICK)
            issuers = Issuers([Issuer(issuer=server.origin, keys=keys, algorithms=["ES256"])])
            try:
                yield House(server, clock, keys, JwtVerifier(issuers, clock))
            finally:
                await issuers.close()

    @pytest.mark.gen_test
    async def test_a_flood_is_one_look_up_in_30_seconds(self) -> None:
        async with self.discovered() as h:
            h.server.describe()
            assert await h.passes()
            for number in range(60):
                assert await h.answer(h.token(f"unknown-{number}", "mallory")) in ("refused", "come back")
                h.clock.advance(1)
            assert h.server.requests == ["/.well-known/openid-configuration", "/jwks.json"] * 2

    @pytest.mark.gen_test
    @pytest.mark.parametrize(
        "changes",
        [
            {"issuer": "https://other.example"},
            {"issuer": None},
            {"issuer": 1},
            {"jwks_uri": None},
            {"jwks_uri": ["https://auth.example/jwks"]},
            {"jwks_uri": "http://auth.example/jwks"},
            {"jwks_uri": "file:///etc/passwd"},
        ],
        ids=repr,
    )
    async def test_metadata_that_is_not_the_issuers(self, changes: dict[str, Any]) -> None:
        async with self.discovered() as h:
            h.server.describe(**changes)
            with pytest.raises(KeysUnavailable):
                await h.passes()
            assert h.server.asked() == 0

    @pytest.mark.gen_test
    @pytest.mark.parametrize("document", [b"", b"[]", b"null", b"[" * 60_000, b"\xff"])
    async def test_what_is_no_metadata(self, document: bytes) -> None:
        async with self.discovered() as h:
            h.server.documents["/.well-known/openid-configuration"] = document
            with pytest.raises(KeysUnavailable):
                await h.passes()

    @pytest.mark.gen_test
    async def test_a_server_in_trouble_is_not_asked_for_other_metadata(self) -> None:
        async with self.discovered() as h:
            h.server.broken = True
            with pytest.raises(KeysUnavailable):
                await h.passes()
            assert h.server.requests == ["/.well-known/openid-configuration"]

    @pytest.mark.gen_test
    async def test_metadata_from_elsewhere_never_leads_to_this_machine(self) -> None:
        asked: list[str] = []

        class Elsewhere(Fetcher):
            """The network, for an address that no test can have."""

            async def get(self, url: str) -> bytes:
                asked.append(url)
                return json.dumps({"issuer": "https://auth.example", "jwks_uri": "http://127.0.0.1/admin"}).encode()

        keys = RemoteKeys(Discovery("https://auth.example"), ManualClock(), fetcher=Elsewhere())
        with pytest.raises(KeysUnavailable):
            await keys.find(parse(mint(claims())))
        await keys.close()
        assert asked == ["https://auth.example/.well-known/openid-configuration"]
