"""API keys, service tokens, and both behind one verifier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.auth.api_keys import ApiKey, ApiKeys, hash_key, parse_hash
from adapters.auth.callers import Callers
from adapters.auth.issuers import Issuer, Issuers
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import JwksUrl
from adapters.auth.service_tokens import ServiceTokens
from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidToken, KeysUnavailable, Unauthenticated
from domain.model import Caller
from tests.contract.caller_verifier import CallerVerifierContract, Subject
from tests.doubles import ManualClock
from tests.tokens import ISSUER, NOW, KeyServer, claims, jwks, key_for, mint, public_jwk, sign

KEY = "Key-of-the-billing-service-0123456789"
OTHER_KEY = "Key-of-another-service-0123456789abcdef"
PUBLISH = frozenset({"publish"})


def api_keys() -> ApiKeys:
    return ApiKeys(
        [
            ApiKey("billing", hash_key(KEY), PUBLISH),
            ApiKey("support", hash_key(OTHER_KEY), frozenset({"connections:read"})),
        ]
    )


def issuers(algorithm: str = "ES256") -> Issuers:
    document = jwks(public_jwk(key_for(algorithm)))
    services = {"billing": ["publish", "connections:read"], "idle": []}
    return Issuers(
        [
            Issuer(
                issuer=ISSUER,
                keys=StaticKeys.from_jwks(document),
                algorithms=[algorithm],
                audience="here",
                services=services,
            )
        ]
    )


def service_tokens(algorithm: str = "ES256") -> ServiceTokens:
    return ServiceTokens(issuers(algorithm), ManualClock())


def service_claims(**changes: Any) -> dict[str, Any]:
    service: dict[str, Any] = {
        "role": None,
        "aud": "here",
        "client_id": "billing",
        "jti": "1",
        "scope": "publish profile",
    }
    return claims(**{**service, **changes})


def service_token(algorithm: str = "ES256", owner: str = "issuer", typ: object = "at+jwt", **changes: Any) -> str:
    return mint(service_claims(**changes), algorithm, key_for(algorithm, owner), header={"typ": typ})


class TestApiKeys(CallerVerifierContract):
    @pytest.fixture(params=["key", "hash"])
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        digest = hash_key(KEY)
        if request.param == "hash":
            digest = parse_hash("sha256:" + hashlib.sha256(KEY.encode()).hexdigest())
        verifier = ApiKeys([ApiKey("billing", digest, PUBLISH)])
        return Subject(verifier, KEY, Caller("billing", PUBLISH), OTHER_KEY)

    @pytest.mark.gen_test
    async def test_each_key_has_its_own_name_and_scopes(self) -> None:
        assert (await api_keys().authenticate(KEY)).name == "billing"
        assert await api_keys().authenticate(OTHER_KEY) == Caller("support", frozenset({"connections:read"}))

    @pytest.mark.gen_test
    async def test_a_hash_is_not_a_key(self) -> None:
        for digest in (hash_key(KEY).hex(), f"sha256:{hash_key(KEY).hex()}"):
            with pytest.raises(Unauthenticated):
                await api_keys().authenticate(digest)

    @pytest.mark.gen_test
    async def test_without_keys_nobody_is_known(self) -> None:
        with pytest.raises(Unauthenticated):
            await ApiKeys([]).authenticate("")

    @pytest.mark.parametrize(
        "text", ["", "sha256:", "sha256:" + "0" * 63, "md5:" + "0" * 64, "0" * 64, "sha256:" + "g" * 64]
    )
    def test_what_is_no_hash(self, text: str) -> None:
        with pytest.raises(ConfigurationError) as error:
            parse_hash(text)
        assert error.value.field == "hash"

    def test_a_key_that_can_be_guessed(self) -> None:
        with pytest.raises(ConfigurationError):
            hash_key("x" * 31)

    def test_two_keys_of_one_name_or_one_content(self) -> None:
        one, other = ApiKey("a", hash_key(KEY), PUBLISH), ApiKey("b", hash_key(OTHER_KEY), PUBLISH)
        for pair in ([one, ApiKey("a", other.digest, PUBLISH)], [one, ApiKey("b", one.digest, PUBLISH)]):
            with pytest.raises(ConfigurationError):
                ApiKeys(pair)


class TestServiceTokens(CallerVerifierContract):
    @pytest.fixture(params=["ES256", "RS256", "PS256", "EdDSA"])
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        algorithm = request.param
        return Subject(
            service_tokens(algorithm),
            service_token(algorithm),
            Caller(f"{ISSUER} billing", PUBLISH),
            service_token(algorithm, "stranger"),
        )

    @pytest.mark.gen_test
    @pytest.mark.parametrize("typ", ["JWT", "", None, "jwt", "rt+jwt", 1])
    async def test_the_type_must_say_access_token(self, typ: object) -> None:
        await service_tokens().authenticate(service_token(typ="application/AT+JWT"))
        with pytest.raises(Unauthenticated):
            await service_tokens().authenticate(service_token(typ=typ))

    @pytest.mark.gen_test
    async def test_no_type_is_not_enough(self) -> None:
        for header, good in (({"typ": "at+jwt"}, True), ({}, False)):
            octets = json.dumps({"alg": "ES256", "kid": "k1", **header}).encode()
            token = sign(octets, json.dumps(service_claims()).encode(), "ES256", key_for("ES256"))
            if good:
                await service_tokens().authenticate(token)
            else:
                with pytest.raises(Unauthenticated):
                    await service_tokens().authenticate(token)

    @pytest.mark.gen_test
    @pytest.mark.parametrize(
        "changes",
        [
            *({name: None} for name in ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")),
            *({"client_id": value} for value in ("", "other", "Billing", 1, ["billing"], {"billing": 1})),
            *({"aud": value} for value in ("there", [], ["there"], "her", 1)),
            *({"role": value} for value in ("freelance", "", ["admin"], False, [])),
            *({"scope": value} for value in (["publish"], 1, {"publish": 1})),
            {"sub": ""},
            {"sub": 42},
            {"jti": ""},
            {"jti": 1},
            *({"iat": value} for value in ("0", NOW + 60, True)),
            {"exp": NOW - 31},
            {"exp": 1e300},
            {"nbf": NOW + 60},
            {"token_use": "id"},
            {"at_hash": "x"},
        ],
        ids=repr,
    )
    async def test_a_claim_that_is_missing_or_not_good(self, changes: Mapping[str, Any]) -> None:
        with pytest.raises(Unauthenticated):
            await service_tokens().authenticate(service_token(**changes))

    @pytest.mark.gen_test
    async def test_a_role_that_is_null_is_a_role(self) -> None:
        token = mint({**service_claims(), "role": None}, "ES256", header={"typ": "at+jwt"})
        with pytest.raises(Unauthenticated):
            await service_tokens().authenticate(token)

    @pytest.mark.gen_test
    @pytest.mark.parametrize(
        ("scope", "granted"),
        [
            ("publish", {"publish"}),
            ("publish connections:read", {"publish", "connections:read"}),
            ("publish connections:write", {"publish"}),
            ("publisher Publish publish,connections:read", set()),
            ("", set()),
            (None, set()),
        ],
    )
    async def test_scopes_are_those_of_the_token_and_of_the_settings(
        self, scope: str | None, granted: set[str]
    ) -> None:
        assert (await service_tokens().authenticate(service_token(scope=scope))).scopes == granted

    @pytest.mark.gen_test
    async def test_the_leeway_is_that_of_users(self) -> None:
        await service_tokens().authenticate(service_token(exp=NOW - 29, iat=NOW + 29))

    @pytest.mark.gen_test
    async def test_a_service_is_no_user_and_a_user_no_service(self) -> None:
        with pytest.raises(InvalidToken):
            await JwtVerifier(issuers(), ManualClock()).verify(service_token())
        user = service_token(role="freelance")
        await JwtVerifier(issuers(), ManualClock()).verify(user)
        with pytest.raises(Unauthenticated):
            await service_tokens().authenticate(user)

    @pytest.mark.gen_test
    async def test_keys_that_cannot_be_had_are_no_refusal(self) -> None:
        async with KeyServer() as server:
            server.broken = True
            keys = RemoteKeys(JwksUrl(server.url()), ManualClock())
            issuer = Issuer(issuer=ISSUER, keys=keys, algorithms=["ES256"], audience="here", services={"billing": []})
            with pytest.raises(KeysUnavailable):
                await ServiceTokens(Issuers([issuer]), ManualClock()).authenticate(service_token())


class TestCallersWithAKey(CallerVerifierContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return Subject(Callers(api_keys(), service_tokens()), KEY, Caller("billing", PUBLISH), "x" * 40)


class TestCallersWithAToken(CallerVerifierContract):
    @pytest.fixture
    def subject(self) -> Subject:
        verifier = Callers(api_keys(), service_tokens())
        return Subject(verifier, service_token(), Caller(f"{ISSUER} billing", PUBLISH), service_token(owner="stranger"))

    @pytest.mark.gen_test
    async def test_without_issuers_there_are_keys_only(self) -> None:
        with pytest.raises(Unauthenticated):
            await Callers(api_keys()).authenticate(service_token())
        assert (await Callers(api_keys()).authenticate(KEY)).name == "billing"
