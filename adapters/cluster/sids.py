"""``sid``: the name of a session of Engine.IO, which says which node has it and that a node gave it."""

from __future__ import annotations

import base64
import hmac
import re
from typing import Final

from adapters.cluster.members import Members
from adapters.system.random_bytes import random_bytes

_RANDOM_BYTES: Final = 16
_CODE_BYTES: Final = 12
_NAME: Final = re.compile(r"([A-Za-z0-9_-]{8})([A-Za-z0-9_-]{22})([A-Za-z0-9_-]{16})")


class SessionNames:
    """Names sessions, and tells whose a name is: 46 characters of ``[A-Za-z0-9_-]``.

    The boot of the node, 16 random bytes, and a code of 12 bytes over both: HMAC-SHA256 (RFC 2104), shortened, with a
    key that is made of the cluster's secret.
    """

    def __init__(self, members: Members) -> None:
        self._members = members

    def new(self) -> str:
        named = self._members.boot + _text(random_bytes(_RANDOM_BYTES))
        return named + _code(self._members.secrets[0], named)

    def owner_of(self, sid: str) -> str | None:
        """The boot of the node to ask for the session of this name; None where none may have it.

        A node that is known is asked also where the code is wrong: it may have named the session under a former
        secret, which whoever came later does not know. Whoever makes names up gets no more of it than by names that
        were given; nobody is looked for.
        """
        parts = _NAME.fullmatch(sid)
        if parts is not None and self._members.knows(parts[1]):
            return parts[1]
        return self.boot_of(sid)

    def boot_of(self, sid: str) -> str | None:
        """The boot of the node that has given this name; None where none has."""
        parts = _NAME.fullmatch(sid)
        if parts is None:
            return None
        named, code = parts[1] + parts[2], parts[3]
        is_given = any(hmac.compare_digest(code, _code(secret, named)) for secret in self._members.secrets)
        return parts[1] if is_given else None


def _code(secret: bytes, named: str) -> str:
    # As in ``KeyedPids``: ``hmac.digest`` lets others take the interpreter's lock.
    key = hmac.new(secret, b"sid", "sha256").digest()
    return _text(hmac.new(key, named.encode(), "sha256").digest()[:_CODE_BYTES])


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
