"""Verification keys: from a shared secret, a public key in PEM or a JWK Set (RFC 7517)."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey

from adapters.auth.algorithms import ALGORITHMS, CURVES, RSA_MAX_BITS, RSA_MIN_BITS, curve_of, fits
from adapters.auth.compact import CompactToken
from adapters.system.configuration import ConfigurationError

MAX_KEYS = 100
"""How many keys of a JWK Set are looked at."""
MAX_SECRETS = 8
"""How many secrets of an issuer there may be: all are tried on a token that none of them signed."""

_HMAC = [name for name, algorithm in ALGORITHMS.items() if algorithm.is_hmac]

_NOT_A_KEY = (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError)
"""All that joserfc and cryptography raise for a key that is none."""


class InvalidKeySet(ValueError):
    """The document is not a JWK Set. Its text says in what way."""


class _BadKey(ValueError):
    pass


class KeyRing:
    """Public keys, or secrets, to choose from by what a token's header says."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        self._named = any(key.kid is not None for key in self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def knows(self, kid: str | None) -> bool:
        """Whether a ``kid`` is the name of one of the keys."""
        return kid is not None and any(key.kid == kid for key in self._keys)

    def fits(self, algorithm: str) -> bool:
        return any(fits(key, algorithm) for key in self._keys)

    def select(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys with that name which fit; several where the names are not unique.

        A token without a name gets a key only where one alone fits; so does every token where no key has a name.
        """
        candidates = [key for key in self._keys if fits(key, algorithm)]
        if ALGORITHMS[algorithm].is_hmac:
            # There are several while one takes the place of another. Only those of a key set have names.
            named = [key for key in candidates if kid is not None and key.kid == kid]
            return named or [key for key in candidates if kid is None or key.kid is None]
        if kid is not None and self._named:
            return [key for key in candidates if key.kid == kid]
        return candidates if len(candidates) == 1 else []


@dataclass(frozen=True, slots=True)
class _Secret:
    """``field`` and ``name`` say where it is given: ``name`` is empty, or which one of that field it is."""

    key: OctKey
    field: str
    name: str = ""

    @property
    def size(self) -> int:
        return len(self.key.raw_value)

    def wrong(self, message: str) -> ConfigurationError:
        return ConfigurationError(self.field, f"{self.name} {message}".lstrip())


class StaticKeys:
    """Keys that never change: a KeySource. ``field`` is the setting they came from."""

    def __init__(self, ring: KeyRing, field: str, secrets: Sequence[_Secret] = ()) -> None:
        self._ring = ring
        self._field = field
        self._secrets = secrets

    @classmethod
    def from_secret(cls, *secrets: bytes) -> StaticKeys:
        """Secrets shared with the issuer, for HMAC: each of them verifies. Raises ConfigurationError."""
        if not 0 < len(secrets) <= MAX_SECRETS:
            raise ConfigurationError("secret", f"must be 1 to {MAX_SECRETS} secrets")
        fields = [f"secret[{index}]" for index in range(len(secrets))] if len(secrets) > 1 else ["secret"]
        keys = [_import_secret(secret, field) for secret, field in zip(secrets, fields, strict=True)]
        if len(set(secrets)) != len(secrets):
            raise ConfigurationError("secret", "two of them are the same")
        return cls(KeyRing(keys), "secret", [_Secret(key, field) for key, field in zip(keys, fields, strict=True)])

    @classmethod
    def from_pem(cls, pem: bytes) -> StaticKeys:
        """A public key in PEM (SubjectPublicKeyInfo): RSA, EC or Ed25519. Raises ConfigurationError."""
        if b"PRIVATE KEY" in pem:
            raise ConfigurationError("public_key", "is a private key: only its public half belongs here")
        try:
            native = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigurationError("public_key", "is not a public key in PEM") from None
        key: Key
        if isinstance(native, RSAPublicKey):
            if not _is_good_rsa_size(native.key_size):
                raise ConfigurationError("public_key", _rsa_size_message(native.key_size))
            key = RSAKey.import_key(native)
        elif isinstance(native, EllipticCurvePublicKey):
            key = ECKey.import_key(native)
        elif isinstance(native, Ed25519PublicKey):
            key = OKPKey.import_key(native)
        else:
            raise ConfigurationError("public_key", "must be an RSA, EC or Ed25519 key")
        if not _has_good_curve(key):
            raise ConfigurationError("public_key", f"its curve must be one of {', '.join(sorted(CURVES))}")
        return cls(KeyRing([key]), "public_key")

    @classmethod
    def from_jwks(cls, document: bytes) -> StaticKeys:
        """The content of a JWK Set file: public keys, of which those that are not usable are left out, or else secrets
        (``kty`` is ``oct``), of which each has to be good.

        Raises ConfigurationError where it is none, mixes the two, or has no usable key.
        """
        try:
            if secrets := _secrets_of(_members(document)):
                return cls(KeyRing(secret.key for secret in secrets), "jwks", secrets)
            ring, skipped = parse_jwks(document)
        except InvalidKeySet as error:
            raise ConfigurationError("jwks", f"{error}: save the JWK Set of the issuer there") from None
        if not ring:
            reasons = f": {'; '.join(skipped)}" if skipped else ""
            raise ConfigurationError(
                "jwks", f"holds no key that can verify a signature{reasons}: save the JWK Set of the issuer there"
            )
        return cls(ring, "jwks")

    @property
    def are_secrets(self) -> bool:
        return bool(self._secrets)

    def check(self, algorithms: Collection[str]) -> None:
        for name in algorithms:
            least = ALGORITHMS[name].secret_bytes
            for secret in self._secrets:
                if secret.size < least and fits(secret.key, name):
                    raise secret.wrong(f"has {secret.size} bytes; {name} needs at least {least}, the size of its hash")
        unfit = [name for name in algorithms if not self._ring.fits(name)]
        # A key set is replaced at the issuer's pace, and need not hold a key for every algorithm at all times.
        if unfit and (self._field != "jwks" or len(unfit) == len(algorithms)):
            raise ConfigurationError("algorithms", f"{', '.join(unfit)} cannot be verified with {self._field}")

    async def find(self, token: CompactToken) -> Sequence[Key]:
        return self._ring.select(token.algorithm, token.kid)

    def are_unavailable(self) -> bool:
        return False

    async def close(self) -> None:
        pass


def parse_jwks(document: bytes) -> tuple[KeyRing, Sequence[str]]:
    """The usable public signature keys of a JWK Set (RFC 7517, section 5), and why others were skipped.

    A key that is no signature key by its own words is left out without a reason. Raises InvalidKeySet.
    """
    members = _members(document)
    keys: list[Key] = []
    skipped: list[str] = []
    for index, member in enumerate(members[:MAX_KEYS]):
        try:
            key = _import_jwk(member)
        except _BadKey as error:
            skipped.append(f"keys[{index}] {error}")
        else:
            if key is not None:
                keys.append(key)
    if len(members) > MAX_KEYS:
        skipped.append(f"only the first {MAX_KEYS} of {len(members)} keys were looked at")
    return KeyRing(keys), skipped


def _members(document: bytes) -> list[object]:
    """Raises InvalidKeySet."""
    try:
        content = json.loads(document.decode())
    except (ValueError, RecursionError):
        raise InvalidKeySet("is not JSON in UTF-8") from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        raise InvalidKeySet("is not a JWK Set: it has no list 'keys'")
    return members


def _secrets_of(members: Sequence[object]) -> Sequence[_Secret]:
    """The secrets of a JWK Set (RFC 7518, section 6.4); none where it has public keys. Raises ConfigurationError."""
    secrets = {
        index: member for index, member in enumerate(members) if isinstance(member, dict) and member.get("kty") == "oct"
    }
    if not secrets:
        return ()
    if len(secrets) != len(members):
        raise ConfigurationError("jwks", "holds shared secrets beside public keys, which must not be mixed")
    if len(secrets) > MAX_SECRETS:
        raise ConfigurationError("jwks", f"holds {len(secrets)} secrets; at most {MAX_SECRETS} are allowed")
    imported = [
        _import_oct(f"keys[{index}]", member) for index, member in secrets.items() if member.get("use") != "enc"
    ]
    if len({secret.key.raw_value for secret in imported}) != len(imported):
        raise ConfigurationError("jwks", "holds the same secret twice")
    names = [secret.key.kid for secret in imported if secret.key.kid is not None]
    if len(set(names)) != len(names):
        raise ConfigurationError("jwks", "holds two secrets with the same kid")
    return imported


def _import_oct(name: str, member: dict[str, Any]) -> _Secret:
    """Raises ConfigurationError, which names the member."""
    try:
        _import_secret(_base64url(member["k"]), "jwks", name)
        key = OctKey.import_key(member)
        key.check_use("sig")
        key.check_key_op("verify")
    except ConfigurationError:
        raise
    except _NOT_A_KEY as error:
        raise ConfigurationError("jwks", f"{name} is not a usable secret ({type(error).__name__})") from None
    if key.alg is not None and not (key.alg in ALGORITHMS and ALGORITHMS[key.alg].is_hmac):
        raise ConfigurationError("jwks", f"{name} has an alg that is not of HMAC")
    return _Secret(key, "jwks", name)


def _import_secret(secret: bytes, field: str, name: str = "") -> OctKey:
    """Raises ConfigurationError. ``name`` is which one of a field's it is."""
    key_pair = ConfigurationError(field, f"{name} is a key of a key pair: a public key belongs in public_key".lstrip())
    if secret.lstrip().startswith((b"-----BEGIN ", b"ssh-")):
        raise key_pair
    least = min(ALGORITHMS[name].secret_bytes for name in _HMAC)
    if len(secret) < least:
        raise ConfigurationError(field, f"{name} has {len(secret)} bytes; at least {least} are needed".lstrip())
    try:
        return OctKey.import_key(secret)
    except ValueError:
        # joserfc knows the other spellings: DER, certificates, text before the PEM.
        raise key_pair from None


def _import_jwk(member: object) -> Key | None:
    """One key; None for one that is for another purpose. Raises _BadKey."""
    if not isinstance(member, dict):
        raise _BadKey("is not an object")
    if member.get("use", "sig") == "enc":
        return None
    if member.get("kty") == "oct":
        raise _BadKey("is a shared secret, which has no place among public keys")
    if "d" in member:
        raise _BadKey("is a private key")
    try:
        if member.get("kty") == "RSA":
            bits = int.from_bytes(_base64url(member["n"])).bit_length()
            if not _is_good_rsa_size(bits):
                raise _BadKey(_rsa_size_message(bits))
        key = JWKRegistry.import_key(member)
        key.check_use("sig")
        key.check_key_op("verify")
    except _BadKey:
        raise
    except _NOT_A_KEY as error:
        raise _BadKey(f"is not a usable key ({type(error).__name__})") from None
    return key if _has_good_curve(key) else None


def _base64url(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("not a string")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


# joserfc only warns of a short key, and does so on import: its size has to be known before.
def _is_good_rsa_size(bits: int) -> bool:
    return RSA_MIN_BITS <= bits <= RSA_MAX_BITS


def _rsa_size_message(bits: int) -> str:
    return f"is an RSA key of {bits} bits; {RSA_MIN_BITS} to {RSA_MAX_BITS} are allowed"


def _has_good_curve(key: Key) -> bool:
    try:
        return curve_of(key) in (None, *CURVES)
    except KeyError:
        # joserfc has no name for it.
        return False
