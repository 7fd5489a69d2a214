"""The frames that two nodes exchange over a link, without I/O: where each ends, and that the other node has sent it.

A frame is the length of its content (4 bytes), a code (16 bytes) and the content. The code is keyed BLAKE2b (RFC 7693)
over the number of the frame and its content; each direction of each link has a key of its own. So a frame that was
changed, left out, sent twice, or sent on another link or to another node is noticed, and ends the link.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

NONCE_BYTES: Final = 16

_LENGTH_BYTES: Final = 4
_CODE_BYTES: Final = 16
_HEADER_BYTES: Final = _LENGTH_BYTES + _CODE_BYTES
_NUMBER_BYTES: Final = 8
_NAME_BYTES: Final = 8


class BrokenLink(Exception):
    """What came is no frame of the other node's, or is longer than any may be."""


class LinkKeys(NamedTuple):
    """The keys of one link, by which way a frame goes."""

    to_owner: bytes
    from_owner: bytes


def link_keys(secret: bytes, boot: str, forwarder_nonce: bytes, owner_nonce: bytes) -> LinkKeys:
    """Of the cluster's secret, for a link to the node of that boot. The nonces are NONCE_BYTES long each."""
    link = hmac.digest(secret, b"link:" + boot.encode() + forwarder_nonce + owner_nonce, "sha256")
    return LinkKeys(hmac.digest(link, b"to owner", "sha256"), hmac.digest(link, b"from owner", "sha256"))


def secret_name(secret: bytes) -> str:
    """By which nodes that have it recognize a secret, and by which nobody can tell it."""
    return hmac.digest(secret, b"name", "sha256")[:_NAME_BYTES].hex()


class FrameWriter:
    __slots__ = ("_key", "_number")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def frame(self, content: bytes) -> bytes:
        code = _code(self._key, self._number, content)
        self._number += 1
        return len(content).to_bytes(_LENGTH_BYTES, "big") + code + content


class FrameReader:
    """Takes the other node's bytes as they come and gives the contents of its frames.

    Which of several ``keys`` it uses the first frame says. It holds at most one unfinished frame, whose content has
    ``max_bytes`` at most.
    """

    __slots__ = ("_key_number", "_keys", "_max_bytes", "_number", "_pieces", "_size", "_wanted")

    def __init__(self, keys: Sequence[bytes], max_bytes: int) -> None:
        self._keys = tuple(keys)
        self._max_bytes = max_bytes
        # A long frame comes in hundreds of reads: what there is of it is joined once.
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = _HEADER_BYTES
        self._number = 0
        self._key_number = 0

    @property
    def key_number(self) -> int:
        """Which of the keys the other node uses, as far as its frames have told."""
        return self._key_number

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """The contents that are complete with these bytes, to be taken before the next are fed.

        Raises BrokenLink, after which the link is of no further use.
        """
        self._pieces.append(octets)
        self._size += len(octets)
        if self._size < self._wanted:
            return
        buffer, start = b"".join(self._pieces), 0
        while True:
            end = self._end_of_frame(buffer, start)
            if len(buffer) < end:
                break
            content = buffer[start + _HEADER_BYTES : end]
            self._check(buffer[start + _LENGTH_BYTES : start + _HEADER_BYTES], content)
            start = end
            yield content
        self._pieces = [buffer[start:]]
        self._size = len(buffer) - start
        self._wanted = end - start

    def _end_of_frame(self, buffer: bytes, start: int) -> int:
        """Where the frame at ``start`` ends; as far as can be told where its length has not come."""
        if len(buffer) - start < _LENGTH_BYTES:
            return start + _HEADER_BYTES
        length = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
        if length > self._max_bytes:
            raise BrokenLink("a frame that is too long")
        return start + _HEADER_BYTES + length

    def _check(self, code: bytes, content: bytes) -> None:
        candidates = range(len(self._keys)) if self._number == 0 else (self._key_number,)
        for candidate in candidates:
            if hmac.compare_digest(code, _code(self._keys[candidate], self._number, content)):
                self._key_number = candidate
                self._number += 1
                return
        raise BrokenLink("a frame that no node has sent")


def _code(key: bytes, number: int, content: bytes) -> bytes:
    code = hashlib.blake2b(number.to_bytes(_NUMBER_BYTES, "big"), key=key, digest_size=_CODE_BYTES)
    code.update(content)
    return code.digest()
