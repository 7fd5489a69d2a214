"""Names that are remembered without being kept: of users who were erased, and of what was published for them.

What is kept is an authentication code with the secret of the store as its key: the same name is known again, and none
can be read from it. Whoever has the store, and with it the secret, can try whether it is a name that they guess.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from domain.model import UserId

SEALED: Final = "\x01"
"""With what begins that stands in the place of an id that is sealed; no id, and no key that comes over HTTP, has a
control character."""

_SEAL_BYTES: Final = 16


class Seals:
    """Those of one store. PostgreSQL makes the same ones, in ``synkrone.seal``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def user(self, user: UserId) -> bytes:
        return self._code(b"user:" + user.encode())

    def id(self, id_: str) -> bytes:
        return self._code(b"id:" + id_.encode())

    def key(self, key: str) -> bytes:
        return self._code(b"key:" + key.encode())

    def digest(self, digest: bytes) -> bytes:
        """Of a content."""
        return self._code(digest)

    def _code(self, of: bytes) -> bytes:
        return sha256(self._secret + sha256(self._secret + of).digest()).digest()[:_SEAL_BYTES]
