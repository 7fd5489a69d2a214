"""A JWK Set in a file may hold the secrets of an issuer, each with a name, so that one takes the place of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey

from adapters.auth.issuers import Issuer, Issuers
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import MAX_SECRETS, StaticKeys
from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidToken
from entrypoints.container import build_container
from entrypoints.settings import SettingsError, validate_settings
from tests.documents import block
from tests.doubles import ManualClock
from tests.tokens import ISSUER, base64url, claims, jwks, key_for, mint, pem, public_jwk

OLD, NEW = b"the old secret, of thirty-two bytes or more", b"the new secret, of thirty-two bytes or more"


def secret(value: bytes, kid: str | None = None, **members: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": base64url(value), **({} if kid is None else {"kid": kid}), **members}


def signed(value: bytes, kid: str | None, algorithm: str = "HS256") -> str:
    return mint(claims(), algorithm, OctKey.import_key(value), kid=kid)


def verifier(*members: dict[str, Any], algorithms: tuple[str, ...] = ("HS256",)) -> JwtVerifier:
    keys = StaticKeys.from_jwks(jwks(*members))
    return JwtVerifier(Issuers([Issuer(keys=keys, algorithms=algorithms, issuer=ISSUER)]), ManualClock())


async def accepts(verifying: JwtVerifier, token: str) -> bool:
    try:
        await verifying.verify(token)
    except InvalidToken:
        return False
    return True


@pytest.mark.gen_test
async def test_a_token_is_verified_with_the_secret_that_it_names() -> None:
    both = verifier(secret(OLD, "1"), secret(NEW, "2"))
    assert await accepts(both, signed(OLD, "1"))
    assert await accepts(both, signed(NEW, "2"))
    assert not await accepts(both, signed(OLD, "2"))
    assert not await accepts(both, signed(OLD, "3"))
    # Most that sign with one secret name none.
    assert await accepts(both, signed(OLD, None))
    assert await accepts(both, signed(NEW, None))


@pytest.mark.gen_test
async def test_a_secret_without_a_name_is_for_whoever_names_another() -> None:
    both = verifier(secret(OLD), secret(NEW, "2"))
    assert await accepts(both, signed(OLD, "whatever"))
    assert not await accepts(both, signed(NEW, "whatever"))


@pytest.mark.gen_test
async def test_a_secret_is_for_its_own_algorithm() -> None:
    long = NEW * 2
    two = verifier(secret(OLD, "1", alg="HS256"), secret(long, "2", alg="HS512"), algorithms=("HS256", "HS512"))
    assert await accepts(two, signed(OLD, "1"))
    assert await accepts(two, signed(long, "2", "HS512"))
    assert not await accepts(two, signed(long, "2"))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([secret(b"x" * 31, "1")], "keys[0] has 31 bytes; at least 32 are needed"),
        ([secret(OLD, "1"), secret(b"", "2")], "keys[1] has 0 bytes; at least 32 are needed"),
        ([secret(OLD, "1"), {"kty": "oct", "kid": "2"}], "keys[1] is not a usable secret (KeyError)"),
        ([secret(OLD, "1", k="!")], "keys[0] is not a usable secret (Error)"),
        ([secret(OLD, "1", key_ops=["encrypt"])], "keys[0] is not a usable secret (UnsupportedKeyOperationError)"),
        ([secret(OLD, "1", alg="RS256")], "keys[0] has an alg that is not of HMAC"),
        ([secret(pem(key_for("RS256")))], "keys[0] is a key of a key pair: a public key belongs in public_key"),
        (
            [secret(OLD, "1"), public_jwk(key_for("RS256"))],
            "holds shared secrets beside public keys, which must not be",
        ),
        ([secret(OLD, "1"), None], "holds shared secrets beside public keys, which must not be"),
        ([secret(OLD, "1"), secret(OLD, "2")], "holds the same secret twice"),
        ([secret(OLD, "1"), secret(NEW, "1")], "holds two secrets with the same kid"),
        (
            [secret(NEW + bytes([number])) for number in range(MAX_SECRETS + 1)],
            f"holds {MAX_SECRETS + 1} secrets; at most {MAX_SECRETS} are allowed",
        ),
        ([secret(OLD, "1", use="enc")], "holds no key that can verify a signature"),
    ],
)
def test_what_is_no_set_of_secrets(members: list[Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        StaticKeys.from_jwks(jwks(*members))
    assert error.value.field == "jwks"
    assert error.value.message.startswith(says)


def test_a_secret_is_as_long_as_its_hash() -> None:
    with pytest.raises(ConfigurationError, match=r"keys\[1\] has 43 bytes; HS512 needs at least 64") as error:
        verifier(secret(NEW * 2, "1"), secret(OLD, "2"), algorithms=("HS512",))
    assert error.value.field == "jwks"


@pytest.mark.gen_test
async def test_the_set_of_the_page_on_reloading_is_one() -> None:
    keys = StaticKeys.from_jwks(block("docs/how-to/reload.md", "json", "oct").encode())
    both = JwtVerifier(Issuers([Issuer(keys=keys, algorithms=["HS256"], issuer=ISSUER)]), ManualClock())
    assert await accepts(both, signed(b"old-secret-of-at-least-32-bytes....", "2026-05"))
    assert await accepts(both, signed(b"new-secret-of-at-least-32-bytes....", "2026-11"))


def settings(file: Path, **members: object) -> Any:
    issuer = {"issuer": ISSUER, "jwks": str(file), **members}
    return validate_settings({"store": "memory://", "auth": {"issuers": [issuer]}})


def test_the_algorithm_is_one_for_secrets_where_nothing_is_said(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_bytes(jwks(secret(OLD, "1")))
    build_container(settings(file))
    with pytest.raises(SettingsError, match=r"^auth.issuers\[0\].algorithms: RS256 cannot be verified with jwks$"):
        build_container(settings(file, algorithms=["RS256"]))
    file.write_text(json.dumps({"keys": [secret(b"short", "1")]}))
    with pytest.raises(SettingsError, match=r"^auth.issuers\[0\].jwks: keys\[0\] has 5 bytes; at least 32 are needed$"):
        build_container(settings(file))
