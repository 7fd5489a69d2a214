"""The signature algorithms tokens may use (RFC 7518, section 3.1; RFC 8037; RFC 9864), and which key fits each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from joserfc.jwk import ECKey, Key, OKPKey

RSA_MIN_BITS = 2048
RSA_MAX_BITS = 8192
"""RSA keys outside these sizes are not used: weaker than advised, or slow enough to stall the server."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """``secret_bytes`` is the least length of an HMAC secret: that of the hash (RFC 7518, section 3.2)."""

    key_type: str
    curve: str | None = None
    secret_bytes: int = 0

    @property
    def is_hmac(self) -> bool:
        return self.key_type == "oct"


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "HS256": Algorithm("oct", secret_bytes=32),
        "HS384": Algorithm("oct", secret_bytes=48),
        "HS512": Algorithm("oct", secret_bytes=64),
        "RS256": Algorithm("RSA"),
        "RS384": Algorithm("RSA"),
        "RS512": Algorithm("RSA"),
        "PS256": Algorithm("RSA"),
        "ES256": Algorithm("EC", "P-256"),
        "ES384": Algorithm("EC", "P-384"),
        "Ed25519": Algorithm("OKP", "Ed25519"),
        "EdDSA": Algorithm("OKP", "Ed25519"),
    }
)
CURVES = frozenset(algorithm.curve for algorithm in ALGORITHMS.values() if algorithm.curve is not None)


def curve_of(key: Key) -> str | None:
    return key.curve_name if isinstance(key, ECKey | OKPKey) else None


def fits(key: Key, name: str) -> bool:
    """Whether this key can verify the algorithm, by its type, its curve and its own ``alg``."""
    algorithm = ALGORITHMS[name]
    return key.key_type == algorithm.key_type and curve_of(key) == algorithm.curve and key.alg in (None, name)
