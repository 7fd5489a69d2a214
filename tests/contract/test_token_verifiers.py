"""The JwtVerifier with every kind of key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from adapters.auth.issuers import Issuer, Issuers, KeySource
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import Discovery, JwksUrl
from tests.contract.token_verifier import OpenSubject, Subject, TokenVerifierContract
from tests.doubles import ManualClock
from tests.tokens import (
    ISSUER,
    NOW,
    PUBLIC_KEY_ALGORITHMS,
    SECRET,
    KeyServer,
    claims,
    jwks,
    key_for,
    mint,
    pem,
    public_jwk,
)


@asynccontextmanager
async def with_keys(
    algorithm: str, keys: KeySource, clock: ManualClock, issuer: str | None = ISSUER
) -> AsyncIterator[Subject]:
    issuers = Issuers([Issuer(issuer=issuer, keys=keys, algorithms=[algorithm])])

    def issue(owner: str, user: str, role: str, lifetime: timedelta) -> str:
        expires = NOW + int(lifetime.total_seconds())
        content = claims(iss=issuer or ISSUER, sub=user, role=role, exp=expires)
        return mint(content, algorithm, key_for(algorithm, owner))

    try:
        yield Subject(JwtVerifier(issuers, clock), clock, partial(issue, "issuer"), partial(issue, "stranger"))
    finally:
        await issuers.close()


@asynccontextmanager
async def with_key_server(algorithm: str, *, discovery: str | None = None) -> AsyncIterator[Subject]:
    clock = ManualClock()
    async with KeyServer() as server:
        server.publish(public_jwk(key_for(algorithm)))
        if discovery is not None:
            server.describe(discovery)
        location = Discovery(server.origin) if discovery is not None else JwksUrl(server.url())
        keys = RemoteKeys(location, clock)
        async with with_keys(algorithm, keys, clock, server.origin) as subject:
            yield subject


class TestSharedSecret(TokenVerifierContract):
    @pytest.fixture(params=["HS256", "HS384", "HS512"])
    def subject(self, request: pytest.FixtureRequest) -> OpenSubject:
        return lambda: with_keys(request.param, StaticKeys.from_secret(SECRET), ManualClock())


class TestAnyIssuer(TokenVerifierContract):
    @pytest.fixture
    def subject(self) -> OpenSubject:
        return lambda: with_keys("HS256", StaticKeys.from_secret(SECRET), ManualClock(), None)


class TestPublicKey(TokenVerifierContract):
    @pytest.fixture(params=PUBLIC_KEY_ALGORITHMS)
    def subject(self, request: pytest.FixtureRequest) -> OpenSubject:
        return lambda: with_keys(request.param, StaticKeys.from_pem(pem(key_for(request.param))), ManualClock())


class TestJwksFile(TokenVerifierContract):
    @pytest.fixture(params=PUBLIC_KEY_ALGORITHMS)
    def subject(self, request: pytest.FixtureRequest) -> OpenSubject:
        document = jwks(public_jwk(key_for(request.param), use="sig"))
        return lambda: with_keys(request.param, StaticKeys.from_jwks(document), ManualClock())


class TestJwksUrl(TokenVerifierContract):
    @pytest.fixture(params=["RS256", "ES256"])
    def subject(self, request: pytest.FixtureRequest) -> OpenSubject:
        return partial(with_key_server, request.param)


class TestDiscovery(TokenVerifierContract):
    @pytest.fixture(params=["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
    def subject(self, request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Subject]]:
        return partial(with_key_server, "RS256", discovery=request.param)
