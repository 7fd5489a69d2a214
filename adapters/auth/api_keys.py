"""API keys of backends: kept as digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from adapters.system.configuration import ConfigurationError
from domain.errors import Unauthenticated
from domain.model import Caller, Rate

KEY_MIN_LENGTH = 32
KEY_MAX_LENGTH = 8192
_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """``name`` is for logs. ``digest`` is the SHA-256 of the key in UTF-8. Without a ``publish_rate`` its owner may
    publish as fast as they can."""

    name: str
    digest: bytes
    scopes: frozenset[str]
    publish_rate: Rate | None = None


def parse_hash(text: str) -> bytes:
    """The digest written as ``sha256:<64 hex digits>``. Raises ConfigurationError."""
    match = _HASH.fullmatch(text)
    if match is None:
        raise ConfigurationError("hash", "must be 'sha256:' and 64 hexadecimal digits")
    return bytes.fromhex(match[1])


def written_hash(digest: bytes) -> str:
    """What ``parse_hash`` reads."""
    return f"sha256:{digest.hex()}"


def hash_key(key: str) -> bytes:
    """The digest of a key in plain text. Raises ConfigurationError for one short enough to be guessed, or too long."""
    if len(key) < KEY_MIN_LENGTH:
        raise ConfigurationError("key", f"must have at least {KEY_MIN_LENGTH} characters")
    if len(key) > KEY_MAX_LENGTH:
        raise ConfigurationError("key", f"must have at most {KEY_MAX_LENGTH} characters")
    return _digest(key)


class ApiKeys:
    """The CallerVerifier for API keys. Raises ConfigurationError where two of them have the same name or key."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)
        for name, values in (("name", {key.name for key in self._keys}), ("hash", {key.digest for key in self._keys})):
            if len(values) != len(self._keys):
                raise ConfigurationError("keys", f"two have the same {name}")

    def __contains__(self, key: object) -> bool:
        """Whether a key that was found is one of these, with the same name and scopes."""
        return key in self._keys

    async def authenticate(self, credential: str) -> Caller:
        found = self.find(credential)
        return Caller(found.name, found.scopes, found.publish_rate)

    def find(self, credential: str) -> ApiKey:
        """Raises Unauthenticated."""
        if len(credential) > KEY_MAX_LENGTH:
            raise Unauthenticated
        digest = _digest(credential)
        found: ApiKey | None = None
        for key in self._keys:
            # Every key is compared, so that the time taken tells nothing of which one it was.
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Unauthenticated
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
