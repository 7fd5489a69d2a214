"""Names that are remembered without being kept: of users who were erased, and of what was published for them.

What is kept is an authentication code with the secret of the store as its key: the same name is known again, and none
can be read from it. Whoever has the store, and with it the secret, can try whether it is a name that they guess.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from domain.model import UserId

SEALED: Final = "\x01"
"""With what a sealed name begins; no id, and no key that comes over HTTP, has a control character."""

_SEAL_BYTES = 16
_SERVER_MADE_LENGTH = 36
_SERVER_MADE_DASHES = 4
_VERSION_AT = 14


class Seals:
    """Those of one store. PostgreSQL makes the same ones, in ``synkrone.seal``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def user(self, user: UserId) -> bytes:
        return self._code(b"user:" + user.encode())

    def id(self, id_: str, locator: int = 0) -> str:
        """One that the server has made says nothing, and stays, as does what is sealed. The ``locator`` is kept with
        it: whoever removes the name from an index needs that."""
        is_made = len(id_) == _SERVER_MADE_LENGTH and id_[_VERSION_AT] == "7" and id_.count("-") == _SERVER_MADE_DASHES
        return id_ if is_made else self._sealed("id:", id_, locator)

    def key(self, key: str, locator: int = 0) -> str:
        return self._sealed("key:", key, locator)

    def is_of_id(self, sealed: str, id_: str) -> bool:
        """Whether it is that id which was sealed."""
        return sealed.startswith(self._sealed("id:", id_, ""))

    def is_of_key(self, sealed: str, key: str) -> bool:
        return sealed.startswith(self._sealed("key:", key, ""))

    def digest(self, digest: bytes) -> bytes:
        """Of a content."""
        return self._code(digest)

    def _sealed(self, kind: str, name: str, locator: int | str) -> str:
        return name if name.startswith(SEALED) else f"{SEALED}{self._code(f'{kind}{name}'.encode()).hex()}{locator}"

    def _code(self, of: bytes) -> bytes:
        return sha256(self._secret + sha256(self._secret + of).digest()).digest()[:_SEAL_BYTES]


def locator_of(sealed: str) -> int:
    """The one that it was sealed with."""
    return int(sealed[len(SEALED) + 2 * _SEAL_BYTES :])
