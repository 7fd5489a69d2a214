"""What a server must not be started with: each names the setting it is about."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.auth.claims import roles_of
from adapters.auth.issuers import Issuer, Issuers
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import MAX_KEYS, StaticKeys, parse_jwks
from adapters.auth.locations import Discovery, JwksUrl
from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidToken
from domain.model import ROLES_MOST
from tests.doubles import ManualClock
from tests.tokens import ISSUER, SECRET, base64url, claims, jwks, key_for, mint, pem, public_jwk, short_rsa_key

RSA_PEM = pem(key_for("RS256"))


def refused(build: Any, *arguments: Any, **settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as error:
        build(*arguments, **settings)
    return error.value


def with_secret(**changes: Any) -> Issuer:
    return Issuer(**{"keys": StaticKeys.from_secret(SECRET), "algorithms": ["HS256"], "issuer": ISSUER, **changes})


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_shorter_than_its_hash(algorithm: str, least: int) -> None:
    Issuer(keys=StaticKeys.from_secret(b"x" * least), algorithms=[algorithm])
    with pytest.raises(ConfigurationError) as error:
        Issuer(keys=StaticKeys.from_secret(b"x" * (least - 1)), algorithms=[algorithm])
    assert error.value.field == "secret"
    assert str(least) in error.value.message


@pytest.mark.parametrize("secret", [b"", b"secret", RSA_PEM, b"ssh-rsa " + b"A" * 60, b"text before\n" + RSA_PEM])
def test_what_is_no_secret(secret: bytes) -> None:
    assert refused(StaticKeys.from_secret, secret).field == "secret"


@pytest.mark.parametrize(
    "algorithms",
    [[], ["none"], ["NONE"], ["HS256", "none"], ["HS256", "RS256"], ["HS257"], ["hs256"], ["RS256"], [""], ["ES512"]],
)
def test_algorithms_for_a_secret(algorithms: list[str]) -> None:
    assert refused(with_secret, algorithms=algorithms).field == "algorithms"


@pytest.mark.parametrize("algorithms", [["HS256"], ["ES256"], ["RS256", "ES256"], ["EdDSA"]])
def test_algorithms_that_do_not_fit_a_public_key(algorithms: list[str]) -> None:
    assert refused(Issuer, keys=StaticKeys.from_pem(RSA_PEM), algorithms=algorithms).field == "algorithms"
    Issuer(keys=StaticKeys.from_pem(RSA_PEM), algorithms=["RS256", "PS256"])


def test_a_key_set_does_not_verify_hmac_beside_signatures() -> None:
    keys = StaticKeys.from_jwks(jwks(public_jwk(key_for("RS256"))))
    Issuer(keys=keys, algorithms=["RS256", "ES256"])
    assert refused(Issuer, keys=keys, algorithms=["RS256", "HS256"]).field == "algorithms"


def test_an_elliptic_curve_fits_its_own_algorithm_only() -> None:
    keys = StaticKeys.from_pem(pem(key_for("ES256")))
    Issuer(keys=keys, algorithms=["ES256"])
    assert refused(Issuer, keys=keys, algorithms=["ES384"]).field == "algorithms"


def test_algorithms_of_a_key_server() -> None:
    keys = RemoteKeys(JwksUrl("https://auth.example/jwks"), ManualClock())
    assert refused(Issuer, keys=keys, algorithms=["HS256"]).field == "algorithms"


def _other_curve(curve: Any) -> bytes:
    return bytes(curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _private_key() -> bytes:
    native = key_for("RS256").private_key
    assert native is not None
    assert not isinstance(native, bytes)
    return native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (pem(short_rsa_key()), "1024 bits"),
        (b"", "PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM"),
        (_private_key(), "private"),
        (_other_curve(ec.generate_private_key(ec.SECP256K1())), "curve"),
        (_other_curve(ec.generate_private_key(ec.BrainpoolP256R1())), "curve"),
        (_other_curve(ed448.Ed448PrivateKey.generate()), "Ed25519"),
    ],
)
def test_what_is_no_public_key(document: bytes, says: str) -> None:
    error = refused(StaticKeys.from_pem, document)
    assert error.field == "public_key"
    assert says in error.message


GOOD_JWK = public_jwk(key_for("RS256"))
SHORT_JWK = {
    "kty": "RSA",
    "kid": "short",
    "e": "AQAB",
    "n": base64url(short_rsa_key().public_key().public_numbers().n.to_bytes(128)),
}
A_SECRET = {"kty": "oct", "k": base64url(SECRET), "kid": "secret"}
BAD_JWKS: list[object] = [
    None,
    "key",
    [],
    {},
    SHORT_JWK,
    A_SECRET,
    {"kty": 7},
    {"kty": ["RSA"]},
    {"kty": "RSA"},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
    {**GOOD_JWK, "n": 5},
    {**GOOD_JWK, "n": "é"},
    {**GOOD_JWK, "n": ""},
    {**GOOD_JWK, "e": "AQ"},
    {**GOOD_JWK, "kid": 5},
    {**GOOD_JWK, "use": {}},
    {**GOOD_JWK, "use": ["sig"], "key_ops": ["verify"]},
    {**GOOD_JWK, "key_ops": ["encrypt"]},
    key_for("RS256").as_dict(private=True),
    {**public_jwk(key_for("ES256")), "crv": "P-257"},
    {**public_jwk(key_for("ES256")), "x": "AAAA"},
    {**public_jwk(key_for("Ed25519")), "x": "AAAA"},
    {**public_jwk(key_for("Ed25519")), "crv": []},
]


@pytest.mark.parametrize("bad", BAD_JWKS, ids=map(str, range(len(BAD_JWKS))))
def test_a_bad_key_of_a_set_is_skipped_and_reported(bad: object) -> None:
    ring, skipped = parse_jwks(jwks(bad, GOOD_JWK))
    assert len(ring) == 1
    assert ring.knows("k1")
    assert len(skipped) == 1
    assert "keys[0]" in skipped[0]


@pytest.mark.parametrize("bad", [bad for bad in BAD_JWKS if bad is not A_SECRET])
def test_a_set_of_a_bad_key_is_none(bad: object) -> None:
    assert refused(StaticKeys.from_jwks, jwks(bad)).field == "jwks"


def test_an_encryption_key_of_a_set_is_left_out_in_silence() -> None:
    ring, skipped = parse_jwks(jwks({**GOOD_JWK, "kid": "enc", "use": "enc"}, GOOD_JWK))
    assert not ring.knows("enc")
    assert not skipped


def test_a_set_has_an_end() -> None:
    ring, skipped = parse_jwks(jwks(*[GOOD_JWK] * (MAX_KEYS + 1)))
    assert len(ring) == MAX_KEYS
    assert skipped


@pytest.mark.parametrize("document", [b"", b"\xff", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"[" * 100_000])
def test_what_is_no_key_set(document: bytes) -> None:
    assert refused(StaticKeys.from_jwks, document).field == "jwks"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"services": {"billing": ["publish"]}}, "services"),
        ({"services": {"billing": ["publish"]}, "audience": "here", "issuer": None}, "services"),
        ({"services": {"": ["publish"]}, "audience": "here"}, "services"),
        ({"roles": []}, "roles"),
        ({"roles": ["a\n"]}, "roles"),
        ({"issuer": ""}, "issuer"),
        ({"audience": ""}, "audience"),
        ({"user_claim": ""}, "user_claim"),
        ({"role_claim": ""}, "role_claim"),
        ({"user_prefix": "a\0"}, "user_prefix"),
    ],
)
def test_what_an_issuer_must_not_be(changes: dict[str, Any], field: str) -> None:
    assert refused(with_secret, **changes).field == field


def test_no_issuer_at_all() -> None:
    assert refused(Issuers, []).field == "issuers"


@pytest.mark.parametrize("prefixes", [("", ""), ("", "b:"), ("a:", ""), ("a:", "a:"), ("a", "ab"), ("ab", "a")])
def test_prefixes_that_let_one_issuer_speak_for_the_others_users(prefixes: tuple[str, str]) -> None:
    issuers = [
        with_secret(issuer=f"https://{index}.example", user_prefix=prefix) for index, prefix in enumerate(prefixes)
    ]
    assert refused(Issuers, issuers).field == "issuers[1].user_prefix"
    Issuers(issuers, shared_user_ids=True)


def test_several_issuers_have_names_of_their_own() -> None:
    one, other = with_secret(user_prefix="a:"), with_secret(user_prefix="b:")
    assert refused(Issuers, [one, other], shared_user_ids=True).field == "issuers[1].issuer"
    anybody = with_secret(issuer=None, user_prefix="b:")
    assert refused(Issuers, [one, anybody], shared_user_ids=True).field == "issuers[1].issuer"


BAD_URLS = [
    "",
    "keys.json",
    "http://auth.example/jwks",
    "ftp://127.0.0.1/jwks",
    "https://",
    "https://user:secret@auth.example/",
    "https://auth.example/#x",
    "https://auth.example:99999/",
    "https://[::1/",
    "http://127.0.0.1.example/",
    "http://localhost.example/",
    "https://auth.example/\n",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_keys_come_over_tls_or_from_this_machine(url: str) -> None:
    assert refused(JwksUrl, url).field == "jwks"
    assert refused(Discovery, url).field == "issuer"


@pytest.mark.parametrize(
    "url", ["https://auth.example/jwks", "http://localhost:8080", "http://[::1]:1/", "http://127.0.0.2/"]
)
def test_urls_that_are_good(url: str) -> None:
    JwksUrl(url)
    Discovery(url)


def test_several_roles_need_an_order() -> None:
    assert refused(with_secret, multiple_roles=True).field == "multiple_roles"
    with_secret(multiple_roles=True, roles=["company", "admin"])


@pytest.mark.parametrize(
    ("claim", "roles"),
    [
        (["admin", "offline_access", "company"], ("company", "admin")),
        (["admin"], ("admin",)),
        ("admin", ("admin",)),
        ({"company": {}, "admin": {}}, ("company", "admin")),
        (["admin", "admin"], ("admin",)),
    ],
)
def test_several_roles_come_in_the_issuer_s_order(claim: Any, roles: tuple[str, ...]) -> None:
    issuer = with_secret(multiple_roles=True, roles=["company", "admin"])
    assert roles_of({"role": claim}, issuer) == roles


@pytest.mark.parametrize("claim", [[], ["other"], {}, [1], ["admin", None], 7, None])
def test_none_of_them_is_refused(claim: Any) -> None:
    with pytest.raises(InvalidToken):
        roles_of({"role": claim}, with_secret(multiple_roles=True, roles=["company", "admin"]))
    with pytest.raises(InvalidToken):
        roles_of({}, with_secret(multiple_roles=True, roles=["company", "admin"]))


def test_no_more_than_can_be_looked_up_together() -> None:
    many = [f"r-{number}" for number in range(ROLES_MOST + 1)]
    issuer = with_secret(multiple_roles=True, roles=many)
    assert len(roles_of({"role": many[1:]}, issuer)) == ROLES_MOST
    with pytest.raises(InvalidToken):
        roles_of({"role": many}, issuer)


@pytest.mark.gen_test
async def test_a_token_speaks_for_all_of_its_roles() -> None:
    clock = ManualClock()
    issuers = Issuers([with_secret(multiple_roles=True, roles=["company", "admin"])])
    token = mint(claims(role=["admin", "company"], exp=int(clock.now().timestamp()) + 600), "HS256")
    identity = await JwtVerifier(issuers, clock).verify(token)
    assert (identity.role, identity.roles) == ("company", ("company", "admin"))
