"""Access tokens of services (RFC 9068) at the publish route, as a backend's HTTP client meets them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.engine_io import WebSocketPeer, connected, event, http_session
from tests.integration.test_publish_api import TO_42, Backend, refused
from tests.serving import API_KEY, serving
from tests.tokens import KeyServer, key_for, mint, pem, public_jwk, sign

ISSUER, STAFF = "https://auth.example", "https://staff.example"
AUDIENCE = "synkrone-socket"
SERVICES = {"billing": ["publish", "connections:read"], "monitor": ["connections:read"], "idle": []}

INVALID = 'Bearer realm="synkrone-socket", error="invalid_token"'
INSUFFICIENT = 'Bearer realm="synkrone-socket", error="insufficient_scope", scope="publish"'


def issuer(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "public_key": pem(key_for("RS256")).decode(),
        "algorithms": ["RS256"],
        "audience": AUDIENCE,
        "user_prefix": "app-",
        "services": SERVICES,
        **changes,
    }


def staff(**changes: Any) -> dict[str, Any]:
    """Another issuer, whose keys, audience and services are its own."""
    return {
        "issuer": STAFF,
        "public_key": pem(key_for("ES256", "staff")).decode(),
        "algorithms": ["ES256"],
        "audience": "staff-audience",
        "user_prefix": "staff-",
        "services": {"billing": ["publish"]},
        **changes,
    }


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good service token; a change to None leaves the claim out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "sub": "billing",
        "aud": AUDIENCE,
        "client_id": "billing",
        "jti": "1",
        "iat": now,
        "exp": now + 600,
        "scope": "publish",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def service_token(algorithm: str = "RS256", owner: str = "issuer", typ: object = "at+jwt", **changes: Any) -> str:
    return mint(claims(**changes), algorithm, key_for(algorithm, owner), kid=None, header={"typ": typ})


def user_token(user: str = "42", **changes: Any) -> str:
    content = claims(sub=user, role="freelance", client_id=None, scope=None, **changes)
    return mint(content, "RS256", key_for("RS256"), kid=None)


@asynccontextmanager
async def with_services(*issuers: Mapping[str, Any], **settings: Any) -> AsyncIterator[Backend]:
    auth = {"issuers": issuers or [issuer(), staff()]}
    async with serving(**{"auth": auth, "api": {}, **settings}) as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        _, cursor = await connected(peer, user_token())
        yield Backend(session, server, peer, cursor)


MESSAGE = {**TO_42, "to": {"user": "app-42"}}


async def is_refused(backend: Backend, token: str) -> None:
    answer = await backend.send({**MESSAGE, "id": "refused"}, key=token)
    refused(answer, 401, "unauthenticated")
    assert answer[2]["WWW-Authenticate"] == INVALID
    assert token not in json.dumps(answer[1])


async def lacks_the_scope(backend: Backend, token: str) -> None:
    answer = await backend.send({**MESSAGE, "id": "refused"}, key=token)
    refused(answer, 403, "forbidden")
    assert answer[2]["WWW-Authenticate"] == INSUFFICIENT


async def nothing_was_stored(backend: Backend) -> None:
    """What was refused has not become a notification: its id is still free, and the next to arrive."""
    assert (await backend.send({**MESSAGE, "id": "refused"}, key=service_token()))[1]["duplicate"] is False
    assert (await backend.arrives())["id"] == "refused"


@pytest.mark.gen_test
async def test_a_service_publishes() -> None:
    async with with_services() as backend:
        for token in (
            service_token(),
            service_token(typ="application/at+jwt"),
            service_token(aud=["other", AUDIENCE]),
            service_token(scope="openid publish"),
            service_token(sub="something-else"),
            service_token("ES256", "staff", iss=STAFF, aud="staff-audience"),
        ):
            for path in ("", "/batch"):
                answer = await backend.send([MESSAGE] if path else MESSAGE, path, key=token)
                assert answer[0] == (200 if path else 201), answer
                await backend.arrives()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")),
        *({"iss": value} for value in ("https://other.example", f"{ISSUER}/", ISSUER.upper(), "", [ISSUER])),
        *({"aud": value} for value in ("other", ["other"], AUDIENCE.upper(), "", [])),
        *({"client_id": value} for value in ("stranger", "Billing", "", ["billing"], 1)),
        *({"role": value} for value in ("freelance", "", ["admin"], False)),
        *({"scope": value} for value in (["publish"], 1)),
        {"exp": 1},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"exp": "4000000000"},
        {"token_use": "id"},
        {"typ": "refresh"},
        {"at_hash": "x"},
    ],
    ids=str,
)
async def test_a_claim_that_is_missing_or_not_good(changes: dict[str, Any]) -> None:
    async with with_services() as backend:
        content = claims(**changes)
        await is_refused(backend, mint(content, "RS256", key_for("RS256"), kid=None, header={"typ": "at+jwt"}))
        await nothing_was_stored(backend)


@pytest.mark.gen_test
@pytest.mark.parametrize("typ", ["JWT", "jwt", "", "rt+jwt", "logout+jwt", 1])
async def test_the_header_must_say_that_it_is_an_access_token(typ: object) -> None:
    async with with_services() as backend:
        await is_refused(backend, service_token(typ=typ))
        await nothing_was_stored(backend)


@pytest.mark.gen_test
async def test_no_type_in_the_header_is_not_enough() -> None:
    async with with_services() as backend:
        header = json.dumps({"alg": "RS256"}).encode()
        await is_refused(backend, sign(header, json.dumps(claims()).encode(), "RS256", key_for("RS256")))
        await nothing_was_stored(backend)


@pytest.mark.gen_test
async def test_a_role_that_is_null_is_a_users_token() -> None:
    async with with_services() as backend:
        content = {**claims(), "role": None}
        await is_refused(backend, mint(content, "RS256", key_for("RS256"), kid=None, header={"typ": "at+jwt"}))


@pytest.mark.gen_test
async def test_keys_and_services_are_each_issuers_own() -> None:
    async with with_services() as backend:
        for token in (
            service_token("RS256", "stranger"),
            service_token("ES256", "staff"),
            service_token("ES256", "staff", iss=STAFF, aud=AUDIENCE),
            service_token("ES256", "staff", iss=STAFF, aud="staff-audience", client_id="monitor"),
            service_token("RS256", "issuer", iss=STAFF, aud="staff-audience"),
            service_token("RS512"),
            service_token("HS256"),
            service_token()[:-4] + "AAAA",
        ):
            await is_refused(backend, token)
        await nothing_was_stored(backend)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "changes",
    [
        {"scope": None},
        {"scope": ""},
        {"scope": "connections:read"},
        {"scope": "Publish publisher publish,x"},
        {"client_id": "monitor"},
        {"client_id": "idle"},
    ],
    ids=str,
)
async def test_a_scope_counts_where_both_the_token_and_the_settings_have_it(changes: dict[str, Any]) -> None:
    async with with_services() as backend:
        await lacks_the_scope(backend, service_token(**changes))
        await nothing_was_stored(backend)


@pytest.mark.gen_test
async def test_a_users_token_never_publishes() -> None:
    async with with_services() as backend:
        now = int(time.time())
        for token in (
            user_token(),
            service_token(role="freelance"),
            mint({"iss": ISSUER, "sub": "42", "exp": now + 60}, "RS256", key_for("RS256"), kid=None),
        ):
            await is_refused(backend, token)
        await nothing_was_stored(backend)


@pytest.mark.gen_test
async def test_a_services_token_never_connects() -> None:
    async with with_services() as backend:
        peer = await WebSocketPeer.open(backend.session, backend.server.url)
        await peer.send("40" + json.dumps({"token": service_token()}))
        assert (await peer.next()).startswith("44")


@pytest.mark.gen_test
async def test_without_services_there_are_keys_only() -> None:
    async with with_services(issuer(services={}), api={"key": API_KEY}) as backend:
        await is_refused(backend, service_token())
        assert (await backend.send(MESSAGE))[0] == 201
        await backend.arrives()


@pytest.mark.gen_test
async def test_keys_work_beside_services() -> None:
    async with with_services(api={"key": API_KEY}) as backend:
        for key in (API_KEY, service_token()):
            assert (await backend.send(MESSAGE, key=key))[0] == 201
            await backend.arrives()
        await is_refused(backend, "x" * 40)


@pytest.mark.gen_test
async def test_a_key_server_that_is_down_is_our_fault_and_passes() -> None:
    async with KeyServer() as keys:
        keys.broken = True
        by_url = issuer(jwks=keys.url(), public_key=None, user_prefix="url-", issuer="https://url.example")
        async with with_services(issuer(), by_url) as backend:
            token = mint(
                claims(iss="https://url.example"), "RS256", key_for("RS256"), kid="k1", header={"typ": "at+jwt"}
            )
            answer = await backend.send(MESSAGE, key=token)
            assert refused(answer, 503, "keys_unavailable")["retryable"] is True
            assert int(answer[2]["Retry-After"]) > 0
            assert (await backend.send(MESSAGE, key=service_token()))[0] == 201
            await backend.arrives()
        keys.broken = False
        keys.publish(public_jwk(key_for("RS256")))
        async with with_services(issuer(), by_url) as backend:
            assert (await backend.send(MESSAGE, key=token))[0] == 201
            name, _ = event(await backend.packet())
            assert name == "notification.new"


@pytest.mark.gen_test
async def test_two_services_with_the_same_idempotency_key_do_not_meet() -> None:
    services = {"a": ["publish"], "a:b": ["publish"]}
    async with with_services(issuer(services=services)) as backend:
        for client, key in (("a", "b:c"), ("a:b", "c")):
            _, answer, _ = await backend.send(MESSAGE, key=service_token(client_id=client), Idempotency_Key=key)
            assert answer["duplicate"] is False
            await backend.arrives()
