"""Tokens for development are accepted by a verifier with the same settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.system.clock import SystemClock
from domain.errors import InvalidToken, TokenExpired
from entrypoints.container import Container, build_container
from entrypoints.settings import SettingsError, validate_settings
from entrypoints.tokens import mint
from tests.doubles import ManualClock

SECRET = "a secret of the tests, long enough for HS256"
HOUR = timedelta(hours=1)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"audience": "synkrone-socket"},
        {"roles": ["freelance"]},
        {"user_claim": "user.id", "role_claim": "user.role"},
        {"user_claim": "a.b.c", "role_claim": "realm"},
        {"user_claim": ["user.id"], "role_claim": ["resource_access", "my.client", "role"]},
        {"user_claim": ["user", "id"], "role_claim": ["user", "role"]},
        {"user_claim": "https://x.example/user", "role_claim": "https://x.example/role"},
    ],
    ids=str,
)
async def test_a_server_with_these_settings_accepts_it(auth: dict[str, Any]) -> None:
    settings = validate_settings({"auth": {"secret": SECRET, **auth}})
    token = mint(settings.auth, user="42", role="freelance", ttl=HOUR)
    identity = await build_container(settings).verifier().verify(token)
    assert (identity.user, identity.role) == ("42", "freelance")
    left = identity.expires_at - SystemClock().now()
    assert HOUR - timedelta(seconds=10) < left <= HOUR


@pytest.mark.gen_test
async def test_a_secret_is_rotated_without_a_token_refused() -> None:
    old, new = "the old one, which is long enough for HS256", "the new one, which is long enough for HS256"

    async def admits(secrets: list[str], token: str) -> bool:
        try:
            await build_container(validate_settings({"auth": {"secret": secrets}})).verifier().verify(token)
        except InvalidToken:
            return False
        return True

    def minted(secrets: str | list[str]) -> str:
        auth = validate_settings({"auth": {"secret": secrets}}).auth
        return mint(auth, user="42", role="freelance", ttl=HOUR)

    by_old, by_both = minted(old), minted([new, old])
    assert [await admits([new, old], token) for token in (by_old, by_both, minted(old), minted(new))] == [True] * 4
    assert [await admits([new], token) for token in (by_old, by_both)] == [False, True]
    assert [await admits([old], token) for token in (by_old, by_both)] == [True, False]


@pytest.mark.gen_test
@pytest.mark.parametrize(("ttl", "seconds"), [(timedelta(minutes=2), 120), (timedelta(), 1)])
async def test_its_life_is_as_long_as_was_asked_and_at_least_a_second(ttl: timedelta, seconds: int) -> None:
    settings = validate_settings({"auth": {"secret": SECRET, "leeway": 0}})
    container = Container(settings=settings)
    clock = ManualClock(wall=datetime.now(UTC).replace(microsecond=0))
    container.clock.override(clock)
    token = mint(settings.auth, user="42", role="freelance", ttl=ttl)
    identity = await container.verifier().verify(token)
    assert seconds <= (identity.expires_at - clock.now()).total_seconds() <= seconds + 5
    clock.advance(seconds + 5)
    with pytest.raises(TokenExpired):
        await container.verifier().verify(token)


@pytest.mark.parametrize("auth", [{}, {"issuers": [{"issuer": "https://auth.example"}]}])
def test_without_a_secret_there_is_none(auth: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^auth.secret: is needed to sign a token$"):
        mint(validate_settings({"auth": auth}).auth, user="42", role="freelance", ttl=HOUR)
