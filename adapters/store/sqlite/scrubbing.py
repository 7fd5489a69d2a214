"""Overwriting what the pages of a SQLite file hold beside what is stored in them.

With ``secure_delete`` a row that is deleted is overwritten, and so is a page that is given up. But where SQLite spreads
the rows of a page over others, it leaves copies in the space that is free then (measured: 60,000 rows, of which 1,200
were deleted afterwards, left one of them readable in every other file). VACUUM would write the whole file anew and
nothing else meanwhile; this looks at some pages at a time.

Only what the file format says is unused is written (https://www.sqlite.org/fileformat2.html, section 1.6), so that
nobody who reads the file sees a difference. It is for the one who writes the file, between their transactions, behind a
checkpoint, and with an empty cache: what they hold of a page would bring it back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_HEADER_BYTES = 100
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_LEAVES, _INTERIORS = (0x0A, 0x0D), (0x02, 0x05)
_LARGEST_PAGE = 65536
PAGES_MOST: Final = 1 << 25
"""In a larger file the number at the beginning of an overflow page could look like the type of a page with rows."""


class Scrubber:
    """Keeps the file open until ``close``, which has to come after SQLite has closed it: to close any descriptor of a
    file gives up the locks that the process holds on it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._descriptor)

    def scrub(self, after: int, most: int) -> int | None:
        """At most so many pages after one; the last of them, or None where there are no more. Raises OSError."""
        head = os.pread(self._descriptor, _HEADER_BYTES, 0)
        size = int.from_bytes(head[16:18], "big")
        size = _LARGEST_PAGE if size == 1 else size
        usable, pages = size - head[20], os.fstat(self._descriptor).st_size // size
        # With pointer maps some pages are of other kinds.
        has_maps = any(head[52:56])
        if after >= pages or pages > PAGES_MOST or has_maps:
            os.fsync(self._descriptor)
            return None
        data = os.pread(self._descriptor, size * most, after * size)
        read = len(data) // size
        for number in range(read):
            page = data[number * size : (number + 1) * size]
            begin = _HEADER_BYTES if after + number == 0 else 0
            for first, last in unused(page, begin, usable):
                if page.count(0, first, last) != last - first:
                    os.pwrite(self._descriptor, bytes(last - first), (after + number) * size + first)
        return after + read


def unused(page: bytes, begin: int, usable: int) -> list[tuple[int, int]]:
    """Where a page whose header begins there holds nothing; nowhere, if it is no page with rows."""
    kind = page[begin]
    if kind not in (*_LEAVES, *_INTERIORS):
        return []
    rows = int.from_bytes(page[begin + 3 : begin + 5], "big")
    content = int.from_bytes(page[begin + 5 : begin + 7], "big") or _LARGEST_PAGE
    gap = begin + (_LEAF_HEADER if kind in _LEAVES else _INTERIOR_HEADER) + 2 * rows
    if not gap <= content <= usable:
        return []
    found = [(gap, content)]
    block = int.from_bytes(page[begin + 1 : begin + 3], "big")
    while block:
        following, length = (int.from_bytes(page[at : at + 2], "big") for at in (block, block + 2))
        if block < content or block + length > usable or (following and following <= block):
            return []
        found.append((block + 4, block + length))
        block = following
    return found
