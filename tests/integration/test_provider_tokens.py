"""Tokens as identity providers make them: each is admitted under the settings its provider asks for, and what the
provider signs with the same keys for another purpose is not.

The shapes are those of the providers' documentation and sources; values are made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidToken
from entrypoints.container import Container
from entrypoints.settings import validate_settings
from tests.doubles import ManualClock
from tests.tokens import NOW, SECRET, KeyServer, base64url, jwks, key_for, public_jwk, sign

ROLES = ["freelance", "company"]
TENANT, APPLICATION = "9188040d-6c67-4c5b-b112-36a304b66dad", "6e74172b-be56-4843-9ff4-e66a39bb12e3"
OBJECT = "690222be-ff1a-4d56-abd1-7e4f7d38e474"
TIMES = {"iat": NOW, "exp": NOW + 3600}
LOGOUT_EVENTS: Mapping[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}


@dataclass(frozen=True)
class Other:
    """What else a provider signs with the same key: the claims of the access token with these changes, or others."""

    header: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provider:
    """``settings`` are those of its issuer beside ``issuer``, its keys and ``roles``; of ``auth`` with a secret."""

    claims: Mapping[str, Any]
    settings: Mapping[str, Any]
    user: str
    header: Mapping[str, Any] = field(default_factory=lambda: {"typ": "JWT"})
    algorithm: str = "RS256"
    role: str = "freelance"
    others: Mapping[str, Other] = field(default_factory=dict)


KEYCLOAK: dict[str, Any] = {
    **TIMES,
    "auth_time": NOW,
    "jti": "onrtac:5b9e5f9b-2c1a-4d0e-9a51-1d8f0b7f0a11",
    "iss": "https://sso.example/realms/shop",
    "aud": ["synkrone", "account"],
    "sub": "f1b3c9e0-5f0a-4f0e-8a44-6f7f2a1f6f43",
    "typ": "Bearer",
    "azp": "web",
    "sid": "2b7a8a5e-6d0c-4a2e-8f8b-0f4c1a8a3b52",
    "acr": "1",
    "allowed-origins": ["https://app.example"],
    "realm_access": {"roles": ["default-roles-shop", "offline_access", "freelance", "uma_authorization"]},
    "resource_access": {
        "my.client": {"roles": ["company"]},
        "account": {"roles": ["manage-account", "manage-account-links", "view-profile"]},
    },
    "scope": "openid email profile",
    "email_verified": True,
    "preferred_username": "ann",
}
KEYCLOAK_OTHERS = {
    "id token": Other(changes={"typ": "ID", "aud": "synkrone", "at_hash": "x", "nonce": "n"}),
    "refresh token": Other(changes={"typ": "Refresh"}),
    "offline token": Other(changes={"typ": "Offline"}),
    "logout token": Other(header={"typ": "logout+jwt"}, changes={"typ": "Logout", "events": LOGOUT_EVENTS}),
}
XSUAA: dict[str, Any] = {
    **TIMES,
    "jti": "6e1fa5b8a1f54d3f9c2b0c3f7a0d5e11",
    "ext_attr": {"enhancer": "XSUAA", "subaccountid": TENANT, "zdn": "shop"},
    "xs.user.attributes": {},
    "user_uuid": OBJECT,
    "sub": OBJECT,
    "scope": ["openid", "shop!t1.freelance"],
    "client_id": "sb-shop!t1",
    "cid": "sb-shop!t1",
    "azp": "sb-shop!t1",
    "grant_type": "authorization_code",
    "user_id": OBJECT,
    "origin": "ldap",
    "user_name": "ann@example.com",
    "auth_time": NOW,
    "rev_sig": "b1e3c1f2",
    "iss": "https://shop.authentication.eu10.hana.ondemand.com/oauth/token",
    "zid": TENANT,
    "aud": ["shop!t1", "openid", "sb-shop!t1"],
}

PROVIDERS: dict[str, Provider] = {
    "Auth0": Provider(
        {
            **TIMES,
            "https://app.example/roles": ["freelance"],
            "iss": "https://shop.eu.auth0.com/",
            "sub": "auth0|507f1f77bcf86cd799439020",
            "aud": ["https://push.example", "https://shop.eu.auth0.com/userinfo"],
            "scope": "openid profile",
            "azp": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
            "permissions": ["read:inbox"],
        },
        {"audience": "https://push.example", "role_claim": "https://app.example/roles"},
        "auth0|507f1f77bcf86cd799439020",
        others={
            "id token": Other(
                changes={"aud": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja", "sid": "s"}, without=("scope", "permissions")
            ),
            "id token with a nonce": Other(changes={"nonce": "n"}, without=("scope", "permissions")),
        },
    ),
    "Auth0, RFC 9068": Provider(
        {
            **TIMES,
            "https://app.example/roles": ["freelance"],
            "iss": "https://shop.eu.auth0.com/",
            "sub": "auth0|507f1f77bcf86cd799439020",
            "aud": "https://push.example",
            "scope": "openid profile",
            "jti": "Yk3",
            "client_id": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
        },
        {"audience": "https://push.example", "role_claim": ["https://app.example/roles"]},
        "auth0|507f1f77bcf86cd799439020",
        header={"typ": "at+jwt"},
    ),
    "Keycloak, realm roles": Provider(
        KEYCLOAK,
        {"audience": "synkrone", "role_claim": ["realm_access", "roles"]},
        KEYCLOAK["sub"],
        others=KEYCLOAK_OTHERS,
    ),
    "Keycloak, a path with dots": Provider(
        KEYCLOAK, {"audience": "synkrone", "role_claim": "realm_access.roles"}, KEYCLOAK["sub"], others=KEYCLOAK_OTHERS
    ),
    "Keycloak, roles of a client": Provider(
        KEYCLOAK,
        {"audience": "synkrone", "role_claim": ["resource_access", "my.client", "roles"]},
        KEYCLOAK["sub"],
        role="company",
        others=KEYCLOAK_OTHERS,
    ),
    "Entra ID, v2": Provider(
        {
            **TIMES,
            "aud": APPLICATION,
            "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "nbf": NOW,
            "aio": "AXQAi/8IAAAA",
            "azp": "2b2b2b2b-be56-4843-9ff4-e66a39bb12e3",
            "azpacr": "0",
            "groups": [f"{number:08x}-1a2b-4c3d-8e4f-5a6b7c8d9e0f" for number in range(200)],
            "name": "Ann",
            "oid": OBJECT,
            "preferred_username": "ann@example.com",
            "rh": "0.AXYAi",
            "roles": ["freelance"],
            "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": TENANT,
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
        {"audience": APPLICATION, "user_claim": "oid", "role_claim": "roles"},
        OBJECT,
        others={
            "id token of an application that is its own API": Other(changes={"nonce": "n"}, without=("scp", "azp"))
        },
    ),
    "Entra ID, v1": Provider(
        {
            **TIMES,
            "aud": f"api://{APPLICATION}",
            "iss": f"https://sts.windows.net/{TENANT}/",
            "nbf": NOW,
            "acr": "1",
            "aio": "AXQAi/8IAAAA",
            "amr": ["pwd"],
            "appid": "2b2b2b2b-be56-4843-9ff4-e66a39bb12e3",
            "appidacr": "0",
            "ipaddr": "192.0.2.1",
            "oid": OBJECT,
            "rh": "0.AXYAi",
            "roles": ["freelance"],
            "scp": "access_as_user",
            "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
            "tid": TENANT,
            "unique_name": "ann@example.com",
            "upn": "ann@example.com",
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "1.0",
        },
        {"audience": f"api://{APPLICATION}", "user_claim": "oid", "role_claim": "roles"},
        OBJECT,
        header={"typ": "JWT", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg"},
        others={"id token": Other(changes={"nonce": "n"}, without=("scp", "appid"))},
    ),
    "Azure AD B2C": Provider(
        {
            **TIMES,
            "iss": f"https://shop.b2clogin.com/{TENANT}/v2.0/",
            "nbf": NOW,
            "aud": APPLICATION,
            "sub": OBJECT,
            "oid": OBJECT,
            "extension_Role": "freelance",
            "tfp": "B2C_1_signin",
            "nonce": "638000000000000000.N2U0",
            "scp": "inbox.read",
            "azp": "2b2b2b2b-be56-4843-9ff4-e66a39bb12e3",
            "ver": "1.0",
        },
        {"audience": APPLICATION, "role_claim": "extension_Role"},
        OBJECT,
        others={
            "id token": Other(changes={"auth_time": NOW}, without=("scp", "azp")),
            "id token with a code": Other(changes={"c_hash": "x"}),
        },
    ),
    "Okta": Provider(
        {
            **TIMES,
            "ver": 1,
            "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
            "iss": "https://shop.okta.com/oauth2/default",
            "aud": "api://default",
            "cid": "0oa2hz2obQd5kzAEL5d7",
            "uid": "00u2i9i1wRc1Zb6Cx5d7",
            "scp": ["openid", "offline_access"],
            "auth_time": NOW,
            "sub": "ann@example.com",
            "groups": ["Everyone", "freelance"],
        },
        {"audience": "api://default", "user_claim": "uid", "role_claim": "groups"},
        "00u2i9i1wRc1Zb6Cx5d7",
        header={},
        others={
            "id token": Other(
                changes={"aud": "0oa2hz2obQd5kzAEL5d7", "nonce": "n", "at_hash": "x", "idp": "00o", "amr": ["pwd"]},
                without=("scp", "cid"),
            )
        },
    ),
    "Cognito": Provider(
        {
            **TIMES,
            "sub": OBJECT,
            "cognito:groups": ["freelance", "eu-west-1_abc_Google"],
            "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc",
            "client_id": "1example23456789",
            "origin_jti": "o",
            "event_id": "e",
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": NOW,
            "jti": "j",
            "username": "ann",
        },
        {"role_claim": "cognito:groups"},
        OBJECT,
        header={},
        others={
            "id token": Other(changes={"token_use": "id", "aud": "1example23456789"}, without=("scope", "client_id"))
        },
    ),
    "Firebase": Provider(
        {
            **TIMES,
            "role": "freelance",
            "iss": "https://securetoken.google.com/shop-1",
            "aud": "shop-1",
            "auth_time": NOW,
            "user_id": "Xk9dQ7pLw2",
            "sub": "Xk9dQ7pLw2",
            "email": "ann@example.com",
            "firebase": {"identities": {"email": ["ann@example.com"]}, "sign_in_provider": "password"},
        },
        {"audience": "shop-1"},
        "Xk9dQ7pLw2",
        others={"session cookie": Other(changes={"iss": "https://session.firebase.google.com/shop-1"})},
    ),
    "Supabase": Provider(
        {
            **TIMES,
            "aud": "authenticated",
            "iss": "https://shop.supabase.co/auth/v1",
            "sub": OBJECT,
            "email": "ann@example.com",
            "phone": "",
            "app_metadata": {"provider": "email", "providers": ["email"], "role": "freelance"},
            "user_metadata": {"role": "company"},
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": NOW}],
            "session_id": TENANT,
            "is_anonymous": False,
        },
        {"audience": "authenticated", "role_claim": "app_metadata.role"},
        OBJECT,
        algorithm="ES256",
        others={"the public key of the project": Other(changes={"iss": "supabase", "ref": "shop", "role": "anon"})},
    ),
    "Hasura": Provider(
        {
            **TIMES,
            "sub": "1234567890",
            "name": "Ann",
            "admin": True,
            "https://hasura.io/jwt/claims": {
                "x-hasura-allowed-roles": ["freelance", "company"],
                "x-hasura-default-role": "freelance",
                "x-hasura-user-id": "42",
            },
        },
        {
            "user_claim": ["https://hasura.io/jwt/claims", "x-hasura-user-id"],
            "role_claim": ["https://hasura.io/jwt/claims", "x-hasura-default-role"],
        },
        "42",
        algorithm="HS256",
    ),
    "XSUAA": Provider(
        XSUAA,
        {"audience": "shop!t1", "user_claim": "user_id", "role_claim": "scope", "roles": ["shop!t1.freelance"]},
        OBJECT,
        header={"typ": "JWT", "jku": "https://shop.authentication.eu10.hana.ondemand.com/token_keys", "jid": "Wx2"},
        role="shop!t1.freelance",
        others={
            "id token": Other(changes={"scope": ["openid"], "aud": ["sb-shop!t1"], "nonce": "n"}),
            "refresh token": Other(
                changes={"jti": "6e1fa5b8a1f5-r", "granted_scopes": ["openid", "shop!t1.freelance"]}, without=("scope",)
            ),
        },
    ),
    "UAA, a role of its own": Provider(
        {**XSUAA, "role": "freelance"},
        {"user_claim": "user_id"},
        OBJECT,
        header={"typ": "JWT", "jku": "https://uaa.example/token_keys"},
        others={
            "id token": Other(changes={"scope": ["openid"], "nonce": "n"}),
            "refresh token": Other(changes={"granted_scopes": ["openid"]}, without=("scope",)),
        },
    ),
    "Ory Hydra": Provider(
        {
            **TIMES,
            "aud": [],
            "client_id": "web",
            "ext": {"role": "freelance"},
            "iss": "https://hydra.example",
            "jti": TENANT,
            "nbf": NOW,
            "scp": ["openid", "offline"],
            "sub": "42",
        },
        {"role_claim": "ext.role"},
        "42",
        others={
            "id token": Other(changes={"at_hash": "x", "aud": ["web"], "rat": NOW, "sid": "s"}, without=("scp",)),
            "logout token": Other(changes={"events": LOGOUT_EVENTS, "sid": "s"}, without=("scp",)),
        },
    ),
    "Zitadel": Provider(
        {
            **TIMES,
            "iss": "https://shop.zitadel.cloud",
            "sub": "165460784409737834",
            "aud": ["165460784409803370@shop", "165460784409606762"],
            "nbf": NOW,
            "client_id": "165460784409803370@shop",
            "jti": "at_165460784",
            "urn:zitadel:iam:org:project:roles": {"freelance": {"165460784409541226": "shop.zitadel.cloud"}},
        },
        {"audience": "165460784409606762", "role_claim": "urn:zitadel:iam:org:project:roles"},
        "165460784409737834",
        others={"id token": Other(changes={"azp": "1@shop", "nonce": "n", "amr": ["pwd"]}, without=("jti",))},
    ),
    "Clerk": Provider(
        {
            **TIMES,
            "azp": "https://app.example",
            "fva": [7, -1],
            "iss": "https://shop.clerk.accounts.dev",
            "metadata": {"role": "freelance"},
            "nbf": NOW - 10,
            "o": {"id": "org_1", "rol": "admin", "slg": "shop"},
            "sid": "sess_1",
            "sts": "active",
            "sub": "user_2aB",
            "v": 2,
        },
        {"role_claim": "metadata.role"},
        "user_2aB",
        header={"typ": "JWT", "cat": "cl_B7d4PD111AAA"},
    ),
    "Django Simple JWT": Provider(
        {**TIMES, "token_type": "access", "jti": "0a1b", "user_id": 42, "role": "freelance"},
        {"user_claim": "user_id"},
        "42",
        algorithm="HS256",
        others={"refresh token": Other(changes={"token_type": "refresh"})},
    ),
    "Flask-JWT-Extended": Provider(
        {
            **TIMES,
            "fresh": False,
            "jti": "j",
            "type": "access",
            "sub": "42",
            "nbf": NOW,
            "csrf": "c",
            "role": "freelance",
        },
        {},
        "42",
        algorithm="HS256",
        others={"refresh token": Other(changes={"type": "refresh"})},
    ),
    "AD FS": Provider(
        {
            **TIMES,
            "aud": "microsoft:identityserver:https://push.example",
            "iss": "http://fs.example/adfs/services/trust",
            "role": ["Domain Users", "freelance"],
            "upn": "ann@example.com",
            "apptype": "Public",
            "appid": APPLICATION,
            "authmethod": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
            "auth_time": "2026-01-01T00:00:00.000Z",
            "ver": "1.0",
            "scp": "openid",
        },
        {"audience": "microsoft:identityserver:https://push.example", "user_claim": "upn"},
        "ann@example.com",
        header={"typ": "JWT", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg"},
        others={"id token with the claims of the access token": Other(changes={"nonce": "n", "sid": "s"})},
    ),
    "authentik": Provider(
        {
            **TIMES,
            "iss": "https://sso.example/application/o/shop/",
            "sub": "8f2b",
            "aud": "web",
            "auth_time": NOW,
            "acr": "goauthentik.io/providers/oauth2/default",
            "nonce": "n",
            "azp": "web",
            "uid": "u1",
            "scope": "openid profile",
            "groups": ["staff", "freelance"],
        },
        {"audience": "web", "role_claim": "groups"},
        "8f2b",
        others={
            "id token": Other(without=("azp", "uid", "scope")),
            "id token with a hash": Other(changes={"at_hash": "x"}, without=("azp", "uid", "scope")),
        },
    ),
    "Spring Authorization Server": Provider(
        {
            **TIMES,
            "sub": "ann",
            "aud": "web",
            "nbf": NOW,
            "scope": ["openid"],
            "roles": ["freelance"],
            "iss": "https://auth.example",
            "jti": TENANT,
        },
        {"audience": "web", "role_claim": "roles"},
        "ann",
        header={},
        others={
            "id token": Other(changes={"azp": "web", "nonce": "n", "auth_time": NOW, "sid": "s"}, without=("scope",))
        },
    ),
    "Duende IdentityServer": Provider(
        {
            **TIMES,
            "iss": "https://auth.example",
            "nbf": NOW,
            "aud": "push",
            "scope": ["openid", "push"],
            "amr": ["pwd"],
            "client_id": "web",
            "sub": "42",
            "auth_time": NOW,
            "idp": "local",
            "role": "freelance",
            "sid": "S",
            "jti": "J",
        },
        {"audience": "push"},
        "42",
        header={"typ": "at+jwt", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg"},
        others={
            "id token": Other(
                header={"typ": "JWT"}, changes={"aud": "web", "nonce": "n", "at_hash": "x"}, without=("scope", "jti")
            ),
            "logout token": Other(header={"typ": "logout+jwt"}, changes={"events": LOGOUT_EVENTS}),
        },
    ),
}
OTHERS = [(name, kind) for name, provider in PROVIDERS.items() for kind in provider.others]


def auth(provider: Provider, folder: Path, **changes: Any) -> dict[str, Any]:
    """The section ``auth`` of the settings."""
    settings = {"roles": ROLES, **provider.settings, **changes}
    if provider.algorithm == "HS256":
        return {"secret": SECRET.decode(), **settings}
    keys = folder / "jwks.json"
    keys.write_bytes(
        jwks(public_jwk(key_for(provider.algorithm, "another"), "k0"), public_jwk(key_for(provider.algorithm)))
    )
    source = {"issuer": provider.claims["iss"], "jwks": str(keys), "algorithms": [provider.algorithm]}
    return {"issuers": [{**source, **settings}]}


def token(provider: Provider, other: Other | None = None, **header: Any) -> str:
    claims = {name: value for name, value in provider.claims.items() if other is None or name not in other.without}
    members = {**provider.header, **(other.header if other is not None else {}), **header}
    return signed(provider.algorithm, members, {**claims, **(other.changes if other is not None else {})})


def signed(algorithm: str, header: Mapping[str, Any], claims: Mapping[str, Any], owner: str = "issuer") -> str:
    """With no more in the header than is said: not all providers write a ``typ``."""
    members = {"alg": algorithm, "kid": "k1", **header}
    return sign(json.dumps(members).encode(), json.dumps(claims).encode(), algorithm, key_for(algorithm, owner))


async def admitted(auth: dict[str, Any], token: str) -> tuple[str, str]:
    container = Container(settings=validate_settings({"auth": auth}))
    container.clock.override(ManualClock())
    identity = await container.verifier().verify(token)
    return identity.user, identity.role


@pytest.mark.gen_test
@pytest.mark.parametrize("name", PROVIDERS)
async def test_an_access_token_is_admitted(tmp_path: Path, name: str) -> None:
    provider = PROVIDERS[name]
    assert await admitted(auth(provider, tmp_path), token(provider)) == (provider.user, provider.role)


@pytest.mark.gen_test
@pytest.mark.parametrize(("name", "kind"), OTHERS)
async def test_what_is_no_access_token_is_not(tmp_path: Path, name: str, kind: str) -> None:
    provider = PROVIDERS[name]
    with pytest.raises(InvalidToken):
        await admitted(auth(provider, tmp_path), token(provider, provider.others[kind]))


@pytest.mark.gen_test
@pytest.mark.parametrize("name", PROVIDERS)
async def test_another_role_of_the_same_provider_is_not(tmp_path: Path, name: str) -> None:
    provider = PROVIDERS[name]
    with pytest.raises(InvalidToken):
        await admitted(auth(provider, tmp_path, roles=["admin"]), token(provider))


@pytest.mark.gen_test
async def test_a_token_with_200_groups_is_of_12_kib_and_fits(tmp_path: Path) -> None:
    provider = PROVIDERS["Entra ID, v2"]
    long = token(provider, Other(changes={"xms_tcdt": "x" * 700}))
    assert 12 * 1024 <= len(long) <= 16 * 1024
    assert await admitted(auth(provider, tmp_path), long) == (OBJECT, "freelance")
    with pytest.raises(InvalidToken) as refused:
        await admitted({**auth(provider, tmp_path), "token_bytes": 8_192}, long)
    assert refused.value.reason == "the token is too long"


@pytest.mark.gen_test
@pytest.mark.parametrize("name", [name for name, provider in PROVIDERS.items() if provider.algorithm == "RS256"])
async def test_a_key_that_the_header_names_or_brings_is_never_looked_at(tmp_path: Path, name: str) -> None:
    provider = PROVIDERS[name]
    async with KeyServer() as elsewhere:
        elsewhere.publish(public_jwk(key_for("RS256", "mallory")))
        brought: dict[str, Any] = {
            "jku": elsewhere.url(),
            "x5u": elsewhere.url("/chain.pem"),
            "jwk": public_jwk(key_for("RS256", "mallory")),
            "x5c": [base64url(bytes(1200))] * 2,
            "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg",
        }
        small = Provider(
            {**provider.claims, "groups": ["freelance"]}, provider.settings, provider.user, provider.header
        )
        assert await admitted(auth(provider, tmp_path), token(small, **brought)) == (provider.user, provider.role)
        forged = signed("RS256", {**provider.header, **brought}, small.claims, "mallory")
        with pytest.raises(InvalidToken):
            await admitted(auth(provider, tmp_path), forged)
        assert elsewhere.requests == []
