"""Tokens that are not good, each in its own way: one refusal for all, and nothing else ever comes out."""

from __future__ import annotations

import hmac
import json
import os
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.auth.issuers import Issuer, Issuers
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import JwksUrl
from domain.errors import InvalidToken, TokenExpired
from domain.model import Identity
from tests.doubles import ManualClock
from tests.tokens import (
    ISSUER,
    NOW,
    SECRET,
    KeyServer,
    base64url,
    claims,
    jwks,
    key_for,
    mint,
    pem,
    public_jwk,
    sign,
)

FREELANCE, COMPANY, BACK_OFFICE = "https://freelance.example", "https://company.example", "https://office.example"
ROLES = {FREELANCE: "freelance", COMPANY: "company", BACK_OFFICE: "admin"}

Run = Callable[[JwtVerifier, str], Identity]


def issuer(algorithm: str = "RS256", **changes: Any) -> Issuer:
    keys = changes.pop("keys", None) or StaticKeys.from_jwks(jwks(public_jwk(key_for(algorithm))))
    return Issuer(**{"issuer": ISSUER, "keys": keys, "algorithms": [algorithm], **changes})


def verifier(*issuers: Issuer) -> JwtVerifier:
    return JwtVerifier(Issuers(issuers or [issuer()]), ManualClock(), timedelta(seconds=30))


def verify_at_once(subject: JwtVerifier, token: str) -> Identity:
    """Run the verifier without a loop: with keys at hand it has nothing to wait for."""
    try:
        subject.verify(token).send(None)
    except StopIteration as done:
        identity: Identity = done.value
        return identity
    raise AssertionError("it waits for something")


@pytest.fixture
def run() -> Run:
    return verify_at_once


def refused(run: Run, token: str, subject: JwtVerifier | None = None) -> str:
    """The reason; anything but InvalidToken itself fails the test."""
    with pytest.raises(InvalidToken) as error:
        run(subject or verifier(), token)
    assert not isinstance(error.value, TokenExpired)
    return error.value.reason


