"""The TokenVerifier for opaque tokens: each is looked up in a file, which holds no token but its SHA-256."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidToken, KeysUnavailable, TokenExpired
from domain.model import Identity, UserId
from domain.policy import is_name, name_fault
from domain.ports import Clock

FILE_MAX_BYTES = 16 * 1024 * 1024

_log = logging.getLogger("synkrone.auth")

Version: TypeAlias = tuple[int, int, int] | None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    user: str
    role: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]


class _Unusable(Exception):
    """The file cannot be used. The text says why, and holds nothing of what is in it."""


class OpaqueTokens:
    """Knows the tokens of a file of JSON lines: ``{"sha256", "user", "role", "expires_at"}``, one a token.

    ``sha256`` is the digest of the token in UTF-8, as 64 hex digits in lower case; ``expires_at`` is RFC 3339. The file
    is read again when it has changed: write another one aside and rename it, or half of it may be read. While it cannot
    be used, no token can be verified. Raises ConfigurationError where that is so from the beginning.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._reading = asyncio.Lock()
        self._version = _version_of(path)
        self._identities: Mapping[bytes, Identity] | None
        try:
            self._identities = _read(path)
        except (OSError, _Unusable) as error:
            raise ConfigurationError("", f"cannot use {path}: {_why(error)}") from None

    async def verify(self, token: str) -> Identity:
        identities = await self._current()
        # A look-up by the digest tells by its time nothing of a token that somebody guesses.
        identity = identities.get(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
        if identity is None:
            raise InvalidToken("the token is not in the file")
        if identity.expires_at <= self._clock.now():
            raise TokenExpired("expires_at is past")
        return identity

    @property
    def fault(self) -> str | None:
        """The code of what is wrong while the file is one that could not be used."""
        return KeysUnavailable.code if self._identities is None and self._version == _version_of(self._path) else None

    async def close(self) -> None:
        """Nothing runs in the background."""

    async def _current(self) -> Mapping[bytes, Identity]:
        async with self._reading:
            version = _version_of(self._path)
            if version != self._version:
                try:
                    self._identities = await asyncio.to_thread(_read, self._path)
                except (OSError, _Unusable) as error:
                    self._identities = None
                    # One that could not even be read is tried again, whether it changes or not.
                    version = None if isinstance(error, OSError) else version
                    _log.warning("tokens cannot be verified: cannot use %s: %s", self._path, _why(error))
                self._version = version
        if self._identities is None:
            raise KeysUnavailable
        return self._identities


def _version_of(path: Path) -> Version:
    """What is another one after every change; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size


def _why(error: OSError | _Unusable) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _read(path: Path) -> Mapping[bytes, Identity]:
    """The identities by the digests of their tokens. Raises OSError and _Unusable."""
    with path.open("rb") as file:
        content = file.read(FILE_MAX_BYTES + 1)
    if len(content) > FILE_MAX_BYTES:
        raise _Unusable(f"it has more than {FILE_MAX_BYTES} bytes")
    identities: dict[bytes, Identity] = {}
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            digest, identity = _parse(text)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise _Unusable(f"line {number}: {error}") from None
        if digest in identities:
            raise _Unusable(f"line {number}: the same token is there twice")
        identities[digest] = identity
    return identities


_decoder = msgspec.json.Decoder(_Line)


def _parse(text: bytes) -> tuple[bytes, Identity]:
    """Raises msgspec.DecodeError and ValueError."""
    line = _decoder.decode(text)
    for name, value in (("user", line.user), ("role", line.role)):
        if not is_name(value):
            raise ValueError(f"{name} {name_fault(value)}")
    return bytes.fromhex(line.sha256), Identity(
        user=UserId(line.user), role=line.role, issuer="", expires_at=line.expires_at.astimezone(UTC)
    )
