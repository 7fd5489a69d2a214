"""Tokens whose signature is good: the issuer's own keys and algorithms, and never the token's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.registry import Header

from adapters.auth.algorithms import RSA_MAX_BITS
from adapters.auth.compact import DEFAULT_TOKEN_BYTES, CompactToken, parse
from adapters.auth.issuers import Issuer, Issuers
from domain.errors import InvalidToken

_REFUSED = (JoseError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError, RecursionError)
"""All that joserfc and cryptography raise for a signature that is not good, whatever the token holds."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """The content of a token as its issuer signed it; nothing in it has been checked yet."""

    issuer: Issuer
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class _Registry(JWSRegistry):
    """joserfc's rules for one issuer: only its algorithms, and header members that mean nothing here are ignored.

    The whole token was bounded when it was parsed; a chain of certificates in the header may be most of it.
    """

    max_header_length = sys.maxsize
    max_payload_length = sys.maxsize
    max_signature_length = RSA_MAX_BITS // 8 * 4 // 3 + 2

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)
        self._algorithm = algorithm

    def check_header(self, header: Header) -> None:
        """All that counts was checked when the token was parsed; the original refuses a malformed ``jku``."""

    def get_alg(self, name: str) -> JWSAlgModel:
        # The original warns at every token that EdDSA is an old name; whoever set it in the settings knows.
        if name != self._algorithm:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


class SignedTokens:
    """Reads what the issuers signed. A token has at most ``max_bytes``."""

    def __init__(self, issuers: Issuers, max_bytes: int = DEFAULT_TOKEN_BYTES) -> None:
        self._issuers = issuers
        self._max_bytes = max_bytes

    async def read(self, token: str) -> SignedToken:
        """Raises InvalidToken unless one of the issuers signed it, and KeysUnavailable."""
        parsed = parse(token, self._max_bytes)
        issuer = self._issuer(parsed)
        if parsed.algorithm not in issuer.algorithms:
            raise InvalidToken("the algorithm is not one of the issuer's")
        keys = await issuer.keys.find(parsed)
        if not keys:
            raise InvalidToken("the issuer has no such key")
        registry = _Registry(parsed.algorithm)
        if not any(_verifies(parsed.text, key, registry) for key in keys):
            raise InvalidToken("the signature is not good")
        return SignedToken(issuer, parsed.header, parsed.claims)

    def _issuer(self, parsed: CompactToken) -> Issuer:
        iss = parsed.claims.get("iss")
        if not isinstance(iss, str) and "iss" in parsed.claims:
            raise InvalidToken("iss is not a string")
        issuer = self._issuers.get(iss)
        if issuer is None:
            raise InvalidToken("the issuer is not known here")
        return issuer


def _verifies(token: str, key: Key, registry: JWSRegistry) -> bool:
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except _REFUSED:
        return False
    return True