class TestHeader:
    @pytest.mark.parametrize("member", ["crit", "b64"])
    @pytest.mark.parametrize("value", [None, True, "x", [], {}, ["exp"]])
    def test_members_that_change_the_rules(self, run: Run, member: str, value: object) -> None:
        assert refused(run, mint(claims(), header={member: value})) == f"the header has {member}"

    @pytest.mark.parametrize("member", ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"])
    @pytest.mark.parametrize("value", [None, True, 1, "x", "https://keys.example/jwks", [], {}, ["x" * 4000], {"a": 1}])
    def test_members_that_name_or_bring_a_key_mean_nothing(self, run: Run, member: str, value: object) -> None:
        run(verifier(), mint(claims(), header={member: value}))
        assert refused(run, mint(claims(), key=key_for("RS256", "mallory"), header={member: value})) == (
            "the signature is not good"
        )

    def test_a_key_that_a_token_brings_is_not_used(self, run: Run) -> None:
        mallory = key_for("RS256", "mallory")
        for header in ({"jwk": public_jwk(mallory)}, {"jwk": public_jwk(mallory), "kid": "k1"}, {"jwk": SECRET.hex()}):
            assert refused(run, mint(claims(), key=mallory, header=header)) == "the signature is not good"
        brought = {"jwk": {"kty": "oct", "k": base64url(SECRET)}}
        refused(run, mint(claims(), "HS256", header=brought))

    @pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
    def test_types_of_access_tokens_are_good(self, run: Run, typ: str) -> None:
        run(verifier(), mint(claims(), header={"typ": typ}))

    def test_no_type_is_good(self, run: Run) -> None:
        header = json.dumps({"alg": "RS256", "kid": "k1"}).encode()
        run(verifier(), sign(header, json.dumps(claims()).encode(), "RS256", key_for("RS256")))

    @pytest.mark.parametrize("typ", ["rt+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "", "JOSE", None, 1, ["JWT"]])
    def test_other_types_are_refused(self, run: Run, typ: object) -> None:
        assert "typ" in refused(run, mint(claims(), header={"typ": typ}))

    def test_members_nobody_knows_are_ignored(self, run: Run) -> None:
        run(verifier(), mint(claims(), header={"cat": "cl_1", "x5t": "thumbprint"}))

    @pytest.mark.parametrize(
        "alg", ["none", "None", "NONE", "nOnE", "", "HS256", "RS384", "PS256", "rs256", None, 1, []]
    )
    def test_algorithms_that_are_not_the_issuers(self, run: Run, alg: object) -> None:
        refused(run, mint(claims(), header={"alg": alg}))

    def test_none_with_an_empty_signature(self, run: Run) -> None:
        header, payload = base64url(b'{"alg":"none"}'), base64url(json.dumps(claims()).encode())
        refused(run, f"{header}.{payload}.")

    def test_a_public_key_is_never_a_secret(self, run: Run) -> None:
        for alg in ("HS256", "RS256"):
            header = json.dumps({"alg": alg, "kid": "k1"}).encode()
            content = f"{base64url(header)}.{base64url(json.dumps(claims()).encode())}"
            for secret in (pem(key_for("RS256")), json.dumps(public_jwk(key_for("RS256"))).encode()):
                refused(run, f"{content}.{base64url(hmac.digest(secret, content.encode(), 'sha256'))}")

    @pytest.mark.parametrize("kid", ["other", "", None, 1, ["k1"], {"k1": 1}, "\ud800", "../../dev/null"])
    def test_a_kid_that_is_not_there(self, run: Run, kid: object) -> None:
        refused(run, mint(claims(), header={"kid": kid}))

    def test_without_a_kid_only_where_one_key_fits(self, run: Run) -> None:
        good, other = public_jwk(key_for("RS256")), public_jwk(key_for("RS256", "other"), "k2")
        token = mint(claims(), kid=None)
        run(verifier(issuer(keys=StaticKeys.from_jwks(jwks(good, public_jwk(key_for("ES256"), "k3"))))), token)
        refused(run, token, verifier(issuer(keys=StaticKeys.from_jwks(jwks(good, other)))))

    def test_a_key_meant_for_another_algorithm(self, run: Run) -> None:
        keys = StaticKeys.from_jwks(jwks(public_jwk(key_for("RS256"), alg="RS256")))
        both = issuer(keys=keys, algorithms=["RS256", "PS256"])
        run(verifier(both), mint(claims()))
        refused(run, mint(claims(), "PS256"), verifier(both))

    def test_two_keys_of_one_name(self, run: Run) -> None:
        keys = StaticKeys.from_jwks(jwks(public_jwk(key_for("RS256", "other")), public_jwk(key_for("RS256"))))
        run(verifier(issuer(keys=keys)), mint(claims()))
        run(verifier(issuer(keys=keys)), mint(claims(), key=key_for("RS256", "other")))
        refused(run, mint(claims(), key=key_for("RS256", "third")), verifier(issuer(keys=keys)))


class TestForm:
    @pytest.mark.parametrize(
        ("header", "payload", "reason"),
        [
            (b'{"alg":"RS256","alg":"RS256"}', b"{}", "the header has a duplicate member"),
            (b'{"alg":"RS256"}', b'{"role":"freelance","role":"admin"}', "the payload has a duplicate member"),
            (b'{"alg":"RS256"}', b'{"a":[{"b":{"c":1,"c":1}}]}', "the payload has a duplicate member"),
            (b'{"alg":"RS256"}', b'{"exp":NaN}', "the payload holds a number that is none"),
            (b'{"alg":"RS256"}', b'{"exp":-Infinity}', "the payload holds a number that is none"),
            (b'{"alg":"RS256"}', b'{"a":' + b"[" * 2500 + b"]" * 2500 + b"}", "the payload is nested too deeply"),
            (b'{"alg":"RS256"}', b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", "the payload is nested too deeply"),
            (b'{"alg":"RS256"}', b'{"exp":' + b"9" * 5000 + b"}", "the payload is not JSON in UTF-8"),
            (b'{"alg":"RS256"}', b'{"a":"\xff"}', "the payload is not JSON in UTF-8"),
            (b'{"alg":"RS256"}', '{"a":1}'.encode("utf-16"), "the payload is not JSON in UTF-8"),
            (b'{"alg":"RS256"}', b'\xef\xbb\xbf{"a":1}', "the payload is not JSON in UTF-8"),
            (b'{"alg":"RS256"}', b"[]", "the payload is not a JSON object"),
            (b'{"alg":"RS256"}', b"null", "the payload is not a JSON object"),
            (b'"alg"', b"{}", "the header is not a JSON object"),
        ],
    )
    def test_json_that_is_not_plain(self, run: Run, header: bytes, payload: bytes, reason: str) -> None:
        assert refused(run, sign(header, payload, "RS256", key_for("RS256"))) == reason

    @pytest.mark.parametrize("value", [None, 1, b"a.b.c", ["a.b.c"], {}])
    def test_what_is_no_text(self, run: Run, value: Any) -> None:
        refused(run, value)

    @pytest.mark.parametrize("number", ["1e999", "-1e999"])
    @pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
    def test_numbers_without_end(self, run: Run, name: str, number: str) -> None:
        payload = json.dumps(claims(**{name: "here"})).replace('"here"', number)
        header = json.dumps({"alg": "RS256", "kid": "k1"}).encode()
        assert refused(run, sign(header, payload.encode(), "RS256", key_for("RS256"))) == f"{name} is not a time"

    @pytest.mark.parametrize("token_bytes", [1_024, 16_384, 65_536])
    def test_a_token_may_be_as_long_as_was_set_and_no_longer(self, run: Run, token_bytes: int) -> None:
        issuers = Issuers([issuer("HS256", keys=StaticKeys.from_secret(SECRET))])
        subject = JwtVerifier(issuers, ManualClock(), token_bytes=token_bytes)
        room = token_bytes - len(mint(claims(padding=""), "HS256"))
        sizes = {
            len(token): token
            for size in range(room * 3 // 4 - 4, room * 3 // 4 + 4)
            for token in [mint(claims(padding="x" * size), "HS256")]
        }
        longest = max(length for length in sizes if length <= token_bytes)
        run(subject, sizes[longest])
        too_long = min(length for length in sizes if length > token_bytes)
        assert refused(run, sizes[too_long], subject) == "the token is too long"

    def test_most_of_a_token_may_be_its_header(self, run: Run) -> None:
        run(verifier(), mint(claims(), header={"x5c": [base64url(bytes(1500))] * 3}))

    def test_one_token_has_one_spelling(self, run: Run) -> None:
        token = mint(claims(), "ES384", key_for("ES384"))
        subject = verifier(issuer("ES384"))
        run(subject, token)
        secret = verifier(issuer("HS256", keys=StaticKeys.from_secret(SECRET)))
        token = mint(claims(), "HS256")
        run(secret, token)
        last = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        respelled = token[:-1] + last[last.index(token[-1]) ^ 1]
        assert refused(run, respelled, secret) == "the signature is not canonical base64url"
        for padded in (token + "=", token + "\n", " " + token, token + ".", token.replace(".", "..", 1)):
            refused(run, padded, secret)


BAD_CLAIMS: dict[str, list[Any]] = {
    "exp": [None, "1", True, [NOW], {}, 1e300, 10**400, 253402300800, -(10**20)],
    "nbf": [NOW + 31, "0", False, [], 10**400],
    "iat": [NOW + 31, "0", False, [], 10**400],
    "iss": [ISSUER + "/", ISSUER.upper(), "", 1, [ISSUER], {}],
    "sub": ["", "x" * 129, "a\nb", "\0", True, 1.0, [], ["42"], {}, "\u2028", "\ud800"],
    "role": ["", "a\nb", 1, True, {}, [], ["freelance", "admin"], [["freelance"]], [1]],
    "aud": [1, True, {}, [1], ["x", None]],
}


class TestClaims:
    @pytest.mark.parametrize(
        "changes",
        [{name: value} for name, values in BAD_CLAIMS.items() for value in values],
        ids=repr,
    )
    def test_a_claim_that_is_not_good(self, run: Run, changes: Mapping[str, Any]) -> None:
        refused(run, mint(claims(**changes)))

    @pytest.mark.parametrize("claim", ["iss", "sub", "role", "exp"])
    def test_a_claim_that_is_null_or_not_there(self, run: Run, claim: str) -> None:
        refused(run, mint(claims(**{claim: None})))
        refused(run, mint({**claims(), claim: None}))

    def test_leeway(self, run: Run) -> None:
        for good in ({"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}, {"exp": NOW + 0.5}):
            run(verifier(), mint(claims(**good)))
        for late in (NOW - 30, NOW - 31, 0, -1):
            with pytest.raises(TokenExpired):
                run(verifier(), mint(claims(exp=late)))

    @pytest.mark.parametrize(
        "changes",
        [{"role": "admin"}, {"aud": "other"}, {"nbf": NOW + 60}, {"sub": ""}, {"nonce": "n"}, {"iss": "other"}],
        ids=repr,
    )
    def test_expired_is_said_only_where_nothing_else_is_wrong(self, run: Run, changes: Mapping[str, Any]) -> None:
        subject = verifier(issuer(audience="synkrone", roles=["freelance"]))
        expired = {"exp": NOW - 60, "aud": "synkrone"}
        with pytest.raises(TokenExpired):
            run(subject, mint(claims(**expired)))
        refused(run, mint(claims(**{**expired, **changes})), subject)

    def test_the_audience_is_matched_exactly(self, run: Run) -> None:
        subject = verifier(issuer(audience="synkrone-socket"))
        for good in ("synkrone-socket", ["other", "synkrone-socket"]):
            run(subject, mint(claims(aud=good)))
        for bad in (
            None,
            "",
            "synkrone",
            "synkrone-socket-2",
            [],
            ["x"],
            ["synkrone-socket", 1],
            {"synkrone-socket": 1},
        ):
            refused(run, mint(claims(aud=bad)), subject)

    @pytest.mark.parametrize(
        "changes",
        [
            *({"typ": value} for value in ("ID", "Refresh", "Offline", "Logout")),
            *({"token_use": value} for value in ("id", "refresh")),
            *({name: value} for name in ("token_type", "type") for value in ("refresh", "REFRESH_TOKEN", "id_token")),
            *({name: "x"} for name in ("at_hash", "c_hash", "nonce")),
            {"at_hash": "x", "token_use": "access"},
            {"nonce": "x", "azp": "client"},
            {"nonce": "x", "scp": "read"},
            {"nonce": "x", "scp": "", "azp": "client"},
            {"nonce": "x", "scope": ["openid"], "azp": "client"},
            {"nonce": "x", "scp": "read", "azp": ["client"]},
            {"at_hash": "x", "scp": "read", "azp": "client"},
            {"token_use": "id", "scp": "read", "azp": "client"},
            {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
            {"granted_scopes": ["read"]},
            {"nonce": "x", "token_use": "id"},
        ],
        ids=repr,
    )
    def test_id_and_refresh_tokens(self, run: Run, changes: Mapping[str, Any]) -> None:
        refused(run, mint(claims(**changes)))

    def test_an_access_token_may_have_a_nonce_where_it_says_what_it_is(self, run: Run) -> None:
        for changes in ({"typ": "Bearer"}, {"token_use": "access"}, {"type": "access"}):
            run(verifier(), mint(claims(nonce="n", **changes)))
        run(verifier(), mint(claims(nonce="n"), header={"typ": "at+jwt"}))
        for scope in ("scp", "scope"):
            run(verifier(), mint(claims(nonce="n", azp="client", **{scope: "read write"})))

    def test_an_integer_is_a_user_id_in_decimal(self, run: Run) -> None:
        assert run(verifier(), mint(claims(sub=42))).user == "42"

    def test_dotted_paths_and_names_with_dots(self, run: Run) -> None:
        nested = verifier(issuer(user_claim="user.id", role_claim="https://example.com/role"))
        content = claims(sub=None, role=None, user={"id": 7}, **{"https://example.com/role": ["company"]})
        identity = run(nested, mint(content))
        assert (identity.user, identity.role) == ("7", "company")
        exact = {**content, "user.id": "8"}
        assert run(nested, mint(exact)).user == "8"
        for broken in ({}, {"ID": 7}, [7], "7", None, {"id": None}):
            refused(run, mint({**content, "user": broken}), nested)

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            (["realm_access", "roles"], {"realm_access": {"roles": ["company"]}}),
            (["resource_access", "my.client", "roles"], {"resource_access": {"my.client": {"roles": ["company"]}}}),
            (
                ["https://hasura.io/jwt/claims", "x-hasura-default-role"],
                {"https://hasura.io/jwt/claims": {"x-hasura-default-role": "company"}},
            ),
            (["https://example.com/role"], {"https://example.com/role": "company"}),
            ("https://example.com/role", {"https://example.com/role": "company"}),
        ],
    )
    def test_steps_to_a_claim(self, run: Run, path: Any, content: dict[str, Any]) -> None:
        role = verifier(issuer(role_claim=path, roles=["company"]))
        assert run(role, mint(claims(role=None, **content))).role == "company"
        if path[-1] != "roles":
            user = verifier(issuer(user_claim=path))
            assert run(user, mint(claims(sub=None, **content))).user == "company"
        refused(run, mint(claims()), role)

    def test_a_step_is_a_name_as_it_is_written(self, run: Run) -> None:
        subject = verifier(issuer(role_claim=["a.b", "c"]))
        assert run(subject, mint(claims(role=None, **{"a.b": {"c": "company"}}))).role == "company"
        for content in ({"a": {"b": {"c": "company"}}}, {"a.b.c": "company"}, {"a.b": "company"}, {"a.b": ["c"]}):
            assert "has no claim ['a.b', 'c']" in refused(run, mint(claims(role=None, **content)), subject)

    def test_of_several_roles_exactly_one_is_allowed(self, run: Run) -> None:
        subject = verifier(issuer(roles=["freelance", "company"]))
        own = ["offline_access", "uma_authorization", "default-roles-shop"]
        some: list[list[str]] = [
            ["freelance"],
            [*own, "freelance"],
            ["freelance", "Company"],
            ["", "freelance", "a\nb"],
        ]
        for roles in some:
            assert run(subject, mint(claims(role=roles))).role == "freelance"
            assert run(subject, mint(claims(role={role: {"1": "shop.example"} for role in roles}))).role == "freelance"
        none_or_two: list[list[str]] = [[], own, ["freelance", "company"], [*own, "company", "freelance"]]
        for roles in [*none_or_two, ["freelance", "freelance"]]:
            assert "not exactly one" in refused(run, mint(claims(role=roles)), subject)
        for bad in ([["freelance"]], ["freelance", 1], ["freelance", None], [{"freelance": 1}], {"role": "freelance"}):
            refused(run, mint(claims(role=bad)), subject)

    def test_without_roles_to_choose_from_a_list_has_one(self, run: Run) -> None:
        assert run(verifier(), mint(claims(role=["freelance"]))).role == "freelance"
        others: list[object] = [["freelance", "offline_access"], {"freelance": {}}, ["freelance", "freelance"]]
        for value in others:
            refused(run, mint(claims(role=value)))

    def test_a_claim_that_is_not_there_is_named_as_it_is_in_the_settings(self, run: Run) -> None:
        assert refused(run, mint(claims(role=None))) == "the token has no claim 'role', which is to hold the role"
        assert refused(run, mint(claims(sub=None))) == "the token has no claim 'sub', which is to hold the user id"

    def test_a_prefix_does_not_make_a_name_of_nothing(self, run: Run) -> None:
        subject = verifier(issuer(user_prefix="company:"))
        assert run(subject, mint(claims())).user == "company:42"
        for sub in ("", "x" * 121):
            refused(run, mint(claims(sub=sub)), subject)


class TestSeveralIssuers:
    @staticmethod
    def subject() -> JwtVerifier:
        return verifier(
            *(
                Issuer(
                    issuer=name,
                    keys=StaticKeys.from_jwks(jwks(public_jwk(key_for("RS256", name)))),
                    algorithms=["RS256"],
                    roles=[role],
                    user_prefix=f"{role}:",
                )
                for name, role in ROLES.items()
            )
        )

    @pytest.mark.parametrize("role", ROLES.values())
    @pytest.mark.parametrize("name", ROLES)
    def test_each_issuer_asserts_its_own_role_only(self, run: Run, name: str, role: str) -> None:
        token = mint(claims(iss=name, role=role), key=key_for("RS256", name))
        if ROLES[name] == role:
            identity = run(self.subject(), token)
            assert (identity.user, identity.role, identity.issuer) == (f"{role}:42", role, name)
        else:
            assert refused(run, token, self.subject()) == "the issuer may not assert this role"

    @pytest.mark.parametrize("signer", ROLES)
    @pytest.mark.parametrize("name", ROLES)
    def test_no_issuers_key_signs_for_another(self, run: Run, name: str, signer: str) -> None:
        token = mint(claims(iss=name, role=ROLES[name]), key=key_for("RS256", signer))
        if name == signer:
            run(self.subject(), token)
        else:
            assert refused(run, token, self.subject()) == "the signature is not good"

    def test_a_token_without_an_issuer_is_nobodys(self, run: Run) -> None:
        for name in ROLES:
            refused(run, mint(claims(iss=None), key=key_for("RS256", name)), self.subject())


@pytest.mark.gen_test
async def test_no_token_causes_a_request_anywhere() -> None:
    async with KeyServer() as elsewhere, KeyServer() as server:
        elsewhere.publish(public_jwk(key_for("RS256", "mallory")))
        elsewhere.describe()
        server.publish(public_jwk(key_for("RS256")))
        issuers = Issuers([issuer(keys=RemoteKeys(JwksUrl(server.url()), ManualClock()))])
        subject = JwtVerifier(issuers, ManualClock())
        await subject.verify(mint(claims()))
        mallory = key_for("RS256", "mallory")
        for number in range(20):
            for header in ({"jku": elsewhere.url()}, {"x5u": elsewhere.url()}, {"jwk": public_jwk(mallory)}, {}):
                content = claims(iss=elsewhere.origin if not header else ISSUER)
                with pytest.raises(InvalidToken):
                    await subject.verify(mint(content, key=mallory, header=header, kid=f"k{number}"))
        await issuers.close()
        assert elsewhere.requests == []
        assert server.requests == ["/jwks.json"]


# Ten thousand tokens made up by hypothesis. Every strategy below yields bad tokens only.

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=4,
)
# Whole structures alone would hardly ever hit what is nearly right: a printable string where another one belongs.
NEARLY = st.sampled_from(
    [
        "admin",
        "Freelance",
        "freelance ",
        "JWT ",
        "k2",
        "HERE",
        "there",
        "none",
        "",
        ISSUER + "/",
        ["admin"],
        ["there"],
        {},
    ]
)
VALUES = st.one_of(NEARLY, st.text(max_size=12), SCALARS, JSON)
GOOD = {"Ed25519": mint(claims(), "Ed25519"), "HS256": mint(claims(iss="https://secret.example"), "HS256")}
ISSUER_OF = {"Ed25519": ISSUER, "HS256": "https://secret.example"}
algorithms = st.sampled_from(sorted(GOOD))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bad_user(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return False
    return not (isinstance(value, str) and 0 < len(value) <= 128 and not any(map(_is_control, value)))


def _is_control(character: str) -> bool:
    """A control, a line or paragraph separator, or half of a surrogate pair."""
    return unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")


HOSTILE_CLAIMS = st.one_of(
    st.tuples(st.just("iss"), VALUES),
    st.tuples(st.just("sub"), VALUES.filter(_bad_user)),
    st.tuples(st.just("role"), VALUES),
    st.tuples(st.sampled_from(["exp", "nbf", "iat"]), VALUES.filter(lambda value: not _is_number(value))),
    st.tuples(st.sampled_from(["nbf", "iat"]), st.integers(min_value=NOW + 31)),
    st.tuples(st.just("exp"), st.integers(max_value=NOW - 30) | st.integers(min_value=253402300800)),
    st.tuples(st.just("aud"), VALUES.filter(lambda value: value not in ("here", ["here"]))),
    st.tuples(st.sampled_from(["nonce", "at_hash", "c_hash"]), VALUES),
)
HOSTILE_HEADERS = st.one_of(
    st.tuples(st.sampled_from(["crit", "b64"]), VALUES),
    st.tuples(st.just("alg"), VALUES),
    st.tuples(st.sampled_from(["kid", "typ"]), VALUES.filter(lambda value: value != "k1")),
)


@st.composite
def changed_text(draw: st.DrawFn) -> str:
    token = GOOD[draw(algorithms)]
    start = draw(st.integers(0, len(token) - 1))
    stop = draw(st.integers(start, min(len(token), start + 8)))
    changed = token[:start] + draw(st.text(max_size=4) | st.text("AQgw-_.=", max_size=4)) + token[stop:]
    return changed if changed != token else token[1:]


@st.composite
def changed_parts(draw: st.DrawFn) -> str:
    one, other = GOOD[draw(algorithms)].split("."), mint(claims(sub="mallory"), "Ed25519", _mallory).split(".")
    swapped = draw(st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
    return ".".join(b if swap else a for a, b, swap in zip(one, other, swapped, strict=True))


@st.composite
def signed_octets(draw: st.DrawFn) -> str:
    """Well signed, but no set of good claims: the members every good token must have are missing."""
    algorithm = draw(algorithms)
    header = (
        json.dumps({"alg": algorithm, "kid": "k1"}).encode() if draw(st.booleans()) else draw(st.binary(max_size=60))
    )
    payload = draw(
        st.binary(max_size=80)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.integers(2, 900).map(lambda depth: b"[" * depth + b"]" * depth)
        | st.integers(300, 5000).map(lambda digits: b'{"exp":' + b"9" * digits + b"}")
        | st.sampled_from([b'{"exp":NaN}', b'{"exp":1e999}', b'{"exp":-0}', b"{}", b'{"iss":"\\ud800"}', b""])
    )
    return sign(header, payload, algorithm, key_for(algorithm))


@st.composite
def signed_claims(draw: st.DrawFn) -> str:
    algorithm = draw(algorithms)
    name, value = draw(HOSTILE_CLAIMS)
    # A value that by chance is the good one would make a good token.
    content = claims(iss=ISSUER_OF[algorithm], aud="here")
    content[name] = value if value not in (content.get(name), "freelance", ["freelance"], ISSUER) else []
    return mint(content, algorithm)


@st.composite
def signed_headers(draw: st.DrawFn) -> str:
    algorithm = draw(algorithms)
    name, value = draw(HOSTILE_HEADERS)
    if value == algorithm or (
        name == "typ" and isinstance(value, str) and value.lower() in ("jwt", "at+jwt", "application/jwt")
    ):
        value = []
    if name == "kid" and algorithm == "HS256":
        # A secret has no name, and so fits any; only what is no name at all is refused.
        value = value if not isinstance(value, str) else []
    return mint(claims(iss=ISSUER_OF[algorithm], aud="here"), algorithm, header={name: value})


_mallory = key_for("Ed25519", "mallory")

KINDS: list[st.SearchStrategy[str]] = [
    st.text(max_size=200),
    st.binary(max_size=200).map(base64url),
    st.tuples(JSON, JSON, st.binary(max_size=64)).map(
        lambda parts: ".".join((*(base64url(json.dumps(part).encode()) for part in parts[:2]), base64url(parts[2])))
    ),
    changed_text(),
    signed_octets(),
    # What comes furthest in has the most to get past. (``one_of`` would drop what is there twice.)
    *[changed_parts()] * 2,
    *[signed_headers()] * 3,
    *[signed_claims()] * 6,
]
HOSTILE = st.integers(0, len(KINDS) - 1).flatmap(KINDS.__getitem__)


@pytest.fixture(scope="module")
def subject() -> JwtVerifier:
    shared: dict[str, Any] = {"audience": "here", "roles": ["freelance"]}
    secret = issuer("HS256", keys=StaticKeys.from_secret(SECRET), issuer=ISSUER_OF["HS256"], user_prefix="s:", **shared)
    return verifier(issuer("Ed25519", user_prefix="e:", **shared), secret)


@pytest.mark.parametrize("algorithm", sorted(GOOD))
def test_what_the_hostile_tokens_are_made_of_is_good(run: Run, subject: JwtVerifier, algorithm: str) -> None:
    assert run(subject, mint(claims(iss=ISSUER_OF[algorithm], aud="here"), algorithm)).role == "freelance"


COUNT = 100_000 if os.environ.get("CAMPAIGN") == "full" else 1_500


@pytest.mark.campaign
@settings(
    max_examples=COUNT,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(token=HOSTILE)
def test_hostile_tokens_are_refused_with_the_error_of_the_domain(
    run: Run, subject: JwtVerifier, token: str, refusals: Counter[str]
) -> None:
    with pytest.raises(InvalidToken) as info:
        run(subject, token)
    refusals[info.value.reason] += 1


@pytest.fixture(scope="module")
def refusals() -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    yield counted
    print(f"\n{counted.total()} hostile tokens refused, for {len(counted)} reasons:")
    for reason, count in counted.most_common():
        print(f"{count:8} {reason}")
