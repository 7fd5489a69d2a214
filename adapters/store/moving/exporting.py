"""Writing what a store holds into lines of JSON."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import BinaryIO, TypeAlias

from adapters.store.moving.lines import FORMAT, PRODUCT, Contents, Header, LoggedEntry, Writer
from adapters.store.moving.origin import Origin, generations_of, lines_of
from adapters.store.served import StoreUnusable
from domain.model.value import value

TOLD_EVERY = 500

Tell: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is counted, how much of it is done, and how much there is, where that is known."""


@value
class Exported:
    """``head`` is the offset of the last entry. ``waiting`` is how much of an outbox is not in it."""

    lines: int
    bytes: int
    entries: int
    notifications: int
    epoch: str
    head: int
    waiting: int


def export(origin: Origin, out: BinaryIO, tell: Tell, *, version: str) -> Exported:
    """All that is stored at one moment, while servers go on. Blocks. ``version`` is that of this program.

    Raises StoreUnusable and OSError.
    """
    with origin.faults():
        origin.check()
        with origin.snapshot():
            return _export(origin, out, tell, version)


def _export(origin: Origin, out: BinaryIO, tell: Tell, version: str) -> Exported:
    generations, secret, extent = generations_of(origin), origin.secret, origin.extent
    if generations is None or secret is None:
        raise StoreUnusable(f"no server has opened {origin.place} yet: there is nothing to export")
    writer = Writer(out)
    writer.put(
        Header(
            0,
            product=PRODUCT,
            format=FORMAT,
            version=version,
            name=str(uuid.uuid4()),
            store=origin.kind,
            epoch=generations.present,
            head=extent.head,
            floor=extent.floor,
            floor_stored_at=extent.floor_stored_at,
            secret=secret.hex(),
        )
    )
    behind = 0
    for line in lines_of(origin, generations):
        writer.put(line)
        if isinstance(line, LoggedEntry | Contents):
            behind = writer.lines
            if not writer.lines % TOLD_EVERY:
                tell("offsets", line.offset - extent.first + 1, extent.head - extent.first + 1)
        elif not writer.lines % TOLD_EVERY:
            tell("other lines", writer.lines - behind, None)
    waiting = origin.waiting
    writer.end()
    counts = writer.counts
    return Exported(
        lines=writer.lines,
        bytes=writer.bytes,
        entries=counts.get("entry", 0),
        notifications=counts.get("contents", 0),
        epoch=generations.present,
        head=extent.head,
        waiting=waiting,
    )
