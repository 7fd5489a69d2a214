"""Where to look for an id or an idempotency key: a number that stands for it in the index of a SQLite file."""

from __future__ import annotations

from hashlib import blake2b

_UUID_LENGTH = 36
_VERSION_AT = 14


def locator(name: str) -> int:
    """64 bits, signed. Two names may have the same: what is found is to be compared.

    A number of 8 bytes and not the name: the index is half as large. That of a UUID of version 7 begins with its time,
    as the UUID does, so that the index grows at its end; of any other name it is a digest. Measured with a million
    entries: an id that belongs anywhere in the index costs a page of its own to read, to log and to copy into the file.
    """
    if len(name) == _UUID_LENGTH and name[_VERSION_AT] == "7":
        try:
            return _signed(int(f"{name[:8]}{name[9:13]}{name[14:18]}", 16))
        except ValueError:
            pass  # it only looks like one
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
